"""A connection's bytes over Tornado's own stream: on TLS, and where there is no epoll."""

from __future__ import annotations

import asyncio
import select
import socket
from contextlib import suppress
from typing import Final, cast

from tornado.iostream import IOStream, StreamClosedError

from sora_ws.push.connection import Connection, Data

CHUNK_BYTES: Final = 65_536


class StreamTransport:
    """Lets one write at a time into the stream; what comes meanwhile waits in the connection."""

    __slots__ = ("_reading", "_stream", "_written", "connection")

    def __init__(self, stream: IOStream) -> None:
        self._stream = stream
        self._written: asyncio.Future[None] | None = None
        self._reading: asyncio.Future[bytes] | None = None
        self.connection: Connection | None = None

    def send(self, data: Data) -> int:
        """The stream keeps what its socket does not take, so it gets no more than a chunk."""
        if self._stream.writing():
            raise BlockingIOError
        data = bytes(data[:CHUNK_BYTES])
        try:
            self._written = self._stream.write(data)
        except StreamClosedError:
            raise BrokenPipeError from None
        return len(data)

    @property
    def has_unread(self) -> bool:
        if self._stream.closed() or (self._reading is not None and self._reading.done()):
            return True
        return is_readable(self._stream.socket)

    def want_writable(self) -> None:
        if self._written is not None:
            self._written.add_done_callback(self._on_written)

    def finish(self) -> None:
        """The stream may have taken what its socket has not, the close frame too: that goes first."""
        if self._written is not None:
            self._written.add_done_callback(self._shut)

    def _shut(self, written: asyncio.Future[None]) -> None:
        if not (written.cancelled() or written.exception() or self._stream.closed()):
            with suppress(OSError):  # the peer was faster
                self._stream.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        self._stream.close()
        self.connection = None

    async def read(self, connection: Connection) -> None:
        """Bring the connection all that comes; returns when the line is gone."""
        try:
            while True:
                reading = self._stream.read_bytes(CHUNK_BYTES, partial=True)
                self._reading = cast("asyncio.Future[bytes]", reading)
                handling = connection.receive(await reading)
                # Bytes that are here already are read without a turn of the loop; give it one.
                await (asyncio.sleep(0) if handling is None else handling)
        except StreamClosedError:
            pass  # how every line ends
        finally:
            connection.lost()
            self.connection = None

    def _on_written(self, written: asyncio.Future[None]) -> None:
        connection = self.connection
        if written.cancelled() or written.exception() or connection is None:
            return
        connection.writable()
        if connection.stalled_since is not None:  # it has filled again
            self.want_writable()


def is_readable(sock: socket.socket) -> bool:
    """Whether a read has something to take, or would find the end of the line."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
