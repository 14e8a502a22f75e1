"""The longest turn of the loop with many lines: a push to all, heartbeats, a full collection, the end.

Measured in the process, by one callback in each turn of the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from bench.processes import Bench, Contender, Readers
from bench.rounds import Rounds
from bench.scale import Scale

GOAL: Final = "≤ 10 ms each"
PUSH_EVERY_US: Final = 1_000_000
WITHOUT: Final = frozenset({("heartbeats", "tornado"), ("full garbage collection", "limit")})


def measure(bench: Bench, scale: Scale, who: Sequence[str]) -> Rounds:
    """By a fresh process each time."""
    rounds = Rounds(who, scale.rounds)
    for name in rounds.turns():
        contender, readers = bench.served(name, scale.held)
        for what, hold_ms in HOLDS.items():
            if (what, name) not in WITHOUT:
                rounds.add(name, what, "ms", hold_ms(contender, readers, scale))
        bench.end(readers, contender)
    return rounds


def _pushing(contender: Contender, readers: Readers, scale: Scale) -> float:
    readers.expect(scale.held_pushes)
    _probe(contender)
    contender.publish(scale.held_pushes, interval_us=PUSH_EVERY_US)
    contender.published()
    held_ms = contender.held_ms("held")
    readers.counted(scale.held_pushes)
    return held_ms


def _beating(contender: Contender, _: Readers, scale: Scale) -> float:
    _probe(contender)
    time.sleep(scale.held_for)
    return contender.held_ms("held")


def _collecting(contender: Contender, *_: object) -> float:
    return contender.held_ms("collect")


def _leaving(contender: Contender, *_: object) -> float:
    return contender.held_ms("leave")


HOLDS: Final[Mapping[str, Callable[[Contender, Readers, Scale], float]]] = MappingProxyType(
    {
        "push to all": _pushing,
        "heartbeats": _beating,
        "full garbage collection": _collecting,
        "drain": _leaving,
    }
)


def _probe(contender: Contender) -> None:
    contender.tell("probe")
    contender.answer("probing")
