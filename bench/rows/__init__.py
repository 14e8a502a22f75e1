"""The rows of the bench, one file each: what is measured, of whom, and what is to be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bench.processes import Bench
from bench.rounds import Rounds
from bench.rows import deflate, fanout, holds, idle, joined, latency, memory, storm, stuck, whole
from bench.scale import Scale


@dataclass(frozen=True, slots=True)
class Row:
    """`measure` raises Broken where a message was lost, doubled or out of order, and Missing."""

    measure: Callable[[Bench, Scale, Sequence[str]], Rounds]
    goal: str


_MODULES = (memory, fanout, joined, whole, latency, storm, idle, holds, deflate, stuck)
ROWS: Final[Mapping[str, Row]] = MappingProxyType(
    {module.__name__.rpartition(".")[2]: Row(module.measure, module.GOAL) for module in _MODULES}
)
