"""One coarse wheel for all lines."""

from __future__ import annotations

import asyncio

import pytest

from sora_ws.push.connection import Connection
from sora_ws.push.timers import SLICE, Timers
from tests.unit.lines import open_line


class Wheel:
    """Timers whose time a test sets; `acted` holds whose time came."""

    def __init__(self) -> None:
        self.time = 0.0
        self.acted: list[Connection] = []
        self.timers = Timers(lambda: self.time, self.acted.append)

    def sweep_at(self, time: float) -> list[Connection]:
        """Who is served by a sweep at that time, in its first turn of the loop."""
        self.time = time
        self.acted.clear()
        self.timers.sweep()
        return list(self.acted)


@pytest.mark.gen_test
async def test_never_too_soon_and_once() -> None:
    """A line's time comes at the first sweep behind it, and not again."""
    wheel = Wheel()
    (first, _, _), (second, _, _) = open_line(), open_line()
    wheel.timers.at(1.0, first)
    wheel.timers.at(2.01, second)
    assert wheel.sweep_at(0.99) == []
    assert wheel.sweep_at(1.0) == [first]
    assert wheel.sweep_at(2.0) == []
    assert wheel.sweep_at(2.1) == [second]
    assert wheel.sweep_at(9.0) == []


@pytest.mark.gen_test
async def test_a_line_has_one_time() -> None:
    """A new one takes the place of the old one, and who is forgotten has none."""
    wheel = Wheel()
    (moved, _, _), (gone, _, _) = open_line(), open_line()
    for line in (moved, gone):
        wheel.timers.at(1.0, line)
    wheel.timers.at(3.0, moved)
    wheel.timers.forget(gone)
    assert list(wheel.timers.lines()) == [moved]
    assert wheel.sweep_at(2.0) == []
    assert wheel.sweep_at(3.0) == [moved]
    assert list(wheel.timers.lines()) == []


@pytest.mark.gen_test
async def test_a_crowd_is_served_in_slices() -> None:
    """Others have their turn after each slice, and who leaves meanwhile is not served."""
    wheel = Wheel()
    lines = [open_line()[0] for _ in range(2 * SLICE + 10)]
    for line in lines:
        wheel.timers.at(1.0, line)
    assert len(wheel.sweep_at(1.0)) == SLICE
    left = next(line for line in lines if line.turn)
    wheel.timers.forget(left)
    wheel.timers.sweep()  # the tick in between begins no second round
    assert len(wheel.acted) == SLICE
    for served in (2 * SLICE, 2 * SLICE + 9):
        await asyncio.sleep(0)
        assert len(wheel.acted) == served
    assert set(wheel.acted) == set(lines) - {left}


@pytest.mark.gen_test
async def test_who_is_due_at_once_again_comes_in_a_later_sweep() -> None:
    """Nobody keeps a sweep going for ever."""
    wheel = Wheel()
    line, _, _ = open_line()

    def again(line: Connection) -> None:
        wheel.acted.append(line)
        wheel.timers.at(0.0, line)

    wheel.timers = Timers(lambda: wheel.time, again)
    wheel.timers.at(0.0, line)
    assert wheel.sweep_at(1.0).count(line) <= 11  # ten ticks are over
    assert list(wheel.timers.lines()) == [line]
