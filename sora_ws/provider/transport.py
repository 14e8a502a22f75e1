"""HTTP by libcurl: one pool of connections for calls, another for downloads, deadlines on all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import pycurl

from sora_ws import __version__
from sora_ws.peers import is_public
from sora_ws.provider.answers import Answer
from sora_ws.provider.multi import Closed, TransferError, Transfers

CALLS_AT_ONCE: Final = 200  # more than looks and creates have places
DOWNLOADS_AT_ONCE: Final = 16
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024  # a job may hold a short video as a data: URL
CONNECT_TIMEOUT_MS: Final = 10_000
STALL_BYTES_PER_S: Final = 1024
ORIGINS_KEPT: Final = 64
ADDRESSES_KEPT: Final = 256
CHUNK_BYTES: Final = 128 * 1024
USER_AGENT: Final = f"sora-ws/{__version__}"
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
        self.is_inside = not self.is_proxied and not _is_public(remote_ip)
        if self.is_inside and not self.may_go_inside:
            return int(pycurl.PREREQFUNC_ABORT)
        self.is_made = True
        return int(pycurl.PREREQFUNC_OK)


class Transport:
    """Sends requests and never follows a redirect. Belongs to the event loop it was made on."""

    def __init__(self, stall_timeout_s: float) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._calls = Transfers(CALLS_AT_ONCE)
        self._downloads = Transfers(DOWNLOADS_AT_ONCE)
        self._proxy_for = lru_cache(ORIGINS_KEPT)(_proxy)  # to read the environment costs more than a look

    async def call(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, timeout_s: float
    ) -> Answer:
        """Send a request and read its answer, all within `timeout_s`.

        Raises NotSent, NoAnswer.
        """
        content = BytesIO()
        sink = _Sink(content, ANSWER_BYTES_MAX)

        def prepare(curl: pycurl.Curl) -> None:
            curl.setopt(pycurl.TIMEOUT_MS, int(1000 * timeout_s))
            curl.setopt(pycurl.ACCEPT_ENCODING, "gzip,deflate")
            curl.setopt(pycurl.WRITEFUNCTION, sink.write)
            if body is not None:
                curl.setopt(pycurl.POSTFIELDS, body)
                # libcurl sends again what got no answer on a kept connection; a create must not be.
                curl.setopt(pycurl.FRESH_CONNECT, 1)
            if method not in ("GET", "POST"):
                curl.setopt(pycurl.CUSTOMREQUEST, method)

        status, found = await self._perform(self._calls, url, headers, Contact(), prepare)
        return Answer(status, found, content.getvalue())

    async def save(
        self, url: str, headers: dict[str, str], target: Path, max_bytes: int, contact: Contact
    ) -> Answer:
        """Stream an answer's body into `target`, whatever its status; the `Answer` has no body.

        It may take its time, but must not stall. Raises NotSent, NoAnswer, TooBig, Forbidden, or
        OSError where the file can't be written.
        """
        with target.open("wb") as file:
            sink = _Sink(file, max_bytes)
            try:
                status, found = await self._perform(self._downloads, url, headers, contact, self._into(sink))
            except TransportError as error:
                raise sink.trouble or error from error
        return Answer(status, found, b"")

    def close(self) -> None:
        """Let go of every connection; what is under way gets no answer. May be called twice."""
        self._calls.close()
        self._downloads.close()

    def _into(self, sink: _Sink) -> Callable[[pycurl.Curl], None]:
        def prepare(curl: pycurl.Curl) -> None:
            curl.setopt(pycurl.WRITEFUNCTION, sink.write)
            curl.setopt(pycurl.BUFFERSIZE, CHUNK_BYTES)
            curl.setopt(pycurl.LOW_SPEED_LIMIT, STALL_BYTES_PER_S)
            curl.setopt(pycurl.LOW_SPEED_TIME, max(1, round(self._stall_timeout_s)))

        return prepare

    async def _perform(
        self,
        transfers: Transfers,
        url: str,
        headers: Mapping[str, str],
        contact: Contact,
        prepare: Callable[[pycurl.Curl], None],
    ) -> tuple[int, Mapping[str, str]]:
        head: list[bytes] = []

        def set_options(curl: pycurl.Curl) -> None:
            parts = urlsplit(url)
            proxy = self._proxy_for(parts.scheme, parts.netloc, parts.hostname or "")
            contact.is_proxied = bool(proxy)
            curl.setopt(pycurl.URL, url)
            curl.setopt(pycurl.HTTPHEADER, _lines(headers))
            curl.setopt(pycurl.PROXY, proxy)
            curl.setopt(pycurl.PREREQFUNCTION, contact.made)
            curl.setopt(pycurl.HEADERFUNCTION, head.append)
            curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
            curl.setopt(pycurl.FOLLOWLOCATION, 0)
            curl.setopt(pycurl.USERAGENT, USER_AGENT)
            curl.setopt(pycurl.CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS)
            curl.setopt(pycurl.NOSIGNAL, 1)  # there are other threads
            prepare(curl)

        try:
            return await transfers.perform(set_options), _headers(head)
        except Closed as error:
            raise (NoAnswer if error.was_under_way else NotSent)(str(error)) from None
        except TransferError as error:
            raise _trouble(str(error), contact) from error
        except (ValueError, pycurl.error) as error:
            # Its text may hold the headers.
            raise NotSent(f"the request can't be sent: {type(error).__name__}") from None


class _Sink:
    """Writes a body into a file, from inside libcurl: what goes wrong is kept, not raised."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        self._room = max_bytes
        self.trouble: Exception | None = None

    def write(self, chunk: bytes) -> int:
        """Take less than was given, and libcurl ends the transfer (CURLOPT_WRITEFUNCTION)."""
        self._room -= len(chunk)
        if self._room < 0:
            self.trouble = TooBig("the body is longer than it may be")
            return 0
        try:
            return self._file.write(chunk)
        except OSError as error:
            self.trouble = error
            return 0


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


@lru_cache(ADDRESSES_KEPT)  # else 3 µs a look, as it is asked for a kept connection too
def _is_public(ip: str) -> bool:
    return is_public(ip_address(ip))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _lines(headers: Mapping[str, str]) -> list[bytes]:
    """Raises ValueError where a header would end before its end, or is not of HTTP's letters."""
    lines = ["Expect:", *(f"{name}: {value}" for name, value in headers.items())]  # no 100-continue
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a header of more than one line")
    return [line.encode("latin-1") for line in lines]


def _headers(head: Sequence[bytes]) -> Mapping[str, str]:
    """The last answer's, by their names in lower case: a proxy's and a 1xx come before it."""
    found: dict[str, str] = {}
    for line in head:
        if line.startswith(b"HTTP/"):
            found.clear()
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            name, value = name.lower(), value.strip()
            found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _trouble(text: str, contact: Contact) -> TransportError:
    if contact.is_made:
        return NoAnswer(text)
    if contact.is_inside:
        return Forbidden("the address leads into a private network")
    return NotSent(text)
