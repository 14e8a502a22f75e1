"""A task and a page of tasks, as REST shows them."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

import msgspec
from msgspec import UnsetType

from sora_ws.callbacks import Delivery
from sora_ws.push.messages import Presenter, Result, TaskError, TaskMetrics
from sora_ws.rest.problem import Problem, wrong_field
from sora_ws.task import TOTAL_STEPS, ProgressSource, State, Status, Task


class CallbackView(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How far the telling of the end has come. No address: it may hold a secret of the owner's."""

    host: str
    state: Delivery
    attempts: int
    last_attempt_at: int | None
    next_attempt_at: int | None
    delivered_at: int | None
    error: str | None


class TaskView(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Times in ms since the epoch, the remaining one in whole seconds; what is absent is null."""

    video_id: str
    status: Status
    progress: int
    progress_source: ProgressSource
    current_step: State
    total_steps: int
    message: str
    estimated_time_remaining: int | None
    queue_position: int | None
    prompt: str
    model: str
    seconds: int | None
    size: str | None
    team: str | None
    user_id: str
    created_at: int
    started_at: int | None
    finished_at: int | None
    result: Result | None
    metrics: TaskMetrics | None
    error: TaskError | None
    callback: CallbackView | UnsetType | None
    simulated: bool
    seq: int


class CallbackBody(msgspec.Struct, rename="camel", frozen=True):
    """What a callback POSTs.

    `type` is `video.completed`, `video.failed` or `video.cancelled`, `timestamp` when the task
    ended, in ms since the epoch.
    """

    type: str
    timestamp: int
    data: TaskView


class TaskPage(msgspec.Struct, rename="camel", frozen=True):
    """Some tasks, newest first, and where the next ones begin; None behind the last."""

    items: list[TaskView]
    next_cursor: str | None


def view(task: Task, presenter: Presenter, now: int) -> TaskView:
    """The task as clients see it at this time."""
    return TaskView(
        video_id=task.id,
        status=task.status,
        progress=task.progress,
        progress_source=task.progress_source,
        current_step=task.step,
        total_steps=TOTAL_STEPS,
        message=presenter.message(task),
        estimated_time_remaining=presenter.remaining_s(task, now),
        queue_position=task.queue_position,
        prompt=task.order.prompt,
        model=task.order.model,
        seconds=task.order.seconds,
        size=task.order.size,
        team=task.team,
        user_id=task.user_id,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        result=presenter.result(task),
        metrics=presenter.metrics(task),
        error=presenter.error(task),
        callback=_callback(task),
        simulated=task.simulated,
        seq=task.seq,
    )


def letter(task: Task, presenter: Presenter) -> bytes:
    """The body of the callback of an ended task: the same at each attempt."""
    ended_at = task.finished_at or task.seq
    # Without `callback`, which says something else with each attempt.
    data = msgspec.structs.replace(view(task, presenter, ended_at), callback=msgspec.UNSET)
    return msgspec.json.encode(CallbackBody(f"video.{task.state}", ended_at, data))


def _callback(task: Task) -> CallbackView | None:
    callback = task.callback
    if callback is None:
        return None
    return CallbackView(
        host=callback.host,
        state=callback.state,
        attempts=callback.attempts,
        last_attempt_at=callback.tried_at,
        next_attempt_at=callback.due_at,
        delivered_at=callback.delivered_at,
        error=callback.error,
    )


def cursor_behind(task: Task) -> str:
    """The place behind this task, as a word that means nothing to clients."""
    return _cursor(task.created_at, task.id)


def place_of(cursor: str) -> tuple[int, str]:
    """The place that `cursor_behind` gave. Raises Problem 422 for anything else."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        raise _no_cursor() from None
    found = re.fullmatch(r"([0-9]{1,15})\.(video_[0-9a-f]{32})\.[0-9a-f]{12}", text)
    # Made again and compared: base64 has more than one way to write the same bytes.
    if found is None or _cursor(int(found[1]), found[2]) != cursor:
        raise _no_cursor()
    return int(found[1]), found[2]


def _cursor(created_at: int, task_id: str) -> str:
    place = f"{created_at}.{task_id}"
    # No signature: a forged place only skips tasks of one's own. It is for cut and mistyped ones.
    check = blake2b(place.encode(), digest_size=6).hexdigest()
    return urlsafe_b64encode(f"{place}.{check}".encode()).decode().rstrip("=")


def _no_cursor() -> Problem:
    return wrong_field("cursor", "the nextCursor of an answer, as it stands there")
