"""What permessage-deflate costs and saves: each contender without and with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.processes import Bench
from bench.rounds import Rounds
from bench.rows.bursts import burst
from bench.scale import Scale

GOAL: Final = "no memory, ≤ 10 % less throughput, −25 % bytes on a progress"
FIRST: Final = 100


def measure(bench: Bench, scale: Scale, who: Sequence[str]) -> Rounds:
    """By a fresh process each time; one task, never two changes in a turn of the loop."""
    rounds = Rounds(who, scale.rounds)
    for name in rounds.turns():
        plain_kb, plain_per_second, plain_bytes = _measured(bench, scale, name, ())
        kb, per_second, wire_bytes = _measured(bench, scale, name, ("deflate",))
        rounds.add(name, "memory, deflated", "KB each", kb)
        rounds.add(name, "memory, more than plain", "KB each", kb - plain_kb)
        rounds.add(name, "messages, deflated", "/s", per_second)
        rounds.add(name, "messages, of plain", "×", per_second / plain_per_second)
        rounds.add(name, "bytes of a progress, deflated", "B", wire_bytes)
        rounds.add(name, "bytes, of plain", "×", wire_bytes / plain_bytes)
    return rounds


def _measured(bench: Bench, scale: Scale, name: str, options: tuple[str, ...]) -> tuple[float, float, float]:
    """KB a line, messages a second, bytes a message."""
    contender, first = bench.served(name, FIRST, options=options)
    before = contender.rss_bytes
    readers = bench.readers(contender, scale.readers)
    readers.ready()
    grown = contender.rss_bytes - before
    bench.end(first)
    contender.wait_for_lines(scale.readers)
    burst(contender, readers, scale.changes)
    cost = burst(contender, readers, scale.changes)
    bench.end(readers, contender)
    return grown / scale.readers / 1024, cost.per_second, cost.wire_bytes
