"""How long tasks take, learned from those that have finished. Pure: no clock, no I/O.

Of an end only the interval between two looks is known, the last in vain and the first that saw
it. An end learned as the moment of the look would make every estimate as late as the looks are,
and the looks, which follow from it, later still. So an end is spread over its interval, in the
proportions that are known so far (one step of Turnbull's self-consistency, JRSS B 38, 1976).
Each end makes all earlier ones count less, so what is learned follows the provider.

Times in ms.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from statistics import NormalDist
from typing import Final

from sora_ws.task import Order

USUAL_MS: Final = 120_000  # the middle of what video services take for a short clip
BINS_PER_DOUBLING: Final = 12  # a bin is 6 % wide, far less than equal jobs differ
DOUBLINGS: Final = 17  # from a second to 36 hours
EDGES: Final = (0.0, *(1000 * 2 ** (i / BINS_PER_DOUBLING) for i in range(BINS_PER_DOUBLING * DOUBLINGS + 1)))
BINS: Final = len(EDGES) - 1

FADING: Final = 0.95  # what an end counts once one more is known: the last 14 weigh as much as all before
SEED: Final = 1.0  # how many ends the wider kind counts for at the start of a new one
OPENNESS: Final = 0.1  # how much any duration at all is expected beside what was learned
REST: Final = 0.01  # the share that is left to durations like no learned one
SURE: Final = 1 - 1e-9  # beyond this share nothing is known


@dataclass(frozen=True)
class Durations:
    """A distribution over `EDGES`: in each bin the weight of the ends in it, evenly spread."""

    weights: tuple[float, ...]

    @property
    def total(self) -> float:
        """The effective number of ends that it was learned from."""
        return math.fsum(self.weights)

    def learn(self, after: float, by: float) -> Durations:
        """With one more end, some time behind `after` and not behind `by`."""
        after = max(0.0, after)
        weights = [FADING * weight for weight in self.weights]
        for index, part in self._spread(after, max(after, by)):
            weights[index] += part
        return Durations(tuple(weights))

    def merged(self, other: Durations) -> Durations:
        """What both know."""
        return Durations(tuple(map(sum, zip(self.weights, other.weights, strict=True))))

    def scaled(self, total: float) -> Durations:
        """The same distribution as if learned from `total` ends."""
        known = self.total
        return Durations(tuple(weight * total / known for weight in self.weights))

    def share(self, age: float) -> float:
        """The share of tasks that have ended by this age, 0 to 1."""
        index = _bin(age)
        return min(1.0, self._below[index] + self._shares[index] * _part(index, age))

    def quantile(self, share: float) -> float:
        """The age by which this share of tasks has ended."""
        index = max(0, min(bisect_right(self._below, share) - 1, BINS - 1))
        inside = self._shares[index]
        part = min(1.0, max(0.0, (share - self._below[index]) / inside)) if inside else 0.0
        return EDGES[index] + part * _width(index)

    def remaining(self, age: float) -> float:
        """The median of what is left of a task that has not ended at this age."""
        share = self.share(age)
        return max(0.0, self.quantile(share + (1 - share) / 2) - age)

    def progress(self, age: float) -> float:
        """How far such tasks were at this age, 0 to 1: the mean over all, 1 for those that had ended.

        It rises with the age and arrives only where no task was ever seen.
        """
        if age <= 0:
            return 0.0
        index = _bin(age)
        under_way = self._paces[index + 1] + self._pace(index, age)
        return max(0.0, min(1.0, self.share(age) + age * under_way))

    def wait(self, age: int, price: float, least: int, most: int) -> int:
        """How long until the next look at a task that has not ended at this age.

        An end in the wait is seen late. The longer the wait, the later; it lasts until the delay
        that is to be expected is worth `price`, the delay that one look may cost.
        """
        share, area = self.share(age), self._area(age)
        if share >= SURE:
            return most
        limit = price * (1 - share)

        def delay(wait: int) -> float:
            return self._area(age + wait) - area - share * wait

        # A thousandth of them is near enough, and a third fewer steps than to the ms.
        choices = range(least, most, max(1, (most - least) // 1024))
        found = bisect_left(choices, limit, key=delay)
        return choices[found] if found < len(choices) else most

    def _spread(self, after: float, by: float) -> Iterator[tuple[int, float]]:
        """The bins that an end between these times is in, and how much of it."""
        first, last = _bin(after), _bin(by)
        if first == last:
            yield first, 1.0
            return
        open_to = OPENNESS * max(1.0, self.total) / BINS
        parts = []
        for index in range(first, last + 1):
            inside = min(by, EDGES[index + 1]) - max(after, EDGES[index])
            parts.append((self.weights[index] + open_to) * inside / _width(index))
        whole = math.fsum(parts)
        for index, part in enumerate(parts, first):
            yield index, part / whole

    @cached_property
    def _shares(self) -> Sequence[float]:
        known = self.total
        rest = REST * known if known else 1.0
        return [(w + rest * u) / (known + rest) for w, u in zip(self.weights, USUAL.weights, strict=True)]

    @cached_property
    def _below(self) -> Sequence[float]:
        return list(accumulate(self._shares, initial=0.0))

    @cached_property
    def _areas(self) -> Sequence[float]:
        """Under the shares, up to each edge: the integral of `share`."""
        areas = ((self._below[i] + self._shares[i] / 2) * _width(i) for i in range(BINS))
        return list(accumulate(areas, initial=0.0))

    @cached_property
    def _paces(self) -> Sequence[float]:
        """From each edge on, the sum of 1/duration over all tasks."""
        paces = (self._pace(index, EDGES[index]) for index in range(BINS - 1, 0, -1))
        return [math.inf, *reversed([*accumulate(paces, initial=0.0)])]

    def _area(self, age: float) -> float:
        index = _bin(age)
        inside = min(age, EDGES[-1]) - EDGES[index]
        return self._areas[index] + inside * (
            self._below[index] + self._shares[index] * _part(index, age) / 2
        )

    def _pace(self, index: int, age: float) -> float:
        """The sum of 1/duration over the tasks in this bin that end behind `age`."""
        end = EDGES[index + 1]
        return self._shares[index] * math.log(end / min(age, end)) / _width(index)


def _bin(age: float) -> int:
    return max(0, min(bisect_right(EDGES, age) - 1, BINS - 1))


def _width(index: int) -> float:
    return EDGES[index + 1] - EDGES[index]


def _part(index: int, age: float) -> float:
    """How much of the bin lies before this age, 0 to 1."""
    return max(0.0, min(1.0, (age - EDGES[index]) / _width(index)))


def _usual() -> tuple[float, ...]:
    """What video services take: two thirds of the tasks from 55 s to 4.5 min."""
    logs = NormalDist(math.log(USUAL_MS), 0.8)
    below = [logs.cdf(math.log(edge)) if edge else 0.0 for edge in EDGES]
    return tuple((there - here) / below[-1] for here, there in pairwise(below))


USUAL: Final = Durations(_usual())

Kind = tuple[()] | tuple[str] | tuple[str, int | None, str | None]
"""Tasks that take about as long: of one model, length and size; of one model; all."""

KINDS_MAX: Final = 1_000  # users choose models, lengths and sizes


def kinds(order: Order) -> tuple[Kind, ...]:
    """The kinds that a task is of, the narrowest first."""
    return (order.model, order.seconds, order.size), (order.model,), ()


class Experience:
    """What is known of each kind of task.

    A kind begins with what the next wider one knows, as if that had been one task, which fades
    as its own tasks come. Of `KINDS_MAX` kinds the one that no task came of for longest is
    forgotten.
    """

    def __init__(self) -> None:
        self._known: dict[Kind, Durations] = {}
        self.changed: set[Kind] = set()
        """What has been learned or forgotten here; who keeps it elsewhere takes it out."""
        self.on_learned: Callable[[Order, int, int], None] = lambda order, after, by: None

    def recall(self, known: Mapping[Kind, Durations]) -> None:
        """Go on with what was learned before."""
        self._known.update(known)

    def get(self, kind: Kind) -> Durations | None:
        """What is known of this very kind."""
        return self._known.get(kind)

    def of(self, order: Order) -> Durations | None:
        """What is known of the narrowest kind of which anything is; None before the first end."""
        return next((self._known[kind] for kind in kinds(order) if kind in self._known), None)

    def learn(self, order: Order, after: int, by: int) -> None:
        """Such a task took longer than `after` and at most `by`."""
        self.hear(order, after, by)
        self.changed.update(kinds(order))
        self.on_learned(order, after, by)

    def hear(self, order: Order, after: int, by: int) -> None:
        """Another instance has learned it, and keeps it."""
        wider = USUAL
        for kind in reversed(kinds(order)):
            known = self._known.pop(kind, None) or wider.scaled(SEED)
            self._known[kind] = wider = known.learn(after, by)
        for kind in list(self._known)[:-KINDS_MAX]:
            del self._known[kind]
            self.changed.add(kind)
