"""Ports that nobody else takes, not even while a server that was killed is away from its own."""

from __future__ import annotations

import itertools
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

from tests.locks import locked

USUAL_PORT: Final = 3001  # which the README and the React hook name
RANGES: Final = range(10_000, 16_000, 500)  # a kernel gives out higher ones by itself


def free_port() -> int:
    """A port on which nobody listens, of those that are this process's own."""
    _, ports = _own_range()
    return next(port for port in ports if not is_taken(port))


def is_taken(port: int) -> bool:
    """Whether somebody listens on it."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


@contextmanager
def usual_port() -> Iterator[int]:
    """The port that a server has by default; one test at a time has it, of all on this machine."""
    with locked(f"sora-ws-tests-{USUAL_PORT}", folder=Path(tempfile.gettempdir())):
        yield USUAL_PORT


@cache
def _own_range() -> tuple[socket.socket, Iterator[int]]:
    """The range's first port, which says as long as it is held whose the range is; the others, in turn."""
    for first in RANGES:
        with suppress(OSError):
            holder = socket.create_server(("127.0.0.1", first))
            return holder, itertools.cycle(range(first + 1, first + RANGES.step))
    raise OSError("no range of ports is free: each is some other test run's")
