"""Which of the other instances are there, by what each says of itself at a beat.

One that falls silent without a goodbye may have saved what it could tell nobody: it was killed, or Redis
does not reach it.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Final

BEAT_S: Final = 2.0
MISSED: Final = 3
"""So many beats without a word, and it is missing."""
GONE: Final = 300
"""After so many one that is not at work will not come back, and others have long told of its tasks."""


@dataclass(slots=True)
class _Other:
    name: str
    silent: int = 0  # beats; ours, so that a process that stood still accuses nobody


class RollCall:
    """Knows the others by an id for each run, and a name that it keeps over restarts."""

    def __init__(self) -> None:
        self._others: dict[bytes, _Other] = {}

    def here(self, run: bytes, name: str) -> bool:
        """It says that it is there; whether it takes the place of one that said no goodbye."""
        known = self._others.get(run)
        if known is not None:
            known.silent = 0
            return False
        before = [other for other in self._others if self._others[other].name == name]
        for other in before:
            del self._others[other]
        self._others[run] = _Other(name)
        return bool(before)

    def goodbye(self, run: bytes) -> None:
        """It has stopped, and owes nothing."""
        self._others.pop(run, None)

    def beat(self) -> None:
        """Time has passed in which each could have said that it is there."""
        for other in self._others.values():
            other.silent += 1

    def expect(self, at_work: Set[str]) -> None:
        """The others that are at work, by their names: they may be cut off, and have never been heard here.

        Who is not among them, and has been silent for long, is gone.
        """
        for name in at_work - {other.name for other in self._others.values()}:
            self._others[b"never heard: " + name.encode()] = _Other(name)
        for run, other in tuple(self._others.items()):
            if other.silent > GONE and other.name not in at_work:
                del self._others[run]

    def begin_anew(self) -> None:
        """Nobody could be heard for a while; what they have missed counts no more."""
        for other in self._others.values():
            other.silent = 0

    @property
    def is_complete(self) -> bool:
        """Nobody is missing."""
        return all(other.silent < MISSED for other in self._others.values())
