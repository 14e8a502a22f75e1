"""A connection's bytes over its bare socket, all sockets in one epoll.

Behind the handshake neither handler, request, stream nor coroutine is kept: 1 KB a connection
instead of 15, and a push is one `send`. docs/performance.md has the measurements. Linux only.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Final, cast

from msgspec import Struct
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, StreamClosedError

from sora_ws.push.connection import Connection, Data
from sora_ws.push.stream import is_readable

CHUNK_BYTES: Final = 65_536
EVENTS_A_TURN: Final = 8
"""epoll goes round its ready sockets, so a small number is fair; a large one lets a storm of new
clients hold the loop. With 16, and 4 accepts, a turn took 2.1 ms of CPU in a storm; with half of both it
takes half, and a newcomer costs no more."""

GONE: Final = select.EPOLLHUP | select.EPOLLERR


class SocketTransport(Struct, gc=False, eq=False):
    """One socket; nothing but this writes to it or reads from it."""

    socket: socket.socket
    _sockets: Sockets
    connection: Connection | None = None
    _mask: int = select.EPOLLIN

    @property
    def send(self) -> Callable[[Data], int]:
        return self.socket.send

    @property
    def has_unread(self) -> bool:
        return is_readable(self.socket)

    def want_writable(self) -> None:
        self._watch(self._mask | select.EPOLLOUT)

    def finish(self) -> None:
        with suppress(OSError):  # the peer was faster
            self.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        self._sockets.drop(self)
        self.connection = None

    def on_events(self, events: int) -> None:
        """What epoll has to say."""
        connection = self.connection
        if connection is None:
            return
        if events & GONE:
            connection.abort()
            return
        if events & select.EPOLLOUT:
            connection.writable()
            if connection.stalled_since is None:
                self._watch(self._mask & ~select.EPOLLOUT)
        if events & self._mask & select.EPOLLIN:
            self._read(connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = self.socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.bring(data)
        else:
            connection.abort()

    def bring(self, data: bytes) -> None:
        """Feed the connection what has come, if anything has."""
        if data and self.connection is not None:
            handling = self.connection.receive(data)
            if handling is not None:
                self._watch(self._mask & ~select.EPOLLIN)
                self._sockets.start(self._await(self.connection, handling))

    async def _await(self, connection: Connection, handling: Awaitable[None]) -> None:
        """Read on when the message is handled; a task exists only that long."""
        try:
            await handling
        except BaseException:  # also a cancel: a line that is not read on must not look alive
            connection.abort()
            raise
        self._watch(self._mask | select.EPOLLIN)

    def _watch(self, mask: int) -> None:
        if mask != self._mask and self.connection is not None:
            self._mask = mask
            self._sockets.watch(self, mask)


class Sockets:
    """The one epoll, itself watched by the IOLoop."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._by_fd: list[SocketTransport | None] = []  # a dict would cost 80 bytes a line
        self._running: set[asyncio.Task[None]] = set()
        self._loop = IOLoop.current()
        self._loop.add_handler(self._epoll.fileno(), self._on_ready, IOLoop.READ)

    def take(self, stream: IOStream) -> tuple[SocketTransport, bytes]:
        """The socket out of Tornado's hands, whose stream must have written all, and what it read ahead."""
        stream.io_loop.remove_handler(stream.socket)
        family = stream.socket.family  # told, it need not be asked of the kernel
        sock = socket.socket(family, socket.SOCK_STREAM, 0, fileno=stream.socket.detach())
        stream.close()
        return self.adopt(sock), _read_ahead(stream)

    def adopt(self, sock: socket.socket) -> SocketTransport:
        """Take over a connected socket that nobody else has any more."""
        sock.setblocking(False)
        transport = SocketTransport(sock, self)
        fd = sock.fileno()
        self._by_fd.extend([None] * (fd + 1 - len(self._by_fd)))
        self._by_fd[fd] = transport
        self._epoll.register(fd, select.EPOLLIN)
        return transport

    def watch(self, transport: SocketTransport, mask: int) -> None:
        fd = transport.socket.fileno()
        if fd >= 0:
            self._epoll.modify(fd, mask)

    def drop(self, transport: SocketTransport) -> None:
        """Close the socket. May be called twice."""
        fd = transport.socket.fileno()
        if fd < 0:
            return
        self._by_fd[fd] = None
        self._epoll.unregister(fd)  # before the close: the number may be somebody else's right after
        transport.socket.close()

    def start(self, work: Coroutine[object, None, None]) -> None:
        """Run what a message has to wait for."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Drop every socket, and wait for what was under way."""
        for transport in self._by_fd:
            if transport is not None:
                self.drop(transport)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._loop.remove_handler(self._epoll.fileno())
        self._epoll.close()

    def _on_ready(self, fd: int, events: int) -> None:
        for ready, what in self._epoll.poll(0, EVENTS_A_TURN):
            # Looked up anew each time: an earlier event of the batch may have closed it.
            transport = self._by_fd[ready]
            if transport is not None:
                transport.on_events(what)


def _read_ahead(stream: IOStream) -> bytes:
    """What a closed stream holds that nobody has read: nothing is asked of its socket any more."""
    try:
        reading = cast("asyncio.Future[bytes]", stream.read_bytes(CHUNK_BYTES, partial=True))
    except StreamClosedError:
        return b""
    return reading.result()
