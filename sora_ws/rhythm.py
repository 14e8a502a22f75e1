"""When to look at a task again, and how long it may still take. Pure: no clock, no I/O.

Until a provider tells how far it is, tasks are taken to last about as long as video services
commonly take. Waits and times in ms unless a name ends in ``_s``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from sora_ws.task import Event, Observation, ProgressSource, State, Task

USUAL_MS: Final = 120_000  # the middle of what video services take for a short clip
OVERDUE_MS: Final = 3 * USUAL_MS  # equal jobs differ by 1 : 3
CALM_AFTER_MS: Final = 3_600_000  # an hour without change: hardly worth a look
CALM_WAIT_MS: Final = 300_000
BACKOFF_MAX_MS: Final = 120_000
ARCHIVE_RETRY_MAX_MS: Final = 60_000
LOOKS_AHEAD: Final = 4  # how many looks are spread over the time that seems to remain


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The shortest and the longest wait between two looks at a healthy task."""

    min_ms: int
    max_ms: int

    def wait(self, task: Task, now: int, asked_ms: int | None = None) -> int:
        """How long after a look that worked the next one is due.

        `asked_ms` is how long the provider asked to be left alone; it is kept between our two
        bounds. After an hour without a change the wait is longer than `max_ms`.
        """
        if now - task.seq >= CALM_AFTER_MS:
            return max(CALM_WAIT_MS, self.max_ms)
        remaining = remaining_s(task, now)
        if remaining is not None:
            wait = remaining * 1000 // LOOKS_AHEAD
        else:
            wait = _grown(self.min_ms, 1.5, task.watch.looks)
        return max(self.min_ms, min(max(wait, asked_ms or 0), self.max_ms))

    def backoff(self, errors: int, chance: float, retry_after_ms: int = 0) -> int:
        """How long after `errors` failures in a row; `chance` is drawn from 0 to 1.

        Full jitter, so that tasks which failed together don't come back together; never
        sooner than the shortest wait or the provider's own wish.
        """
        ceiling = min(_grown(self.min_ms, 2.0, errors), max(BACKOFF_MAX_MS, self.max_ms))
        return max(retry_after_ms, self.min_ms, int(ceiling * chance))

    def archive_retry(self, tries: int) -> int:
        """How long after a finished job had no video to give."""
        return min(_grown(self.min_ms, 2.0, tries), max(ARCHIVE_RETRY_MAX_MS, self.min_ms))


def remaining_s(task: Task, now: int) -> int | None:
    """Whole seconds until the task may be done, None where nobody can say."""
    if task.state is not State.RENDERING or task.overdue or task.accepted_at is None:
        return None
    if task.progress_source is ProgressSource.PROVIDER and task.progress > 0:
        # The provider's own pace, from when it took the job to its last word.
        spent = task.seq - task.accepted_at
        left = spent * (100 - task.progress) / task.progress - (now - task.seq)
    else:
        left = USUAL_MS - (now - task.accepted_at)
    return math.ceil(left / 1000) if left > 0 else None


def supplement(seen: Observation, task: Task, now: int) -> Observation:
    """The observation with our own guess where the provider tells no progress.

    Providers that stay at 0 until they are done count as telling none.
    """
    works = seen.event is Event.STARTED or (seen.event is None and task.state is State.RENDERING)
    if not works or task.accepted_at is None:
        return seen
    spent = now - task.accepted_at
    seen = replace(seen, overdue=spent > OVERDUE_MS)
    told = task.progress > 0 and task.progress_source is ProgressSource.PROVIDER
    if seen.progress or told:
        return seen
    return replace(seen, progress=estimated_progress(spent), estimated=True)


def estimated_progress(spent_ms: int) -> int:
    """A guess from the time alone, 0–99: most of the way in the usual time, then ever slower."""
    return min(99, int(100 * (1 - math.exp(-2 * max(0, spent_ms) / USUAL_MS))))


def _grown(first: int, factor: float, times: int) -> int:
    return int(first * factor ** min(times, 40))
