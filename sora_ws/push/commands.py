"""What a client may ask on its line, and what it is answered: CONTRACT 1.2 and 1.5 as code.

Messages of one connection come here one after the other, each when the one before is done, so
a subscribe sent right behind an auth finds it done however slow the token check was.
"""

from __future__ import annotations

import logging
import re
import secrets
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from sora_ws.auth import TokenExpired, TokenInvalid, Tokens, UserDisabled
from sora_ws.push.connection import BATCHES, DEFLATES, Connection
from sora_ws.push.hub import Hub, task_topic, team_topic, user_topic
from sora_ws.push.lines import Lines
from sora_ws.push.messages import (
    Auth,
    AuthSuccess,
    CloseCode,
    Error,
    ErrorCode,
    Message,
    MessageId,
    Pong,
    Request,
    RoomSubscription,
    RoomTopic,
    Stats,
    TaskSubscription,
    TaskTopic,
)
from sora_ws.service import NotFound, VideoService
from sora_ws.store import StoreError
from sora_ws.task import Task, Viewer

log = logging.getLogger(__name__)

BAD_MESSAGES_MAX: Final = 10
COME_BACK_MS: Final = 1000
TASK_ID: Final = re.compile(r"video_[0-9a-f]{32}")
SESSION_ALPHABET: Final = string.ascii_lowercase + string.digits
BEFORE_AUTH: Final = frozenset({"auth", "ping"})

_decoder: Final = msgspec.json.Decoder(Request)


class OnlyId(msgspec.Struct):
    """As much of a message as a refusal needs."""

    id: MessageId | None = None


M = TypeVar("M", bound=Message)
StatsSource = Callable[[], Awaitable[Stats]]


