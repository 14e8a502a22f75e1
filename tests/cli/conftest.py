"""Commands, and one server that they speak to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import CommandLine
from tests.server import Server


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    """Commands with no server and no database of their own yet."""
    home = tmp_path / "home"
    home.mkdir()
    return CommandLine(home)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of a module."""
    server = Server(tmp_path_factory.mktemp("server") / "state").start()
    yield server
    server.kill()


@pytest.fixture
def signed_in(command_line: CommandLine, running: Server) -> CommandLine:
    """Commands of admin at the running server."""
    command_line.settings = {"SORA_WS_URL": running.url, "SORA_WS_TOKEN": running.sign_in()}
    return command_line


@pytest.fixture
def beside_server(command_line: CommandLine, running: Server) -> CommandLine:
    """Commands on the running server's own database."""
    command_line.settings = {"STATE_DIR": str(running.state)}
    return command_line
