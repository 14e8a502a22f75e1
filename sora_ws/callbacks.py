"""Where a task's end is told to, and how far that has come. Pure: no clock, no I/O.

The value lives inside the task, so that the end and the duty to tell it are stored in one step.
Times and waits in ms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE

RETRY_MS: Final = (
    5 * SECOND,
    30 * SECOND,
    2 * MINUTE,
    10 * MINUTE,
    1 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
)
JITTER: Final = 0.1  # so that what failed together doesn't come back together
LEASE_MS: Final = 20 * SECOND  # longer than an attempt takes: behind it, whoever began it has died


class Delivery(StrEnum):
    """How far the telling has come."""

    WAITING = "waiting"  # the task lives
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"  # given up


@dataclass(frozen=True, slots=True)
class Callback:
    """An address that hears of the task's end.

    `attempts` counts those that were begun since the end, or since it was last asked for again;
    `due_at` is when the next one may begin, None where none is to come. `error` is what came of
    the last one that failed, for the task's owner. `revision` rises with each change: the
    store's lock.
    """

    url: str
    host: str
    state: Delivery = Delivery.WAITING
    attempts: int = 0
    due_at: int | None = None
    tried_at: int | None = None
    delivered_at: int | None = None
    error: str | None = None
    revision: int = 0

    def due(self, now: int) -> Callback:
        """The end is to be told, for the first time or again."""
        return self._moved(state=Delivery.PENDING, attempts=0, due_at=now, error=None)

    def begun(self, now: int) -> Callback:
        """An attempt is about to leave. If nothing is heard of it, that is as if it had failed."""
        wait = max(LEASE_MS, _wait_after(self.attempts + 1))
        return self._moved(attempts=self.attempts + 1, tried_at=now, due_at=now + wait)

    def delivered(self, now: int) -> Callback:
        """The receiver has taken it."""
        return self._moved(state=Delivery.DELIVERED, due_at=None, delivered_at=now, error=None)

    def failed(self, error: str, now: int, chance: float) -> Callback:
        """The attempt failed; another one is due, or it was the last. `chance` is drawn from 0 to 1."""
        if self.attempts > len(RETRY_MS):
            return self._moved(state=Delivery.FAILED, due_at=None, error=error)
        wait = _wait_after(self.attempts) * (1 + JITTER * chance)
        return self._moved(due_at=now + int(wait), error=error)

    def _moved(self, **changes: object) -> Callback:
        return replace(self, revision=self.revision + 1, **changes)  # type: ignore[arg-type]


def _wait_after(attempts: int) -> int:
    return RETRY_MS[min(attempts, len(RETRY_MS)) - 1]


def message_id(task_id: str) -> str:
    """The webhook-id: a task has one end, so every attempt to tell it has the same."""
    return f"msg_{task_id.removeprefix('video_')}"
