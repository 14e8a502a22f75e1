"""One open line to a client: who it is, what it listens to, what it owes, and the one `send`.

Knows neither Tornado's handler nor its stream: bytes come in by `receive` and leave by a
`Transport`. What a slow client has not taken yet waits here, a newer state of a task in the
place of an older one.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol

from sora_ws.push import frames
from sora_ws.push.frames import Opcode, ProtocolError
from sora_ws.push.messages import CloseCode

if TYPE_CHECKING:
    from sora_ws.auth import Identity

LINGER_S: Final = 5.0
"""How long a client has to answer our close before the socket is dropped."""


class Transport(Protocol):
    """Where a connection's bytes go."""

    def write(self, data: bytes) -> bool:
        """Send all of it, now or when the socket can; False when some of it still waits.

        Not called again before the connection was told `writable`.
        """
        ...

    def finish(self) -> None:
        """Nothing more will be written: tell the peer so, and go on reading until it closes."""
        ...

    def abort(self) -> None:
        """Drop the socket now."""
        ...


class Listener(Protocol):
    """Who is told what happens on the connections."""

    def on_text(self, connection: Connection, text: str) -> Awaitable[None] | None:
        """A message came; the next one is handled when what this returns is done."""
        ...

    def on_closing(self, connection: Connection) -> None:
        """The connection begins to end: it must be sent nothing more. Called once."""
        ...


class Connection:
    """Slotted, because there are 10,000 of them. Times in s of the loop's clock.

    `key` is a task's id for pushes, so that a newer state takes an older one's place, and None
    for what must not be replaced.
    """

    __slots__ = (
        "_count",
        "_listener",
        "_parser",
        "_send_bytes_max",
        "_time",
        "_transport",
        "_waiting",
        "_waiting_bytes",
        "address",
        "bad_messages",
        "batch",
        "bucket",
        "bucket_at",
        "busy",
        "close_code",
        "deflates",
        "expiry_watched",
        "heard_at",
        "identity",
        "refusal_told_at",
        "refusals",
        "stalled_at",
        "topics",
    )

    def __init__(
        self,
        transport: Transport,
        listener: Listener,
        time: Callable[[], float],
        *,
        address: str,
        message_bytes_max: int,
        send_bytes_max: int,
        bucket: float,
        deflates: bool = False,
    ) -> None:
        self._transport = transport
        self._listener = listener
        self._time = time
        # None when nothing more is read: no road leads back from a broken protocol.
        self._parser: frames.Parser | None = frames.Parser(message_bytes_max, deflate=deflates)
        self._send_bytes_max = send_bytes_max
        self._waiting: dict[object, bytes] | None = None  # None while the socket takes everything
        self._waiting_bytes = 0
        self._count: itertools.count[int] | None = None
        self.address = address
        self.deflates = deflates
        self.identity: Identity | None = None
        self.expiry_watched: int | None = None  # ms; the token's end that timers are set for
        self.batch = False
        self.topics: set[str] = set()
        self.close_code: int | None = None  # set once it begins to end
        self.busy = False  # a message of its own is in work
        self.heard_at = time()
        self.stalled_at: float | None = None
        self.bad_messages = 0
        self.bucket = bucket
        self.bucket_at = self.heard_at
        self.refusals = 0
        self.refusal_told_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self.close_code is None

    # --- out ---

    def send_text(self, text: bytes) -> None:
        """A message that must arrive: a reply, a beat."""
        self.send(frames.frame(Opcode.TEXT, text))

    def ping(self) -> None:
        self.send(frames.frame(Opcode.PING, b""), key=Opcode.PING)

    def send(self, frame: bytes, key: object = None) -> None:
        """The one way out. `frame` may be several joined ones."""
        if self.close_code is not None:
            return
        self._put(frame, key)

    def _put(self, frame: bytes, key: object = None) -> None:
        if self._waiting is not None:
            self._queue(frame, key)
        elif not self._transport.write(frame):
            self._waiting = {}
            self.stalled_at = self._time()

    def _queue(self, frame: bytes, key: object) -> None:
        waiting = self._waiting
        if waiting is None:
            return
        if key is None:
            self._count = self._count or itertools.count()
            key = next(self._count)
        replaced = waiting.pop(key, None)
        waiting[key] = frame  # at the end: what was promised first leaves first
        self._waiting_bytes += len(frame) - len(replaced or b"")
        if self._waiting_bytes > self._send_bytes_max and self.is_open:
            self.close(CloseCode.STUCK, "you read too slowly")

    @property
    def is_stalled(self) -> bool:
        """The socket takes nothing more at the moment."""
        return self._waiting is not None

    def writable(self) -> None:
        """The transport has sent all it had."""
        waiting = self._waiting
        if waiting is None:
            return
        self._waiting = None
        self._waiting_bytes = 0
        self.stalled_at = None
        if waiting:
            self._put(b"".join(waiting.values()))
        self._finish_if_done()

    def close(self, code: int | None, reason: str = "") -> None:
        """Say goodbye: the close frame goes behind what was sent, and nothing goes behind it.

        The socket is dropped when the client has answered, or by `abort` after LINGER_S:
        closing it at once could destroy the close frame on its way (RFC 6455 section 7.1.1).
        """
        if self.close_code is not None:
            return
        self.close_code = 1005 if code is None else int(code)
        self._listener.on_closing(self)
        if code == CloseCode.STUCK and self._waiting is not None:
            self._waiting.clear()
        self._put(frames.close_frame(code, reason))
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self.close_code is not None and self._waiting is None:
            self._transport.finish()

    def abort(self) -> None:
        """Drop the line without a word."""
        self.lost()
        self._transport.abort()

    def lost(self) -> None:
        """The line is gone."""
        if self.close_code is None:
            self.close_code = 1006
            self._listener.on_closing(self)

    # --- in ---

    async def receive(self, data: bytes) -> None:
        """Bytes from the client; returns when the messages in them are handled, in their order."""
        self.heard_at = self._time()
        parser = self._parser
        if parser is None:
            return
        parser.feed(data)
        try:
            while (event := parser.next()) is not None:
                if isinstance(event, frames.Close):
                    self._parser = None
                    self.close(event.code)
                    return
                await self._take(event)
        except ProtocolError as error:
            self._parser = None
            self.close(error.code, str(error))

    async def _take(self, event: frames.Event) -> None:
        if not self.is_open:
            return
        if isinstance(event, frames.Ping):
            self.send(frames.frame(Opcode.PONG, event.data), key=Opcode.PONG)
        elif isinstance(event, frames.Text):
            await self._handle(event.data)

    async def _handle(self, text: str) -> None:
        handling = self._listener.on_text(self, text)
        if handling is None:
            return
        self.busy = True
        try:
            await handling
        finally:
            self.busy = False
            self.heard_at = self._time()
