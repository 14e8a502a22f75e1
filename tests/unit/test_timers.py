"""One heap for all connections."""

from __future__ import annotations

import pytest

from sora_ws.push.connection import Connection
from sora_ws.push.timers import DUE_A_TICK_MAX, Timers
from tests.unit.lines import open_line


@pytest.mark.gen_test
async def test_due_ones_act_in_order_and_a_tick_is_bounded() -> None:
    """By time, then in the order they were set; a crowd is served over several turns."""
    now = 0.0
    timers = Timers(lambda: now, tick_ms=100)
    acted: list[str] = []
    connection, _, _ = open_line()

    def act(name: str) -> None:
        timers.at(float(name[0]), connection, lambda _: acted.append(name))

    for name in ("2", "1a", "1b", "3"):
        act(name)
    now = 2.0
    timers.run_due()
    assert acted == ["1a", "1b", "2"]

    served: list[Connection] = []
    for _ in range(DUE_A_TICK_MAX + 10):
        timers.at(1.0, connection, served.append)
    timers.run_due()
    assert len(served) == DUE_A_TICK_MAX
    timers.run_due()
    assert len(served) == DUE_A_TICK_MAX + 10
