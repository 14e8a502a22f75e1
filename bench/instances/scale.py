"""How much of everything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured; times in s."""

    instances: tuple[int, ...] = (1, 2, 4)
    readers: int = 2_000
    steps: int = 60  # below a hundred per cent
    tasks: int = 60  # fewer than one instance looks at at once
    joined_steps: int = 20
    near: int = 100
    near_tasks: int = 4
    quiet: float = 4.0
    many: int = 8
    live: int = 10_000
    interval_ms: int = 30_000
    steady: float = 30.0
    crowd: int = 2_000
    held: int = 100_000
    held_by: int = 0  # instances; 0 for as few as have room
    held_window: int = 128  # of each instance, on their way in at a time
    held_for: float = 65.0  # two beats of everybody
    held_changes: int = 5


SHORT: Final = Scale(
    instances=(2,),
    readers=60,
    steps=5,
    tasks=20,
    joined_steps=3,
    near=20,
    near_tasks=2,
    quiet=0.0,
    many=3,
    live=600,
    interval_ms=10_000,
    steady=0.0,
    crowd=100,
    held=300,
    held_by=2,
    held_for=0.5,
    held_changes=2,
)
