"""HTTP by libcurl: one pool of connections for calls, another for downloads, deadlines on all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import pycurl
from tornado.curl_httpclient import CurlAsyncHTTPClient, CurlError
from tornado.httpclient import HTTPRequest, HTTPResponse

from sora_ws import __version__
from sora_ws.peers import is_public
from sora_ws.provider.answers import Answer

CALLS_AT_ONCE: Final = 100
DOWNLOADS_AT_ONCE: Final = 16
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024  # a job may hold a short video as a data: URL
CONNECT_TIMEOUT_S: Final = 10.0
STALL_BYTES_PER_S: Final = 1024
ORIGINS_KEPT: Final = 64
CHUNK_BYTES: Final = 128 * 1024
DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class TransportError(Exception):
    """No whole answer came. The text may hold an address."""


class NotSent(TransportError):
    """Nothing of the request has left."""


class NoAnswer(TransportError):
    """The request has left, at least in part."""


class TooBig(TransportError):
    """The body is longer than it may be."""


class Forbidden(TransportError):
    """The address is one of a network that this download has no business in."""


@dataclass(slots=True)
class Contact:
    """What libcurl tells of a request's connection.

    `is_inside`: it goes to a loopback, private or otherwise unreachable-from-outside address.
    Behind a proxy nobody here knows the address, so that it counts as outside.
    """

    may_go_inside: bool = True
    is_made: bool = False
    is_inside: bool = False
    is_proxied: bool = False

    def made(self, remote_ip: str, _local_ip: str, _port: int, _local_port: int) -> int:
        """The connection stands, TLS included, and nothing was sent yet (CURLOPT_PREREQFUNCTION)."""
        self.is_inside = not self.is_proxied and not is_public(ip_address(remote_ip))
        if self.is_inside and not self.may_go_inside:
            return int(pycurl.PREREQFUNC_ABORT)
        self.is_made = True
        return int(pycurl.PREREQFUNC_OK)


class Transport:
    """Sends requests and never follows a redirect. Belongs to the IOLoop it was made on."""

    def __init__(self, stall_timeout_s: float) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._calls = CurlAsyncHTTPClient(
            force_instance=True, max_clients=CALLS_AT_ONCE, max_body_size=ANSWER_BYTES_MAX
        )
        self._downloads = CurlAsyncHTTPClient(force_instance=True, max_clients=DOWNLOADS_AT_ONCE)
        self._proxy_for = lru_cache(ORIGINS_KEPT)(_proxy)  # to read the environment costs more than a look
        self._under_way: set[asyncio.Future[HTTPResponse]] = set()
        self._is_closed = False

    async def call(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, timeout_s: float
    ) -> Answer:
        """Send a request and read its answer, all within `timeout_s`.

        Raises NotSent, NoAnswer.
        """

        def prepare(curl: pycurl.Curl) -> None:
            if body is not None:
                # libcurl sends again what got no answer on a kept connection; a create must not be.
                curl.setopt(pycurl.FRESH_CONNECT, 1)

        request = HTTPRequest(url, method, headers, body, request_timeout=timeout_s)
        response = await self._fetch(self._calls, request, Contact(), prepare)
        return Answer(response.code, response.headers, response.body)

    async def save(
        self, url: str, headers: dict[str, str], target: Path, max_bytes: int, contact: Contact
    ) -> Answer:
        """Stream an answer's body into `target`, whatever its status; the `Answer` has no body.

        It may take its time, but must not stall. Raises NotSent, NoAnswer, TooBig, Forbidden, or
        OSError where the file can't be written.
        """
        request = HTTPRequest(url, "GET", headers, request_timeout=0, decompress_response=False)
        with target.open("wb") as file:
            sink = _Sink(file, max_bytes)
            try:
                response = await self._fetch(self._downloads, request, contact, self._into(sink))
            except TransportError as error:
                raise sink.trouble or error from error
            finally:
                sink.close()
        return Answer(response.code, response.headers, b"")

    def close(self) -> None:
        """Let go of every connection; what is under way gets no answer. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        for client in (self._calls, self._downloads):
            client.close()
            # Closing a call that is under way sets the timer anew, and it would find nothing to serve.
            if client._timeout is not None:
                client.io_loop.remove_timeout(client._timeout)
        for future in self._under_way:
            future.cancel()

    def _into(self, sink: _Sink) -> Callable[[pycurl.Curl], None]:
        def prepare(curl: pycurl.Curl) -> None:
            curl.setopt(pycurl.WRITEFUNCTION, sink.write)
            curl.setopt(pycurl.BUFFERSIZE, CHUNK_BYTES)
            curl.setopt(pycurl.LOW_SPEED_LIMIT, STALL_BYTES_PER_S)
            curl.setopt(pycurl.LOW_SPEED_TIME, max(1, round(self._stall_timeout_s)))

        return prepare

    async def _fetch(
        self,
        client: CurlAsyncHTTPClient,
        request: HTTPRequest,
        contact: Contact,
        prepare: Callable[[pycurl.Curl], None],
    ) -> HTTPResponse:
        if self._is_closed:
            raise NotSent("the client is closed")
        parts = urlsplit(request.url)
        proxy = self._proxy_for(parts.scheme, parts.netloc, parts.hostname or "")
        contact.is_proxied = bool(proxy)

        def set_options(curl: pycurl.Curl) -> None:
            curl.setopt(pycurl.PROXY, proxy)
            curl.setopt(pycurl.PREREQFUNCTION, contact.made)
            prepare(curl)

        request.follow_redirects = False
        request.connect_timeout = CONNECT_TIMEOUT_S
        request.user_agent = f"sora-ws/{__version__}"
        request.prepare_curl_callback = set_options
        future = asyncio.ensure_future(client.fetch(request, raise_error=False))
        self._under_way.add(future)
        future.add_done_callback(self._ended)
        try:
            # A transfer can't be called back: let it end by itself, unheard.
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.cancelled():  # it was the caller
                raise
            raise NoAnswer("the client was closed") from None
        except CurlError as error:
            raise _trouble(error, contact) from error
        except (ValueError, pycurl.error) as error:
            # Its text may hold the headers.
            raise NotSent(f"the request can't be sent: {type(error).__name__}") from None

    def _ended(self, future: asyncio.Future[HTTPResponse]) -> None:
        """Its exception counts as seen, also where nobody waits for it any more."""
        self._under_way.discard(future)
        if not future.cancelled():
            future.exception()


