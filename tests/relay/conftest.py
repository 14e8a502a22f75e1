"""What carries messages between instances: one server, one behind a Sentinel, a Cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from sora_ws.bus.redis_nodes import slot_of
from tests.redisd import Cluster, Redisd, Watched, redis, running, start_redis

__all__ = ["redis", "start_redis"]


class Carrier(Protocol):
    """A service that can be broken where it carries a channel."""

    url: str

    def node_of(self, channel: bytes) -> Redisd:
        """The server that the channel is on."""
        ...

    def mend(self, node: Redisd) -> None:
        """After that node was killed; a service that helps itself needs nothing."""
        ...


class One:
    def __init__(self, server: Redisd) -> None:
        self.url = server.url
        self.server = server

    def node_of(self, channel: bytes) -> Redisd:
        return self.server

    def mend(self, node: Redisd) -> None:
        node.start()


class BehindSentinel:
    def __init__(self, servers: Watched) -> None:
        self.url = servers.url
        self.servers = servers

    def node_of(self, channel: bytes) -> Redisd:
        return self.servers.master

    def mend(self, node: Redisd) -> None:
        pass


class OfCluster:
    def __init__(self, cluster: Cluster) -> None:
        self.url = cluster.url
        self.cluster = cluster

    def node_of(self, channel: bytes) -> Redisd:
        return self.cluster.owner(slot_of(channel))

    def mend(self, node: Redisd) -> None:
        node.start()


KINDS: dict[str, tuple[Callable[[Path], Any], Callable[[Any], Carrier]]] = {
    "server": (Redisd, One),
    "sentinel": (Watched, BehindSentinel),
    "cluster": (Cluster, OfCluster),
}


@pytest.fixture(scope="module", params=KINDS)
def carrier(request: pytest.FixtureRequest) -> Iterator[Carrier]:
    """Each kind of service; tests take channels of their own, and leave it running."""
    servers, carrier = KINDS[request.param]
    with running(servers) as running_servers:
        yield carrier(running_servers)


@pytest.fixture(params=KINDS)
def own_carrier(request: pytest.FixtureRequest) -> Iterator[Carrier]:
    """Each kind of service, to be treated as a test likes."""
    servers, carrier = KINDS[request.param]
    with ExitStack() as stack:
        yield carrier(stack.enter_context(running(servers)))
