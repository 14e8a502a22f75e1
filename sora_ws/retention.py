"""Room on the disk: finished videos go by age and by bytes, the oldest first. Their tasks stay."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from sora_ws.media import Holding, MediaStore
from sora_ws.store import StoreError, TaskStore

AT_ONCE: Final = 1_000
SETTLING_S: Final = 60  # a create or an archive may be under way, with its files here and its task not

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a video is kept, in s, and how many bytes all of them may have; None is no limit."""

    max_age: int | None
    max_bytes: int | None

    def forbid(self, holding: Holding, total: int, now: float) -> bool:
        """Whether it has to go, being the oldest of `total` bytes, at a time in s since the epoch."""
        age = now - holding.kept_at
        if age < SETTLING_S:
            return False
        too_old = self.max_age is not None and age > self.max_age
        too_much = self.max_bytes is not None and total > self.max_bytes
        return too_old or too_much


class Retention:
    """Keeps the archive within its limits."""

    def __init__(self, store: TaskStore, media: MediaStore, limits: Limits) -> None:
        self._store = store
        self._media = media
        self._limits = limits

    async def tidy(self, now: float) -> None:
        """Remove what the limits no longer allow, at most AT_ONCE tasks' files.

        A store or a disk that fails is logged; the next time goes on from there.
        """
        try:
            oldest = await self._media.oldest(AT_ONCE)
            # Behind the list: for what another instance removes in between nothing else has to go.
            total = await self._media.total()
            for holding in oldest:
                if not self._limits.forbid(holding, total, now):
                    break
                if await self._remove(holding):
                    total -= holding.size
        except (StoreError, OSError) as error:
            log.warning("old videos could not be removed: %s", error, extra={"action": "retention_failed"})

    async def _remove(self, holding: Holding) -> bool:
        """Whether it could go: a live task needs its input image."""
        task = await self._store.find(holding.task_id)
        if task is not None and task.is_live:
            return False
        # Noted first, so that nobody is promised a video whose file is gone.
        await self._store.expire_video(holding.task_id)
        await self._media.delete(holding.task_id)
        log.info(
            "the video of task %s made room for newer ones: %d bytes",
            holding.task_id,
            holding.size,
            extra={"action": "video_expired", "task": holding.task_id},
        )
        return True
