"""A simulator that listens on a port of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from sora_ws.provider.simulator import Simulator
from tests.simulator.client import Client


@pytest.fixture
def client(io_loop: IOLoop) -> Iterator[Client]:
    """A client of a simulator that is done at once."""
    simulator = Simulator(0)
    yield Client(io_loop.run_sync(simulator.start))
    io_loop.run_sync(simulator.stop)


@pytest.fixture
def slow_client(io_loop: IOLoop) -> Iterator[Client]:
    """A client of a simulator that takes an hour."""
    simulator = Simulator(3600)
    yield Client(io_loop.run_sync(simulator.start))
    io_loop.run_sync(simulator.stop)
