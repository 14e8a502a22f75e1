"""What was accepted is kept over the server's death, the database's absence and a stop."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.conftest import StartServer
from tests.mongod import Mongod, start_mongod
from tests.server import Server

__all__ = ["start_mongod"]

GUARD_S = 60.0


@contextmanager
def line_of(server: Server, token: str) -> Iterator[ClientConnection]:
    """An authenticated line."""
    with connect(server.ws_url) as line:
        line.send(json.dumps({"type": "auth", "payload": {"token": token}}))
        assert hear(line)["type"] == "authSuccess"
        yield line


def close_code(line: ClientConnection) -> int:
    """The code that the server closes with; what it still says is heard."""
    try:
        while True:
            line.recv(GUARD_S)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


def subscribe(line: ClientConnection, ids: set[str]) -> None:
    """Returns when the server has said yes to each."""
    for video_id in ids:
        line.send(json.dumps({"type": "subscribe_task", "payload": {"videoId": video_id}}))
    waiting = set(ids)
    while waiting:
        message = hear(line)
        if message["type"] == "subscribeSuccess":
            waiting.discard(message["payload"]["videoId"])


def hear(line: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(line.recv(GUARD_S))
    assert message["type"] != "error", message
    return message


def hear_ends(line: ClientConnection, ids: set[str]) -> dict[str, str]:
    """The type of the terminal push of each task."""
    ends: dict[str, str] = {}
    deadline = time.monotonic() + GUARD_S
    while set(ends) != ids:
        message = hear(line)
        video_id = message["payload"].get("videoId")
        if message["type"] in ("taskCompleted", "taskFailed") and video_id in ids:
            ends[video_id] = message["type"]
        assert time.monotonic() < deadline, f"{len(ends)} of {len(ids)} have ended"
    return ends


def ends_of(server: Server, token: str, ids: set[str]) -> dict[str, str]:
    """The same, for tasks that may have ended already."""
    ends: dict[str, str] = {}
    for video_id in ids:
        with line_of(server, token) as line:
            line.send(json.dumps({"type": "subscribe_task", "payload": {"videoId": video_id}}))
            ends |= hear_ends(line, {video_id})
    return ends


def test_kill_9_at_any_moment(start_server: StartServer) -> None:
    """Killed ten times at random moments of its work, the server completes all that it has accepted."""
    server = start_server(SORA_SIMULATOR_SECONDS="1")
    token = server.sign_in()
    ids: set[str] = set()
    chance = random.Random(7)
    for round_ in range(10):
        ids |= {server.create(token, f"cat {round_}.{n}", size="128x128", seconds=1) for n in range(2)}
        time.sleep(chance.uniform(0, 0.8))  # the moment of death is what is drawn here
        server.kill()
        server.start()
    assert set(ends_of(server, token, ids).values()) == {"taskCompleted"}
    for video_id in ids:
        task = server.request("GET", f"/api/videos/{video_id}", token=token).json
        video = server.request("GET", task["result"]["videoUrl"])
        assert (video.status, len(video.body)) == (200, task["result"]["fileSize"])


def test_mongodb_away(start_server: StartServer, start_mongod: Callable[..., Mongod]) -> None:
    """503 for new tasks while it is gone; when it is back all goes on, and nothing accepted is lost."""
    mongod = start_mongod()
    server = start_server(DATABASE_URL=mongod.url("deaths"), SORA_SIMULATOR_SECONDS="3")
    token = server.sign_in()
    with line_of(server, token) as line:
        ids = {server.create(token, f"cat {n}", size="128x128", seconds=1) for n in range(3)}
        subscribe(line, ids)
        mongod.kill()
        refused = server.request("POST", "/api/videos", {"prompt": "too late"}, token=token)
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert server.request("GET", "/healthz").status == 200
        assert server.request("GET", "/readyz").status == 503
        mongod.start()
        assert set(hear_ends(line, ids).values()) == {"taskCompleted"}
    ids = {server.create(token, "after", size="128x128", seconds=1)}
    assert set(ends_of(server, token, ids).values()) == {"taskCompleted"}


def test_started_before_its_database(start_server: StartServer, start_mongod: Callable[..., Mongod]) -> None:
    """The server starts, says that it waits, answers 503, and serves when the database comes."""
    mongod = start_mongod()
    mongod.kill()
    server = start_server(wait=False, DATABASE_URL=mongod.url("late"))
    assert server.request("GET", "/healthz").status == 200
    assert server.request("GET", "/").status == 200
    for path in ("/readyz", "/api/videos"):
        answer = server.request("GET", path)
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
    while "waiting for the database" not in server.log:
        assert server.request("GET", "/readyz").status == 503
    mongod.start()
    server.wait_until_ready()
    ids = {server.create(server.sign_in(), "late", size="128x128", seconds=1)}
    assert ids


def test_sigterm(start_server: StartServer) -> None:
    """Ends with 0 and says 1001 to every line; tasks under way go on after the next start."""
    server = start_server(SORA_SIMULATOR_SECONDS="3", DRAIN_SECONDS="1")
    token = server.sign_in()
    ids = {server.create(token, f"cat {n}", size="128x128", seconds=1) for n in range(5)}
    with ExitStack() as stack:
        lines = [stack.enter_context(line_of(server, token)) for _ in range(20)]
        assert server.stop() == 0
        assert [close_code(line) for line in lines] == [1001] * 20
    server.start()
    assert set(ends_of(server, token, ids).values()) == {"taskCompleted"}


def test_sigterm_while_the_database_hangs(
    start_server: StartServer, start_mongod: Callable[..., Mongod]
) -> None:
    """A database that neither answers nor breaks off holds no stop up."""
    mongod = start_mongod()
    server = start_server(DATABASE_URL=mongod.url("hangs"), DRAIN_SECONDS="1")
    server.create(server.sign_in())
    mongod.pause()
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 30  # a guard; the promise itself is DRAIN_SECONDS + 2
    mongod.resume()


def test_secrets_and_users_outlive_a_restart(start_server: StartServer) -> None:
    """A token and a link of before are good after; the password is told once."""
    server = start_server()
    token = server.sign_in()
    video_id = server.create(token, size="128x128", seconds=1)
    ends_of(server, token, {video_id})
    url = server.request("GET", f"/api/videos/{video_id}", token=token).json["result"]["videoUrl"]
    server.stop()
    server.start()
    assert server.request("GET", url).status == 200
    assert server.request("GET", f"/api/videos/{video_id}", token=token).status == 200
    assert server.sign_in()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"PORT": "eighty"}, "PORT is 'eighty'"),
        ({"WS_AUTH_TIMEOUT": "10s"}, "WS_AUTH_TIMEOUT is '10s'"),
        ({"JWT_SECRET": "secret"}, "JWT_SECRET"),
        ({"DATABASE_URL": "postgres://me:hunter2@localhost/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "mongodb://me:hunter2@local host:x/name"}, "DATABASE_URL"),
        ({"DATABASE_URL": "mongodb://me:hunter2@[/x"}, "DATABASE_URL: write mongodb://HOST/NAME"),
        ({"SORA_API_BASE_URL": "http://[x/v1"}, "SORA_API_BASE_URL"),
        ({"PUBLIC_URL": "http://x:99999"}, "PUBLIC_URL is 'http://x:99999': write an address"),
        ({"STATE_DIR": "/proc/nothing/here"}, "STATE_DIR: the folder /proc/nothing/here can't be made"),
        (
            {"DATABASE_URL": "sqlite:////proc/nothing/db"},
            "DATABASE_URL: the folder /proc/nothing can't be made",
        ),
        ({"HOST": "nowhere.invalid"}, "HOST is 'nowhere.invalid'"),
    ],
)
def test_a_wrong_setting_is_one_line_and_78(tmp_path: Path, settings: dict[str, str], line: str) -> None:
    """It names the setting, says what to write, and shows no secret."""
    server = Server(tmp_path / "state", settings)
    status, said = server.fail_to_start()
    assert status == 78
    assert len(said.strip().splitlines()) == 1
    assert line in said
    assert "hunter2" not in said


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    """One line says so, and starting again won't help."""
    path = tmp_path / "newer.sqlite3"
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA journal_mode = WAL")
        newer.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    status, said = Server(tmp_path / "state", {"DATABASE_URL": f"sqlite:///{path}"}).fail_to_start()
    assert status == 78
    [line] = [line for line in said.splitlines() if line.startswith("sora-ws: ")]
    assert "the database has format 99" in line
    assert path.read_bytes() == before


def test_a_port_that_is_taken_is_one_line(server: Server, tmp_path: Path) -> None:
    """It names the port and says what to do."""
    second = Server(tmp_path / "second", port=server.port)
    status, said = second.fail_to_start()
    assert status != 0
    assert len(said.strip().splitlines()) == 1
    assert str(server.port) in said
    assert "PORT" in said
