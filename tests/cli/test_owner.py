"""Root on the database of a service: nothing may be left that the service can't write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sora_ws.cli import database
from sora_ws.settings import Settings
from tests.cli.commands import CommandLine
from tests.services import missing

SERVICE_UID = 61234  # in systemd's range for DynamicUser=


@pytest.fixture
def state_of_a_service(tmp_path: Path) -> Iterator[Path]:
    """A state folder as systemd lays it out: behind a link, below a folder that only root can pass."""
    if os.geteuid() != 0:
        missing("only root can become another user")
    private = tmp_path / "private"
    folder = private / "sora-ws"
    folder.mkdir(parents=True, mode=0o700)
    private.chmod(0o700)
    os.chown(folder, SERVICE_UID, SERVICE_UID)
    link = tmp_path / "sora-ws"
    link.symlink_to("private/sora-ws")
    yield link
    shutil.rmtree(private)


def owners(folder: Path) -> set[tuple[int, int]]:
    """User and group of everything in the folder."""
    return {(path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir()}


def test_root_leaves_what_belongs_to_the_service(state_of_a_service: Path, command_line: CommandLine) -> None:
    """A database that root's command makes, and what lies beside it, is the service's own."""
    command_line.settings = {"STATE_DIR": str(state_of_a_service)}
    assert command_line.run("user", "add", "admin").status == 0
    assert command_line.run("user", "passwd", "admin").status == 0
    assert command_line.run("token", "admin").status == 0
    assert command_line.run("check").status == 0
    assert owners(state_of_a_service) == {(SERVICE_UID, SERVICE_UID)}


def test_a_folder_of_roots_own_stays_roots(command_line: CommandLine, tmp_path: Path) -> None:
    """Where the folder isn't anybody else's, the command stays who it is."""
    command_line.settings = {"STATE_DIR": str(tmp_path / "state")}
    assert command_line.run("user", "add", "admin").status == 0
    assert owners(tmp_path / "state") == {(os.geteuid(), os.getegid())}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of an installed service."""
    file = tmp_path / "sora-ws.env"
    file.write_text("PORT=4001\n")
    monkeypatch.setattr(database, "INSTALLED_SETTINGS", file)
    return file


def test_root_gets_the_installed_services_settings(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --config, root's commands act on the service, in its state folder."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    settings, _ = database.settings_for(None)
    assert settings.port == 4001
    assert settings.sqlite_path == Path("/var/lib/sora-ws/sora-ws.sqlite3")


def test_others_get_their_own_settings(
    installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever can't be the service has a server of his own."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    settings, _ = database.settings_for(None)
    assert settings.port == 3001
    assert settings.state_dir == tmp_path / "sora-ws"


def test_a_named_file_wins_over_the_installed_one(
    installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """--config means that file and no other."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    named = tmp_path / "named.env"
    named.write_text("PORT=4002\nSTATE_DIR=elsewhere\n")
    settings, _ = database.settings_for(named)
    assert settings.port == 4002
    assert settings.state_dir == Path("elsewhere")


def test_no_login_in_a_complaint() -> None:
    """The place of a database is named without the password in its address."""
    settings, _ = Settings.load({"DATABASE_URL": "mongodb://me:secret@db.example.com:27017/sora"})
    assert database.place_of(settings) == "mongodb://db.example.com:27017/sora"
