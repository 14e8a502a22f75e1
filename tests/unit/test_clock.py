"""The time of day that never runs back."""

from __future__ import annotations

import pytest
from tornado.ioloop import IOLoop, PeriodicCallback

from sora_ws.app import use_steady_time
from sora_ws.clock import Clock


class Hands:
    """The two clocks of a machine, set by hand; in s."""

    def __init__(self) -> None:
        self.wall = 1000.0
        self.steady = 5.0

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.steady)


def test_it_follows_the_wall_clock() -> None:
    """In ms since the epoch."""
    hands = Hands()
    now = hands.clock()
    assert now() == 1_000_000
    hands.wall, hands.steady = 1002.5, 7.5
    assert now() == 1_002_500


def test_set_back_an_hour_it_goes_on() -> None:
    """At the pace of the monotonic clock, until the wall clock has caught up."""
    hands = Hands()
    now = hands.clock()
    hands.wall, hands.steady = 1000.0 - 3600, 6.0
    assert now() == 1_001_000
    hands.wall, hands.steady = 1000.0 - 3590, 16.0
    assert now() == 1_011_000
    hands.wall = 2000.0
    assert now() == 2_000_000


@pytest.mark.gen_test
async def test_periodic_callbacks_outlive_a_clock_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the loop's steady time they go on; on wall time the next beat would be an hour away."""
    import asyncio
    import time

    use_steady_time(IOLoop.current())
    beats: asyncio.Queue[None] = asyncio.Queue()
    beat = PeriodicCallback(lambda: beats.put_nowait(None), 5)
    beat.start()
    await beats.get()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    for _ in range(3):
        await asyncio.wait_for(beats.get(), 10)
    beat.stop()
