"""Contenders take turns, every value of every round is kept, and a ratio compares one round's values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

BESIDE: Final = ("limit", "node")


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured of one contender, a value a round."""

    contender: str
    what: str
    unit: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


class Rounds:
    """The figures of one row.

    `absent` says of a contender in a word why it can't be measured here.
    """

    def __init__(self, who: Sequence[str], count: int, absent: Mapping[str, str] | None = None) -> None:
        self.absent = {name: why for name, why in (absent or {}).items() if name in who}
        self.who = [name for name in who if name not in self.absent]
        self.count = count
        self._values: dict[tuple[str, str, str], list[float]] = {}

    def turns(self) -> Iterator[str]:
        """Each contender once a round; in every round another one is the first."""
        for number in range(self.count if self.who else 0):
            first = number % len(self.who)
            yield from self.who[first:]
            yield from self.who[:first]

    def add(self, contender: str, what: str, unit: str, value: float) -> None:
        """A value of this round."""
        self._values.setdefault((contender, what, unit), []).append(value)

    def compare(self, what: str, ours: Sequence[str], *, more_is_better: bool) -> None:
        """How many times as good as limit and Node ours are, round by round."""
        values = {name: found for (name, of, _), found in self._values.items() if of == what}
        for our in ours:
            for other in BESIDE:
                if our in values and other in values:
                    pairs = zip(values[our], values[other], strict=True)
                    ratios = [mine / theirs if more_is_better else theirs / mine for mine, theirs in pairs]
                    self._values[our, f"{what}: times as good as {other}", "×"] = ratios

    @property
    def figures(self) -> list[Figure]:
        return [Figure(*key, values) for key, values in self._values.items()]


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that a share `q` of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))]
