"""Many come at once while a few are served 100 changes a second."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from bench.message import CROWD, subscribe_task
from bench.processes import COUNT_GUARD_S, Bench
from bench.rounds import Rounds, quantile
from bench.scale import Scale

GOAL: Final = "the others' p99 ≤ 15 ms, all in within 4 s"
CHANGES_PER_SECOND: Final = 100
HEAD_START_S: Final = 0.5
LAST: Final = 19  # of `nice`: who is being measured goes first, as if on a machine of its own


def measure(bench: Bench, scale: Scale, who: Sequence[str]) -> Rounds:
    """By a fresh process each time; a change counts from when it was due."""
    rounds = Rounds(who, scale.rounds)
    for name in rounds.turns():
        contender, others = bench.served(name, scale.others, scale.tasks)
        changes = int(scale.storm * CHANGES_PER_SECOND)
        others.expect(changes, scale.storm + COUNT_GUARD_S)
        contender.publish(changes, interval_us=1_000_000 // CHANGES_PER_SECOND)
        time.sleep(HEAD_START_S)
        cpu_before = contender.cpu_s
        crowd = bench.readers(
            contender, scale.crowd, subscribe=subscribe_task(CROWD), window=scale.crowd, nice=LAST
        )
        came = crowd.ready()
        cpu_us = (contender.cpu_s - cpu_before) * 1e6
        contender.published()
        delays = others.counted(changes).delays_ms(came["started_us"], came["ready_us"])
        rounds.add(name, "the others' p99", "ms", quantile(delays, 0.99))
        rounds.add(name, "the others' longest", "ms", max(delays))
        rounds.add(name, f"until {scale.crowd} are in", "s", (came["ready_us"] - came["started_us"]) / 1e6)
        rounds.add(name, "CPU a browser, the pushes meanwhile with it", "µs", cpu_us / scale.crowd)
        bench.end(others, crowd, contender)
    return rounds
