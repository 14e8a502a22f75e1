"""Every message of the WebSocket protocol as a type: the one definition of its shape.

Encoding, decoding and validation are made from these structs; fields go out in camelCase.
Times in ms since the epoch unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from sora_ws.rhythm import Rhythm
from sora_ws.settings import Language
from sora_ws.task import TOTAL_STEPS, FailureCode, State, Status, Task

MessageId = str | int


class ErrorCode(StrEnum):
    """What an `error` message may say."""

    BAD_MESSAGE = "BAD_MESSAGE"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    AUTH_REQUIRED = "AUTH_REQUIRED"
    AUTH_FAILED = "AUTH_FAILED"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 -- a code, no password
    NOT_FOUND = "NOT_FOUND"
    FORBIDDEN = "FORBIDDEN"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    INTERNAL = "INTERNAL"


class CloseCode(IntEnum):
    """Why the server ends a connection; what the client does next hangs on it.

    It comes back by itself after GOING_AWAY, STUCK and TOO_MUCH; only with a new token after
    AUTH_FAILED, AUTH_TIMEOUT and TOKEN_EXPIRED; not at all after MISBEHAVED and DISABLED.
    Below 4000: RFC 6455 section 7.4.1.
    """

    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    MESSAGE_TOO_BIG = 1009
    MISBEHAVED = 4400
    AUTH_FAILED = 4401
    DISABLED = 4403
    AUTH_TIMEOUT = 4408
    STUCK = 4413
    TOKEN_EXPIRED = 4419
    TOO_MUCH = 4429


class Message(Struct, rename="camel", frozen=True):
    """The base of every payload: camelCase outside, snake_case here."""


# --- from the client ---


class Request(Struct, rename="camel", frozen=True):
    """The envelope of what a client sends; unknown fields are ignored."""

    type: str
    id: MessageId | None = None
    payload: Raw = Raw(b"{}")


class Auth(Message, frozen=True):
    """`token` is looked at by hand: whatever is no string is a wrong token, not a wrong shape."""

    token: Any = None
    batch: bool = False


class TaskTopic(Message, frozen=True):
    video_id: str


class RoomTopic(Message, frozen=True):
    room: str


# --- replies ---


class AuthSuccess(Message, frozen=True):
    user_id: str
    username: str
    session_id: str
    expires_at: int


class TaskSubscription(Message, frozen=True):
    video_id: str
    subscribed: bool


class RoomSubscription(Message, frozen=True):
    room: str
    subscribed: bool


class Pong(Message, frozen=True):
    pass


class ClusterStats(Message, frozen=True):
    """Of all instances together, as they told it within the last seconds."""

    instances: int
    connected_clients: int
    authenticated_clients: int
    subscriptions: int
    messages_sent: int
    messages_per_second: float
    slow_consumers: int


class Stats(Message, frozen=True, omit_defaults=True):
    """Of this instance; `uptime` in s. `cluster` is there where it has others beside it."""

    connected_clients: int
    authenticated_clients: int
    subscriptions: int
    active_tasks: int
    messages_sent: int
    messages_per_second: float
    slow_consumers: int
    uptime: float
    cluster: ClusterStats | None = None


class Error(Message, frozen=True, omit_defaults=True):
    code: ErrorCode
    message: str
    retryable: bool
    retry_after_ms: int | None = None


# --- pushes ---


class Heartbeat(Message, frozen=True):
    connected_clients: int
    uptime: float


class TokenExpiring(Message, frozen=True):
    expires_at: int


class TaskProgress(Message, frozen=True):
    """`estimated_time_remaining` in whole seconds, None where nobody can say.

    `queue_position` is there while the task waits for a place at the provider.
    """

    video_id: str
    status: Status
    progress: int
    current_step: State
    total_steps: int
    message: str
    estimated_time_remaining: int | None
    seq: int
    queue_position: int | UnsetType = UNSET


class Result(Message, frozen=True):
    """`duration` in s, `file_size` in bytes, `resolution` like "1280x720".

    `expired` is there, and true, when the video had to make room for newer ones.
    """

    video_url: str
    thumbnail_url: str | None
    duration: float
    file_size: int
    resolution: str
    expired: Literal[True] | UnsetType = UNSET


class TaskMetrics(Message, frozen=True):
    """Whole seconds; total is queue + process."""

    total_time: int
    queue_time: int
    process_time: int


class TaskCompleted(Message, frozen=True):
    video_id: str
    result: Result
    metrics: TaskMetrics
    seq: int
    status: Literal["completed"] = "completed"
    progress: Literal[100] = 100


class TaskError(Message, frozen=True):
    code: FailureCode
    message: str
    details: str | None
    retryable: bool


class TaskFailed(Message, frozen=True):
    video_id: str
    error: TaskError
    seq: int
    status: Literal["failed"] = "failed"


class Update(Message, frozen=True):
    """One push inside a `taskBatch`."""

    type: str
    payload: Raw


class TaskBatch(Message, frozen=True):
    updates: list[Update]


TaskPush = TaskProgress | TaskCompleted | TaskFailed

REQUESTS: Final[Mapping[str, type[Message]]] = MappingProxyType(
    {
        "auth": Auth,
        "subscribe_task": TaskTopic,
        "unsubscribe_task": TaskTopic,
        "subscribe_room": RoomTopic,
        "unsubscribe_room": RoomTopic,
        "ping": Message,
        "get_stats": Message,
    }
)
"""What a client may send, by the type of its payload."""

REPLIES: Final[Mapping[str, tuple[type[Message], ...]]] = MappingProxyType(
    {
        "authSuccess": (AuthSuccess,),
        "subscribeSuccess": (TaskSubscription, RoomSubscription),
        "unsubscribeSuccess": (TaskSubscription, RoomSubscription),
        "pong": (Pong,),
        "stats": (Stats,),
        "error": (Error,),
    }
)

PUSHES: Final[Mapping[str, type[Message]]] = MappingProxyType(
    {
        "taskProgress": TaskProgress,
        "taskCompleted": TaskCompleted,
        "taskFailed": TaskFailed,
        "taskBatch": TaskBatch,
        "heartbeat": Heartbeat,
        "tokenExpiring": TokenExpiring,
    }
)


class Envelope(Struct, frozen=True, omit_defaults=True):
    """What the server sends: a reply has the request's id, a push has none."""

    type: str
    timestamp: int
    payload: Message | Raw
    id: MessageId | UnsetType = UNSET


