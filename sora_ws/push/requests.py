"""What a client sent, read: its message, its payload, and how either is refused."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from sora_ws.push.messages import CloseCode, Error, ErrorCode, Message, MessageId, Request

M = TypeVar("M", bound=Message)


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


class OnlyId(msgspec.Struct):
    """As much of a message as a refusal needs."""

    id: MessageId | None = None


_requests: Final = msgspec.json.Decoder(Request)
_ids: Final = msgspec.json.Decoder(OnlyId)


def read_request(text: str) -> Request:
    """Raises Refused."""
    try:
        return _requests.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise Refused(ErrorCode.BAD_MESSAGE, f"not a message: {error}") from None


def read_payload(type_: type[M], payload: Raw) -> M:
    """Raises Refused."""
    try:
        return msgspec.json.decode(payload, type=type_)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(ErrorCode.BAD_MESSAGE, f"wrong payload: {error}") from None


def id_of(text: str) -> MessageId | None:
    """The id of a message that is no good otherwise."""
    try:
        return _ids.decode(text).id
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None
