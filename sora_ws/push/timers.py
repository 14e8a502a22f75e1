"""What happens to lines by time alone: a coarse wheel, with one sweep for all of them.

A timer a line would cost each one a handle and a context, and a beat to everybody in one loop
would hold it for a tenth of a second at 10,000. Here a line is one entry in one dict.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from typing import Final

from tornado.ioloop import PeriodicCallback

from sora_ws.push.connection import Connection

TICK_MS_MAX: Final = 100
SLICE: Final = 300  # lines a turn of the loop, some 3 ms
STOOD_STILL_S: Final = 1.0


class Timers:
    """Calls `act` with each line when its time has come, never sooner and some ticks later.

    A line stands in one place at a time. `now` is the time of the last sweep, in s of the loop's
    clock: what is kept of it in a line is one object for all that were heard in that tick.
    `awake_since` is when the process last went on after it had stood still.
    """

    def __init__(
        self, time: Callable[[], float], act: Callable[[Connection], None], tick_ms: int = TICK_MS_MAX
    ) -> None:
        self.now = self.awake_since = time()
        self._time = time
        self._act = act
        tick_ms = min(TICK_MS_MAX, tick_ms)
        self._tick_s = tick_ms / 1000
        self._turns: dict[int, dict[Connection, None]] = {}
        self._next = self._tick_of(self.now)  # the first turn that is not over
        self._under_way: asyncio.Handle | None = None
        self._sweeper = PeriodicCallback(self.sweep, tick_ms)

    def start(self) -> None:
        self._sweeper.start()

    def stop(self) -> None:
        """No line's time comes any more."""
        self._sweeper.stop()
        if self._under_way is not None:
            self._under_way.cancel()

    def at(self, when: float, line: Connection) -> None:
        """Its time comes at `when`, and not at the one that was set before."""
        self.forget(line)
        # Behind the turn that may be under way: else it could go on for ever.
        tick = max(math.ceil(when / self._tick_s), self._next + 1)
        turn = self._turns.get(tick)
        if turn is None:
            turn = self._turns[tick] = {}
        turn[line] = None
        line.turn = turn

    def forget(self, line: Connection) -> None:
        """Its time does not come."""
        if line.turn is not None:
            line.turn.pop(line, None)
            line.turn = None

    def lines(self) -> Iterator[Connection]:
        """All whose time is set."""
        for turn in self._turns.values():
            yield from turn

    def sweep(self) -> None:
        """Serve whose time has come by now, a slice in each turn of the loop."""
        now = self._time()
        if now - self.now >= STOOD_STILL_S:
            self.awake_since = now
        self.now = now
        if self._under_way is None:
            self._go_on()

    def _go_on(self) -> None:
        self._under_way = None
        room = SLICE
        while self._next <= self._tick_of(self.now):
            turn = self._turns.get(self._next)
            while turn:
                if room == 0:
                    self._under_way = asyncio.get_running_loop().call_soon(self._go_on)
                    return
                room -= 1
                line, _ = turn.popitem()
                line.turn = None
                self._act(line)
            self._turns.pop(self._next, None)
            self._next += 1

    def _tick_of(self, when: float) -> int:
        return math.floor(when / self._tick_s)
