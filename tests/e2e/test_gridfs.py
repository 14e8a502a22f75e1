"""Videos in MongoDB, by real servers: any of them serves any video, a piece at a time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sora_ws.media import CHUNK
from sora_ws.media.gridfs import GridFsMedia
from sora_ws.media.links import Links
from sora_ws.media.scratch import Scratch
from sora_ws.store.mongo import MongoStore
from tests.conftest import StartServer
from tests.mongod import Mongod, start_mongod
from tests.server import Server

__all__ = ["start_mongod"]

GUARD_S = 60.0
MEGABYTE = 1024**2
IMAGE = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


@pytest.fixture
def settings(mongod: Mongod) -> dict[str, str]:
    """Of servers that share a database."""
    url = mongod.url(f"e2e_{uuid.uuid4().hex[:8]}")
    return {"DATABASE_URL": url, "MEDIA_STORE": "gridfs", "SORA_SIMULATOR_SECONDS": "0"}


def another(start_server: StartServer, first: Server, settings: dict[str, str]) -> Server:
    """One more server beside `first`, on a folder of its own."""
    (first.state.parent / "state1").mkdir()
    (first.state.parent / "state1" / "signed-in-before").touch()  # it is told no first password
    server = start_server(**settings)
    server.password = first.password
    return server


def completed(server: Server, token: str, video_id: str) -> Any:
    """The task, at its end."""
    deadline = time.monotonic() + GUARD_S
    while time.monotonic() < deadline:
        task = server.request("GET", f"/api/videos/{video_id}", token=token).json
        if task["status"] == "COMPLETED":
            return task
        time.sleep(0.05)  # there is no server but these to tell of it
    pytest.fail(f"it never came to that: {task}")


def until_nothing_lies_in(folder: Path) -> None:
    deadline = time.monotonic() + GUARD_S
    while files := [file for file in folder.rglob("*") if file.is_file()]:
        assert time.monotonic() < deadline, files
        time.sleep(0.05)


def path_of(link: str) -> str:
    """Without the server that made it."""
    parts = urlsplit(link)
    return f"{parts.path}?{parts.query}"


def test_any_server_serves_any_video(start_server: StartServer, settings: dict[str, str]) -> None:
    """Whole, in parts and not at all, as the one that archived it does; none keeps a file of it."""
    a = start_server(**settings)
    b = another(start_server, a, settings)
    token = a.sign_in()
    video_id = a.create(token, size="128x128", seconds=1, inputReference=IMAGE)
    result = completed(a, token, video_id)["result"]
    video, size = path_of(result["videoUrl"]), result["fileSize"]
    whole = a.request("GET", video)
    assert (whole.status, len(whole.body)) == (200, size)
    for server in (a, b):
        assert server.request("GET", video).body == whole.body
        assert server.request("GET", path_of(result["thumbnailUrl"])).headers["Content-Type"] == "image/jpeg"
        part = server.request("GET", video, headers={"Range": "bytes=100-299"})
        assert (part.status, part.body) == (206, whole.body[100:300])
        assert part.headers["Content-Range"] == f"bytes 100-299/{size}"
        end = server.request("GET", video, headers={"Range": "bytes=-10"})
        assert (end.status, end.body) == (206, whole.body[-10:])
        head = server.request("HEAD", video)
        assert (head.status, head.headers["Content-Length"], head.body) == (200, str(size), b"")
        held = server.request("GET", video, headers={"If-None-Match": whole.headers["ETag"]})
        assert (held.status, held.body) == (304, b"")
        assert server.request("GET", video, headers={"Range": f"bytes={size}-"}).status == 416
        until_nothing_lies_in(server.state / "media")  # both have fetched it, as nothing joins them
    again = b.request("POST", f"/api/videos/{video_id}/retry", {}, token=token)
    assert again.status == 202  # with the image, which the other one stored
    completed(b, token, again.json["videoId"])
    assert b.request("DELETE", f"/api/videos/{video_id}", token=token).status == 204
    assert {server.request("GET", video).status for server in (a, b)} == {404}


def archived(settings: dict[str, str], scratch: Path, megabytes: int) -> tuple[str, bytes]:
    """The path of the link to a new video of this size, and the digest of its bytes."""
    task_id = f"video_{uuid.uuid4().hex}"
    noise = os.urandom(MEGABYTE - 4)
    digest = hashlib.sha256()

    async def keep() -> str:
        store = MongoStore(settings["DATABASE_URL"])
        await store.open()
        media = GridFsMedia(store, Scratch(scratch))
        with media.partial(task_id).open("wb") as file:
            for number in range(megabytes):
                for part in (number.to_bytes(4, "big"), noise):
                    file.write(part)
                    digest.update(part)
        await media.keep(f"{task_id}.mp4", media.partial(task_id))
        key = base64.b64decode(await store.keep("links", ""))  # a server has made it
        await store.close()
        return Links(key, "http://localhost").video(task_id)

    return path_of(asyncio.run(keep())), digest.digest()


class Reader:
    """Somebody who asks for a video and reads as slowly as they like."""

    def __init__(self, server: Server, path: str) -> None:
        self.socket = socket.create_connection(("localhost", server.port))
        self.socket.settimeout(GUARD_S)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.file = self.socket.makefile("rb")
        assert b" 200 " in self.file.readline()
        while self.file.readline() != b"\r\n":
            pass

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def peak_bytes(server: Server) -> int:
    """The most memory that the process has held since `forget_peak`."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    [kilobytes] = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024


def forget_peak(server: Server) -> None:
    assert server.process is not None
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def test_a_large_video_is_never_whole_in_memory(
    start_server: StartServer, settings: dict[str, str], tmp_path: Path
) -> None:
    """Twenty readers of 200 MB who stand still, and one who reads it all, cost a few chunks each."""
    server = start_server(**settings)
    path, digest = archived(settings, tmp_path / "scratch", 200)
    server.request("GET", path, headers={"Range": "bytes=0-0"})
    forget_peak(server)
    before = peak_bytes(server)
    with ExitStack() as stack:
        for _ in range(20):
            stack.callback(Reader(server, path).close)
        reader = Reader(server, path)
        stack.callback(reader.close)
        got = hashlib.sha256()
        for _ in range(200):
            got.update(reader.file.read(MEGABYTE))
        assert got.digest() == digest
        assert peak_bytes(server) - before < 21 * 4 * CHUNK + 16 * MEGABYTE


def test_a_database_that_hangs_in_the_middle_of_a_video(
    start_server: StartServer, start_mongod: Callable[..., Mongod], tmp_path: Path
) -> None:
    """The line ends early, so that no player takes it for the whole; the rest is there afterwards."""
    mongod = start_mongod()
    settings = {"DATABASE_URL": mongod.url("sora"), "MEDIA_STORE": "gridfs"}
    server = start_server(**settings)
    path, digest = archived(settings, tmp_path / "scratch", 64)
    reader = Reader(server, path)
    begun = reader.file.read(MEGABYTE)
    mongod.pause()
    begun += reader.file.read()
    reader.close()
    assert len(begun) < 64 * MEGABYTE
    away = server.request("GET", path)
    assert (away.status, away.headers["Retry-After"]) == (503, "5")
    mongod.resume()
    rest = server.request("GET", path, headers={"Range": f"bytes={len(begun)}-"})
    assert rest.status == 206
    assert hashlib.sha256(begun + rest.body).digest() == digest
    assert "media_broke_off" in server.log
    assert "Traceback" not in server.log
