"""A small real server that does with each connection what a test's script says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

VIDEO = "video_1"


class Line(WebSocketHandler):
    """One connection, as a script sees it."""

    server: ScriptedServer
    script: Script

    def initialize(self, server: ScriptedServer) -> None:
        self.server = server
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def get(self, *args: str, **kwargs: str) -> None:
        script = self.server.scripts.pop(0)
        if isinstance(script, int):
            self.set_status(script)
            self.finish({"title": "Not now", "status": script})
            return
        self.script = script
        await super().get(*args, **kwargs)

    def open(self, *args: str, **kwargs: str) -> None:
        self.server.running.append(asyncio.create_task(self._play()))

    def on_message(self, message: str | bytes) -> None:
        self.messages.put_nowait(json.loads(message))

    def on_close(self) -> None:
        self.closed.set()

    async def says(self, type_: str) -> dict[str, Any]:
        """The payload of the client's next message, which is of this type."""
        message = await self.messages.get()
        assert message["type"] == type_
        payload: dict[str, Any] = message["payload"]
        return payload

    async def tell(self, type_: str, **payload: Any) -> None:
        """Send a message."""
        await self.write_message({"type": type_, "timestamp": 1, "payload": payload})

    async def subscribed(self) -> str:
        """Let the client in and subscribe it; returns the token that it came with."""
        token: str = (await self.says("auth"))["token"]
        await self.tell("authSuccess", userId="u", username="u", sessionId="ws_1_abcdef", expiresAt=1)
        assert await self.says("subscribe_task") == {"videoId": VIDEO}
        await self.tell("subscribeSuccess", videoId=VIDEO, subscribed=True)
        return token

    async def progress(self, percent: int, seq: int) -> None:
        """Push a state of the task."""
        await self.tell("taskProgress", videoId=VIDEO, status="PROCESSING", progress=percent, seq=seq)

    async def completed(self, seq: int) -> None:
        """Push the end of the task."""
        result = {"videoUrl": "http://localhost/v.mp4"}
        await self.tell(
            "taskCompleted", videoId=VIDEO, status="completed", progress=100, result=result, seq=seq
        )

    def drop(self) -> None:
        """End the connection without a word."""
        assert self.ws_connection is not None
        stream = self.ws_connection.stream
        assert stream is not None
        stream.close()

    async def _play(self) -> None:
        await self.script(self)
        await self.closed.wait()


Script = Callable[[Line], Awaitable[None]]


class Refresh(RequestHandler):
    """POST /api/auth/refresh: the next token, or the status that stands for it."""

    def initialize(self, server: ScriptedServer) -> None:
        self.server = server

    def post(self) -> None:
        self.server.renewed_with.append(self.request.headers["Authorization"])
        answer = self.server.renewals.pop(0)
        if isinstance(answer, int):
            self.set_status(answer)
            self.finish({"title": "No"})
            return
        self.finish({"token": answer, "expiresAt": 1, "userId": "u", "username": "u"})


class ScriptedServer:
    """`scripts` has one for each connection, in order: a coroutine, or a status that refuses it."""

    def __init__(self) -> None:
        self.scripts: list[Script | int] = []
        self.renewals: list[str | int] = []
        self.renewed_with: list[str] = []
        self.running: list[asyncio.Task[None]] = []
        sock, port = bind_unused_port()
        routes = [(r"/ws", Line, {"server": self}), (r"/api/auth/refresh", Refresh, {"server": self})]
        self._server = HTTPServer(Application(routes))
        self._server.add_sockets([sock])
        self.url = f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        """Hear of every script that did not go as written, and let go of the port."""
        await asyncio.wait_for(asyncio.gather(*self.running), 30)
        assert self.scripts == []
        self._server.stop()
        await self._server.close_all_connections()
