"""When an end is told, and what has become of it: values in, values out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sora_ws.callbacks import JITTER, LEASE_MS, RETRY_MS, Callback, Delivery, message_id
from sora_ws.task import Event, Observation, Task
from tests.stores.tasks import A_CALLBACK, NOW, a_task, completed, failed

S, M, H = 1_000, 60_000, 3_600_000


@pytest.mark.parametrize("end", [failed, completed, lambda task: task.cancel(task.seq + 1)])
def test_every_end_is_due_at_once(end: type[Task]) -> None:
    """A failure, a video and a cancel; nothing before them is."""
    task: Task = a_task(callback=A_CALLBACK)
    assert task.observe(Observation(Event.STARTED, progress=7), NOW + 5).callback == A_CALLBACK
    ended = end(task)  # type: ignore[arg-type, call-arg]
    assert ended.callback == A_CALLBACK.due(ended.finished_at or 0)
    assert failed(a_task()).callback is None


def test_the_schedule() -> None:
    """Nine attempts over a day, each wait within a tenth of what is documented; then it is given up."""
    callback, waits = A_CALLBACK.due(NOW), []
    while callback.due_at is not None:
        now = callback.due_at
        callback = callback.begun(now).failed("answered 500", now, chance=0.5)
        waits.append((callback.due_at or now) - now)
    assert callback.state is Delivery.FAILED
    assert callback.attempts == 9
    wanted = [5 * S, 30 * S, 2 * M, 10 * M, 1 * H, 3 * H, 6 * H, 12 * H, 0]
    assert all(want <= wait <= want * (1 + JITTER) for want, wait in zip(wanted, waits, strict=True))


def test_an_attempt_that_nobody_hears_of_is_made_again() -> None:
    """As soon as it must have ended, and not before a failed one would be."""
    callback = A_CALLBACK.due(NOW)
    for wait in RETRY_MS:
        callback = callback.begun(NOW)
        assert callback.due_at == NOW + max(LEASE_MS, wait)
        assert callback.state is Delivery.PENDING
    assert callback.begun(NOW).begun(NOW).due_at == NOW + RETRY_MS[-1]


def test_asked_for_again() -> None:
    """All attempts are there again, and when it was delivered before is still known."""
    delivered = A_CALLBACK.due(NOW).begun(NOW).delivered(NOW + 5)
    assert (delivered.state, delivered.due_at) == (Delivery.DELIVERED, None)
    again = delivered.due(NOW + 9)
    assert (again.state, again.due_at, again.attempts) == (Delivery.PENDING, NOW + 9, 0)
    assert again.delivered_at == NOW + 5


def test_each_change_has_a_revision() -> None:
    """Every step is another one: the store tells them apart."""
    steps: list[Callback] = [A_CALLBACK.due(NOW)]
    steps.append(steps[-1].begun(NOW))
    steps.append(steps[-1].failed("no answer", NOW, 0))
    steps.append(steps[-1].begun(NOW))
    steps.append(steps[-1].delivered(NOW))
    assert [step.revision for step in steps] == [1, 2, 3, 4, 5]


def test_the_message_has_one_id() -> None:
    """A task's own, without the full stop that parts what is signed."""
    task = replace(a_task(), id="video_0123456789abcdef")
    assert message_id(task.id) == "msg_0123456789abcdef"
