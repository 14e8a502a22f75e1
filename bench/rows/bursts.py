"""A burst of changes, and what it costs: what several rows do."""

from __future__ import annotations

from dataclasses import dataclass

from bench.processes import Contender, Readers


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu_us` of the server's process and `wire_bytes`, both a message."""

    per_second: float
    cpu_us: float
    wire_bytes: float


def burst(contender: Contender, readers: Readers, changes: int, *, together: int = 1) -> Cost:
    """So many changes, one group when the one before has left. Raises Broken."""
    readers.expect(changes)
    cpu_before = contender.cpu_s
    contender.publish(changes, together=together)
    contender.published()
    counted = readers.counted(changes)
    cpu_us = (contender.cpu_s - cpu_before) * 1e6
    seconds = (counted.last_us - counted.first_due_us) / 1e6
    return Cost(counted.received / seconds, cpu_us / counted.received, counted.bytes / counted.received)
