"""Many tasks change in one turn of the loop, and everybody watches all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.processes import OURS, Bench
from bench.rounds import Rounds
from bench.rows.bursts import burst
from bench.scale import Scale

GOAL: Final = "messages: ≥ 2 × limit, ≥ 3 × node; `whole` has provider and store in it as well"


def measure(bench: Bench, scale: Scale, who: Sequence[str]) -> Rounds:
    """The changes are published at the hub: no provider, no store."""
    rounds = Rounds(who, scale.rounds)
    served = {name: bench.served(name, scale.readers, scale.tasks) for name in rounds.who}
    for name in rounds.who:
        burst(*served[name], scale.tasks, together=scale.tasks)
    for name in rounds.turns():
        cost = burst(*served[name], scale.tasks, together=scale.tasks)
        rounds.add(name, "messages", "/s", cost.per_second)
        rounds.add(name, "CPU a push", "µs", cost.cpu_us)
    rounds.compare("messages", OURS, more_is_better=True)
    return rounds
