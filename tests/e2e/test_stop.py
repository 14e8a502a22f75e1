"""A stop ends in time, whatever hangs; a start lets nobody in who is shut out."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sora_ws.auth import Accounts
from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.push.messages import CloseCode
from sora_ws.store.sqlite import SqliteStore
from tests.conftest import StartServer
from tests.e2e.world import GUARD_S, StartWorld, logged, token

PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
STOP_S = 15.0  # a guard; the promise itself is DRAIN_SECONDS + 2


class Provider(ThreadingHTTPServer):
    """A videos API whose jobs never end, and whose DELETE is never answered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked_to_delete = threading.Event()
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Answers(BaseHTTPRequestHandler):
    server: Provider

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._show()

    def do_GET(self) -> None:
        self._show()

    def do_DELETE(self) -> None:
        self.server.asked_to_delete.set()
        self.server.over.wait()

    def _show(self) -> None:
        body = json.dumps({"id": "job", "object": "video", "status": "in_progress"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        serving = threading.Thread(target=running.serve_forever)
        serving.start()
        yield running
        running.over.set()
        running.shutdown()
        serving.join()


@contextmanager
def in_time() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < STOP_S


def writer_for(pipe: Path) -> int:
    """A file descriptor of the pipe's other end, as soon as somebody reads it."""
    deadline = time.monotonic() + GUARD_S
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody yet
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_provider_that_hangs(start_server: StartServer, provider: Provider) -> None:
    """SIGTERM waits for no answer to the word that a job is cancelled."""
    server = start_server(SORA_API_BASE_URL=provider.url, DRAIN_SECONDS="0")
    token = server.sign_in()
    video_id = server.create(token)
    deadline = time.monotonic() + GUARD_S
    while server.request("GET", f"/api/videos/{video_id}", token=token).json["currentStep"] == "submitting":
        assert time.monotonic() < deadline
    assert server.request("POST", f"/api/videos/{video_id}/cancel", token=token, body={}).status == 202
    assert provider.asked_to_delete.wait(GUARD_S)
    with in_time():
        assert server.stop() == 0


def test_a_disk_that_hangs(start_server: StartServer) -> None:
    """SIGTERM waits for no read that never ends; a thread of ours stands in it."""
    server = start_server(SORA_SIMULATOR_SECONDS="60", DRAIN_SECONDS="0")
    token = server.sign_in()
    video_id = server.create(token, inputReference=f"data:image/png;base64,{b64encode(PNG).decode()}")
    assert server.request("POST", f"/api/videos/{video_id}/cancel", token=token, body={}).status == 202
    image = server.state / "media" / f"{video_id}.reference"
    image.unlink()
    os.mkfifo(image)

    def retry() -> None:
        with suppress(OSError):  # the server goes without an answer
            server.request("POST", f"/api/videos/{video_id}/retry", token=token, body={})

    asking = threading.Thread(target=retry)
    asking.start()
    writer = writer_for(image)
    with in_time():
        assert server.stop() == 0
    os.close(writer)
    asking.join()


@pytest.mark.gen_test(timeout=30)
async def test_a_part_that_can_not_be_closed(world: StartWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left behind with a word in the log; all others are closed."""

    async def hang(self: object) -> None:
        await asyncio.Event().wait()

    store_was_closed = asyncio.Event()
    close = SqliteStore.close

    async def close_and_tell(self: SqliteStore) -> None:
        await close(self)
        store_was_closed.set()

    monkeypatch.setattr(OpenAIVideos, "close", hang)
    monkeypatch.setattr(SqliteStore, "close", close_and_tell)
    async with world() as w:
        line = await w.line("ada")
        told = logged("sora_ws.app", "something hangs")
        store_was_closed.clear()
        await asyncio.wait_for(w.app.stop(), STOP_S)
        assert await line.closed() == 1001
        assert told.is_set()
        await asyncio.wait_for(store_was_closed.wait(), GUARD_S)


@pytest.mark.gen_test(timeout=30)
async def test_a_user_who_was_disabled_before_the_start(world: StartWorld, tmp_path: Path) -> None:
    """Is let in by no request of the first moment, nor by a line."""
    store = SqliteStore(tmp_path / "state" / "sora-ws.sqlite3")
    await store.open()
    accounts = Accounts(store)
    await accounts.add("bob", "password of bob")
    await accounts.disable("bob")
    await store.close()
    async with world() as w:
        assert (await w.request("GET", "/api/videos", user="bob")).code == 401
        line = await w.line()
        await line.say("auth", {"token": token("bob")})
        assert await line.closed() == CloseCode.DISABLED
