"""Tasks of one backend, followed from start to end; several at a time, as in life."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.rhythm.backends import Backend
from bench.rhythm.rhythms import Follow

APART: Final = 20.0  # s between two starts: what is learned comes behind what is begun


@dataclass(slots=True)
class Seen:
    """What a rhythm did: looks at each task, delays in s, errors of the remaining time at half time.

    An error is a share of what truly remained; None where the rhythm could not say.
    """

    looks: list[int] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    errors: list[float | None] = field(default_factory=list)

    @property
    def looks_a_task(self) -> float:
        return statistics.fmean(self.looks)

    @property
    def delay(self) -> float:
        """The median."""
        return statistics.median(self.delays)

    @property
    def error(self) -> float | None:
        """The mean; who never says anything has none."""
        told = [error for error in self.errors if error is not None]
        return statistics.fmean(1.0 if error is None else error for error in self.errors) if told else None


def together(parts: Iterable[Seen]) -> Seen:
    """All of them as one."""
    whole = Seen()
    for part in parts:
        whole.looks += part.looks
        whole.delays += part.delays
        whole.errors += part.errors
    return whole


def replay(follow: Follow, backend: Backend, durations: Sequence[float]) -> Seen:
    """Follow tasks that take so long (s), in the order of their starts."""
    seen = Seen()
    tasks = []
    moments: list[tuple[float, int, bool]] = []  # when, which task, whether it is looked at
    looks = [0] * len(durations)
    for number, duration in enumerate(durations):
        start = number * APART
        tasks.append(follow(lambda age, duration=duration: backend.tells(age / duration)))  # type: ignore[misc]
        moments += [(start, number, True), (start + duration / 2, number, False)]
    heapq.heapify(moments)
    while moments:
        now, number, is_look = heapq.heappop(moments)
        task, duration, age = tasks[number], durations[number], now - number * APART
        if not is_look:
            remaining = task.remaining(age)
            seen.errors.append(None if remaining is None else abs(remaining - duration / 2) / (duration / 2))
            continue
        looks[number] += age > 0
        if age < duration:
            heapq.heappush(moments, (now + task.next_look(age), number, True))
        else:
            task.ended(age)
            seen.delays.append(age - duration)
    seen.looks = looks
    return seen
