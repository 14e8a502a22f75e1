"""Tasks as tests of the stores want them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sora_ws.callbacks import Callback
from sora_ws.task import Event, Failure, FailureCode, Idempotency, Observation, Order, Task, Video, Watch

NOW = 1_760_000_000_000
A_CALLBACK = Callback("https://a.example/told", "a.example")
A_VIDEO = Video(8.0, 1_000_000, 1280, 720, has_thumbnail=True)


def a_task(*, user: str = "ann", at: int = NOW, due: int | None = None, **fields: Any) -> Task:
    """A new task of `user`, made at `at` and due at `due`; `fields` are replaced."""
    task = Task.new(user, Order("a cat", "sora-2"), at)
    watch = task.watch if due is None else Watch(next_look_at=due)
    return replace(task, watch=watch, **fields)


def a_keyed_task(key: str, *, user: str = "ann", digest: str = "digest") -> Task:
    return a_task(user=user, idempotency=Idempotency(key, digest))


def rendering(task: Task, progress: int = 40) -> Task:
    seen = Observation(Event.STARTED, progress=progress)
    return task.accept("job-1", seen, task.seq + 1_000)


def failed(task: Task) -> Task:
    return task.fail(Failure(FailureCode.GENERATION_FAILED, "模型过载", retryable=True), task.seq + 2_000)


def completed(task: Task, video: Video = A_VIDEO) -> Task:
    finished = task.accept("job-1", Observation(Event.FINISHED), task.seq + 1_000)
    return finished.complete(video, finished.seq + 1_000)
