"""How connections come in, and how a stop parts with them.

They come in a few a turn of the loop, and none while there is no room for them.

Tornado's own way takes up to 128 in a row, for which everybody else waits; and without a free file
descriptor it tries again at once, for ever, and logs each time.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from sora_ws.listening import BACKLOG

log = logging.getLogger(__name__)

AT_ONCE: Final = 2
"""A newcomer costs 0.6 ms, most of it HTTP; others wait for no more than this many."""
IDLE_S: Final = 75.0
PAUSE_S: Final = 0.1
COMPLAIN_EVERY_S: Final = 60.0


class Incoming(IOStream):
    """A connection that is dropped where a head, or the next one, is not there after IDLE_S.

    Tornado's own timeout costs each request some 20 µs, also where the head has come already.
    """

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        head = super().read_until_regex(regex, max_bytes)
        if isinstance(head, asyncio.Future) and not head.done():
            timer = asyncio.get_running_loop().call_later(IDLE_S, self.close)
            head.add_done_callback(lambda _: timer.cancel())
        return head


class Server(HTTPServer):
    """Tornado's, whose connections can be parted with; `gone` is told of each that has ended."""

    gone: Callable[[object], None] = staticmethod(lambda connection: None)

    def part(self) -> Sequence[object]:
        """The connections that are open. Each ends with the answer to its next request, if not before."""
        self.conn_params.no_keep_alive = True
        return tuple(self._connections)

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        self.gone(server_conn)


class Acceptor:
    """Hands what connects to the sockets, which listen and don't block, to the server."""

    def __init__(self, server: HTTPServer, sockets: Sequence[socket.socket]) -> None:
        server.conn_params.header_timeout = None  # `Incoming` has one
        self._server = server
        self._sockets = sockets
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._complained_at: float | None = None

    def start(self) -> None:
        """From now on, and again after a pause."""
        self._pause = None
        for sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    def stop(self) -> None:
        """Take no more, and close the sockets; what has come in lives on. May be called twice."""
        self._rest()
        if self._pause is not None:
            self._pause.cancel()
        for sock in self._sockets:
            sock.close()
        self._sockets = ()

    def hand_over(self) -> None:
        """Take all who have come, and let the kernel refuse the next ones, so that they go elsewhere.

        Whoever comes in the microseconds between is reset. A copy of the socket, which systemd has,
        listens no more either, and so it lets go of it.
        """
        for sock in self._sockets:
            self._accept(sock, at_most=BACKLOG + 1)
            sock.shutdown(socket.SHUT_RD)
        self.stop()

    def _accept(self, listening: socket.socket, at_most: int = AT_ONCE) -> None:
        """Take a few; the loop comes back in its next turn if there are more."""
        for _ in range(at_most):
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:  # it was gone before its turn came
                continue
            except OSError as error:  # no file descriptor or no memory: who waits goes on waiting
                self._take_a_pause(error)
                return
            self._server.handle_stream(Incoming(sock), address)

    def _take_a_pause(self, error: OSError) -> None:
        self._rest()
        self._pause = self._loop.call_later(PAUSE_S, self.start)
        now = self._loop.time()
        if self._complained_at is None or now - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            log.error("new connections have to wait: %s", error.strerror, extra={"action": "accept_failed"})

    def _rest(self) -> None:
        for sock in self._sockets:
            self._loop.remove_reader(sock)