class _Sink:
    """Writes a body into a file, from inside libcurl: what goes wrong is kept, not raised."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        self._room = max_bytes
        self._is_closed = False
        self.trouble: Exception | None = None

    def write(self, chunk: bytes) -> int:
        """Take less than was given, and libcurl ends the transfer (CURLOPT_WRITEFUNCTION)."""
        if self._is_closed:
            return 0
        self._room -= len(chunk)
        if self._room < 0:
            self.trouble = TooBig("the body is longer than it may be")
            return 0
        try:
            return self._file.write(chunk)
        except OSError as error:
            self.trouble = error
            return 0

    def close(self) -> None:
        self._is_closed = True


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port (RFC 6454). Raises ValueError for a port that is no number."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme)


def _proxy(scheme: str, netloc: str, host: str) -> str:
    """The environment's proxy for an address, "" for none; one that is here needs none."""
    if host == "localhost" or _is_loopback(host) or proxy_bypass(netloc):
        return ""
    proxies = getproxies()
    return proxies.get(scheme) or proxies.get("all") or ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _trouble(error: CurlError, contact: Contact) -> TransportError:
    text = error.message or str(error)
    if contact.is_made:
        return NoAnswer(text)
    if contact.is_inside:
        return Forbidden("the address leads into a private network")
    return NotSent(text)