class Refused(Exception):
    """The message is answered by an error, and perhaps by the end of the connection."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        retryable: bool = False,
        close: CloseCode | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.error = Error(code, message, retryable, retry_after_ms)
        self.close = close


class Commands:
    """Handles each message of a client, and answers it."""

    def __init__(
        self,
        *,
        lines: Lines,
        hub: Hub,
        service: VideoService,
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
        self._tokens = tokens
        self._stats = stats
        self._time = time
        self._clock = clock
        self._subscriptions_max = subscriptions_max
        self._messages_per_second_max = messages_per_second_max
        self._commands: Mapping[str, Callable[[Connection, MessageId | None, Raw], Awaitable[None]]] = {
            "auth": self._auth,
            "subscribe_task": self._subscribe_task,
            "unsubscribe_task": self._unsubscribe_task,
            "subscribe_room": self._subscribe_room,
            "unsubscribe_room": self._unsubscribe_room,
            "ping": self._ping,
            "get_stats": self._get_stats,
        }

    async def handle(self, connection: Connection, text: str) -> None:
        """Answer one message. Never raises: a fault of ours is logged and answered as one."""
        if not self._lines.may_speak(connection):
            self._tell_limit(connection, text)
            return
        request: Request | None = None
        try:
            request = _read(text)
            await self._dispatch(connection, request)
            connection.bad_messages = 0
        except Refused as refused:
            self._refuse(connection, refused, request.id if request else _id_of(text))
        except StoreError as error:
            log.warning("a message waits for the store: %s", error)
            self._fail(connection, request, "the database is away; try again soon")
        except Exception:
            log.exception("a message could not be handled", extra={"action": "fault"})
            self._fail(connection, request, "something went wrong here; try again")

    async def _dispatch(self, connection: Connection, request: Request) -> None:
        if connection.identity is None and request.type not in BEFORE_AUTH:
            raise Refused(ErrorCode.AUTH_REQUIRED, "send auth with your token first", retryable=True)
        command = self._commands.get(request.type)
        if command is None:
            known = ", ".join(self._commands)
            raise Refused(ErrorCode.UNKNOWN_TYPE, f"unknown type {request.type[:40]!r}; known are {known}")
        await command(connection, request.id, request.payload)

    # --- the messages ---

    async def _auth(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        auth = _payload(Auth, payload)
        try:
            identity = await self._tokens.identify(auth.token)
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
            return
        before = connection.identity
        if before is not None and before.viewer.user_id != identity.viewer.user_id:
            raise Refused(ErrorCode.AUTH_FAILED, "the token is another user's", close=CloseCode.AUTH_FAILED)
        await self._leave_what_is_lost(connection, identity.viewer)
        if not connection.is_open:
            return
        if not self._lines.authenticate(connection, identity):
            raise Refused(
                ErrorCode.LIMIT_EXCEEDED,
                "you have too many open connections",
                retryable=True,
                close=CloseCode.TOO_MUCH,
                retry_after_ms=COME_BACK_MS,
            )
        connection.kind = connection.kind & DEFLATES | (BATCHES if auth.batch else 0)
        session = "".join(secrets.choice(SESSION_ALPHABET) for _ in range(8))
        session_id = f"ws_{self._clock() // 1000}_{session}"
        reply = AuthSuccess(identity.viewer.user_id, identity.username, session_id, identity.expires_at)
        self._lines.send(connection, "authSuccess", reply, id_)

    async def _subscribe_task(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        video_id = _payload(TaskTopic, payload).video_id
        topic = task_topic(video_id)
        self._check_room_for(connection, topic)
        viewer = _viewer(connection)
        task = self._hub.newest(video_id)
        if task is None or not task.may_be_seen_by(viewer):
            [task] = await self._hub.states(topic, self._visible(video_id, viewer))
        if not connection.is_open:
            return
        self._hub.subscribe(connection, topic)
        self._lines.send(connection, "subscribeSuccess", TaskSubscription(video_id, True), id_)
        self._hub.show(connection, [task])

    async def _unsubscribe_task(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        video_id = _payload(TaskTopic, payload).video_id
        self._hub.unsubscribe(connection, task_topic(video_id))
        self._lines.send(connection, "unsubscribeSuccess", TaskSubscription(video_id, False), id_)

    async def _subscribe_room(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        room = _payload(RoomTopic, payload).room
        viewer = _viewer(connection)
        topic = _room_topic(room, viewer)
        self._check_room_for(connection, topic)
        states = await self._hub.states(topic, self._live(room, viewer))
        if not connection.is_open:
            return
        self._hub.subscribe(connection, topic)
        self._lines.send(connection, "subscribeSuccess", RoomSubscription(room, True), id_)
        self._hub.show(connection, states)

    async def _unsubscribe_room(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        room = _payload(RoomTopic, payload).room
        self._hub.unsubscribe(connection, _room_topic(room, _viewer(connection)))
        self._lines.send(connection, "unsubscribeSuccess", RoomSubscription(room, False), id_)

    async def _ping(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        self._lines.send(connection, "pong", Pong(), id_)

    async def _get_stats(self, connection: Connection, id_: MessageId | None, payload: Raw) -> None:
        self._lines.send(connection, "stats", await self._stats(), id_)

    # --- how they are answered ---

    async def _visible(self, video_id: str, viewer: Viewer) -> Sequence[Task]:
        """The one task, for one answer whether it is unknown or somebody else's."""
        try:
            if TASK_ID.fullmatch(video_id):
                return [await self._service.get(viewer, video_id)]
        except NotFound:
            pass  # said below, in the same words as for an id that can't be one
        raise Refused(ErrorCode.NOT_FOUND, "there is no such video")

    async def _live(self, room: str, viewer: Viewer) -> Sequence[Task]:
        if room == "user":
            return await self._service.live(user_id=viewer.user_id)
        return await self._service.live(team=room.removeprefix("team:"))

    def _check_room_for(self, connection: Connection, topic: str) -> None:
        if topic not in connection.topics and len(connection.topics) >= self._subscriptions_max:
            raise Refused(
                ErrorCode.LIMIT_EXCEEDED,
                f"a connection has at most {self._subscriptions_max} subscriptions; unsubscribe some",
                retry_after_ms=COME_BACK_MS,
            )

    async def _leave_what_is_lost(self, connection: Connection, viewer: Viewer) -> None:
        """A renewed token may hold fewer teams than the one before."""
        before = connection.identity.viewer if connection.identity else viewer
        if set(before.teams) <= set(viewer.teams):
            return
        for topic in tuple(connection.topics):
            if not await self._may_listen(viewer, topic):
                self._hub.unsubscribe(connection, topic)

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

    def _refuse(self, connection: Connection, refused: Refused, id_: MessageId | None) -> None:
        self._lines.send(connection, "error", refused.error, id_)
        is_bad = refused.error.code is ErrorCode.BAD_MESSAGE
        connection.bad_messages = connection.bad_messages + 1 if is_bad else 0
        if connection.bad_messages >= BAD_MESSAGES_MAX:
            connection.close(CloseCode.MISBEHAVED, "too many messages that can't be read")
        if refused.close is not None:
            connection.close(refused.close, refused.error.message)

    def _fail(self, connection: Connection, request: Request | None, message: str) -> None:
        connection.bad_messages = 0
        error = Error(ErrorCode.INTERNAL, message, retryable=True)
        self._lines.send(connection, "error", error, request.id if request else None)

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
        self._lines.send(connection, "error", error, _id_of(text))


def _read(text: str) -> Request:
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise Refused(ErrorCode.BAD_MESSAGE, f"not a message: {error}") from None


def _id_of(text: str) -> MessageId | None:
    """The id of a message that is no good otherwise."""
    try:
        return msgspec.json.decode(text, type=OnlyId).id
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None


def _payload(type_: type[M], payload: Raw) -> M:
    try:
        return msgspec.json.decode(payload, type=type_)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(ErrorCode.BAD_MESSAGE, f"wrong payload: {error}") from None


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
