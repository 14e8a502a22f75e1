"""How much of everything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scale:
    """Times in s. A pair is of two runs in one row."""

    rounds: int = 3
    memory: tuple[int, ...] = (8_000, 16_000)
    settle: float = 1.0
    readers: int = 2_000
    changes: int = 50
    tasks: int = 100
    steps: int = 5
    near: int = 1_000
    near_changes: int = 100
    others: int = 100
    crowd: int = 8_000
    storm: float = 9.0
    idle: int = 8_000
    idle_for: float = 60.0
    held: int = 16_000
    held_pushes: int = 5
    held_for: float = 31.0  # more than the 30 s between two beats
    stuck_readers: int = 10_000
    stuck_tasks: int = 100
    stuck_buffer: int = 1_048_576  # the setting's default, in bytes
    stuck_fill: int = 1_200  # changes, more than the kernel holds for who reads nothing
    stuck_for: float = 32.0  # more than the 30 s for which a line may take no byte
    stuck_per_second: int = 5

    @property
    def readers_max(self) -> int:
        """The most that one row has at once."""
        crowds = (self.readers, self.near, self.crowd + self.others, self.idle, self.held, self.stuck_readers)
        return max(*(count + 100 for count in self.memory), *crowds)


SHORT: Final = Scale(
    rounds=1,
    memory=(1_000,),
    settle=0.0,
    readers=200,
    changes=20,
    tasks=20,
    steps=3,
    near=100,
    near_changes=20,
    others=20,
    crowd=400,
    storm=2.0,
    idle=200,
    idle_for=1.0,
    held=500,
    held_pushes=1,
    held_for=0.5,
    stuck_readers=200,
    stuck_tasks=400,
    stuck_buffer=65_536,  # which 400 states don't fit in: nobody has to wait for 30 s
    stuck_for=1.0,
)
