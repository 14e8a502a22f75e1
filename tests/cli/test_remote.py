"""`login`, `create`, `watch` and `list` against a running server."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path

import pytest

from tests.cli.commands import GUARD_S, CommandLine, interrupt
from tests.conftest import StartServer
from tests.server import Server

SMALL = ("--seconds", "1", "--size", "160x90")


def test_from_login_to_a_playable_video(command_line: CommandLine, running: Server) -> None:
    """After `login` a video goes from its prompt to an address that serves it, told on stdout."""
    command_line.settings = {"SORA_WS_URL": running.url}
    assert command_line.run("login", "admin", "--password-stdin", stdin=f"{running.password}\n").status == 0
    kept = command_line.home / ".config" / "sora-ws" / "token.json"
    assert kept.stat().st_mode & 0o777 == 0o600

    made = command_line.run("create", "a paper boat, 纸船", *SMALL, "--watch")
    assert made.status == 0
    video_id, url = made.out.splitlines()
    assert video_id.startswith("video_")
    assert running.request("GET", url).body[4:8] == b"ftyp"
    assert made.err.splitlines()[-1] == "100%"


def test_a_task_without_a_video_is_status_1(signed_in: CommandLine) -> None:
    """The exit status and one line say that the task failed, and why."""
    failed = signed_in.run("create", "[fail]", "--watch")
    assert failed.status == 1
    assert "The model is overloaded" in failed.err.splitlines()[-1]
    assert failed.err.splitlines()[-1].endswith("(GENERATION_FAILED)")


def test_create_as_json(signed_in: CommandLine) -> None:
    """A program gets the whole task."""
    task = signed_in.run("create", "a cat", "--model", "sora-2-pro", "--json").json
    assert task["prompt"] == "a cat"
    assert task["model"] == "sora-2-pro"
    assert task["status"] == "QUEUED"


def test_watch_as_json_prints_each_message(signed_in: CommandLine) -> None:
    """Each push is a line as the server sent it, up to and with the last one."""
    video_id = signed_in.run("create", "a cat", *SMALL).out.strip()
    messages = [json.loads(line) for line in signed_in.run("watch", video_id, "--json").out.splitlines()]
    assert messages[-1]["type"] == "taskCompleted"
    assert messages[-1]["payload"]["result"]["videoUrl"]
    assert {message["payload"]["videoId"] for message in messages} == {video_id}
    seqs = [message["payload"]["seq"] for message in messages]
    assert seqs == sorted(set(seqs))


def test_watch_as_json_of_a_failure_is_status_1(signed_in: CommandLine) -> None:
    """The messages are the same for a program, and so is the exit status."""
    failed = signed_in.run("create", "[fail]", "--watch", "--json")
    assert failed.status == 1
    assert json.loads(failed.out.splitlines()[-1])["type"] == "taskFailed"


def test_watch_of_an_ended_task(signed_in: CommandLine) -> None:
    """Who comes late sees the end."""
    video_id, url = signed_in.run("create", "a cat", *SMALL, "--watch").out.splitlines()
    assert signed_in.run("watch", video_id).out.strip() == url


def test_watch_survives_kill_9_of_the_server(start_server: StartServer, command_line: CommandLine) -> None:
    """A watch comes back by itself and tells the end that the next process reaches."""
    server = start_server(SORA_SIMULATOR_SECONDS="4")
    command_line.settings = {"SORA_WS_URL": server.url, "SORA_WS_TOKEN": server.sign_in()}
    watching = command_line.start("create", "a cat", *SMALL, "--watch", "--json")
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.stdout.readline()
    server.kill()
    server.start()
    out, err = watching.communicate(timeout=GUARD_S)
    assert watching.returncode == 0
    assert json.loads(out.splitlines()[-1])["type"] == "taskCompleted"
    assert "coming back in" in err


def test_a_terminal_gets_a_bar(signed_in: CommandLine) -> None:
    """On a terminal the progress is drawn over itself, up to 100%, and the address stays on stdout."""
    ours, theirs = pty.openpty()
    watching = signed_in.start("create", "a cat", *SMALL, "--watch", stderr=theirs)
    os.close(theirs)
    drawn = bytearray()
    while chunk := _read(ours):
        drawn += chunk
    os.close(ours)
    out, _ = watching.communicate(timeout=GUARD_S)
    assert "━" in drawn.decode()
    assert b"100%" in drawn
    assert out.splitlines()[-1].startswith("http")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other side is closed
        return b""


def test_ctrl_c_is_quiet(command_line: CommandLine, start_server: StartServer) -> None:
    """Somebody who stops watching gets 130 and no traceback."""
    server = start_server(SORA_SIMULATOR_SECONDS="600")
    command_line.settings = {"SORA_WS_URL": server.url, "SORA_WS_TOKEN": server.sign_in()}
    watching = command_line.start("create", "a cat", *SMALL, "--watch", "--json")
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.stdout.readline()
    ended = interrupt(watching)
    assert ended.status == 130
    assert ended.err == ""


def test_a_closed_pipe_is_quiet(signed_in: CommandLine) -> None:
    """A reader that has seen enough, like head, ends the command without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    listing = signed_in.start("list", "--json", stdout=writer)
    os.close(writer)
    _, err = listing.communicate(timeout=GUARD_S)
    assert listing.returncode == 141
    assert err == ""


def test_list(signed_in: CommandLine) -> None:
    """The newest is first; status and limit choose; each task is one line with its prompt."""
    signed_in.run("create", "[fail]\n\x1b[2J of mine", "--watch")
    newest = signed_in.run("list", "--status", "failed", "--limit", "1").out
    assert len(newest.splitlines()) == 1
    assert newest.startswith("video_")
    assert "FAILED" in newest
    assert newest.endswith("[fail]  [2J of mine\n")


