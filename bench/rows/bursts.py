"""A burst of changes, and what it costs: what several rows do."""

from __future__ import annotations

from dataclasses import dataclass

from bench.processes import Contender, Counted, Readers


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu_us` of the server's process, the `kernel_us` among them, and `wire_bytes`, all a message."""

    per_second: float
    cpu_us: float
    kernel_us: float
    wire_bytes: float


def cost_of(counted: Counted, begin_us: float, cpu_s: float, kernel_s: float) -> Cost:
    """Of all that was counted, shared out among its messages."""
    messages = counted.received
    seconds = (counted.last_us - begin_us) / 1e6
    return Cost(
        messages / seconds, cpu_s / messages * 1e6, kernel_s / messages * 1e6, counted.bytes / messages
    )


def burst(contender: Contender, readers: Readers, changes: int, *, together: int = 1) -> Cost:
    """So many changes, one group when the one before has left. Raises Broken."""
    readers.expect(changes)
    cpu_s, kernel_s = contender.cpu_s, contender.kernel_s
    contender.publish(changes, together=together)
    contender.published()
    counted = readers.counted(changes)
    return cost_of(counted, counted.first_due_us, contender.cpu_s - cpu_s, contender.kernel_s - kernel_s)
