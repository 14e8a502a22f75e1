"""What the rows have in common: tasks are made and moved on, readers counted, figures named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bench.instances.machines import Machines, until
from bench.processes import Counted, Readers
from bench.rounds import Rounds

STEPPING: Final = (sys.executable, "-m", "bench.contenders.provider")
WINDOW: Final = 128
"""Browsers of a group that are on their way at a time."""


@dataclass(frozen=True, slots=True)
class Told:
    """A step of all jobs: when it was, and what each group of readers heard."""

    at_us: int
    counted: list[Counted]
    cpu_s: dict[str, float]
    """What it took of the cores until the last reader had heard it, by who took it."""

    @property
    def messages(self) -> int:
        return sum(counted.received for counted in self.counted)

    @property
    def seconds(self) -> float:
        return (max(counted.last_us for counted in self.counted) - self.at_us) / 1e6

    @property
    def delays_ms(self) -> list[float]:
        """From the step to the last of all readers, of each task."""
        last: dict[int, int] = {}
        for counted in self.counted:
            for change, at_us in last_arrivals(counted).items():
                last[change] = max(at_us, last.get(change, 0))
        return [(at_us - self.at_us) / 1000 for at_us in last.values()]


def create(made: Machines, tasks: int) -> list[str]:
    """New tasks, made at all instances in turn; each is looked at."""
    ids = [made.instances[number % len(made.instances)].create() for number in range(tasks)]
    until_waiting(made, tasks)
    return ids


def move_on(made: Machines, tasks: int) -> Told:
    """All jobs move on, when all are being looked at. Raises Broken."""
    until_waiting(made, tasks)
    for readers in made.readers:
        readers.expect(tasks)
    before = made.cpu()
    made.provider.tell("step")
    at_us = made.provider.answer("stepped_us")["stepped_us"]
    counted = [readers.counted(tasks) for readers in made.readers]
    return Told(at_us, counted, since(before, made.cpu()))


def until_waiting(made: Machines, tasks: int) -> None:
    """So many looks wait at the provider for news."""

    def are_waiting() -> bool:
        made.provider.tell("waiting")
        return bool(made.provider.answer("waiting")["waiting"] == tasks)

    until(are_waiting)


def all_in(*readers: Readers) -> None:
    for each in readers:
        each.ready()


def last_arrivals(counted: Counted) -> dict[int, int]:
    """When the changes of a seq were at the last reader, in µs."""
    arrivals: dict[int, int] = {}
    for seq, _, late_us in counted.changes:
        arrivals[seq] = max(seq + late_us, arrivals.get(seq, 0))
    return arrivals


def since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in after.items()}


def adder(rounds: Rounds, who: int | str) -> Callable[[str, str, float], None]:
    name = who if isinstance(who, str) else label(who)
    return lambda what, unit, value: rounds.add(name, what, unit, value)


def add_cpu(
    add: Callable[[str, str, float], None], of_what: str, spent: Mapping[str, float], count: int
) -> None:
    for name, seconds in spent.items():
        if seconds:
            add(f"CPU {of_what}: {name}", "µs", seconds / count * 1e6)


def labels(counts: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(map(label, counts))


def label(count: int) -> str:
    return f"{count} instance{'s' if count > 1 else ''}"
