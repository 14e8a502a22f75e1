"""The time of day, made fit to order events and to wait by."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Wall time in ms since the epoch that never runs back and never stands still.

    A wall clock that is set back would freeze every task until the old time came again. This
    one goes on at the pace of the monotonic clock until the wall clock has caught up.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._last = wall()
        self._last_steady = steady()

    def __call__(self) -> int:
        steady = self._steady()
        self._last = max(self._wall(), self._last + steady - self._last_steady)
        self._last_steady = steady
        return int(self._last * 1000)
