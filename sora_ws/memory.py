"""What the rhythm learns, kept in the store so that a restart goes on with it."""

from __future__ import annotations

import asyncio
from typing import Final

from tornado.ioloop import PeriodicCallback

from sora_ws.durations import Experience, Kind
from sora_ws.store import ExperienceStore, StoreError

KEEP_EVERY_MS: Final = 10_000  # what a kill may make forget; a write for each end would cost more


class Memory:
    """Writes down which kinds of tasks something was learned of, now and then and at the end."""

    def __init__(self, store: ExperienceStore, experience: Experience) -> None:
        self._store = store
        self._experience = experience
        self._beat = PeriodicCallback(self.keep, KEEP_EVERY_MS)
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Recall what was kept, and keep what comes. Raises StoreError."""
        self._experience.recall(await self._store.experience())
        self._beat.start()

    async def stop(self) -> None:
        """Keep what has come since the last time, where the store is there."""
        self._beat.stop()
        await self.keep()

    async def keep(self) -> None:
        """What a store that is away can't take comes again the next time; the poller says that it is away."""
        async with self._turn:
            for kind in list(self._experience.changed):
                self._experience.changed.discard(kind)
                try:
                    await self._write(kind)
                except StoreError:
                    self._experience.changed.add(kind)
                    return

    async def _write(self, kind: Kind) -> None:
        durations = self._experience.get(kind)
        if durations is None:
            await self._store.forget_durations(kind)
        else:
            await self._store.keep_durations(kind, durations)
