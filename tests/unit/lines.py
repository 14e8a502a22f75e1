"""A connection without a socket: what it writes is kept and read back by somebody else's parser."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from sora_ws.push.connection import Connection, Data
from sora_ws.push.messages import Presenter
from sora_ws.rhythm import Rhythm
from sora_ws.settings import Language


class Wire:
    """A transport that takes everything, a part of it, or nothing."""

    def __init__(self) -> None:
        self.sent = b""
        self.writes = 0
        self.attempts = 0
        self.stalls = False
        self.takes: int | None = None  # at once, None for everything
        self.room: int | None = None  # in all, None for no end
        self.has_unread = False
        self.waits = False
        self.finished = False
        self.aborted = False

    def send(self, data: Data) -> int:
        self.attempts += 1
        if self.takes is not None and len(data) > self.takes:
            data = memoryview(data)[: self.takes]
        if self.room is not None:
            data = memoryview(data)[: self.room]
            self.room -= len(data)
        if self.stalls or not data:
            raise BlockingIOError
        self.sent += data
        self.writes += 1
        return len(data)

    def want_writable(self) -> None:
        self.waits = True

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    def take(self) -> list[Frame]:
        """The frames written since the last time."""
        written, self.sent = self.sent, b""
        return frames_in(written)

    def messages(self) -> list[dict[str, Any]]:
        """The JSON of the text frames among them."""
        return [json.loads(bytes(frame.data)) for frame in self.take() if frame.opcode is Opcode.TEXT]


def frames_in(data: bytes) -> list[Frame]:
    """Whole frames of a server, as another library reads them."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found: list[Frame] = []
    while True:
        at_end = reader.at_eof()
        try:
            next(at_end)
        except StopIteration as done:
            if done.value:
                return found
        parsing = Frame.parse(reader.read_exact, mask=False, max_size=None)
        try:
            next(parsing)
        except StopIteration as done:
            found.append(done.value)


class Ear:
    """A listener that keeps what it hears."""

    now = 0.0
    message_bytes_max = 65_536

    def __init__(self, send_bytes_max: int = 1 << 20) -> None:
        self.send_bytes_max = send_bytes_max
        self.texts: list[str] = []
        self.closing: list[Connection] = []
        self.stalled: list[Connection] = []
        self.conflated = 0

    def on_text(self, connection: Connection, text: str) -> Awaitable[None] | None:
        self.texts.append(text)
        return None

    def on_binary(self, connection: Connection, data: bytes) -> None:
        self.texts.append(data.hex())

    def on_ping(self, connection: Connection, data: bytes) -> None:
        connection.pong(data)

    def on_stalled(self, connection: Connection) -> None:
        self.stalled.append(connection)

    def on_conflated(self) -> None:
        self.conflated += 1

    def on_closing(self, connection: Connection) -> None:
        self.closing.append(connection)

    def on_gone(self, connection: Connection) -> None:
        pass


class Address:
    """Links that lead nowhere."""

    def video(self, task_id: str) -> str:
        return f"http://localhost/media/{task_id}.mp4"

    def thumbnail(self, task_id: str) -> str:
        return f"http://localhost/media/{task_id}.jpg"


def presenter(language: Language = "en") -> Presenter:
    return Presenter(language, Address(), Rhythm(2_000, 30_000))


def open_line(send_bytes_max: int = 1 << 20, ear: Ear | None = None) -> tuple[Connection, Wire, Ear]:
    """A connection, what it writes, and who listens to it."""
    wire, ear = Wire(), ear or Ear(send_bytes_max)
    return Connection(wire, ear, "127.0.0.1"), wire, ear
