"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import fields
from pathlib import Path

import hypothesis
import pytest

from sora_ws.settings import Settings, setting_name
from tests.locks import among_others
from tests.server import Server

for name in map(setting_name, fields(Settings)):
    if name != "WS_TRANSPORT":  # this one says over which transport all tests run
        os.environ.pop(name, None)  # nobody's own settings reach a test

hypothesis.settings.register_profile("any machine", deadline=None)  # beside others an example takes longer
hypothesis.settings.load_profile("any machine")

pytest_plugins = ["tests.backends.fixtures"]

StartServer = Callable[..., Server]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test that is marked as `alone` runs beside no other; to wait for that is none of its time."""
    with among_others(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts real server processes: `start_server(SETTING="value")`; all are gone afterwards."""
    servers: list[Server] = []

    def start(*, wait: bool = True, **settings: str) -> Server:
        server = Server(tmp_path / f"state{len(servers)}", settings)
        servers.append(server)
        return server.start(wait=wait)

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """One server with fast settings."""
    return start_server()
