"""Backends as they were measured or described: how long their tasks take, and what they tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Final

Telling = Callable[[float], int | None]
"""The progress that is told of a task at a share of its time, None for none."""

_NORMAL: Final = NormalDist()


def _nothing(share: float) -> int | None:
    return None


@dataclass(frozen=True, slots=True)
class Backend:
    """A task takes `floor` seconds and a lognormal time beyond it, of this median and spread."""

    name: str
    floor: float
    beyond: float
    spread: float
    tells: Telling = _nothing

    def draw(self, random: Random) -> float:
        """How long one task takes, in s."""
        return self.floor + self.beyond * math.exp(self.spread * random.gauss(0, 1))

    def share(self, age: float) -> float:
        """The share of tasks that have ended by this age in s, 0 to 1."""
        if age <= self.floor:
            return 0.0
        return _NORMAL.cdf(math.log((age - self.floor) / self.beyond) / self.spread)

    def quantile(self, share: float) -> float:
        """The age in s by which this share of tasks has ended."""
        return self.floor + self.beyond * math.exp(self.spread * _NORMAL.inv_cdf(share))


def between(name: str, low: float, high: float) -> Backend:
    """Of whose tasks nearly all (four spreads) take this long."""
    return Backend(name, 0.0, math.sqrt(low * high), math.log(high / low) / 4)


def about(name: str, median: float, tells: Telling = _nothing) -> Backend:
    """Of which only the middle is known.

    The spread is that of the one backend whose equal jobs were timed: 83 to 253 s, median 105 s.
    """
    return Backend(name, 0.76 * median, 0.24 * median, 1.0, tells)


BACKENDS: Final = (
    about("a 5 s clip, jobs timed at ofox", 105),
    between("Sora 2 by resellers", 180, 300),
    between("OpenRouter, any model", 30, 300),
    between("Seedance at Pollinations", 30, 60),
    between("Veo at Pollinations", 60, 120),
    about("MiniMax-H3", 417),
    about("Wan2.2 on two GPUs", 250),
    about("the fastest consumer tool", 42),
)


def _evenly(share: float) -> int | None:
    return int(100 * share)


def _early(share: float) -> int | None:
    """Fast at first, and then for long near the end."""
    return min(99, int(100 * math.sqrt(share)))


def _in_a_jump(share: float) -> int | None:
    return 0 if share < 0.6 else 90


TELLING: Final = (
    about("progress told evenly", 105, _evenly),
    about("progress told too early", 105, _early),
    about("progress that jumps to 90", 105, _in_a_jump),
)
