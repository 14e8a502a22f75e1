"""What is the matter with something, over time."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Sequence
from typing import Final

STORMY_S: Final = 40.0
"""So long things may go wrong."""


class Weather:
    """Phases drawn from a chance, the first kind being good weather, which also comes at the end."""

    def __init__(
        self, chance: random.Random, time: Callable[[], float], kinds: Sequence[str], until: float
    ) -> None:
        self._time = time
        self._starts: list[float] = [0.0]
        self._kinds: list[str] = [kinds[0]]
        at = chance.expovariate(1 / 20)
        while at < until:
            self._add(at, chance.choice(kinds))
            at += chance.expovariate(1 / 6)
            self._add(at, kinds[0])
            at += chance.expovariate(1 / 20)
        self._add(until, kinds[0])

    def _add(self, at: float, kind: str) -> None:
        self._starts.append(at)
        self._kinds.append(kind)

    @property
    def now(self) -> str:
        return self._kinds[bisect(self._starts, self._time()) - 1]
