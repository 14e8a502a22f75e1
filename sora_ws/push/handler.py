"""The door for WebSockets: origin, limits and handshake. Behind it the `Connection` lives.

Tornado does what it is good at, the HTTP side; frames are read and written by our own
`frames`, because they close with the code that RFC 6455 asks for, where Tornado drops the line.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final

from tornado import httputil
from tornado.iostream import IOStream, StreamClosedError
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13, _WebSocketParams

from sora_ws.peers import client_address, origin_is_allowed
from sora_ws.push.connection import Connection
from sora_ws.push.frames import WINDOW_BITS
from sora_ws.push.lines import Lines
from sora_ws.settings import Settings

CHUNK_BYTES: Final = 65_536
DEFLATE: Final = "permessage-deflate"


class StreamTransport:
    """A connection's bytes over Tornado's own stream."""

    __slots__ = ("_stream", "connection")

    def __init__(self, stream: IOStream) -> None:
        self._stream = stream
        self.connection: Connection | None = None

    def write(self, data: bytes) -> bool:
        try:
            written = self._stream.write(data)
        except StreamClosedError:
            return True  # the read loop is about to say that the line is lost
        if not self._stream.writing():
            return True
        written.add_done_callback(self._written)
        return False

    def finish(self) -> None:
        if not self._stream.closed():
            with suppress(OSError):  # the peer was faster
                self._stream.socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        self._stream.close()

    def _written(self, written: asyncio.Future[None]) -> None:
        if not written.cancelled() and written.exception() is None and self.connection is not None:
            self.connection.writable()


class Protocol(WebSocketProtocol13):
    """Tornado's handshake; what comes behind it goes to the connection."""

    handler: PushHandler

    def _parse_extensions_header(self, headers: httputil.HTTPHeaders) -> list[tuple[str, dict[str, str]]]:
        """The offer that we take, with the parameters of our answer."""
        if not self.handler.compresses:
            return []
        for name, offered in super()._parse_extensions_header(headers):
            answer = deflate_answer(offered) if name == DEFLATE else None
            if answer is not None:
                self.handler.deflates = True
                return [(DEFLATE, answer)]
        return []

    def _create_compressors(self, side: str, agreed_parameters: Any, compression_options: Any = None) -> None:
        """None here: a state is compressed once for all, by `frames.deflate`."""

    async def _receive_frame_loop(self) -> None:
        """Called once, right behind the handshake."""
        connection, stream = self.handler.connection, self.stream
        try:
            while stream is not None and connection is not None:
                await connection.receive(await stream.read_bytes(CHUNK_BYTES, partial=True))
        except StreamClosedError:
            pass  # how every line ends
        finally:
            if connection is not None:
                connection.lost()
            self.handler.on_ws_connection_close()


def deflate_answer(offered: dict[str, Any]) -> dict[str, Any] | None:
    """Our side of permessage-deflate (RFC 7692 section 7.1), None where the offer can't be met.

    Neither side keeps a context: that is what lets one compressed state serve every reader,
    and costs no memory a connection.
    """
    known = {
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits",
        "client_max_window_bits",
    }
    if not known.issuperset(offered):
        return None
    answer: dict[str, Any] = {"server_no_context_takeover": None, "client_no_context_takeover": None}
    if (window := offered.get("server_max_window_bits")) is not None:
        if not window.isdigit() or not WINDOW_BITS <= int(window) <= 15:
            return None
        answer["server_max_window_bits"] = window
    return answer


class PushHandler(WebSocketHandler):
    """One handshake at `/ws`."""

    def initialize(self, lines: Lines, settings: Settings) -> None:
        self._lines = lines
        self._settings = settings
        self.compresses = settings.ws_compression
        self.deflates = False
        self.connection: Connection | None = None

    def prepare(self) -> None:
        remote = self.request.remote_ip or ""
        self._address = client_address(remote, self.request.headers, self._settings.trusted_proxies)
        refusal = self._lines.refusal(self._address)
        if refusal is not None:
            self.set_status(refusal.status)
            self.set_header("Retry-After", str(refusal.retry_after_s))
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"{refusal.reason}\n")

    def check_origin(self, origin: str) -> bool:
        return origin_is_allowed(origin, self.request.host, self._settings.allowed_origins)

    def get_compression_options(self) -> dict[str, Any] | None:
        return {} if self.compresses else None

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        if self.request.headers.get("Sec-WebSocket-Version") != "13":
            return None
        return Protocol(
            self,
            False,
            _WebSocketParams(
                # A ping interval of Tornado's costs a task a connection; our own beat pings.
                ping_interval=None,
                ping_timeout=None,
                max_message_size=self._settings.max_message_bytes,
                compression_options=self.get_compression_options(),
            ),
        )

    def open(self, *args: str, **kwargs: str) -> None:
        protocol = self.ws_connection
        if protocol is None or protocol.stream is None:
            return
        protocol.stream.set_nodelay(True)
        transport = StreamTransport(protocol.stream)
        self.connection = self._lines.adopt(transport, self._address, deflates=self.deflates)
        transport.connection = self.connection

    def on_message(self, message: str | bytes) -> None:
        raise RuntimeError("messages go to the connection")  # Tornado's reader is not in use
