"""CPU of lines on which nothing happens but a heartbeat and a ping every 30 s."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from bench.processes import Bench
from bench.rounds import Rounds
from bench.scale import Scale

GOAL: Final = "≤ 1 µs a connection and second"


def measure(bench: Bench, scale: Scale, who: Sequence[str]) -> Rounds:
    """All contenders at the same time, each beside a process of its own without lines."""
    rounds = Rounds(who, scale.rounds, absent={"tornado": "no heartbeat"})
    full = {name: bench.served(name, scale.idle)[0] for name in rounds.who}
    empty = {name: bench.contender(name) for name in rounds.who}
    for _ in range(rounds.count):
        begin = time.monotonic()
        before = {name: (full[name].cpu_s, empty[name].cpu_s) for name in rounds.who}
        time.sleep(scale.idle_for)
        for name in rounds.who:
            seconds = time.monotonic() - begin
            full_us, empty_us = (
                (process.cpu_s - cpu_before) * 1e6 / seconds
                for process, cpu_before in zip((full[name], empty[name]), before[name], strict=True)
            )
            rounds.add(name, f"each of {scale.idle} lines", "µs/s", (full_us - empty_us) / scale.idle)
            rounds.add(name, "a server without lines", "µs/s", empty_us)
    return rounds
