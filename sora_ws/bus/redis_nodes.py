"""Which node of a Redis has which hash slots; one server, behind Sentinels or not, has all of them."""

from __future__ import annotations

import asyncio
import ssl
from binascii import crc_hqx
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from sora_ws.bus.redis_url import Address, RedisUrl
from sora_ws.bus.resp import RedisRefused, RespLine, Subscribing

SLOTS: Final = 16_384
OPEN_S: Final = 2.0  # for a line and its first answers
ASK_S: Final = 1.0  # of one of several


class Span(NamedTuple):
    """The slots from `first` to `last`, and whose they are."""

    first: int
    last: int
    address: Address


def slot_of(channel: bytes) -> int:
    """By its text in braces, where there is one (Redis Cluster specification, "Hash tags")."""
    _, brace, behind = channel.partition(b"{")
    tag, end, _ = behind.partition(b"}")
    return crc_hqx(tag if brace and end and tag else channel, 0) % SLOTS


async def find_nodes(
    url: RedisUrl, is_cluster: bool, tls: ssl.SSLContext | None, lines: Mapping[Address, RespLine]
) -> Sequence[Span]:
    """Ask over the open `lines` where that can be. Raises OSError, RedisRefused, TimeoutError."""
    if url.master is not None:
        return [Span(0, SLOTS - 1, await _ask_any(url.hosts, _master_of(url.master), url, tls, {}))]
    if is_cluster:
        return await _ask_any([*lines, *url.hosts], _spans, url, tls, lines)
    return [Span(0, SLOTS - 1, url.hosts[0])]


async def greet(line: RespLine, url: RedisUrl) -> Mapping[bytes, Any]:
    """What HELLO answers. Raises OSError, and RedisRefused also where it is older than Redis 6."""
    auth = () if url.password is None else ("AUTH", url.user or "default", url.password)
    hello = await line.answer("HELLO", 3, *auth, "SETNAME", "sora-ws")
    if not isinstance(hello, dict):
        raise RedisRefused("what answers there is no Redis")
    return hello


def tls_of(url: RedisUrl) -> ssl.SSLContext | None:
    """Checks certificates by the system's authorities."""
    return ssl.create_default_context() if url.tls else None


async def check(url: RedisUrl) -> None:
    """Raises OSError, RedisRefused or TimeoutError where not every node answers us."""
    tls = tls_of(url)
    for address in {span.address for span in await find_nodes(url, url.is_cluster, tls, {})}:
        await _ask_any([address], _nothing, url, tls, {})


T = TypeVar("T")
_Question = Callable[[RespLine, Address], Awaitable[T]]


async def _ask_any(
    hosts: Sequence[Address],
    question: _Question[T],
    url: RedisUrl,
    tls: ssl.SSLContext | None,
    lines: Mapping[Address, RespLine],
) -> T:
    """The first answer of these hosts, one after the other. Raises what the last one did."""
    trouble: Exception = OSError("there is nobody to ask")
    for host in dict.fromkeys(hosts):
        try:
            async with asyncio.timeout(ASK_S):
                if host in lines:
                    return await question(lines[host], host)
                line = await RespLine.open(host, tls, _Nobody())
                try:
                    await greet(line, url)
                    return await question(line, host)
                finally:
                    line.close()
        except (OSError, RedisRefused, TimeoutError) as error:
            trouble = error
    raise trouble


async def _nothing(line: RespLine, asked: Address) -> None:
    """Whoever was greeted has answered."""


def _master_of(name: str) -> _Question[Address]:
    async def ask(line: RespLine, asked: Address) -> Address:
        found = await line.answer("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        if found is None:
            raise RedisRefused(f"the Sentinel {asked} knows no master of this name")
        return Address(found[0].decode(), int(found[1]))

    return ask


async def _spans(line: RespLine, asked: Address) -> Sequence[Span]:
    found = await line.answer("CLUSTER", "SLOTS")
    if not found:
        raise RedisRefused("the Cluster has given its slots to no node yet")
    # A node that does not know its own name is where it was asked.
    return [
        Span(first, last, Address((node[0] or b"").decode() or asked.host, node[1]))
        for first, last, node, *_ in found
    ]


class _Nobody:
    """Hears nothing: a line that is opened for one question."""

    def heard(self, channel: bytes, data: bytes) -> None: ...

    def confirmed(self, asked: Subscribing, channel: bytes) -> None: ...

    def dropped(self, channel: bytes) -> None: ...

    def writable(self) -> None: ...

    def lost(self) -> None: ...
