"""One task, many readers, never two changes in a turn of the loop: one send a message for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.processes import OURS, Bench
from bench.rounds import Rounds
from bench.rows.bursts import burst
from bench.scale import Scale

GOAL: Final = "CPU a push: ≥ 0.75 × limit, ≥ 1.4 × node"


def measure(bench: Bench, scale: Scale, who: Sequence[str]) -> Rounds:
    """All contenders up at once, one of them working at a time."""
    rounds = Rounds(who, scale.rounds)
    served = {name: bench.served(name, scale.readers) for name in rounds.who}
    for name in rounds.who:  # Node compiles what it has seen to be hot
        burst(*served[name], scale.changes)
    for name in rounds.turns():
        cost = burst(*served[name], scale.changes)
        rounds.add(name, "CPU a push", "µs", cost.cpu_us)
        rounds.add(name, "of it the kernel's", "µs", cost.kernel_us)
        rounds.add(name, "messages", "/s", cost.per_second)
    rounds.compare("CPU a push", OURS, more_is_better=False)
    return rounds
