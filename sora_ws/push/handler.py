"""The door for WebSockets: origin, limits and handshake. Behind it the `Connection` lives.

Tornado does what it is good at, the HTTP side; frames are read and written by our own
`frames`, because they close with the code that RFC 6455 asks for, where Tornado drops the line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from msgspec import json
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream, SSLIOStream
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13, _WebSocketParams

from sora_ws.peers import client_address, origin_is_allowed
from sora_ws.push.connection import DEFLATES, Connection, Transport
from sora_ws.push.extensions import deflate_answer, deflate_header
from sora_ws.push.lines import Lines
from sora_ws.push.stream import StreamTransport
from sora_ws.settings import Settings

if TYPE_CHECKING:
    from sora_ws.push.sockets import Sockets  # needs epoll


class Protocol(WebSocketProtocol13):
    """Tornado has checked the request; the answer, and what comes behind it, is ours."""

    handler: PushHandler

    async def _accept_connection(self, handler: WebSocketHandler) -> None:
        """The answer is the first that the connection sends; no handler's headers, and no stream."""
        ours = self.handler
        headers = ours.request.headers
        offers = headers.get("Sec-WebSocket-Extensions", "") if ours.compresses else ""
        deflate = deflate_answer(offers)
        answer = _switching(self.compute_accept_value(headers["Sec-WebSocket-Key"]), deflate)
        kind = 0 if deflate is None else DEFLATES
        self.stream = stream = ours.detach()
        if stream.closed():  # reset behind its own handshake
            ours.on_ws_connection_close()
            return
        stream.set_nodelay(True)
        if ours.sockets is not None and ours.hands_over:
            self._let_go()
            transport, data = ours.sockets.take(stream)
            transport.connection = connection = ours.adopt(transport, kind)
            connection.send(answer)
            transport.bring(data)
        else:
            behind_tornado = StreamTransport(stream)
            behind_tornado.connection = connection = ours.adopt(behind_tornado, kind)
            connection.send(answer)
            await behind_tornado.read(connection)
            ours.on_ws_connection_close()

    def _let_go(self) -> None:
        """Break the cycles by hand, so that a handshake leaves nothing to the garbage collector.

        0.67 KB a connection, against 2.6 with it and 10 with it switched off.
        """
        self.handler._on_close_called = True
        self.handler.ws_connection = None
        self.handler.ui.clear()
        self.handler = None  # type: ignore[assignment]
        self.stream = None  # type: ignore[assignment]


def _switching(accept: str, deflate: Mapping[str, str | None] | None) -> bytes:
    """The answer to a handshake: RFC 6455 section 4.2.2."""
    extensions = "" if deflate is None else f"Sec-WebSocket-Extensions: {deflate_header(deflate)}\r\n"
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n{extensions}\r\n"
    ).encode()


def _stream_of(request: HTTPServerRequest) -> IOStream:
    return cast(HTTP1Connection, request.connection).stream


class PushHandler(WebSocketHandler):
    """One handshake at `/ws`."""

    def initialize(self, lines: Lines, sockets: Sockets | None, settings: Settings) -> None:
        self._lines = lines
        self.sockets = sockets  # None where Tornado's stream serves the line
        self._settings = settings
        self.compresses = settings.ws_compression
        # On TLS bytes hide in the stream.
        self.hands_over = sockets is not None and not isinstance(_stream_of(self.request), SSLIOStream)

    def _execute(self, *args: Any, **kwargs: Any) -> Awaitable[None]:  # type: ignore[override]
        """Without a task of its own: where the socket is handed over there is nothing to wait for."""
        work = super()._execute(*args, **kwargs)
        if not self.hands_over:
            return work
        done = asyncio.get_running_loop().create_future()
        try:
            work.send(None)
        except StopIteration:
            done.set_result(None)
        return done  # with a Tornado that waits here it never is: the self check sees that

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
                compression_options=None,
            ),
        )

    def adopt(self, transport: Transport, kind: int) -> Connection:
        """The connection that lives on behind this handshake."""
        return self._lines.adopt(transport, self._address, kind)

    def on_message(self, message: str | bytes) -> None:
        raise RuntimeError("messages go to the connection")  # Tornado's reader is not in use
