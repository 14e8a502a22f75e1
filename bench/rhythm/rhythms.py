"""The rhythms that are compared. Each follows one task from its start; times in s."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Final, Protocol

from bench.rhythm.backends import Backend
from sora_ws.durations import Experience
from sora_ws.rhythm import LOOK_PRICE, Rhythm
from sora_ws.task import Event, Observation, Order, Task

SHORTEST: Final = 2.0
LONGEST: Final = 30.0
STEP: Final = 0.5  # of the oracle's plan
HORIZON: Final = 3_600.0
START_MS: Final = 1_795_000_000_000  # any time of ours


class Following(Protocol):
    """One task that is followed by a rhythm."""

    def next_look(self, age: float) -> float:
        """How long after a look in vain, or after the start, the next one is due."""
        ...

    def remaining(self, age: float) -> float | None:
        """How long the task still takes, None where the rhythm can't say."""
        ...

    def ended(self, age: float) -> None:
        """A look at this age saw the end."""
        ...


Follow = Callable[[Callable[[float], int | None]], Following]
"""Begins to follow a new task; the argument tells its progress at an age."""


class _Steady:
    """Waits that depend on nothing."""

    def __init__(self, waits: Iterator[float]) -> None:
        self._waits = waits

    def next_look(self, age: float) -> float:
        return next(self._waits)

    def remaining(self, age: float) -> float | None:
        return None

    def ended(self, age: float) -> None:
        pass


def fixed(wait: float = LONGEST) -> Follow:
    """The same wait always."""

    def waits() -> Iterator[float]:
        while True:
            yield wait

    return lambda _: _Steady(waits())


def doubling(longest: float = LONGEST, shortest: float = SHORTEST) -> Follow:
    """Each wait twice the one before, from the shortest to the longest."""

    def waits() -> Iterator[float]:
        wait = shortest
        while True:
            yield wait
            wait = min(2 * wait, longest)

    return lambda _: _Steady(waits())


class _Ours:
    """The product's own code, called as the attendant calls it."""

    def __init__(self, rhythm: Rhythm, progress: Callable[[float], int | None]) -> None:
        self._rhythm = rhythm
        self._progress = progress
        task = Task.new("bench", Order("", "a model"), START_MS)
        self._task = task.accept("job", Observation(Event.ACCEPTED), START_MS)

    def next_look(self, age: float) -> float:
        now, task = _at(age), self._task
        if age:
            seen = Observation(Event.STARTED, progress=self._progress(age))
            task = task.observe(self._rhythm.supplement(seen, task, now), now)
        looks = task.watch.looks + bool(age)
        self._task = replace(task, watch=replace(task.watch, looks=looks, looked_at=now))
        return self._rhythm.wait(self._task, now, looks=looks) / 1000

    def remaining(self, age: float) -> float | None:
        return self._rhythm.remaining_s(self._task, _at(age))

    def ended(self, age: float) -> None:
        self._rhythm.learn(self._task, _at(age))


def _at(age: float) -> int:
    return START_MS + round(1000 * age)


def ours(price: float = LOOK_PRICE) -> Follow:
    """What the server does, knowing nothing at first."""
    rhythm = Rhythm(int(1000 * SHORTEST), int(1000 * LONGEST), Experience(), price)
    return lambda progress: _Ours(rhythm, progress)


class _Oracle:
    """Knows how long such tasks take, and plans by it."""

    def __init__(self, backend: Backend, plan: list[float]) -> None:
        self._backend = backend
        self._plan = plan

    def next_look(self, age: float) -> float:
        return self._plan[min(round(age / STEP), len(self._plan) - 1)]

    def remaining(self, age: float) -> float | None:
        return self._backend.quantile((1 + self._backend.share(age)) / 2) - age

    def ended(self, age: float) -> None:
        pass


def oracle(backend: Backend, price: float) -> Follow:
    """The plan with the least sum of expected delay and `price` seconds for each look.

    No rhythm within the same bounds does better on average over `backend`'s silent tasks.
    """
    plan = _plan(backend, price)
    return lambda _: _Oracle(backend, plan)


def _plan(backend: Backend, price: float) -> list[float]:
    """The best wait at each step of a task's age, by dynamic programming from the last."""
    count = int(HORIZON / STEP)
    share = [backend.share(index * STEP) for index in range(count + 1)]
    area = list(accumulate((STEP * (a + b) / 2 for a, b in pairwise(share)), initial=0.0))
    shortest, longest = int(SHORTEST / STEP), int(LONGEST / STEP)
    cost = [0.0] * (count + 1)
    plan = [LONGEST] * (count + 1)
    for here in range(count - longest, -1, -1):
        if share[here] > 1 - 1e-9:
            continue
        best, there = min(
            (area[then] - area[here] - share[here] * (then - here) * STEP + cost[then], then)
            for then in range(here + shortest, here + longest + 1)
        )
        cost[here] = best + price * (1 - share[here])
        plan[here] = (there - here) * STEP
    return plan
