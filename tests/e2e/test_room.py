"""Disks that fill up, videos that go, and a database that comes back from a backup."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.server import Server
from tests.services import a_small_disk

GUARD_S = 60.0
SMALL: dict[str, Any] = {"size": "128x128", "seconds": 1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The videos of the first server, on a disk of 24 MB."""
    with a_small_disk(tmp_path / "state0" / "media", 24) as disk:
        yield disk


def wait_for(server: Server, token: str, video_id: str, holds: Callable[[Any], bool]) -> Any:
    """The task, as soon as that is so."""
    deadline = time.monotonic() + GUARD_S
    while time.monotonic() < deadline:
        task = server.request("GET", f"/api/videos/{video_id}", token=token).json
        if holds(task):
            return task
        time.sleep(0.05)
    pytest.fail(f"it never came to that: {task}")


def fill(ballast: Path) -> None:
    """Take all the room that there is."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        for _ in range(10_000):
            file.write(bytes(65_536))


def is_completed(task: Any) -> bool:
    return bool(task["status"] == "COMPLETED")


def test_a_full_disk(start_server: StartServer, small_disk: Path) -> None:
    """No new task without room for its video; one under way waits for room, and is completed."""
    server = start_server(SORA_SIMULATOR_SECONDS="2")
    token = server.sign_in()
    video_id = server.create(token, "a cat", **SMALL)
    ballast = small_disk / "ballast"
    fill(ballast)
    refused = server.request("POST", "/api/videos", {"prompt": "no room"}, token=token)
    assert refused.status == 507
    wait_for(server, token, video_id, lambda task: task["currentStep"] == "archiving")
    wait_for(server, token, video_id, lambda task: "archive_failed" in server.log)
    ballast.unlink()
    done = wait_for(server, token, video_id, is_completed)
    assert len(server.request("GET", done["result"]["videoUrl"]).body) == done["result"]["fileSize"]
    server.create(token, "room again", **SMALL)


def test_an_old_video_goes_and_its_task_stays(start_server: StartServer) -> None:
    """Its links lead nowhere, and the task says why."""
    server = start_server(SORA_SIMULATOR_SECONDS="0")
    token = server.sign_in()
    before = wait_for(server, token, server.create(token, "a cat", **SMALL), is_completed)
    server.kill()
    a_day_ago = time.time() - 86_400
    for file in (server.state / "media").glob("video_*"):
        os.utime(file, (a_day_ago, a_day_ago))
    server.settings["MEDIA_MAX_AGE"] = "3600"
    server.start()
    after = wait_for(server, token, before["videoId"], lambda task: "expired" in task["result"])
    assert after == before | {"result": before["result"] | {"expired": True}}
    deadline = time.monotonic() + GUARD_S
    while server.request("GET", after["result"]["videoUrl"]).status != 404:  # goes right behind the word
        assert time.monotonic() < deadline


def test_a_database_from_a_backup(start_server: StartServer, tmp_path: Path) -> None:
    """Live tasks of the backup end all the same, with a `seq` above all that was ever seen."""
    server = start_server(SORA_SIMULATOR_SECONDS="3")
    token = server.sign_in()
    video_id = server.create(token, "a cat", **SMALL)
    early = wait_for(server, token, video_id, lambda task: task["status"] == "PROCESSING")
    database, backup = server.state / "sora-ws.sqlite3", tmp_path / "backup.sqlite3"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    late = wait_for(server, token, video_id, lambda task: task["seq"] > early["seq"])
    server.kill()
    for file in server.state.glob("sora-ws.sqlite3*"):
        file.unlink()
    backup.rename(database)
    server.start()
    restored = server.request("GET", f"/api/videos/{video_id}", token=token).json
    end = wait_for(server, token, video_id, lambda task: task["finishedAt"] is not None)
    assert restored["seq"] < end["seq"]
    assert late["seq"] < end["seq"]
