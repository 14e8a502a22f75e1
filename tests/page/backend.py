"""What a browser client meets in the wild: a WebSocket server that does as a test tells it."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from websockets.sync.server import Server, ServerConnection, serve

GUARD_S = 30.0
WEB = Path(__file__).parents[2] / "sora_ws" / "web"


@dataclass
class Line:
    """The server's end of one connection."""

    connection: ServerConnection

    def receive(self) -> Any:
        """The client's next message."""
        return json.loads(self.connection.recv(timeout=GUARD_S))

    def send(self, type_: str, payload: Any, id_: str | None = None) -> None:
        message = {"type": type_, "timestamp": 0, "payload": payload}
        self.connection.send(json.dumps(message if id_ is None else message | {"id": id_}))

    def accept(self) -> str:
        """Answer the client's `auth`; the token that it came with."""
        auth = self.receive()
        assert auth["type"] == "auth"
        self.send("authSuccess", {"userId": "u", "username": "u", "sessionId": "ws_0_abcdef", "expiresAt": 1})
        token: str = auth["payload"]["token"]
        return token

    def subscribe(self) -> Any:
        """Answer the client's subscribe; what it asked for."""
        request = self.receive()
        self.send("subscribeSuccess", {**request["payload"], "subscribed": True}, request["id"])
        return request

    def progress(self, progress: int, seq: int, video_id: str = "video_1") -> None:
        self.send("taskProgress", {"videoId": video_id, "progress": progress, "seq": seq})

    def close(self, code: int) -> None:
        self.connection.close(code)

    def drop(self) -> None:
        """The network breaks: no close frame."""
        self.connection.socket.shutdown(socket.SHUT_RDWR)


@dataclass
class Backend:
    """Hands each new connection to the test."""

    arrivals: queue.Queue[Line] = field(default_factory=queue.Queue)
    over: threading.Event = field(default_factory=threading.Event)
    server: Server | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}/ws"

    def next(self) -> Line:
        """The next client that connects."""
        return self.arrivals.get(timeout=GUARD_S)

    def handle(self, connection: ServerConnection) -> None:
        self.arrivals.put(Line(connection))
        self.over.wait()


@contextmanager
def backend() -> Iterator[Backend]:
    """A running one, on a port of its own."""
    running = Backend()
    with serve(running.handle, "127.0.0.1", 0, compression=None) as server:
        running.server = server
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield running
        running.over.set()
        server.shutdown()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    """The page's files as they are, and an empty page at /blank."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript"}

    def do_GET(self) -> None:
        if self.path != "/blank":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><link rel=icon href=data:,><title>blank</title>")

    def log_message(self, format: str, *args: Any) -> None:
        """Tests need no access log."""


@contextmanager
def web_files() -> Iterator[str]:
    """The address of a plain web server over the page's files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(WEB)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
