"""What the processes that run tests take from each other: names, and the whole machine."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).parents[1] / ".cache"


@contextmanager
def locked(name: str, kind: int = fcntl.LOCK_EX, folder: Path = CACHE) -> Iterator[None]:
    """One process at a time has the name, of all that share the folder; with LOCK_SH many have."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, kind)
        yield


@contextmanager
def among_others(*, alone: bool, folder: Path = CACHE) -> Iterator[None]:
    """Beside the tests of all other processes that share the folder, or `alone`, when theirs are over.

    Who waits for the room keeps the door shut, so that nobody new goes in before.
    """
    with ExitStack() as stack:
        with locked("door", folder=folder):
            stack.enter_context(locked("room", fcntl.LOCK_EX if alone else fcntl.LOCK_SH, folder))
        yield
