"""From when a change was due to its arrival at the last of all readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.processes import Bench
from bench.rounds import Rounds, quantile
from bench.scale import Scale

GOAL: Final = "p99 ≤ 10 ms at 1000 a second"
RATES: Final = (20, 1_000)
BUSY: Final = 3  # times as many changes at the higher rate


def measure(bench: Bench, scale: Scale, who: Sequence[str]) -> Rounds:
    """At a rate that leaves the loop idle most of the time, and at one that only joining can follow."""
    rounds = Rounds(who, scale.rounds)
    served = {name: bench.served(name, scale.near, scale.tasks) for name in rounds.who}
    for name in rounds.turns():
        contender, readers = served[name]
        for per_second in RATES:
            changes = scale.near_changes * (1 if per_second == RATES[0] else BUSY)
            readers.expect(changes)
            contender.publish(changes, interval_us=1_000_000 // per_second)
            contender.published()
            delays = readers.counted(changes).delays_ms()
            what = f"{per_second} a second to {scale.near}"
            rounds.add(name, f"{what}: p50", "ms", quantile(delays, 0.5))
            rounds.add(name, f"{what}: p99", "ms", quantile(delays, 0.99))
    return rounds
