"""One line to a Redis server: commands go out in a row, answers and what is told come in (RESP3).

A subscriber may ask anything else on the same line, and what it asks is answered in order; so an answer
belongs to the oldest question, whether it comes as a reply or as the pushes that confirm a subscription.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Protocol, Self, cast

import hiredis

from sora_ws.bus.redis_url import Address

MESSAGES: Final = frozenset({b"message", b"smessage"})
CONFIRMATIONS: Final = frozenset({b"subscribe", b"ssubscribe", b"unsubscribe", b"sunsubscribe"})


class RedisRefused(Exception):
    """Redis answered with an error; the text is its own, or what is wrong with the answer."""


Answered = Callable[[Any], None]
"""Gets the reply, or a `hiredis.ReplyError`, or an OSError where the line was lost before."""


class Subscribing:
    """A command that is answered by a push for each of its channels."""

    __slots__ = ("channels", "failed", "left", "verb")

    def __init__(self, verb: bytes, channels: Collection[bytes], failed: Callable[[Subscribing, Any], None]):
        self.verb = verb
        self.channels = channels
        self.left = set(channels)
        self.failed = failed  # as `Answered`, for the channels that are left


class LineEar(Protocol):
    """Who is told what comes on a line, by the loop."""

    def heard(self, channel: bytes, data: bytes) -> None:
        """A message has come."""
        ...

    def confirmed(self, asked: Subscribing, channel: bytes) -> None:
        """The channel is subscribed, or no longer, as was asked."""
        ...

    def dropped(self, channel: bytes) -> None:
        """The server has ended a subscription by itself: the channel is another node's now."""
        ...

    def writable(self) -> None:
        """What waited in the line's buffer has left."""
        ...

    def lost(self) -> None:
        """The line is no more; everything that was asked has been told so before."""
        ...


class RespLine(asyncio.Protocol):
    """An open line, made by `open`."""

    def __init__(self, ear: LineEar) -> None:
        self.is_writable = True
        self.bytes_in = 0
        self._ear = ear
        self._reader = hiredis.Reader()
        self._asked: deque[Answered | Subscribing] = deque()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, address: Address, tls: ssl.SSLContext | None, ear: LineEar) -> Self:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: cls(ear), address.host, address.port, ssl=tls)
        return line

    def ask(self, commands: Iterable[tuple[tuple[bytes | str | int, ...], Answered | Subscribing]]) -> None:
        """Send the commands in one write, each with who gets its answer."""
        if self._transport is None:
            for _, asked in commands:
                _tell(asked, ConnectionResetError("the line was lost"))
            return
        packed = []
        for command, asked in commands:
            packed.append(hiredis.pack_command(command))  # type: ignore[arg-type] # its stub says one word
            self._asked.append(asked)
        self._transport.write(b"".join(packed))

    async def answer(self, *command: bytes | str | int) -> Any:
        """The reply to one command. Raises RedisRefused, and OSError where the line is lost."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.ask([(command, lambda reply: None if future.done() else future.set_result(reply))])
        reply = await future
        if isinstance(reply, hiredis.ReplyError):
            raise RedisRefused(str(reply))
        if isinstance(reply, OSError):
            raise reply
        return reply

    def close(self) -> None:
        """What was asked is sent yet."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Let go of it at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self._reader.feed(data)
        gets = self._reader.gets
        try:
            while (reply := gets()) is not False:
                if type(reply) is hiredis.PushNotification:
                    self._pushed(reply)
                else:
                    _tell(self._asked.popleft(), reply)
        except (hiredis.ProtocolError, IndexError):  # no Redis, or an answer that nobody asked for
            self.abort()

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        self._ear.writable()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        while self._asked:
            _tell(self._asked.popleft(), ConnectionResetError("the line was lost"))
        self._ear.lost()

    def _pushed(self, push: list[Any]) -> None:
        kind = push[0]
        if kind in MESSAGES:
            self._ear.heard(push[1], push[2])
        elif kind in CONFIRMATIONS:
            self._confirmed(kind, push[1])

    def _confirmed(self, kind: bytes, channel: bytes) -> None:
        asked = self._asked[0] if self._asked else None
        if not isinstance(asked, Subscribing) or asked.verb != kind or channel not in asked.left:
            self._ear.dropped(channel)
            return
        asked.left.discard(channel)
        if not asked.left:
            self._asked.popleft()
        self._ear.confirmed(asked, channel)


def _tell(asked: Answered | Subscribing, reply: Any) -> None:
    if isinstance(asked, Subscribing):
        asked.failed(asked, reply)
    else:
        asked(reply)
