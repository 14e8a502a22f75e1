"""Whether sockets can be taken out of Tornado's hands: tried once, at the start.

The handover leans on private names of Tornado. Where a version of it has other ones, lines are
served by Tornado's own stream, slower and larger, and nobody is the worse for it.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import Application

if TYPE_CHECKING:
    from sora_ws.push.sockets import Sockets

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 5.0
HANDSHAKE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
PING: Final = b"\x89\x82\x00\x00\x00\x00hi"
PONG: Final = b"\x8a\x02hi"


async def bare_sockets(
    wanted: Literal["fast", "stream"] | None, application: Callable[[Sockets], Application]
) -> Sockets | None:
    """Where open lines are handed over to; None where Tornado's stream serves them.

    `application` has the handler that would do it, for the check.
    """
    if wanted == "stream":
        return None
    if not hasattr(select, "epoll"):
        log.warning("this system has no epoll: lines are served by Tornado's stream")
        return None
    from sora_ws.push.sockets import Sockets  # noqa: PLC0415 -- needs epoll

    sockets = Sockets()
    if await hands_over(application(sockets)):
        return sockets
    await sockets.close()
    return None


async def hands_over(application: Application) -> bool:
    """A handshake with a ping in the same bytes, and one behind: are all answered, and not by Tornado?"""
    ours, theirs = socket.socketpair()
    stream, client = IOStream(ours), IOStream(theirs)
    tornados = weakref.ref(stream)
    HTTPServer(application).handle_stream(stream, ("127.0.0.1", 0))
    del stream
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await client.write(HANDSHAKE + PING)
            head = await client.read_until(b"\r\n\r\n")
            first = await client.read_bytes(len(PONG))
            await client.write(PING)
            second = await client.read_bytes(len(PONG))
    except (StreamClosedError, TimeoutError) as error:
        log.warning("the handover of sockets does not work: %s", error or "no answer")
        return False
    finally:
        client.close()
    return head.startswith(b"HTTP/1.1 101") and first == second == PONG and tornados() is None
