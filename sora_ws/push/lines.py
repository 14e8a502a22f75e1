"""All open connections: who is let in, who they are, their beats, and their end."""

from __future__ import annotations

import asyncio
import random
import time as wall
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from tornado.ioloop import PeriodicCallback

from sora_ws.auth import Identity
from sora_ws.push.connection import LINGER_S, Connection, Transport
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
from sora_ws.push.timers import Timers
from sora_ws.settings import Settings

STALLED_S_MAX: Final = 30.0
REFUSALS_MAX: Final = 500
EXPIRING_MS: Final = 60_000
RATE_SAMPLES: Final = 10
SLICES_A_SECOND: Final = 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection is not let in, as an HTTP answer before the upgrade."""

    status: int
    reason: str
    retry_after_s: int


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
        self._open: set[Connection] = set()
        self._by_user: dict[str, set[Connection]] = {}
        self._strangers: Counter[str] = Counter()
        self._beat_s = settings.ws_heartbeat_interval / 1000
        self._timers = Timers(time, tick_ms=max(10, settings.ws_heartbeat_interval // 10))
        self._sampler = PeriodicCallback(self._sample, 1000)
        self._samples: deque[int] = deque([0], maxlen=RATE_SAMPLES + 1)
        self._replies_sent = 0
        self._started_at = time()
        self._draining = False
        self.handle: Callable[[Connection, str], Awaitable[None] | None] = lambda connection, text: None

    def start(self) -> None:
        self._timers.start()
        self._sampler.start()

    # --- coming ---

    def refusal(self, address: str) -> Refusal | None:
        """Why one more connection from this address can't be let in, None where it can."""
        if self._draining:
            return Refusal(503, "the server is about to stop", 1)
        if len(self._open) >= self._settings.max_connections:
            return Refusal(503, "the server has no room for more connections", 5)
        if self._strangers[address] >= self._settings.max_connections_per_address:
            return Refusal(429, "too many connections from your address have not authenticated yet", 1)
        return None

    def adopt(self, transport: Transport, address: str, *, deflates: bool) -> Connection:
        """A line was opened: it has WS_AUTH_TIMEOUT to say who it is."""
        connection = Connection(
            transport,
            self,
            self._time,
            address=address,
            message_bytes_max=self._settings.max_message_bytes,
            send_bytes_max=self._settings.max_send_buffer_bytes,
            bucket=self._settings.max_subscriptions,
            deflates=deflates,
        )
        self._open.add(connection)
        self._strangers[address] += 1
        self._timers.at(self._time() + self._settings.ws_auth_timeout / 1000, connection, self._auth_is_due)
        return connection

    def authenticate(self, connection: Connection, identity: Identity) -> bool:
        """The line belongs to this user from now on; False where the user has too many."""
        user = identity.viewer.user_id
        if connection.identity is None:
            lines = self._by_user.setdefault(user, set())
            if len(lines) >= self._settings.max_connections_per_user:
                return False
            lines.add(connection)
            self._forget_stranger(connection.address)
            # The first beat comes at a random time, so that a wave of reconnects doesn't beat in step.
            first = self._time() + self._beat_s * random.random()  # noqa: S311 -- no secret
            self._timers.at(first, connection, self._beat)
        connection.identity = identity
        self._watch_expiry(connection)
        return True

    # --- what happens on them ---

    def on_text(self, connection: Connection, text: str) -> Awaitable[None] | None:
        return self.handle(connection, text)

    def on_binary(self, connection: Connection, data: bytes) -> None:
        connection.close(CloseCode.UNSUPPORTED_DATA, "messages are JSON text")

    def on_ping(self, connection: Connection, data: bytes) -> None:
        if self.may_speak(connection):
            connection.pong(data)

    def on_stalled(self, connection: Connection) -> None:
        if not connection.stall_watched:
            connection.stall_watched = True
            self._timers.at(self._time() + STALLED_S_MAX, connection, self._still_stalled)

    def may_speak(self, connection: Connection) -> bool:
        """Take one message off the connection's bucket; False where it is empty.

        It holds MAX_SUBSCRIPTIONS at once and is refilled at MAX_MESSAGES_PER_SECOND. Who goes
        on all the same is shut out; a full bucket forgives.
        """
        now = self._time()
        full = float(self._settings.max_subscriptions)
        refill = (now - connection.bucket_at) * self._settings.max_messages_per_second
        connection.bucket = min(full, connection.bucket + refill)
        connection.bucket_at = now
        if connection.bucket >= full:
            connection.refusals = 0
        if connection.bucket >= 1:
            connection.bucket -= 1
            return True
        connection.refusals += 1
        if connection.refusals >= REFUSALS_MAX:
            connection.close(CloseCode.TOO_MUCH, "too many messages")
        return False

    def on_closing(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._hub.drop(connection)
        if connection.identity is None:
            self._forget_stranger(connection.address)
        else:
            user = connection.identity.viewer.user_id
            self._by_user[user].discard(connection)
            if not self._by_user[user]:
                del self._by_user[user]
        self._timers.at(self._time() + LINGER_S, connection, Connection.abort)

    def send(
        self, connection: Connection, type_: str, payload: Message, id_: MessageId | None = None
    ) -> None:
        """A message that is no push of a task."""
        self._replies_sent += 1
        connection.send_text(encode(type_, payload, self._clock(), id_))

    # --- what happens to them by time ---

    def _auth_is_due(self, connection: Connection) -> None:
        if connection.identity is None and not connection.busy:
            connection.close(CloseCode.AUTH_TIMEOUT, "no auth in time")
        elif connection.identity is None and connection.is_open:
            self._timers.at(self._time() + 1, connection, self._auth_is_due)

    def _beat(self, connection: Connection) -> None:
        if not connection.is_open:
            return
        now = self._time()
        if now - connection.heard_at > 2 * self._beat_s and not connection.busy:
            connection.close(CloseCode.STUCK, "nothing was heard of you")
            return
        self.send(connection, "heartbeat", Heartbeat(len(self._open), self.uptime))
        connection.ping()
        self._watch_expiry(connection)
        self._timers.at(now + self._beat_s, connection, self._beat)

    def _still_stalled(self, connection: Connection) -> None:
        since = connection.stalled_since
        connection.stall_watched = False
        if since is None or not connection.is_open:
            return
        if self._time() - since >= STALLED_S_MAX:
            connection.close(CloseCode.STUCK, "you read nothing")
        else:
            connection.stall_watched = True
            self._timers.at(since + STALLED_S_MAX, connection, self._still_stalled)

    def _watch_expiry(self, connection: Connection) -> None:
        """Set the timers of the token's end once that is nearer than the next beat.

        Timers hold their connection: set hours ahead they would keep every closed one alive.
        """
        identity = connection.identity
        if identity is None or connection.expiry_watched == identity.expires_at:
            return
        left_s = _left_ms(identity) / 1000
        warn_in_s = left_s - EXPIRING_MS / 1000
        if warn_in_s > self._beat_s:
            return
        connection.expiry_watched = identity.expires_at
        now = self._time()
        self._timers.at(now + max(0.0, warn_in_s), connection, self._token_expires_soon)
        self._timers.at(now + max(0.0, left_s), connection, self._token_is_over)

    def _token_expires_soon(self, connection: Connection) -> None:
        identity = connection.identity
        if identity is not None and 0 < _left_ms(identity) <= EXPIRING_MS:
            self.send(connection, "tokenExpiring", TokenExpiring(identity.expires_at))

    def _token_is_over(self, connection: Connection) -> None:
        identity = connection.identity
        if identity is not None and _left_ms(identity) <= 0 and connection.is_open:
            error = Error(ErrorCode.TOKEN_EXPIRED, "the token has expired; sign in again", retryable=False)
            self.send(connection, "error", error)
            connection.close(CloseCode.TOKEN_EXPIRED, "the token has expired")

    def shut_out(self, users: Iterable[str]) -> None:
        """Close every line of these users: they were disabled."""
        for user in users:
            for connection in tuple(self._by_user.get(user, ())):
                connection.close(CloseCode.DISABLED, "the user is disabled")

    # --- going ---

    async def drain(self, seconds: float) -> None:
        """Say goodbye to all, in slices over `seconds`, so that they come back as a slope."""
        self._draining = True
        leaving = list(self._open)
        slices = max(1, int(seconds * SLICES_A_SECOND))
        size = -(-len(leaving) // slices) or 1
        for start in range(0, len(leaving), size):
            for connection in leaving[start : start + size]:
                connection.close(CloseCode.GOING_AWAY, "the server stops")
            if start + size < len(leaving):
                await asyncio.sleep(seconds / slices)

    def stop(self) -> None:
        """Drop what is still open."""
        self._draining = True
        self._timers.stop()
        self._sampler.stop()
        for connection in tuple(self._open):
            connection.abort()

    # --- figures ---

    @property
    def uptime(self) -> float:
        return round(self._time() - self._started_at, 3)

    @property
    def connected(self) -> int:
        return len(self._open)

    @property
    def authenticated(self) -> int:
        return len(self._open) - self._strangers.total()

    @property
    def slow(self) -> int:
        return sum(connection.stalled_since is not None for connection in self._open)

    @property
    def messages_sent(self) -> int:
        return self._replies_sent + self._hub.pushes_sent

    @property
    def messages_per_second(self) -> float:
        """Over the last RATE_SAMPLES seconds, or the whole life where that is shorter."""
        return round((self.messages_sent - self._samples[0]) / len(self._samples), 1)

    def _sample(self) -> None:
        self._samples.append(self.messages_sent)

    def _forget_stranger(self, address: str) -> None:
        self._strangers[address] -= 1
        if self._strangers[address] <= 0:
            del self._strangers[address]


def _left_ms(identity: Identity) -> float:
    """Until the token ends, by the very clock that tokens are checked by."""
    return identity.expires_at - wall.time() * 1000
