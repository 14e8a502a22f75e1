"""The existing frontend in a browser, and the server where it looks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser

from tests.frontend.site import frontend
from tests.page.browser import chromium
from tests.ports import is_taken, usual_port
from tests.server import Server
from tests.services import missing

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
    """A server on its default port, which is written into the hook."""
    with usual_port() as port:
        if is_taken(port):
            missing(f"port {port}, which the hook connects to, is taken")
        server = Server(tmp_path / "state", {"SORA_SIMULATOR_SECONDS": SIMULATOR_SECONDS}, port=port)
        yield server.start()
        server.kill()
