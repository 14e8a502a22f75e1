"""The door for WebSockets: origin, limits and handshake. Behind it the `Connection` lives.

Tornado does what it is good at, the HTTP side; frames are read and written by our own
`frames`, because they close with the code that RFC 6455 asks for, where Tornado drops the line.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import json
from tornado import httputil
from tornado.iostream import IOStream, StreamClosedError
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13, _WebSocketParams

from sora_ws.peers import client_address, origin_is_allowed
from sora_ws.push.connection import DEFLATES, Connection, Transport
from sora_ws.push.extensions import DEFLATE, deflate_answer
from sora_ws.push.lines import Lines
from sora_ws.push.stream import StreamTransport
from sora_ws.settings import Settings

if TYPE_CHECKING:
    from sora_ws.push.sockets import Sockets  # needs epoll

CHUNK_BYTES: Final = 65_536


class Protocol(WebSocketProtocol13):
    """Tornado's handshake; what comes behind it goes to the connection."""

    handler: PushHandler

    def _parse_extensions_header(self, headers: httputil.HTTPHeaders) -> list[tuple[str, dict[str, Any]]]:
        """The offer that we take, with the parameters of our answer."""
        if not self.handler.compresses:
            return []
        answer = deflate_answer(headers.get("Sec-WebSocket-Extensions", ""))
        if answer is None:
            return []
        self.handler.deflates = True
        return [(DEFLATE, answer)]

    def _create_compressors(self, side: str, agreed_parameters: Any, compression_options: Any = None) -> None:
        """None here: a state is compressed once for all, by `frames.deflate`."""

    async def _receive_frame_loop(self) -> None:
        """Called once, right behind the handshake and `open`."""
        handler, stream = self.handler, self.stream
        if stream is None:
            return
        if handler.sockets is not None and type(stream) is IOStream:  # on TLS bytes hide in the stream
            await self._hand_over(handler.sockets, stream)
        else:
            transport = StreamTransport(stream)
            transport.connection = handler.adopt(transport)
            await transport.read(transport.connection)
            handler.on_ws_connection_close()

    async def _hand_over(self, sockets: Sockets, stream: IOStream) -> None:
        """Take the socket out of Tornado's hands, and let go of everything that held it.

        The cycles are broken by hand, so that a handshake leaves nothing to the garbage collector:
        0.67 KB a connection, against 2.6 with it and 10 with it switched off.
        """
        handler = self.handler
        try:
            if stream.writing():
                await stream.write(b"")  # the 101 has to leave first
            data = await _bytes_behind(stream)
        except StreamClosedError:
            data = b""
        if stream.closed():  # reset behind its own handshake, perhaps with messages in the same bytes
            handler.on_ws_connection_close()
            return
        transport = sockets.take(stream)
        connection = handler.adopt(transport)
        handler._on_close_called = True
        handler.ws_connection = None
        handler.ui.clear()
        self.handler = None  # type: ignore[assignment]
        self.stream = None  # type: ignore[assignment]
        transport.serve(connection, data)


async def _bytes_behind(stream: IOStream) -> bytes:
    """What came in the same segments as the handshake; nothing is waited for."""
    reading = cast("asyncio.Future[bytes]", stream.read_bytes(CHUNK_BYTES, partial=True))
    if reading.done():
        return await reading
    reading.add_done_callback(lambda broken_off: broken_off.exception())
    return b""


class PushHandler(WebSocketHandler):
    """One handshake at `/ws`."""

    def initialize(self, lines: Lines, sockets: Sockets | None, settings: Settings) -> None:
        self._lines = lines
        self.sockets = sockets  # None where Tornado's stream serves the line
        self._settings = settings
        self.compresses = settings.ws_compression
        self.deflates = False

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")

    def prepare(self) -> None:
        request = self.request
        self._address = client_address(
            request.remote_ip or "", request.headers, self._settings.trusted_proxies
        )
        if request.method == "GET" and request.headers.get("Upgrade", "").lower() != "websocket":
            self._refuse(426, "This address speaks WebSocket (RFC 6455).", Upgrade="websocket")
            return
        origin = request.headers.get("Origin")
        if origin and not origin_is_allowed(origin, request.host, self._settings.allowed_origins):
            self._refuse(403, f"Pages of {origin[:200]} may not connect: see ALLOWED_ORIGINS.")
            return
        refusal = self._lines.refusal(self._address)
        if refusal is not None:
            self._refuse(refusal.status, f"{refusal.reason}.", Retry_After=str(refusal.retry_after_s))

    def check_origin(self, origin: str) -> bool:
        return True  # `prepare` has decided

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self._refuse(status_code, "This address takes GET with an upgrade to WebSocket.")

    def _refuse(self, status: int, detail: str, **headers: str) -> None:
        """Answer with a problem (RFC 9457) in the place of the upgrade."""
        self.set_status(status, HTTPStatus(status).phrase)
        self.set_header("Content-Type", "application/problem+json")
        for name, value in headers.items():
            self.set_header(name.replace("_", "-"), value)
        title = HTTPStatus(status).phrase
        self.finish(json.encode({"type": "about:blank", "title": title, "status": status, "detail": detail}))

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
        self.set_nodelay(True)

    def adopt(self, transport: Transport) -> Connection:
        """The connection that lives on behind this handshake."""
        return self._lines.adopt(transport, self._address, DEFLATES if self.deflates else 0)

    def on_message(self, message: str | bytes) -> None:
        raise RuntimeError("messages go to the connection")  # Tornado's reader is not in use