_encoder = msgspec.json.Encoder()


def encode(type_: str, payload: Message | Raw, now: int, id_: MessageId | None = None) -> bytes:
    """The message as JSON text in UTF-8."""
    return _encoder.encode(Envelope(type_, now, payload, UNSET if id_ is None else id_))


# --- a task in words ---


class Words(Struct, frozen=True):
    """What people read, in one language."""

    submitting: str
    queued: str
    rendering: str
    overdue: str
    archiving: str
    completed: str
    failed: str
    cancelled: str


WORDS: Final[Mapping[Language, Words]] = MappingProxyType(
    {
        "zh": Words(
            submitting="正在提交任务...",
            queued="排队中...",
            rendering="正在生成视频...",
            overdue="生成时间比平时长，请耐心等待...",
            archiving="正在保存视频...",
            completed="视频已生成",
            failed="视频生成失败",
            cancelled="任务已取消",
        ),
        "en": Words(
            submitting="Submitting the task...",
            queued="Waiting in the queue...",
            rendering="Generating the video...",
            overdue="Taking longer than usual...",
            archiving="Saving the video...",
            completed="The video is ready",
            failed="Video generation failed",
            cancelled="Cancelled",
        ),
    }
)


class Links(Protocol):
    """Where an archived video and its picture are found."""

    def video(self, task_id: str) -> str: ...

    def thumbnail(self, task_id: str) -> str: ...


class Presenter:
    """A task as the outside sees it: in one language, with links that lead here."""

    def __init__(self, language: Language, links: Links, rhythm: Rhythm) -> None:
        self._words = WORDS[language]
        self._links = links
        self.remaining_s = rhythm.remaining_s

    def push(self, task: Task, now: int) -> tuple[str, TaskPush]:
        """The message that fits the task's state, with its type."""
        result, metrics = self.result(task), self.metrics(task)
        if result is not None and metrics is not None:
            return "taskCompleted", TaskCompleted(task.id, result, metrics, task.seq)
        error = self.error(task)
        if error is not None:
            return "taskFailed", TaskFailed(task.id, error, task.seq)
        return "taskProgress", TaskProgress(
            video_id=task.id,
            status=task.status,
            progress=task.progress,
            current_step=task.step,
            total_steps=TOTAL_STEPS,
            message=self.message(task),
            estimated_time_remaining=self.remaining_s(task, now),
            seq=task.seq,
            queue_position=UNSET if task.queue_position is None else task.queue_position,
        )

    def message(self, task: Task) -> str:
        """The task's state as a sentence for people."""
        if task.state is State.RENDERING and task.overdue:
            return self._words.overdue
        if task.waits:
            return self._words.queued
        text: str = getattr(self._words, task.state)
        return text

    def result(self, task: Task) -> Result | None:
        """What came of the task, None unless it is completed."""
        if task.video is None:
            return None
        return Result(
            video_url=self._links.video(task.id),
            thumbnail_url=self._links.thumbnail(task.id) if task.video.has_thumbnail else None,
            duration=task.video.duration,
            file_size=task.video.size,
            resolution=f"{task.video.width}x{task.video.height}",
            expired=True if task.video.expired else UNSET,
        )

    def metrics(self, task: Task) -> TaskMetrics | None:
        """How long it took, None while it lives."""
        metrics = task.metrics
        return None if metrics is None else TaskMetrics(metrics.total, metrics.queue, metrics.process)

    def error(self, task: Task) -> TaskError | None:
        """Why there is no video, None where nothing went wrong."""
        if task.failure is None:
            return None
        return TaskError(task.failure.code, self.message(task), task.failure.details, task.failure.retryable)
