"""What a sora-ws server answers, as far as the client looks at it, and how an answer is read.

A type names only the fields that are used here; a `Received` keeps the whole document beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct


class ClientError(Exception):
    """The server did not do what was asked; the text is one line for people."""


class SignInNeeded(ClientError):
    """There is no token, or it is no longer good."""


class Answer(Struct, rename="camel"):
    """The base of what is read; fields it doesn't name are ignored."""


class Login(Answer):
    """A token and whose it is; `expires_at` in ms since the epoch."""

    token: str
    expires_at: int
    user_id: str
    username: str


class Result(Answer):
    video_url: str


class Failure(Answer):
    code: str
    message: str
    details: str | None = None


class Task(Answer):
    """A task in an answer or in a push: `created_at` in ms, the estimate in s, None where unknown."""

    video_id: str
    status: str
    progress: int = 0
    message: str = ""
    estimated_time_remaining: int | None = None
    prompt: str = ""
    created_at: int = 0
    result: Result | None = None
    error: Failure | None = None
    seq: int = 0


class TaskPage(Answer):
    items: list[Task]


class Message(Answer):
    """The envelope of what comes over the WebSocket."""

    type: str
    payload: dict[str, Any] = {}


class Complaint(Answer):
    """The payload of an `error` message."""

    code: str
    message: str
    retryable: bool = False
    retry_after_ms: int = 0


class FieldProblem(Answer):
    field: str
    message: str


class Problem(Answer):
    """RFC 9457."""

    title: str = ""
    detail: str = ""
    errors: list[FieldProblem] = []

    def line(self) -> str:
        """All of it on one line, empty where it says nothing."""
        said = self.detail or self.title
        fields = (f"{error.field}: {error.message}" for error in self.errors)
        return "; ".join(filter(None, [said, *(field for field in fields if field not in said)]))


T = TypeVar("T", bound=Answer)


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """An answer: what is read of it, and the whole document as the server sent it."""

    value: T
    document: dict[str, Any]


def read(text: str | bytes, type_: type[T]) -> Received[T]:
    """The JSON document as a value. Raises ClientError where it is something else."""
    try:
        document = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise _stranger(type_) from None
    return Received(convert(document, type_), document)


def convert(document: dict[str, Any], type_: type[T]) -> T:
    """The part of the document that `type_` names. Raises ClientError where it isn't there."""
    try:
        return msgspec.convert(document, type_)
    except msgspec.ValidationError:
        raise _stranger(type_) from None


def _stranger(expected: type[Answer]) -> ClientError:
    return ClientError(f"The answer is no {expected.__name__} of a sora-ws server: is the address right?")
