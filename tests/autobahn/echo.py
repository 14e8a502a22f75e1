"""A server that sends back what it is sent, by the product's own handler, lines and connections.

`python -m tests.autobahn.echo PORT fast|stream`, until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Literal, cast

from tornado.httpserver import HTTPServer
from tornado.web import Application

from sora_ws.clock import Clock
from sora_ws.push import frames
from sora_ws.push.connection import DEFLATES, Connection
from sora_ws.push.frames import Opcode
from sora_ws.push.handler import PushHandler
from sora_ws.push.hub import Hub
from sora_ws.push.lines import Lines
from sora_ws.push.selfcheck import bare_sockets
from sora_ws.push.sockets import Sockets
from sora_ws.settings import Settings
from tests.unit.lines import presenter

HOUR_MS = 3_600_000
MESSAGE_BYTES_MAX = 16 * 1024 * 1024


class Echo(Lines):
    """Lines on which everybody may say anything, and is told the same."""

    def on_text(self, connection: Connection, text: str) -> None:
        echo(connection, Opcode.TEXT, text.encode())

    def on_binary(self, connection: Connection, data: bytes) -> None:
        echo(connection, Opcode.BINARY, data)

    def on_ping(self, connection: Connection, data: bytes) -> None:
        connection.pong(data)


def echo(connection: Connection, opcode: Opcode, data: bytes) -> None:
    """Compressed where that was agreed."""
    if connection.kind & DEFLATES:
        connection.send(frames.frame(opcode, frames.deflate(data), compressed=True))
    else:
        connection.send(frames.frame(opcode, data))


async def serve(port: int, transport: Literal["fast", "stream"]) -> None:
    """Returns never."""
    settings = Settings(
        ws_compression=True,
        ws_auth_timeout=HOUR_MS,
        max_message_bytes=MESSAGE_BYTES_MAX,
        max_send_buffer_bytes=2 * MESSAGE_BYTES_MAX,
    )
    clock = Clock()
    lines = Echo(settings, Hub(presenter(), clock), asyncio.get_running_loop().time, clock)
    lines.start()

    def application(sockets: Sockets | None) -> Application:
        arguments = {"lines": lines, "settings": settings, "sockets": sockets}
        return Application([(r"/ws", PushHandler, arguments)])

    sockets = await bare_sockets(transport, application)
    if transport == "fast" and sockets is None:
        sys.exit("sockets can't be handed over here")
    HTTPServer(application(sockets)).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), cast(Literal["fast", "stream"], sys.argv[2])))
