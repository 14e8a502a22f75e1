"""Growth of RSS a browser that is connected, authenticated and subscribed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.message import TEAM, subscribe_room, subscribe_task
from bench.processes import CALM, Bench
from bench.rounds import Rounds
from bench.scale import Scale

GOAL: Final = "≤ 1.5 KB, aim at 1.0"
FIRST: Final = 100  # what the first ones cost is no price of the others


@dataclass(frozen=True, slots=True)
class Way:
    """How browsers come: how many, at most `window` of them on their way, and to what."""

    what: str
    count: int
    window: int
    subscribe: str


def measure(bench: Bench, scale: Scale, who: Sequence[str]) -> Rounds:
    """By a fresh process each time."""
    rounds = Rounds(who, scale.rounds)
    for name in rounds.turns():
        for way in _ways(scale.memory):
            rounds.add(name, way.what, "KB each", growth_kb(bench, name, way, scale.settle))
    return rounds


def growth_kb(bench: Bench, name: str, way: Way, settle: float) -> float:
    """Of a fresh process, each browser."""
    contender = bench.contender(name)
    first = bench.readers(contender, FIRST, subscribe=way.subscribe)
    first.ready()
    before = contender.rss_bytes
    readers = bench.readers(contender, way.count, subscribe=way.subscribe, window=way.window)
    readers.ready()
    time.sleep(settle)
    grown = contender.rss_bytes - before
    bench.end(first, readers, contender)
    return grown / way.count / 1024


def _ways(counts: Sequence[int]) -> list[Way]:
    task = subscribe_task(TEAM)
    calm = [Way(f"{n} browsers, {CALM} at a time", n, CALM, task) for n in counts]
    # More than the fewest at once would measure for how long SYNs are sent again.
    n = min(counts)
    at_once = Way(f"{n} browsers, all at once", n, n, task)
    to_a_room = Way(f"{n} browsers, all at once, to a room", n, n, subscribe_room(TEAM))
    return [*calm, at_once, to_a_room]
