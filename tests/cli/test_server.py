"""`serve`, `simulate` and `check` as processes."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import GUARD_S, CommandLine
from tests.ports import free_port
from tests.redisd import Redisd, redis

__all__ = ["redis"]


@pytest.fixture
def own(command_line: CommandLine, tmp_path: Path) -> CommandLine:
    """Commands with a state folder of their own."""
    command_line.settings = {"STATE_DIR": str(tmp_path / "state")}
    return command_line


@pytest.fixture
def simulator(command_line: CommandLine) -> Iterator[str]:
    """The base URL of a simulator that runs alone."""
    process = command_line.start("simulate", "--port", "0", "--seconds", "1")
    assert process.stdout is not None
    name, _, url = process.stdout.readline().strip().partition("=")
    assert name == "SORA_API_BASE_URL"
    yield url
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=GUARD_S)
    assert process.returncode == 0


def test_check_where_all_is_well(own: CommandLine, simulator: str, tmp_path: Path) -> None:
    """One line for settings, store and provider, and 0; a database isn't made by looking for it."""
    checked = own.run("check", SORA_API_BASE_URL=simulator)
    assert checked.status == 0
    assert [line.split()[:2] for line in checked.out.splitlines()] == [
        ["settings", "ok"],
        ["store", "ok"],
        ["provider", "ok"],
    ]
    assert not (tmp_path / "state").exists()


def test_check_of_an_existing_database_as_json(own: CommandLine) -> None:
    """A program gets one object; without a provider the simulator is named."""
    own.run("user", "add", "admin")
    found = own.run("check", "--json").json
    assert {part: finding["ok"] for part, finding in found.items()} == {
        "settings": True,
        "store": True,
        "provider": True,
    }
    assert "simulator" in found["provider"]["detail"]


def test_check_of_a_provider_that_is_away(own: CommandLine) -> None:
    """What can't be reached is failed, and the exit status says so."""
    checked = own.run("check", SORA_API_BASE_URL="http://127.0.0.1:1/v1")
    assert checked.status == 1
    assert checked.out.splitlines()[-1].startswith("provider  failed  http://127.0.0.1:1/v1: ")


def test_check_of_redis(own: CommandLine, simulator: str, redis: Redisd) -> None:
    """Where it is set it is looked at too, and a password is not shown."""
    shared = {
        "DATABASE_URL": "mongodb://127.0.0.1:1/sora_ws",
        "MEDIA_STORE": "gridfs",
        "SORA_API_BASE_URL": simulator,
    }
    there = own.run("check", "--json", REDIS_URL=redis.url, **shared).json["redis"]
    assert there == {"ok": True, "detail": redis.url}
    away = own.run("check", "--json", REDIS_URL="redis://me:hunter2@127.0.0.1:1", **shared).json["redis"]
    assert not away["ok"]
    assert away["detail"].startswith("redis://127.0.0.1:1: ")
    assert "hunter2" not in away["detail"]


@pytest.mark.parametrize("content", ["this is no database, but a text of more than a hundred letters" * 9])
def test_check_of_a_store_that_is_none(content: str, own: CommandLine, tmp_path: Path) -> None:
    """A file that is no database is told."""
    file = tmp_path / "state" / "sora-ws.sqlite3"
    file.parent.mkdir()
    file.write_text(content)
    checked = own.run("check", "--json")
    assert checked.status == 1
    assert checked.json["store"]["ok"] is False


def test_check_of_a_store_that_can_not_be_made(own: CommandLine) -> None:
    """A place that nobody can write to is told before the first start."""
    checked = own.run("check", DATABASE_URL="sqlite:///dev/null/sora-ws.sqlite3")
    assert checked.status == 1
    assert "can't be made" in checked.out


@pytest.mark.parametrize("as_json", [False, True])
def test_check_of_wrong_settings(as_json: bool, own: CommandLine) -> None:
    """A setting that can't be used ends it with 78, on stdout as the finding it is."""
    checked = own.run("check", *["--json"] * as_json, PORT="x")
    assert checked.status == 78
    said = checked.json["settings"]["detail"] if as_json else checked.out
    assert "PORT is 'x'" in said


def test_check_warns_of_unknown_settings(own: CommandLine, tmp_path: Path) -> None:
    """A name that doesn't exist is warned of, with the one that was meant."""
    file = tmp_path / "sora-ws.env"
    file.write_text("PROT=3001\n")
    checked = own.run("check", "--config", str(file))
    assert checked.status == 0
    assert "did you mean PORT?" in checked.complaint


def test_the_simulator_speaks_the_format(simulator: str) -> None:
    """What `simulate` prints is the address of a videos API."""
    with urllib.request.urlopen(f"{simulator}/videos", timeout=60) as answer:
        assert json.load(answer)["object"] == "list"


@pytest.mark.parametrize("command", ["simulate", "serve"])
def test_a_taken_port_is_one_line(command: str, own: CommandLine, simulator: str) -> None:
    """The line names the port."""
    port = simulator.split(":")[2].removesuffix("/v1")
    options = ["--port", port] if command == "simulate" else []
    refused = own.run(command, *options, PORT=port)
    assert refused.status != 0
    assert port in refused.complaint


def wait_until_started(process: subprocess.Popen[str]) -> None:
    """The first password is the last that a start prints."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("password: "):
            return
    pytest.fail(f"it ended with {process.wait(GUARD_S)} instead of starting")


def test_ctrl_c_ends_a_server_with_0(own: CommandLine) -> None:
    """Ctrl-C is the way to end a server by hand; it takes its leave and says nothing wrong."""
    own.settings = {**own.settings, "PORT": str(free_port()), "DRAIN_SECONDS": "0", "LOG_LEVEL": "error"}
    process = own.start("serve")
    wait_until_started(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=GUARD_S)
    assert process.returncode == 0
    assert err == ""


def test_serve_logs_by_its_settings(own: CommandLine, tmp_path: Path) -> None:
    """LOG_FORMAT counts from the first line on: warnings about the file itself are in it."""
    file = tmp_path / "sora-ws.env"
    file.write_text(f"PROT=1\nPORT={free_port()}\nLOG_FORMAT=json\nDRAIN_SECONDS=0\n")
    process = own.start("serve", "--config", str(file))
    wait_until_started(process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=GUARD_S)
    assert "did you mean PORT?" in json.loads(err.splitlines()[0])["message"]
