"""A connection's bytes over its bare socket, all sockets in one epoll.

Behind the handshake neither handler, request, stream nor coroutine is kept: 1 KB a connection
instead of 15, and a push is one `send`. docs/performance.md has the measurements. Linux only.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Final

from tornado.ioloop import IOLoop

from sora_ws.push.connection import Connection

CHUNK_BYTES: Final = 65_536
EVENTS_A_TURN: Final = 16
"""epoll goes round its ready sockets, so a small number is fair; a large one lets a storm of
new clients hold the loop: p99 of the others was 448 ms unbounded, 9–12 ms with 16."""

GONE: Final = select.EPOLLHUP | select.EPOLLERR


class SocketTransport:
    """One socket; nothing but this writes to it or reads from it."""

    __slots__ = ("_connection", "_is_reading", "_sockets", "_wants_writable", "send", "socket")

    def __init__(self, sock: socket.socket, sockets: Sockets) -> None:
        self.socket = sock
        self.send = sock.send
        self._sockets = sockets
        self._connection: Connection | None = None
        self._is_reading = True
        self._wants_writable = False

    def want_writable(self) -> None:
        self._wants_writable = True
        self._watch()

    def finish(self) -> None:
        with suppress(OSError):  # the peer was faster
            self.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        self._sockets.drop(self)
        self._connection = None

    def serve(self, connection: Connection, data: bytes) -> None:
        """Feed the connection from now on; `data` is what has come already."""
        self._connection = connection
        if data:
            self._bring(data)

    def on_events(self, events: int) -> None:
        """What epoll has to say."""
        connection = self._connection
        if connection is None:
            return
        if events & GONE:
            connection.abort()
            return
        if events & select.EPOLLOUT:
            connection.writable()
            self._wants_writable = connection.stalled_since is not None
            self._watch()
        if events & select.EPOLLIN and self._is_reading:
            self._read(connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = self.socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._bring(data)
        else:
            connection.abort()

    def _bring(self, data: bytes) -> None:
        if self._connection is not None:
            handling = self._connection.receive(data)
            if handling is not None:
                self._is_reading = False
                self._watch()
                self._sockets.start(self._await(self._connection, handling))

    async def _await(self, connection: Connection, handling: Awaitable[None]) -> None:
        """Read on when the message is handled; a task exists only that long."""
        try:
            await handling
        except BaseException:  # also a cancel: a line that is not read on must not look alive
            connection.abort()
            raise
        self._is_reading = True
        self._watch()

    def _watch(self) -> None:
        mask = (select.EPOLLIN if self._is_reading else 0) | (select.EPOLLOUT if self._wants_writable else 0)
        if self._connection is not None:
            self._sockets.watch(self, mask)


class Sockets:
    """The one epoll, itself watched by the IOLoop."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._by_fd: dict[int, SocketTransport] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._loop = IOLoop.current()
        self._loop.add_handler(self._epoll.fileno(), self._on_ready, IOLoop.READ)

    def adopt(self, sock: socket.socket) -> SocketTransport:
        """Take over a connected socket that nobody else has any more."""
        sock.setblocking(False)
        transport = SocketTransport(sock, self)
        self._by_fd[sock.fileno()] = transport
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        return transport

    def watch(self, transport: SocketTransport, mask: int) -> None:
        fd = transport.socket.fileno()
        if self._by_fd.get(fd) is transport:
            self._epoll.modify(fd, mask)

    def drop(self, transport: SocketTransport) -> None:
        """Close the socket. May be called twice."""
        fd = transport.socket.fileno()
        if self._by_fd.get(fd) is not transport:
            return
        del self._by_fd[fd]
        self._epoll.unregister(fd)  # before the close: the number may be somebody else's right after
        transport.socket.close()

    def start(self, work: Coroutine[object, None, None]) -> None:
        """Run what a message has to wait for."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Drop every socket, and wait for what was under way."""
        for transport in list(self._by_fd.values()):
            self.drop(transport)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._loop.remove_handler(self._epoll.fileno())
        self._epoll.close()

    def _on_ready(self, fd: int, events: int) -> None:
        for ready, what in self._epoll.poll(0, EVENTS_A_TURN):
            # Looked up anew each time: an earlier event of the batch may have closed it.
            transport = self._by_fd.get(ready)
            if transport is not None:
                transport.on_events(what)
