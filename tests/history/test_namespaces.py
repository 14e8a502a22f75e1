"""A machine whose wire to Redis is pulled reaches all else, and is told nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.history.namespaces import Machine, Network, a_network

CALL_S = 1.0
CALL = f"""
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), {CALL_S}).close()
except TimeoutError:
    print("nothing")
else:
    print("connected")
"""


@pytest.fixture
def network() -> Iterator[Network]:
    """Two machines."""
    with a_network(2) as network:
        yield network


def test_a_pulled_wire(network: Network) -> None:
    """Redis alone is out of reach, of this machine alone, without an error, until it is plugged in."""
    cut, other = network.machines
    servers = [socket.create_server((host, 0)) for host in (network.redis_address, network.address)]
    with servers[0] as redis, servers[1] as rest:
        assert call(cut, redis) == "connected"
        cut.pull_the_wire()
        assert call(cut, redis) == "nothing"
        assert call(cut, rest) == call(other, redis) == "connected"
        cut.plug_it_in()
        assert call(cut, redis) == "connected"


def call(machine: Machine, server: socket.socket) -> str:
    """What a program on the machine finds that connects to the server."""
    host, port = server.getsockname()
    command = [*machine.enter, sys.executable, "-c", CALL, host, str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
