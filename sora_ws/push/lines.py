"""All open connections: who is let in, who they are, their beats, and their end."""

from __future__ import annotations

import asyncio
import random
import time as wall
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tornado.ioloop import PeriodicCallback

from sora_ws.auth import Identity
from sora_ws.push import frames
from sora_ws.push.connection import EVENTS, LINGER_S, Connection, Transport
from sora_ws.push.frames import Opcode
from sora_ws.push.hub import Hub
from sora_ws.push.messages import (
    CloseCode,
    Error,
    ErrorCode,
    Heartbeat,
    Message,
    MessageId,
    TokenExpiring,
    encode,
)
from sora_ws.push.sse import EventStream
from sora_ws.push.timers import SLICE, Timers
from sora_ws.settings import Settings

STALLED_S_MAX: Final = 30.0
REFUSALS_MAX: Final = 500
EXPIRING_S: Final = 60.0
RATE_SAMPLES: Final = 10
SLICES_A_SECOND: Final = 50
CLIENTS_CODES: Final = 3000  # RFC 6455 section 7.4.2


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection is not let in, as an HTTP answer before the upgrade."""

    status: int
    reason: str
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class _Beat:
    at: float
    frame: bytes


class Lines:
    """Keeps every connection from its first byte to its last.

    `time` is the loop's clock in s, `clock` the time of day in ms.
    """

    def __init__(
        self, settings: Settings, hub: Hub, time: Callable[[], float], clock: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._time = time
        self._clock = clock
        self.message_bytes_max = settings.max_message_bytes
        self.send_bytes_max = settings.max_send_buffer_bytes
        self.connected = 0
        self._heads: dict[str, Connection] = {}  # of each user the newest line, which knows the one before
        self._strangers: Counter[str] = Counter()
        self._beat_s = settings.ws_heartbeat_interval / 1000
        self._beat = _Beat(0.0, b"")
        self._timers = Timers(time, self._look_after, max(10, settings.ws_heartbeat_interval // 10))
        self._sampler = PeriodicCallback(self._sample, 1000)
        self._samples: deque[int] = deque([0], maxlen=RATE_SAMPLES + 1)
        self._replies_sent = 0
        self._started_at = time()
        self._draining = False
        self.conflated = 0
        self.closed: Counter[str] = Counter()  # by close code
        self.handle: Callable[[Connection, str], Awaitable[None] | None] = lambda connection, text: None

    def start(self) -> None:
        self._timers.start()
        self._sampler.start()

    @property
    def now(self) -> float:
        """To the tick of the timers."""
        return self._timers.now

    # --- coming ---

    def refusal(self, address: str, user: str | None = None) -> Refusal | None:
        """Why one more connection from this address can't be let in, None where it can.

        `user` is who it will be, where that is known already.
        """
        if self._draining:
            return Refusal(503, "the server is about to stop", 1)
        if self.connected >= self._settings.max_connections:
            return Refusal(503, "the server has no room for more connections", 5)
        if user is not None:
            return self._refusal_of_user(user)
        if self._strangers[address] >= self._settings.max_connections_per_address:
            return Refusal(429, "too many connections from your address have not authenticated yet", 1)
        return None

    def adopt(self, transport: Transport, address: str, kind: int = 0) -> Connection:
        """A line was opened: it has WS_AUTH_TIMEOUT to say who it is."""
        connection = Connection(transport, self, address, kind)
        self._let_in(connection)
        return connection

    def adopt_stream(self, transport: Transport, identity: Identity, task_id: str | None) -> EventStream:
        """A stream of events was opened by a user whom nothing refuses."""
        stream = EventStream(transport, self, "", EVENTS, task_id=task_id)
        self._let_in(stream)
        self.authenticate(stream, identity)
        return stream

    def _let_in(self, connection: Connection) -> None:
        connection.since = self._time()
        self.connected += 1
        self._strangers[connection.address] += 1
        self._wait(connection)

    def authenticate(self, connection: Connection, identity: Identity) -> bool:
        """The line belongs to this user from now on; False where the user has too many."""
        if connection.identity is None:
            user = identity.viewer.user_id
            if self._refusal_of_user(user):
                return False
            connection.sibling = self._heads.get(user)
            self._heads[user] = connection
            self._forget_stranger(connection)
            # The first beat comes at a random time, so that a wave of reconnects doesn't beat in step.
            connection.since = self.now - self._beat_s * random.random()  # noqa: S311 -- no secret
        connection.identity = identity
        self._wait(connection)
        return True

    def _refusal_of_user(self, user: str) -> Refusal | None:
        if sum(1 for _ in self._lines_of(user)) >= self._settings.max_connections_per_user:
            return Refusal(429, "you have too many open connections", 1)
        return None

    def _lines_of(self, user: str) -> Iterator[Connection]:
        """Newest first. A chain, because nearly every user has one line: a set each took 231 bytes."""
        line = self._heads.get(user)
        while line is not None:
            yield line
            line = line.sibling

    def _forget_line(self, connection: Connection, user: str) -> None:
        """Take it out of its user's chain."""
        after, connection.sibling = connection.sibling, None
        if self._heads[user] is not connection:
            next(line for line in self._lines_of(user) if line.sibling is connection).sibling = after
        elif after is not None:
            self._heads[user] = after
        else:
            del self._heads[user]

    def _forget_stranger(self, connection: Connection) -> None:
        address, connection.address = connection.address, ""
        self._strangers[address] -= 1
        if self._strangers[address] <= 0:
            del self._strangers[address]

    # --- what happens on them ---

    def on_text(self, connection: Connection, text: str) -> Awaitable[None] | None:
        return self.handle(connection, text)

    def on_binary(self, connection: Connection, data: bytes) -> None:
        connection.close(CloseCode.UNSUPPORTED_DATA, "messages are JSON text")

    def on_ping(self, connection: Connection, data: bytes) -> None:
        if self.may_speak(connection):
            connection.pong(data)

    def on_stalled(self, connection: Connection) -> None:
        self._wait(connection)

    def may_speak(self, connection: Connection) -> bool:
        """Take one message off the connection's bucket; False where it is empty.

        It holds MAX_SUBSCRIPTIONS at once and is refilled at MAX_MESSAGES_PER_SECOND; what is kept
        of it is when it will be full again. Who goes on all the same is shut out; a full bucket
        forgives.
        """
        now = self._time()
        if connection.quota_at <= now:
            connection.quota_at = now
            connection.refusals = 0
        rate = self._settings.max_messages_per_second
        if (connection.quota_at - now) * rate <= self._settings.max_subscriptions - 1:
            connection.quota_at += 1 / rate
            return True
        connection.refusals += 1
        if connection.refusals >= REFUSALS_MAX:
            connection.close(CloseCode.TOO_MUCH, "too many messages")
        return False

    def on_conflated(self) -> None:
        self.conflated += 1

    def on_closing(self, connection: Connection) -> None:
        self.connected -= 1
        self.closed[_known_code(connection.close_code)] += 1
        self._hub.drop(connection)
        if connection.identity is None:
            self._forget_stranger(connection)
        else:
            self._forget_line(connection, connection.identity.viewer.user_id)
        self._wait(connection)

    def on_gone(self, connection: Connection) -> None:
        self._timers.forget(connection)

    def send(
        self, connection: Connection, type_: str, payload: Message, id_: MessageId | None = None
    ) -> None:
        """A message that is no push of a task."""
        self._replies_sent += 1
        connection.send_text(encode(type_, payload, self._clock(), id_))

    def reply(self, type_: str, payload: Message, id_: MessageId | None = None) -> bytes:
        """The frame of one, for who sends it together with others."""
        self._replies_sent += 1
        return frames.frame(Opcode.TEXT, encode(type_, payload, self._clock(), id_))

    # --- what happens to them by time ---

    def _wait(self, line: Connection) -> None:
        """The next time at which something may be due on the line: all of it follows from what it is."""
        if not line.is_open:
            due = self.now + LINGER_S
        elif line.identity is None:
            due = self._auth_due(line)
        else:
            due = min(line.since + self._beat_s, self._silent_at(line))
            if line.stalled_since is not None:
                due = min(due, self._stuck_at(line.stalled_since))
            left_s = _left_ms(line.identity) / 1000
            told = line.warned_of == line.identity.expires_at
            due = min(due, self._time() + left_s - (0 if told else EXPIRING_S))
        self._timers.at(due, line)

    def _look_after(self, line: Connection) -> None:
        """The line's time has come."""
        if not line.is_open:
            line.abort()
        elif line.identity is not None:
            self._serve(line, line.identity)
        elif line.busy or line.is_unheard(self._auth_due(line)):
            self._wait(line)
        else:
            line.close(CloseCode.AUTH_TIMEOUT, "no auth in time")

    def _auth_due(self, line: Connection) -> float:
        return line.since + self._settings.ws_auth_timeout / 1000

    def _silent_at(self, line: Connection) -> float:
        """When it counts as dead, if nothing more comes."""
        return line.heard_at + 2 * self._beat_s

    def _stuck_at(self, stalled_since: float) -> float:
        """When it counts as stuck, if it takes nothing more; while we stood still it could not."""
        return max(stalled_since, self._timers.awake_since) + STALLED_S_MAX

    def _serve(self, line: Connection, identity: Identity) -> None:
        now, left_ms = self.now, _left_ms(identity)
        if now - line.since >= 2 * self._beat_s:  # nobody asked it meanwhile: we are late, not it
            line.heard_at = now
        silent_at = self._silent_at(line)
        if now >= silent_at and not (line.busy or line.is_unheard(silent_at)):
            line.close(CloseCode.STUCK, "nothing was heard of you")
        elif line.stalled_since is not None and now >= self._stuck_at(line.stalled_since):
            line.close(CloseCode.STUCK, "you read nothing")
        elif left_ms <= 0:
            error = Error(ErrorCode.TOKEN_EXPIRED, "the token has expired; sign in again", retryable=False)
            self.send(line, "error", error)
            line.close(CloseCode.TOKEN_EXPIRED, "the token has expired")
        else:
            if left_ms <= EXPIRING_S * 1000 and line.warned_of != identity.expires_at:
                line.warned_of = identity.expires_at
                self.send(line, "tokenExpiring", TokenExpiring(identity.expires_at))
            if now - line.since >= self._beat_s:
                line.since = now
                self._replies_sent += 1
                line.beat(self._beat_frame())
            self._wait(line)

    def _beat_frame(self) -> bytes:
        """Heartbeat and ping in one write, made once for all of a sweep."""
        if self._beat.at != self.now:
            text = encode("heartbeat", Heartbeat(self.connected, self.uptime), self._clock())
            both = frames.frame(Opcode.TEXT, text) + frames.frame(Opcode.PING, b"")
            self._beat = _Beat(self.now, both)
        return self._beat.frame

    def shut_out(self, users: Iterable[str]) -> None:
        """Close every line of these users: they were disabled."""
        for user in users:
            for line in tuple(self._lines_of(user)):
                line.close(CloseCode.DISABLED, "the user is disabled")

    # --- going ---

    async def drain(self, seconds: float) -> None:
        """Say goodbye to all, in slices over `seconds`, so that they come back as a slope."""
        self._draining = True
        leaving = self._open_lines()
        slices = max(1, int(seconds * SLICES_A_SECOND), len(leaving) // SLICE)
        size = -(-len(leaving) // slices) or 1
        while leaving:
            # Let go of with each slice: 16,000 that are freed at the end hold the loop for 15 ms.
            for line in leaving[-size:]:
                line.close(CloseCode.GOING_AWAY, "the server stops")
            del line, leaving[-size:]
            if leaving:
                await asyncio.sleep(seconds / slices)

    def stop(self) -> None:
        """Drop what is still open."""
        self._draining = True
        self._timers.stop()
        self._sampler.stop()
        for line in self._open_lines():
            line.abort()

    def _open_lines(self) -> list[Connection]:
        return [line for line in self._timers.lines() if line.is_open]

    # --- figures ---

    @property
    def uptime(self) -> float:
        return round(self._time() - self._started_at, 3)

    @property
    def authenticated(self) -> int:
        return self.connected - self._strangers.total()

    @property
    def slow(self) -> int:
        return sum(line.stalled_since is not None for line in self._open_lines())

    @property
    def messages_sent(self) -> int:
        return self._replies_sent + self._hub.pushes_sent

    @property
    def messages_per_second(self) -> float:
        """Over the last RATE_SAMPLES seconds, or the whole life where that is shorter."""
        return round((self.messages_sent - self._samples[0]) / len(self._samples), 1)

    def _sample(self) -> None:
        self._samples.append(self.messages_sent)


def _known_code(code: int | None) -> str:
    """A close code as the label of a figure: what clients make up is one, else they could make 2,000."""
    is_made_up = code is not None and code >= CLIENTS_CODES and code not in set(CloseCode)
    return "other" if is_made_up else str(code)


def _left_ms(identity: Identity) -> float:
    """Until the token ends, by the very clock that tokens are checked by."""
    return identity.expires_at - wall.time() * 1000
