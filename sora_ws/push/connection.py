"""One open line to a client: who it is, what it listens to, what it owes, and the one `send`.

Knows neither Tornado's handler nor its stream: bytes come in by `receive` and leave by a
`Transport`. What a slow client has not taken yet waits here, a newer state of a task in the
place of an older one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from sora_ws.push import frames
from sora_ws.push.frames import Opcode, ProtocolError
from sora_ws.push.messages import CloseCode
from sora_ws.push.outbox import Outbox

if TYPE_CHECKING:
    from sora_ws.auth import Identity
    from sora_ws.push.hub import Topic

Data = bytes | memoryview

DEFLATES: Final = 1
BATCHES: Final = 2
EVENTS: Final = 4

EMPTY_PONG: Final = b"\x8a\x80"
EMPTY_PONG_BYTES: Final = 6  # with its mask

EVENTS_A_TURN: Final = 64
"""Then others are heard: a flood of empty frames must not hold the loop."""

LINGER_S: Final = 5.0
"""How long a client has to answer our close before the socket is dropped."""


class Transport(Protocol):
    """Where a connection's bytes go."""

    @property
    def send(self) -> Callable[[Data], int]:
        """Takes bytes now; returns how many. Raises BlockingIOError for none, OSError for never."""
        ...

    @property
    def has_unread(self) -> bool:
        """Whether something has come, or the end of the line, that was not brought yet."""
        ...

    def want_writable(self) -> None:
        """Tell the connection `writable` when more can be taken."""
        ...

    def finish(self) -> None:
        """Nothing more will be written: tell the peer so, and go on reading until it closes."""
        ...

    def abort(self) -> None:
        """Drop the socket now."""
        ...


class Listener(Protocol):
    """Who is told what happens on the connections, and what is the same for all of them."""

    @property
    def now(self) -> float:
        """s of the loop's clock."""
        ...

    @property
    def message_bytes_max(self) -> int:
        """Of a client's message."""
        ...

    @property
    def send_bytes_max(self) -> int:
        """That may wait for a client that reads slowly."""
        ...

    def on_text(self, connection: Connection, text: str) -> Awaitable[None] | None:
        """A message came; the next one is handled when what this returns is done."""
        ...

    def on_binary(self, connection: Connection, data: bytes) -> None:
        """A message that is no text."""
        ...

    def on_ping(self, connection: Connection, data: bytes) -> None:
        """To be answered by `pong`, unless there are too many."""
        ...

    def on_stalled(self, connection: Connection) -> None:
        """The socket has ceased to take everything."""
        ...

    def on_conflated(self) -> None:
        """A newer frame took the place of one that waited."""
        ...

    def on_closing(self, connection: Connection) -> None:
        """The connection begins to end: it must be sent nothing more. Called once."""
        ...

    def on_gone(self, connection: Connection) -> None:
        """Nothing is left of it, so nobody may hold it any more. May be called twice."""
        ...


def _would_block(data: Data) -> int:
    """In the place of `send` while the socket is full."""
    raise BlockingIOError


def _hung_up(data: Data) -> int:
    """In the place of `send` behind the close frame."""
    raise BrokenPipeError


