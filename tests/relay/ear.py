"""Who listens at a bus, and keeps what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from sora_ws.bus.redis import RedisBus
from sora_ws.bus.redis_url import RedisUrl

GUARD_S = 20.0


class Ear:
    """`BusEar` that remembers. `until` waits for what it is told, and for nothing else."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.channels: set[bytes] = set()  # that are joined
        self.partings = 0
        self._told = asyncio.Event()

    def heard(self, channel: bytes, data: bytes) -> None:
        self.messages.append((channel, data))
        self._told.set()

    def joined(self, channel: bytes) -> None:
        self.channels.add(channel)
        self._told.set()

    def parted(self, channels: Collection[bytes]) -> None:
        self.partings += len(self.channels.intersection(channels))
        self.channels.difference_update(channels)
        self._told.set()

    @property
    def data(self) -> list[bytes]:
        return [data for _, data in self.messages]

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD_S):
            while not is_so():
                self._told.clear()
                await self._told.wait()

    async def hears(self, data: bytes) -> None:
        await self.until(lambda: bool(self.messages) and self.messages[-1][1] == data)

    async def joins(self, *channels: bytes) -> None:
        await self.until(lambda: self.channels.issuperset(channels))

    async def parts(self, *channels: bytes) -> None:
        await self.until(lambda: self.channels.isdisjoint(channels))


@asynccontextmanager
async def a_bus(url: str) -> AsyncIterator[tuple[RedisBus, Ear]]:
    """A bus that has started, and who listens at it."""
    bus, ear = RedisBus(RedisUrl.parse(url)), Ear()
    await bus.start(ear)
    try:
        yield bus, ear
    finally:
        await bus.stop()
