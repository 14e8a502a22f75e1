"""When to look at a task again, and how long it may still take. Pure: no clock, no I/O.

Both follow from how long such tasks took before (`durations.py`), and from the pace of a
provider that tells its progress. Waits and times in ms unless a name ends in ``_s``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

from sora_ws.durations import USUAL, Durations, Experience
from sora_ws.task import Event, Observation, ProgressSource, State, Task

USUAL_SHARE: Final = 0.95  # of all tasks; the others take longer than usual
CALM_AFTER_MS: Final = 3_600_000  # an hour without change: hardly worth a look
CALM_WAIT_MS: Final = 300_000
BACKOFF_MAX_MS: Final = 120_000
ARCHIVE_RETRY_MAX_MS: Final = 60_000
# A look is spent where it saves this part of the longest wait; docs/rhythm.md has what others give.
LOOK_PRICE: Final = 1 / 28
SILENT: Final = Observation(None)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The shortest and the longest wait between two looks at a healthy task, and what was learned."""

    min_ms: int
    max_ms: int
    experience: Experience = field(default_factory=Experience, compare=False)
    look_price: float = LOOK_PRICE

    def wait(self, task: Task, now: int, seen: Observation = SILENT, *, looks: int = 0) -> int:
        """How long after a look that worked, and showed `seen`, the next one is due.

        `looks` is how many there were, with it, since the state last changed. The provider's advice is
        kept between our two bounds, what it asks for beyond them. After an hour without a change the
        wait is longer than `max_ms`.
        """
        if now - task.seq >= CALM_AFTER_MS:
            return max(CALM_WAIT_MS, self.max_ms, seen.retry_after_ms)
        wait = self._wait_by_experience(task, now, looks)
        told = _told_remaining(task, now)
        if told is not None:
            # Neither is trusted by more than a factor of two: many progresses tell no time.
            wait = min(max(wait, told // 2), max(told, wait // 2))
        advised = min(max(wait, seen.look_after_ms or 0), self.max_ms)
        return max(self.min_ms, advised, seen.retry_after_ms)

    def remaining_s(self, task: Task, now: int) -> int | None:
        """Whole seconds until the task may be done, None where nobody can say."""
        if task.state not in {State.QUEUED, State.RENDERING} or task.overdue or task.accepted_at is None:
            return None
        left = self._known(task).remaining(now - task.accepted_at)
        told = _told_remaining(task, now)
        if told is not None:
            # The further the task, the more the provider's pace says of the rest.
            left += (told - left) * task.progress / 100
        return math.ceil(left / 1000) if left > 0 else None

    def supplement(self, seen: Observation, task: Task, now: int) -> Observation:
        """The observation with our own guess where the provider tells no progress.

        Providers that stay at 0 until they are done count as telling none.
        """
        works = seen.event is Event.STARTED or (seen.event is None and task.state is State.RENDERING)
        if not works or task.accepted_at is None:
            return seen
        known, spent = self._known(task), now - task.accepted_at
        if known.share(spent) > USUAL_SHARE:
            seen = replace(seen, overdue=True)
        told = task.progress > 0 and task.progress_source is ProgressSource.PROVIDER
        if seen.progress or told:
            return seen
        return replace(seen, progress=min(99, int(100 * known.progress(spent))), estimated=True)

    def learn(self, task: Task, now: int) -> None:
        """The look that ends now was the first to see the task finished; `task` is how it was before."""
        if task.accepted_at is not None and task.watch.looked_at is not None:
            self.experience.learn(task.order, task.watch.looked_at - task.accepted_at, now - task.accepted_at)

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

    def _known(self, task: Task) -> Durations:
        return self.experience.of(task.order) or USUAL

    def _wait_by_experience(self, task: Task, now: int, looks: int) -> int:
        known = self.experience.of(task.order)
        if known is None or task.accepted_at is None or task.state is State.ARCHIVING:
            return _grown(self.min_ms, 1.5, looks)
        return known.wait(now - task.accepted_at, self.look_price * self.max_ms, self.min_ms, self.max_ms)


def _told_remaining(task: Task, now: int) -> int | None:
    """What is left at the provider's own pace, from when it took the job to its last word.

    None where it tells no progress, or should be done by it.
    """
    told = task.progress_source is ProgressSource.PROVIDER and task.progress > 0
    if task.state is not State.RENDERING or task.accepted_at is None or not told:
        return None
    spent = task.seq - task.accepted_at
    left = spent * (100 - task.progress) // task.progress - (now - task.seq)
    return left if left > 0 else None


def _grown(first: int, factor: float, times: int) -> int:
    return int(first * factor ** min(times, 40))
