"""The existing frontend in a browser, and the server where it looks for one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser

from tests.frontend.site import frontend
from tests.page.browser import chromium
from tests.server import Server
from tests.services import missing

PORT: Final = 3001  # written into the hook
SIMULATOR_SECONDS: Final = "2"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page of players."""
    with frontend(tmp_path_factory.mktemp("frontend")) as url:
        yield url


@pytest.fixture
def default_server(tmp_path: Path) -> Iterator[Server]:
    """A server on its default port."""
    try:
        socket.create_server(("127.0.0.1", PORT)).close()
    except OSError:
        missing(f"port {PORT}, which the hook connects to, is taken")
    server = Server(tmp_path / "state", {"SORA_SIMULATOR_SECONDS": SIMULATOR_SECONDS}, port=PORT)
    yield server.start()
    server.kill()