class Connection(Struct, gc=False, eq=False):
    """A line of one client. Times in s of the loop's clock.

    There are 10,000 of them, so whatever a line may lack is made when it is needed, what is the
    same for all stands in the listener, and the garbage collector does not see it. Therefore no
    cycle may be left behind: the one with the transport ends in `Transport.abort`.

    `key` is a task's id for pushes, so that a newer state takes an older one's place, and None
    for what must not be replaced.
    """

    _transport: Transport
    _listener: Listener
    address: str
    kind: int = 0
    """How pushes are framed for it: DEFLATES, BATCHES, or EVENTS."""
    # The slot is the state: the socket's own `send` while nothing waits, so that the fan-out
    # needs neither flag nor branch (0.85 of a bare C loop, against 0.59 by attributes).
    put: Callable[[Data], int] = _hung_up
    _outbox: Outbox | None = None  # none while the socket takes everything
    _parser: frames.Parser | None = None  # none between messages
    close_code: int | None = None
    """Set once it begins to end; then nothing more is read: no road leads back."""
    identity: Identity | None = None
    sibling: Connection | None = None
    """The next line of the same user."""
    topics: tuple[Topic, ...] | set[Topic] = ()
    """What the hub has it listen to."""
    busy: bool = False
    """A message of its own is in work."""
    turn: dict[Connection, None] | None = None
    """Where it stands in the timers."""
    since: float = 0.0
    """When it was opened, or was last sent a beat."""
    heard_at: float = 0.0
    warned_of: int | None = None
    """The token's end that it was told of; ms since the epoch."""
    quota_at: float = 0.0
    """When its bucket of messages will be full again; see `Lines.may_speak`."""
    refusals: int = 0
    refusal_told_at: float | None = None
    bad_messages: int = 0

    def __post_init__(self) -> None:
        self.put = self._transport.send
        self.since = self.heard_at = self._listener.now

    @property
    def is_open(self) -> bool:
        return self.close_code is None

    # --- out ---

    def send_text(self, text: bytes) -> None:
        """A message that must arrive: a reply, a beat."""
        self.send(frames.frame(Opcode.TEXT, text))

    def beat(self, frame: bytes) -> None:
        """A sign of life, the same for all; of many that wait only the last is sent."""
        self.send(frame, key=Opcode.PING)

    def pong(self, data: bytes) -> None:
        """Of many that wait only the last is sent, as RFC 6455 section 5.5.3 allows."""
        self.send(frames.frame(Opcode.PONG, data), key=Opcode.PONG)

    def send(self, frame: bytes, key: object = None) -> None:
        """The one way out. `frame` may be several joined ones."""
        if self.close_code is None:
            self._put(frame, key)

    def _put(self, frame: bytes, key: object = None) -> None:
        try:
            sent = self.put(frame)
        except BlockingIOError:
            self.owe(frame, key)
        except OSError:
            self.abort()
        else:
            if sent < len(frame):
                self.stall(frame, sent)

    def stall(self, frame: bytes = b"", sent: int = 0) -> Outbox:
        """The socket took only `sent` bytes of the frame; the rest goes before anything else."""
        begun = memoryview(frame)[sent:] if sent < len(frame) else None
        self._outbox = outbox = Outbox(begun, self._listener.now)
        self.put = _would_block
        self._transport.want_writable()
        self._listener.on_stalled(self)
        return outbox

    def owe(self, frame: bytes, key: object = None) -> None:
        """Send the frame when the socket can, in the place of an older one under the same key."""
        outbox = self._outbox or self.stall()
        if outbox.add(frame, key):
            self._listener.on_conflated()
        if outbox.bytes_unread > self._listener.send_bytes_max and self.is_open:
            self.close(CloseCode.STUCK, "you read too slowly")

    def is_unheard(self, since: float) -> bool:
        """Whether it has spoken, and we are late: nothing was read since then, though something is there."""
        return self.heard_at < since and self._transport.has_unread

    @property
    def stalled_since(self) -> float | None:
        """When a stalled socket last took a byte; None while it takes everything."""
        return None if self._outbox is None else self._outbox.since

    def writable(self) -> None:
        """The socket can take more."""
        outbox = self._outbox
        try:
            while outbox is not None and (data := outbox.next()) is not None:
                outbox.took(self._transport.send(data), self._listener.now)
        except BlockingIOError:
            return
        except OSError:
            self.abort()
            return
        self._outbox = None
        if self.is_open:
            self.put = self._transport.send
        else:
            self._hang_up()

    def close(self, code: int | None, reason: str = "") -> None:
        """Say goodbye: the close frame goes behind what was sent, and nothing goes behind it.

        The socket is dropped when the client has answered, or by `abort` after LINGER_S:
        closing it at once could destroy the close frame on its way (RFC 6455 section 7.1.1).
        """
        if self.close_code is not None:
            return
        self.close_code = 1005 if code is None else int(code)
        self._parser = None
        self._listener.on_closing(self)
        if code == CloseCode.STUCK and self._outbox is not None:
            self._outbox.clear()
        if goodbye := self._goodbye(code, reason):
            self._put(goodbye)
        if self._outbox is None:
            self._hang_up()

    def _goodbye(self, code: int | None, reason: str) -> bytes:
        return frames.close_frame(code, reason)

    def _hang_up(self) -> None:
        self.put = _hung_up
        self._transport.finish()

    def abort(self) -> None:
        """Drop the line without a word."""
        self.lost()
        self._transport.abort()

    def lost(self) -> None:
        """The line is gone."""
        self._parser = self._outbox = None
        self.put = _hung_up
        if self.close_code is None:
            self.close_code = 1006
            self._listener.on_closing(self)
        self._listener.on_gone(self)

    # --- in ---

    def receive(self, data: bytes) -> Awaitable[None] | None:
        """Bytes from the client.

        Its messages are handled in their order. Where one has to be waited for, what comes back
        is to be awaited before the next bytes are brought.
        """
        self.heard_at = self._listener.now
        if self.close_code is not None:
            return None
        if self._parser is None:
            # The answer to a beat, which is all that most lines ever say: 0.3 µs instead of 2.9.
            if len(data) == EMPTY_PONG_BYTES and data.startswith(EMPTY_PONG):
                return None
            self._parser = frames.Parser(self._listener.message_bytes_max, deflate=bool(self.kind & DEFLATES))
        self._parser.feed(data)
        handling = self._next_handling()
        return None if handling is None else self._handle_on(handling)

    async def _handle_on(self, handling: Awaitable[None] | None) -> None:
        while handling is not None:
            try:
                await handling
            finally:
                self.busy = False
                self.heard_at = self._listener.now
            handling = self._next_handling()

    def _next_handling(self) -> Awaitable[None] | None:
        """Take what has come, up to a message whose handling has to be waited for."""
        try:
            for _ in range(EVENTS_A_TURN):
                parser = self._parser
                event = None if parser is None else parser.next()
                if event is None:
                    if parser is not None and parser.is_idle:
                        self._parser = None
                    return None
                handling = self._take(event)
                if handling is not None:
                    return handling
        except ProtocolError as error:
            self.close(error.code, str(error))
            return None
        return asyncio.sleep(0)

    def _take(self, event: frames.Event) -> Awaitable[None] | None:
        if isinstance(event, frames.Text):
            handling = self._listener.on_text(self, event.data)
            self.busy = handling is not None  # not when only the loop has its turn: a flood is no work
            return handling
        if isinstance(event, frames.Ping):
            self._listener.on_ping(self, event.data)
        elif isinstance(event, frames.Binary):
            self._listener.on_binary(self, event.data)
        elif isinstance(event, frames.Close):
            self.close(event.code)
        return None
