"""The REST side of a server over real parts: store, service and archive, and no provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from sora_ws.settings import Settings
from tests.rest.server import RestServer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, message_language="en", max_tasks_per_user=60, max_body_bytes=200_000)


@pytest.fixture
def rest(io_loop: IOLoop, settings: Settings) -> Iterator[RestServer]:
    server = io_loop.run_sync(lambda: RestServer.start(settings))
    yield server
    io_loop.run_sync(server.stop)
