"""A task followed over WebSocket to its end, whatever happens to the connection on the way."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketError,
    websocket_connect,
)

from sora_ws.client import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, Client, refusal, unreachable
from sora_ws.client.answers import (
    ClientError,
    Complaint,
    Message,
    Received,
    SignInNeeded,
    Task,
    convert,
    read,
)

log = logging.getLogger(__name__)

PING_INTERVAL_S: Final = 20.0  # a line that died in silence is noticed within two of them
MESSAGE_BYTES_MAX: Final = 1_048_576
BACKOFF_BASE_S: Final = 0.5
BACKOFF_MAX_S: Final = 30.0

NO_CLOSE_FRAME: Final = 1006  # RFC 6455 section 7.4.1
COMES_BACK: Final = frozenset({1001, NO_CLOSE_FRAME, 1011, 1012, 1013, 4413, 4429})
NEEDS_NEW_TOKEN: Final = frozenset({4401, 4408, 4419})
TOKEN_COMPLAINTS: Final = frozenset({"AUTH_REQUIRED", "AUTH_FAILED", "TOKEN_EXPIRED"})
NO_ANSWER: Final = 599  # Tornado's own number
TOO_MANY: Final = 429


class _Interrupted(Exception):
    """The line broke, and coming back may help; not before `wait_s` seconds, where the server says so."""

    def __init__(self, why: str, wait_s: float = 0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Push:
    """A state of the task; `document` is the message as the server sent it."""

    task: Task
    is_last: bool
    document: dict[str, Any]


async def watch(client: Client, video_id: str) -> AsyncGenerator[Push, None]:
    """The states of a task, beginning with the present one, up to and with its end.

    The first connect has to succeed. After that a broken line is taken up again for as long as it
    takes, after random waits that grow, unless the server's close code tells not to.
    Raises ClientError, and its child SignInNeeded.
    """
    breaks, seq = 0, None
    while True:
        try:
            async with aclosing(_states(client, video_id)) as states:
                async for push in states:
                    breaks = 0
                    if push.task.seq != seq:
                        seq = push.task.seq
                        yield push
                    if push.is_last:
                        return
        except _Interrupted as interrupted:
            if seq is None:
                raise ClientError(str(interrupted)) from None
            wait_s = interrupted.wait_s + full_jitter(breaks)
            log.warning("%s; coming back in %.1f s", interrupted, wait_s)
        breaks += 1
        await asyncio.sleep(wait_s)


def full_jitter(breaks: int) -> float:
    """How many seconds to wait after so many breaks in a row: anything up to a bound that doubles.

    All of a server's clients lose their lines at once; a ladder would bring them back at once.
    """
    bound: float = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** min(breaks, 16))
    return random.uniform(0, bound)  # noqa: S311 -- spreads load, guards nothing


async def _states(client: Client, video_id: str) -> AsyncGenerator[Push, None]:
    """The pushes of one line, until it breaks."""
    async with _open_line(client.url) as line:
        await _authenticate(line, client)
        await _send(line, "subscribe_task", {"videoId": video_id})
        timeout_s: float | None = ANSWER_TIMEOUT_S
        while True:
            message = await _receive(line, timeout_s)
            match message.value.type:
                case "taskProgress" | "taskCompleted" | "taskFailed" as type_:
                    timeout_s = None
                    task = convert(message.value.payload, Task)
                    yield Push(task, type_ != "taskProgress", message.document)
                case "tokenExpiring":
                    await _renew(line, client)
                case "error":
                    raise _after(convert(message.value.payload, Complaint))


@asynccontextmanager
async def _open_line(url: str) -> AsyncIterator[WebSocketClientConnection]:
    request = HTTPRequest(
        f"ws{url.removeprefix('http')}/ws",
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=ANSWER_TIMEOUT_S,
    )
    try:
        line = await websocket_connect(
            request,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_INTERVAL_S,
            max_message_size=MESSAGE_BYTES_MAX,
        )
    except HTTPClientError as error:
        raise _no_upgrade(url, error) from None
    except WebSocketError:
        raise ClientError(f"{url}/ws is no WebSocket: is the address right?") from None
    except OSError as error:
        raise _Interrupted(str(unreachable(url, error))) from None
    try:
        yield line
    finally:
        line.close(1000)


async def _authenticate(line: WebSocketClientConnection, client: Client) -> None:
    await _send(line, "auth", {"token": client.token})


async def _renew(line: WebSocketClientConnection, client: Client) -> None:
    try:
        await client.renew()
    except ClientError as error:
        log.warning("The token ends soon and could not be renewed: %s", error)
    else:
        await _authenticate(line, client)


async def _send(line: WebSocketClientConnection, type_: str, payload: Mapping[str, object]) -> None:
    try:
        await line.write_message(json.dumps({"type": type_, "payload": payload}))
    except WebSocketClosedError:
        raise _end_of(line) from None


async def _receive(line: WebSocketClientConnection, timeout_s: float | None) -> Received[Message]:
    try:
        text = await asyncio.wait_for(line.read_message(), timeout_s)
    except TimeoutError:
        raise _Interrupted("The server does not answer") from None
    if text is None:
        raise _end_of(line)
    return read(text, Message)


def _no_upgrade(url: str, error: HTTPClientError) -> ClientError | _Interrupted:
    if error.code == NO_ANSWER or error.response is None:
        return _Interrupted(str(unreachable(url, error)))
    if error.code != TOO_MANY and error.code < 500:
        return refusal(url, error.response)
    asked = error.response.headers.get("Retry-After", "")
    wait_s = min(int(asked), BACKOFF_MAX_S) if asked.isdecimal() else 0
    return _Interrupted(f"{url} is busy ({error.code})", wait_s)


def _after(complaint: Complaint) -> ClientError | _Interrupted:
    if complaint.code in TOKEN_COMPLAINTS:
        return SignInNeeded(complaint.message)
    if complaint.retryable:
        return _Interrupted(complaint.message, complaint.retry_after_ms / 1000)
    return ClientError(complaint.message)


def _end_of(line: WebSocketClientConnection) -> ClientError | _Interrupted:
    code = line.close_code or NO_CLOSE_FRAME
    said = f"The connection was closed ({' '.join(filter(None, [str(code), line.close_reason]))})"
    if code in COMES_BACK:
        return _Interrupted(said)
    return SignInNeeded(said) if code in NEEDS_NEW_TOKEN else ClientError(said)