def test_list_as_json(signed_in: CommandLine) -> None:
    """A program gets the page as the server gave it."""
    signed_in.run("create", "a dog")
    page = signed_in.run("list", "--limit", "1", "--json").json
    assert [task["prompt"] for task in page["items"]] == ["a dog"]
    assert "nextCursor" in page


def test_what_the_server_refuses_is_one_line(signed_in: CommandLine) -> None:
    """The fields that are wrong are named, and nothing twice."""
    refused = signed_in.run("create", "a cat", "--seconds", "500", "--size", "big")
    assert refused.status == 1
    assert refused.complaint.count("seconds:") == 1
    assert refused.complaint.count("size:") == 1


def test_an_unknown_task_is_one_line(signed_in: CommandLine) -> None:
    """`watch` of what isn't there, or isn't mine, ends."""
    refused = signed_in.run("watch", "video_00000000000000000000000000000000")
    assert refused.status == 1
    assert refused.complaint == "sora-ws: there is no such video"


def test_a_wrong_password_is_one_line(command_line: CommandLine, running: Server) -> None:
    """A sign-in that fails keeps nothing."""
    refused = command_line.run("login", "admin", "--password-stdin", stdin="wrong\n", SORA_WS_URL=running.url)
    assert refused.status == 1
    assert "password is wrong" in refused.complaint
    assert not (command_line.home / ".config").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["login", "admin"], "--password-stdin"),
        (["login", "admin", "--password-stdin"], "first line of stdin"),
        (["login"], "name it"),
    ],
)
def test_login_never_hangs_without_a_terminal(
    arguments: list[str], said: str, command_line: CommandLine
) -> None:
    """What can't be asked for is told."""
    refused = command_line.run(*arguments)
    assert refused.status == 1
    assert said in refused.complaint


@pytest.mark.parametrize("command", [["list"], ["watch", "video_x"], ["create", "a cat"]])
def test_who_is_not_signed_in_is_told_how(command: list[str], command_line: CommandLine) -> None:
    """Without a token nothing is sent."""
    refused = command_line.run(*command)
    assert refused.status == 1
    assert refused.complaint.endswith("run `sora-ws login`, or set SORA_WS_TOKEN")


@pytest.mark.parametrize("command", [["list"], ["watch", "video_x"], ["create", "a cat"]])
def test_a_token_that_is_not_taken(command: list[str], signed_in: CommandLine) -> None:
    """The line says how to get another one, and doesn't show the old one."""
    refused = signed_in.run(*command, SORA_WS_TOKEN="eyJhbGciOiJIUzI1NiJ9.e30.wrong")
    assert refused.status == 1
    assert refused.complaint.endswith("run `sora-ws login`, or set SORA_WS_TOKEN")
    assert "eyJ" not in refused.err


def test_a_kept_token_goes_to_its_own_server_only(command_line: CommandLine, running: Server) -> None:
    """Pointed elsewhere, the commands don't hand the token over."""
    command_line.settings = {"SORA_WS_URL": running.url}
    command_line.run("login", "admin", "--password-stdin", stdin=f"{running.password}\n")
    refused = command_line.run("list", SORA_WS_URL="http://localhost:1")
    assert refused.status == 1
    assert f"signed in to {running.url}, not to http://localhost:1" in refused.complaint


def test_a_kept_token_that_is_over(command_line: CommandLine) -> None:
    """A sign-in whose time has passed is told before anything is sent."""
    kept = {"url": "http://localhost:3001", "token": "t", "expiresAt": 1, "username": "admin"}
    _keep(command_line.home, json.dumps(kept))
    assert "your sign-in is over" in command_line.run("list").complaint


def test_a_kept_token_that_is_damaged(command_line: CommandLine) -> None:
    """A file that isn't what `login` wrote is named."""
    _keep(command_line.home, "{")
    assert "token.json can't be read" in command_line.run("list").complaint


def _keep(home: Path, text: str) -> None:
    file = home / ".config" / "sora-ws" / "token.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:3001",
        "ftp://localhost",
        "http://",
        "http://localhost:3001?x=1",
        "http://localhost:99999",
        "http://[::1",
    ],
)
def test_a_wrong_address_is_a_wrong_setting(url: str, command_line: CommandLine) -> None:
    """SORA_WS_URL is checked like every setting."""
    refused = command_line.run("list", SORA_WS_URL=url, SORA_WS_TOKEN="t")
    assert refused.status == 78
    assert refused.complaint.startswith(f"sora-ws: SORA_WS_URL is {url!r}")


@pytest.mark.parametrize("command", [["list"], ["watch", "video_x"], ["create", "a cat", "--watch"]])
def test_no_server_is_one_line(command: list[str], command_line: CommandLine) -> None:
    """Where nobody listens, a command ends at once."""
    refused = command_line.run(*command, SORA_WS_URL="http://localhost:1", SORA_WS_TOKEN="t")
    assert refused.status == 1
    assert refused.complaint == "sora-ws: No server can be reached at http://localhost:1: Connection refused"


def test_letters_that_the_terminal_has_not(signed_in: CommandLine) -> None:
    """A prompt in another alphabet never breaks a listing."""
    signed_in.run("create", "纸船")
    listed = signed_in.run("list", "--limit", "1", PYTHONIOENCODING="latin-1")
    assert listed.status == 0
    assert listed.out.endswith("??\n")
