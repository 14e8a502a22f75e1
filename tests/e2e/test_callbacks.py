"""Ends are told to the address that asked for it, by the program that ships, whatever dies in between."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sora_ws.callbacks import message_id
from tests.callbacks.receiver import SECRET, Receiver, a_receiver
from tests.conftest import StartServer
from tests.mongod import Mongod, start_mongod
from tests.ports import free_port
from tests.server import Server

__all__ = ["start_mongod"]

GUARD_S = 60.0
SETTINGS = {"CALLBACK_ALLOW": "127.0.0.0/8", "CALLBACK_SECRET": SECRET}


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with a_receiver(tmp_path) as running:
        yield running


def until_callback(server: Server, token: str, video_id: str, **wanted: Any) -> dict[str, Any]:
    """The task, as soon as its callback has these values."""
    deadline = time.monotonic() + GUARD_S
    while time.monotonic() < deadline:
        task: dict[str, Any] = server.request("GET", f"/api/videos/{video_id}", token=token).json
        if wanted.items() <= task["callback"].items():
            return task
        time.sleep(0.05)  # nothing tells when it is stored
    raise AssertionError(f"not {wanted}: {task['callback']}")


def test_every_end_is_told(start_server: StartServer, receiver: Receiver) -> None:
    """Completed, failed, cancelled: the task as REST shows it, and its callback's state beside."""
    server = start_server(**SETTINGS, SORA_SIMULATOR_SECONDS="1")
    token = server.sign_in()
    order: dict[str, Any] = {"size": "128x128", "seconds": 1, "callbackUrl": f"{receiver.url}/204"}
    ids = {
        server.create(token, "a cat", **order): "video.completed",
        server.create(token, "a cat [fail]", **order): "video.failed",
    }
    server.create(token, "nobody asks")
    cancelled = server.create(token, "a dog", **order)
    server.request("POST", f"/api/videos/{cancelled}/cancel", token=token)
    ids[cancelled] = "video.cancelled"
    messages = receiver.wait_for(3)
    assert [message["error"] for message in messages] == [None] * 3
    assert {message["event"]["data"]["videoId"]: message["event"]["type"] for message in messages} == ids
    for message in messages:
        data = message["event"]["data"]
        assert message["id"] == message_id(data["videoId"])
        task = until_callback(server, token, data["videoId"], state="delivered", attempts=1)
        callback = task.pop("callback")
        assert data == task
        assert callback["host"] == "127.0.0.1"
        assert callback["deliveredAt"] >= data["finishedAt"] == message["event"]["timestamp"]
    figures = server.request("GET", "/metrics").body.decode()
    assert 'sora_ws_callbacks_total{outcome="delivered"} 3.0' in figures


@pytest.fixture(params=["sqlite", "mongodb"])
def settings(request: pytest.FixtureRequest, start_mongod: Callable[..., Mongod]) -> dict[str, str]:
    """Of a server over each database."""
    database = {"DATABASE_URL": start_mongod().url("callbacks")} if request.param == "mongodb" else {}
    return SETTINGS | database | {"SORA_SIMULATOR_SECONDS": "0"}


def test_kill_9_before_a_receiver_is_there(
    start_server: StartServer, settings: dict[str, str], tmp_path: Path
) -> None:
    """The end is stored, nobody listens, the server dies: the next one tells it, once."""
    port = free_port()
    server = start_server(**settings)
    token = server.sign_in()
    order: dict[str, Any] = {"size": "128x128", "seconds": 1, "callbackUrl": f"http://127.0.0.1:{port}/204"}
    video_id = server.create(token, **order)
    until_callback(server, token, video_id, error="the connection failed")
    server.kill()
    with a_receiver(tmp_path, port) as receiver:
        server.start()
        until_callback(server, token, video_id, state="delivered", attempts=2)
        [message] = receiver.wait_for(1)
    assert message["error"] is None
    assert message["id"] == message_id(video_id)


def test_kill_9_during_an_attempt(start_server: StartServer, receiver: Receiver) -> None:
    """The receiver has it and hasn't answered, the server dies: told again under the same id."""
    server = start_server(**SETTINGS, SORA_SIMULATOR_SECONDS="0")
    token = server.sign_in()
    order: dict[str, Any] = {"size": "128x128", "seconds": 1, "callbackUrl": f"{receiver.url}/hang/204"}
    video_id = server.create(token, **order)
    receiver.wait_for(1)
    server.kill()
    server.start()
    until_callback(server, token, video_id, state="delivered", attempts=2)
    messages = receiver.wait_for(2)
    assert [message["error"] for message in messages] == [None, None]
    assert [message["id"] for message in messages] == [message_id(video_id)] * 2


def test_sent_again(start_server: StartServer, receiver: Receiver) -> None:
    """By its owner, after the end and not before; the same message."""
    server = start_server(**SETTINGS, SORA_SIMULATOR_SECONDS="1")
    token = server.sign_in()
    order: dict[str, Any] = {"size": "128x128", "seconds": 1, "callbackUrl": f"{receiver.url}/204"}
    video_id = server.create(token, **order)
    assert server.request("POST", f"/api/videos/{video_id}/callback", token=token).status == 409
    until_callback(server, token, video_id, state="delivered")
    answer = server.request("POST", f"/api/videos/{video_id}/callback", token=token)
    assert answer.status == 202
    assert answer.json["callback"]["state"] == "pending"
    first, second = receiver.wait_for(2)
    assert (first["id"], first["body"]) == (second["id"], second["body"])
    assert until_callback(server, token, video_id, state="delivered")["seq"] == answer.json["seq"]


def test_the_made_secret_is_told(start_server: StartServer, tmp_path: Path) -> None:
    """Without CALLBACK_SECRET one is made, the command line tells it, and it is what signs."""
    server = start_server(CALLBACK_ALLOW="127.0.0.0/8", SORA_SIMULATOR_SECONDS="0")
    command = [sys.executable, "-m", "sora_ws", "secret"]
    secret = subprocess.run(
        command, env=server.environment, capture_output=True, text=True, check=True
    ).stdout
    with a_receiver(tmp_path, secret=secret.strip()) as receiver:
        order: dict[str, Any] = {"size": "128x128", "seconds": 1, "callbackUrl": f"{receiver.url}/204"}
        server.create(server.sign_in(), **order)
        [message] = receiver.wait_for(1)
    assert message["error"] is None
