"""One attempt to hand a message to an address that a user named."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.netutil import Resolver
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

from sora_ws import __version__
from sora_ws.peers import may_be_reached
from sora_ws.settings import Network

ATTEMPT_S: Final = 15  # Standard Webhooks: 15 to 30 s
AT_ONCE: Final = 64
ANSWER_BYTES_MAX: Final = 64 * 1024  # nothing of it is read but the status
URL_LENGTH_MAX: Final = 2048

LOOPBACK: Final = (ip_address("127.0.0.1"), ip_address("::1"))
REFUSED: Final = "the address is in a network that callbacks may not reach"


class WrongAddress(ValueError):
    """No callback may go there; the text says what to write instead."""


class NotDelivered(Exception):
    """The attempt failed; the text is for the owner of the task."""


class _Refused(OSError):
    """All that the name stands for lies in networks that may not be reached."""


def callback_host(url: str, allowed: Collection[Network]) -> str:
    """The host of a callback's address, lower case. Raises WrongAddress.

    Names are looked up when a callback leaves, and then judged by what they stand for; here
    only what says by itself that it is an inner address is refused.
    """
    if len(url) > URL_LENGTH_MAX or not re.fullmatch(r"[\x21-\x5b\x5d-\x7e]+", url):
        raise WrongAddress(f"an address of at most {URL_LENGTH_MAX} visible ASCII characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise WrongAddress("an address like https://app.example.com/told") from None
    if parts.scheme not in ("http", "https") or not host or port == 0 or "%" in parts.netloc:
        raise WrongAddress("an address like https://app.example.com/told")
    if "@" in parts.netloc:
        raise WrongAddress("an address without a user's name and password")
    known = _known_addresses(host.rstrip("."))
    if known and not any(may_be_reached(address, allowed) for address in known):
        raise WrongAddress("a public address; CALLBACK_ALLOW names networks that may be reached all the same")
    return host


def _known_addresses(host: str) -> Collection[IPv4Address | IPv6Address]:
    """What the host stands for, where that needs no look-up."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 section 6.3
        return LOOPBACK
    try:
        return (ip_address(host),)
    except ValueError:
        pass
    try:
        return (IPv4Address(socket.inet_aton(host)),)  # 0, 2130706433, 0x7f.1: resolvers take them
    except OSError:
        return ()


class FencedResolver(Resolver):
    """Hands out only addresses that may be reached.

    The connection is made to the very addresses that were judged, so that a name which stands
    for something else a moment later (DNS rebinding) gains nothing.
    """

    def initialize(self, allowed: Collection[Network]) -> None:
        self._allowed = allowed
        # Of its own: a name server that hangs must not take the threads that the store's files need.
        self._threads = ThreadPoolExecutor(AT_ONCE, "callback-names")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM
        )
        judged = [
            (int(kind), address)
            for kind, _, _, _, address in found
            if may_be_reached(ip_address(address[0]), self._allowed)
        ]
        if not judged:
            raise _Refused(host)
        return judged


class Sender:
    """POSTs messages, each within `attempt_s`.

    Follows no redirect, and uses no proxy: behind one nobody here knows the address.
    """

    def __init__(self, allowed: Collection[Network], attempt_s: float = ATTEMPT_S) -> None:
        self._attempt_s = attempt_s
        self._resolver = FencedResolver(allowed)
        self._client = SimpleAsyncHTTPClient(
            force_instance=True,
            max_clients=AT_ONCE,
            max_body_size=ANSWER_BYTES_MAX,
            resolver=self._resolver,
        )

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """Returns when the receiver has answered with a 2xx. Raises NotDelivered."""
        status: list[int] = []
        request = HTTPRequest(
            url,
            "POST",
            {**headers, "Content-Type": "application/json", "User-Agent": f"sora-ws/{__version__}"},
            body,
            connect_timeout=self._attempt_s,
            request_timeout=self._attempt_s,
            follow_redirects=False,
            decompress_response=False,
            header_callback=lambda line: status.extend(_status_of(line)),
            streaming_callback=lambda chunk: None,
        )
        trouble = None
        try:
            await self._client.fetch(request, raise_error=False)
        except (HTTPClientError, OSError, ValueError) as error:
            trouble = error
        # The status counts even where the rest of the answer is broken, late or too long.
        if not status:
            raise NotDelivered(_told(trouble)) from trouble
        if not 200 <= status[-1] < 300:
            raise NotDelivered(f"answered {status[-1]}")

    def close(self) -> None:
        """Let go of every connection and thread."""
        self._client.close()
        self._resolver.close()


def _status_of(line: str) -> Collection[int]:
    """The status in a line of an answer's head, if it is the one that has it."""
    found = re.match(r"HTTP/\S+ ([2-5][0-9]{2})\b", line)
    return (int(found[1]),) if found else ()


def _told(error: Exception | None) -> str:
    """What went wrong, without a word of what is in the way: whoever named the address reads it."""
    match error:
        case _Refused():
            return REFUSED
        case socket.gaierror():
            return "there is no such host"
        case ssl.SSLError():
            return "no trusted TLS connection"
        case HTTPTimeoutError():
            return "no answer in time"
        case _:
            return "the connection failed"
