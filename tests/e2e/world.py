"""The very program that ships, in front of a provider that does what a test says.

Every part is real: the server is composed from `Settings` and listens on a free port, the
provider is an HTTP server, the database SQLite or a real MongoDB, the client not ours.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import jwt
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from sora_ws.app import App
from sora_ws.attendant import PATIENCE, Patience
from sora_ws.composition import Composition
from sora_ws.settings import Settings
from tests.backends.dialects import DialectServer
from tests.backends.jobs import Dialect

SECRET: Final = "a secret of tests, of more than 32 bytes"
GUARD_S: Final = 20.0
TRANSPORT: Final = os.environ.get("WS_TRANSPORT", "fast")


def token(user: str = "ada", *, lives_s: float = 3600, **claims: Any) -> str:
    """A token as somebody's own login makes it."""
    return jwt.encode({"sub": user, "exp": int(time.time() + lives_s), **claims}, SECRET, "HS256")


@dataclass
class Line:
    """A WebSocket client; what comes is kept until somebody asks for it."""

    socket: ClientConnection
    heard: list[dict[str, Any]] = field(default_factory=list)
    wants_beats: bool = False  # else they are passed over: the first comes at a random time

    async def say(self, type_: str, payload: dict[str, Any] | None = None, **more: Any) -> None:
        message = {"type": type_, **more} | ({} if payload is None else {"payload": payload})
        await self.socket.send(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        while True:
            message: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), GUARD_S))
            if message["type"] != "heartbeat" or self.wants_beats:
                self.heard.append(message)
                return message

    async def hear_until(self, *types: str, **payload: Any) -> dict[str, Any]:
        """The next message of one of these types whose payload holds these values."""
        while True:
            message = await self.hear()
            if message["type"] in types and payload.items() <= message["payload"].items():
                return message

    async def ask(self, type_: str, payload: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Say something, and the next message."""
        await self.say(type_, payload, **more)
        return await self.hear()

    async def auth(self, user: str = "ada", *, batch: bool | None = None, **claims: Any) -> dict[str, Any]:
        payload: dict[str, Any] = {"token": token(user, **claims)}
        if batch is not None:
            payload["batch"] = batch
        answer = await self.ask("auth", payload)
        assert answer["type"] == "authSuccess", answer
        return answer

    async def follow(self, video_id: str) -> list[dict[str, Any]]:
        """Subscribe the task and hear it to its end; all its pushes."""
        await self.say("subscribe_task", {"videoId": video_id})
        await self.hear_until("subscribeSuccess")
        start = len(self.heard)
        await self.hear_until("taskCompleted", "taskFailed", videoId=video_id)
        return [m for m in self.heard[start:] if m["payload"].get("videoId") == video_id]

    async def closed(self) -> int:
        """The code that the server closes with; what it still says is heard."""
        try:
            while True:
                await self.hear()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006

    async def silence(self) -> None:
        """Nothing but the answer to a ping is on its way to us."""
        await self.say("ping", id="silence")
        assert (await self.hear())["id"] == "silence"


@dataclass
class World:
    """A server, its provider, and its clients."""

    app: App
    provider: DialectServer
    stack: AsyncExitStack

    @property
    def http(self) -> str:
        return f"http://localhost:{self.app.settings.port}"

    async def line(self, user: str | None = None, **options: Any) -> Line:
        """A new connection, authenticated where a user is named."""
        options.setdefault("compression", None)
        url = f"{self.http.replace('http', 'ws')}/ws"
        line = Line(await self.stack.enter_async_context(connect(url, **options)))
        if user is not None:
            await line.auth(user)
        return line

    async def request(
        self, method: str, path: str, body: Any = None, *, user: str | None = "ada", **headers: str
    ) -> HTTPResponse:
        """One HTTP request; `body` goes as JSON. Header names are given with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is not None:
            sent["Authorization"] = f"Bearer {token(user)}"
        data = None if body is None else json.dumps(body)
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        if method == "POST" and data is None:
            data = ""
        url = path if path.startswith("http") else self.http + path
        request = HTTPRequest(url, method, headers=sent, body=data, request_timeout=GUARD_S)
        return await AsyncHTTPClient().fetch(request, raise_error=False)

    async def create(self, prompt: str = "a cat", *, user: str = "ada", **more: Any) -> str:
        """The id of a new task."""
        answer = await self.request("POST", "/api/videos", {"prompt": prompt, **more}, user=user)
        assert answer.code == 202, answer.body
        video_id: str = json.loads(answer.body)["videoId"]
        return video_id

    async def task(self, video_id: str, *, user: str = "ada") -> dict[str, Any]:
        """The task as REST shows it."""
        answer = await self.request("GET", f"/api/videos/{video_id}", user=user)
        assert answer.code == 200, answer.body
        task: dict[str, Any] = json.loads(answer.body)
        return task


def logged(logger: str, text: str) -> asyncio.Event:
    """Set when this logger says something that holds the text."""
    said = asyncio.Event()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if text in record.getMessage():
                said.set()
                logging.getLogger(logger).removeHandler(self)

    logging.getLogger(logger).addHandler(Ear())
    return said


StartWorld = Callable[..., Any]


@asynccontextmanager
async def a_world(
    state: Path,
    dialect: Dialect | None = None,
    *,
    patience: Patience = PATIENCE,
    **settings: str,
) -> AsyncIterator[World]:
    """A world of its own; `settings` are those of an operator, over fast ones.

    SORA_API_BASE_URL among them names another provider, and `World.provider` hears nothing.
    """
    async with AsyncExitStack() as stack:
        provider = DialectServer(dialect)
        base_url = await provider.start()
        stack.push_async_callback(provider.stop)
        environ = {
            "STATE_DIR": str(state),
            "PORT": "0",
            "JWT_SECRET": SECRET,
            "WS_TRANSPORT": TRANSPORT,
            "SORA_API_BASE_URL": base_url,
            "SORA_POLL_INTERVAL": "200",
            "SORA_POLL_MIN_INTERVAL": "50",
            "DRAIN_SECONDS": "0",
        }
        app = App(Settings.load(environ | settings)[0], composition=partial(Composition, patience=patience))
        await app.start()
        stack.push_async_callback(app.stop)
        await asyncio.wait_for(app.ready(), GUARD_S)
        async with AsyncExitStack() as clients:
            yield World(app, provider, clients)
