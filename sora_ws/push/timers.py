"""What happens to connections by time alone, on one heap for all of them.

A timer a connection would cost each one a handle and a context, and a beat to everybody in one
loop would hold it for a tenth of a second at 10,000. So every connection has its own due time,
spread by chance over the interval, and one tick serves who is due.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Final

from tornado.ioloop import PeriodicCallback

from sora_ws.push.connection import Connection

TICK_MS_MAX: Final = 100
DUE_A_TICK_MAX: Final = 500
"""More wait for the next tick: this is some 5 ms of work, then others are heard."""


class Timers:
    """`at(when, connection, act)` calls `act(connection)` at `when`, in s of the loop's clock."""

    def __init__(self, time: Callable[[], float], tick_ms: int) -> None:
        self._time = time
        self._heap: list[tuple[float, int, Connection, Callable[[Connection], None]]] = []
        self._order = itertools.count()
        self._tick = PeriodicCallback(self.run_due, min(TICK_MS_MAX, tick_ms))

    def start(self) -> None:
        self._tick.start()

    def stop(self) -> None:
        self._tick.stop()
        self._heap.clear()

    def at(self, when: float, connection: Connection, act: Callable[[Connection], None]) -> None:
        heapq.heappush(self._heap, (when, next(self._order), connection, act))

    def run_due(self) -> None:
        """Serve who is due by now."""
        now = self._time()
        for _ in range(DUE_A_TICK_MAX):
            if not self._heap or self._heap[0][0] > now:
                return
            _, _, connection, act = heapq.heappop(self._heap)
            act(connection)
