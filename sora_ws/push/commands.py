"""What a client may ask on its line, and what it is answered: CONTRACT 1.2 and 1.5 as code.

Messages of one connection come here one after the other, each when the one before is done, so
a subscribe sent right behind an auth finds it done however slow the token check was.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from msgspec import Raw

from sora_ws.auth import Identity, TokenExpired, TokenInvalid, Tokens, UserDisabled
from sora_ws.push.connection import BATCHES, DEFLATES, Connection
from sora_ws.push.hub import Hub, task_topic, team_topic, user_topic
from sora_ws.push.lines import Lines
from sora_ws.push.messages import (
    Auth,
    AuthSuccess,
    CloseCode,
    Error,
    ErrorCode,
    MessageId,
    Pong,
    Request,
    RoomSubscription,
    RoomTopic,
    Stats,
    TaskSubscription,
    TaskTopic,
)
from sora_ws.push.reads import StateReads
from sora_ws.push.requests import Refused, id_of, read_payload, read_request
from sora_ws.service import NotFound, VideoService
from sora_ws.store import StoreError
from sora_ws.task import Task, Viewer

log = logging.getLogger(__name__)

BAD_MESSAGES_MAX: Final = 10
COME_BACK_MS: Final = 1000
TASK_ID: Final = re.compile(r"video_[0-9a-f]{32}")
SESSION_BYTES: Final = 5
BEFORE_AUTH: Final = frozenset({"auth", "ping"})

StatsSource = Callable[[], Awaitable[Stats]]
Answering = Awaitable[None] | None
"""None where the answer is given already: then no task is made, and the socket is read on."""


class Commands:
    """Handles each message of a client, and answers it."""

    def __init__(
        self,
        *,
        lines: Lines,
        hub: Hub,
        service: VideoService,
        reads: StateReads,
        tokens: Tokens,
        stats: StatsSource,
        time: Callable[[], float],
        clock: Callable[[], int],
        subscriptions_max: int,
        messages_per_second_max: int,
    ) -> None:
        self._lines = lines
        self._hub = hub
        self._service = service
        self._reads = reads
        self._tokens = tokens
        self._stats = stats
        self._time = time
        self._clock = clock
        self._subscriptions_max = subscriptions_max
        self._messages_per_second_max = messages_per_second_max
        self._commands: Mapping[str, Callable[[Connection, MessageId | None, Raw], Answering]] = {
            "auth": self._auth,
            "subscribe_task": self._subscribe_task,
            "unsubscribe_task": self._unsubscribe_task,
            "subscribe_room": self._subscribe_room,
            "unsubscribe_room": self._unsubscribe_room,
            "ping": self._ping,
            "get_stats": self._get_stats,
        }

    def handle(self, connection: Connection, text: str) -> Answering:
        """Answer one message; what comes back is to be awaited. A fault of ours is answered as one too."""
        if not self._lines.may_speak(connection):
            self._tell_limit(connection, text)
            return None
        request: Request | None = None
        try:
            request = read_request(text)
            answering = self._dispatch(connection, request)
        except Exception as fault:
            self._tell(connection, request.id if request else id_of(text), fault)
            return None
        if answering is not None:
            return self._wait(connection, request.id, answering)
        connection.bad_messages = 0
        return None

    async def _wait(self, connection: Connection, id_: MessageId | None, answering: Awaitable[None]) -> None:
        try:
            await answering
        except Exception as fault:
            self._tell(connection, id_, fault)
        else:
            connection.bad_messages = 0

    def _dispatch(self, connection: Connection, request: Request) -> Answering:
        if connection.identity is None and request.type not in BEFORE_AUTH:
            raise Refused(ErrorCode.AUTH_REQUIRED, "send auth with your token first", retryable=True)
        command = self._commands.get(request.type)
        if command is None:
            known = ", ".join(self._commands)
            raise Refused(ErrorCode.UNKNOWN_TYPE, f"unknown type {request.type[:40]!r}; known are {known}")
        return command(connection, request.id, request.payload)

    # --- the messages ---

    def _auth(self, connection: Connection, id_: MessageId | None, payload: Raw) -> Answering:
        auth = read_payload(Auth, payload)
        try:
            identity = self._tokens.identify(auth.token)
        except TokenExpired:
            raise Refused(
                ErrorCode.TOKEN_EXPIRED, "the token has expired; sign in again", close=CloseCode.TOKEN_EXPIRED
            ) from None
        except TokenInvalid:
            raise Refused(
                ErrorCode.AUTH_FAILED, "the token is not valid", close=CloseCode.AUTH_FAILED
            ) from None
        except UserDisabled:
            connection.close(CloseCode.DISABLED, "the user is disabled")
            return None
        before = connection.identity
        if before is not None and before.viewer.user_id != identity.viewer.user_id:
            raise Refused(ErrorCode.AUTH_FAILED, "the token is another user's", close=CloseCode.AUTH_FAILED)
        if before is not None and not set(before.viewer.teams) <= set(identity.viewer.teams):
            return self._let_in_with_less(connection, id_, auth, identity)
        self._let_in(connection, id_, auth, identity)
        return None

    def _let_in(self, connection: Connection, id_: MessageId | None, auth: Auth, identity: Identity) -> None:
        if not self._lines.authenticate(connection, identity):
            raise Refused(
                ErrorCode.LIMIT_EXCEEDED,
                "you have too many open connections",
                retryable=True,
                close=CloseCode.TOO_MUCH,
                retry_after_ms=COME_BACK_MS,
            )
        connection.kind = connection.kind & DEFLATES | (BATCHES if auth.batch else 0)
        session_id = f"ws_{self._clock() // 1000}_{secrets.token_hex(SESSION_BYTES)}"
        reply = AuthSuccess(identity.viewer.user_id, identity.username, session_id, identity.expires_at)
        self._lines.send(connection, "authSuccess", reply, id_)

    async def _let_in_with_less(
        self, connection: Connection, id_: MessageId | None, auth: Auth, identity: Identity
    ) -> None:
        """A renewed token may hold fewer teams than the one before."""
        for topic in tuple(connection.topics):
            if not await self._may_listen(identity.viewer, topic.name):
                self._hub.unsubscribe(connection, topic.name)
        if connection.is_open:
            self._let_in(connection, id_, auth, identity)

    def _subscribe_task(self, connection: Connection, id_: MessageId | None, payload: Raw) -> Answering:
        video_id = read_payload(TaskTopic, payload).video_id
        self._check_room_for(connection, task_topic(video_id))
        task = self._hub.newest(video_id)
        if task is None or not task.may_be_seen_by(_viewer(connection)):
            return self._read_and_subscribe(connection, id_, video_id)
        self._listen_to_task(connection, id_, task)
        return None

    async def _read_and_subscribe(self, connection: Connection, id_: MessageId | None, video_id: str) -> None:
        viewer = _viewer(connection)
        task = await self._reads.task(video_id) if TASK_ID.fullmatch(video_id) else None
        if task is None or not task.may_be_seen_by(viewer):
            raise Refused(ErrorCode.NOT_FOUND, "there is no such video")  # the same whether it is somebody's
        if connection.is_open:
            self._listen_to_task(connection, id_, task)

    def _listen_to_task(self, connection: Connection, id_: MessageId | None, task: Task) -> None:
        self._hub.subscribe(connection, task_topic(task.id))
        reply = self._lines.reply("subscribeSuccess", TaskSubscription(task.id, True), id_)
        self._hub.show(connection, [task], behind=reply)

    def _unsubscribe_task(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        video_id = read_payload(TaskTopic, payload).video_id
        self._hub.unsubscribe(connection, task_topic(video_id))
        self._lines.send(connection, "unsubscribeSuccess", TaskSubscription(video_id, False), id_)

    async def _subscribe_room(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        room = read_payload(RoomTopic, payload).room
        viewer = _viewer(connection)
        topic = _room_topic(room, viewer)
        self._check_room_for(connection, topic)
        if room == "user":
            tasks = await self._reads.live(topic, user_id=viewer.user_id)
        else:
            tasks = await self._reads.live(topic, team=room.removeprefix("team:"))
        if not connection.is_open:
            return
        self._hub.subscribe(connection, topic)
        reply = self._lines.reply("subscribeSuccess", RoomSubscription(room, True), id_)
        self._hub.show(connection, tasks, behind=reply)

    def _unsubscribe_room(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        room = read_payload(RoomTopic, payload).room
        self._hub.unsubscribe(connection, _room_topic(room, _viewer(connection)))
        self._lines.send(connection, "unsubscribeSuccess", RoomSubscription(room, False), id_)

    def _ping(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        self._lines.send(connection, "pong", Pong(), id_)

    async def _get_stats(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        self._lines.send(connection, "stats", await self._stats(), id_)

    # --- how they are answered ---

    def _check_room_for(self, connection: Connection, topic: str) -> None:
        if len(connection.topics) >= self._subscriptions_max and not self._hub.hears(connection, topic):
            raise Refused(
                ErrorCode.LIMIT_EXCEEDED,
                f"a connection has at most {self._subscriptions_max} subscriptions; unsubscribe some",
                retry_after_ms=COME_BACK_MS,
            )

    async def _may_listen(self, viewer: Viewer, topic: str) -> bool:
        kind, _, name = topic.partition(":")
        if kind == "team":
            return name in viewer.teams
        if kind == "user":
            return name == viewer.user_id
        try:
            await self._service.get(viewer, name)
        except NotFound:
            return False
        return True

    def _tell(self, connection: Connection, id_: MessageId | None, fault: Exception) -> None:
        """Answer a message that came to nothing."""
        if isinstance(fault, Refused):
            self._refuse(connection, id_, fault)
            return
        if isinstance(fault, StoreError):
            log.warning("a message waits for the store: %s", fault)
            message = "the database is away; try again soon"
        else:
            log.error("a message could not be handled", exc_info=fault, extra={"action": "fault"})
            message = "something went wrong here; try again"
        connection.bad_messages = 0
        self._lines.send(connection, "error", Error(ErrorCode.INTERNAL, message, retryable=True), id_)

    def _refuse(self, connection: Connection, id_: MessageId | None, refused: Refused) -> None:
        self._lines.send(connection, "error", refused.error, id_)
        is_bad = refused.error.code is ErrorCode.BAD_MESSAGE
        connection.bad_messages = connection.bad_messages + 1 if is_bad else 0
        if connection.bad_messages >= BAD_MESSAGES_MAX:
            connection.close(CloseCode.MISBEHAVED, "too many messages that can't be read")
        if refused.close is not None:
            connection.close(refused.close, refused.error.message)

    def _tell_limit(self, connection: Connection, text: str) -> None:
        """At most once a second: a flood is not answered by a flood."""
        now = self._time()
        told_at = connection.refusal_told_at
        if told_at is not None and now - told_at < 1:
            return
        connection.refusal_told_at = now
        rate = self._messages_per_second_max
        message = f"more than {rate} messages a second"
        error = Error(ErrorCode.LIMIT_EXCEEDED, message, retryable=True, retry_after_ms=max(1, 1000 // rate))
        self._lines.send(connection, "error", error, id_of(text))


def _viewer(connection: Connection) -> Viewer:
    """Who the connection is; only called behind the check for auth."""
    if connection.identity is None:
        raise Refused(ErrorCode.AUTH_REQUIRED, "send auth with your token first", retryable=True)
    return connection.identity.viewer


def _room_topic(room: str, viewer: Viewer) -> str:
    if room == "user":
        return user_topic(viewer.user_id)
    team = room.removeprefix("team:")
    if team == room:
        raise Refused(ErrorCode.FORBIDDEN, "rooms are user and team:NAME")
    if team not in viewer.teams:
        raise Refused(ErrorCode.FORBIDDEN, f"you are not in the team {team[:80]!r}")
    return team_topic(team)
