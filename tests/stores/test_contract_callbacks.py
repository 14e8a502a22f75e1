"""What the ports promise of callbacks and of tasks found by their job, held against every database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sora_ws.callbacks import Callback, Delivery
from sora_ws.store import Stale, Store
from sora_ws.task import Task
from tests.stores.tasks import A_CALLBACK, NOW, a_task, failed, rendering


def told_to(host: str, *, user: str = "ann", at: int = NOW) -> Task:
    """A task that has ended, whose end is due to be told since `at`."""
    task = failed(a_task(user=user, callback=Callback(f"https://{host}/", host)))
    assert task.callback is not None
    return replace(task, callback=replace(task.callback, due_at=at))


def callback_of(task: Task) -> Callback:
    assert task.callback is not None
    return task.callback


@pytest.mark.gen_test
async def test_a_callback_is_due_with_the_end(store: Store) -> None:
    """The save of the end makes it due in the same step; before, and without an address, nothing is."""
    task, untold = a_task(callback=A_CALLBACK), a_task()
    await store.insert(task)
    await store.insert(untold)
    moved = rendering(task)
    await store.save(moved, task.seq)
    await store.save(failed(untold), untold.seq)
    assert await store.due_callbacks(NOW * 2, 10) == []
    ended = failed(moved)
    await store.save(ended, moved.seq)
    assert await store.due_callbacks(ended.seq - 1, 10) == []
    assert await store.due_callbacks(ended.seq, 10) == [ended]
    assert ended.callback is not None
    assert ended.callback.state is Delivery.PENDING


@pytest.mark.gen_test
async def test_due_callbacks_come_by_how_long_they_are_due(store: Store) -> None:
    """The longest due first, at most as many as asked for."""
    tasks = [told_to("a.example", at=NOW + n) for n in range(6)]
    for task in reversed(tasks):
        await store.insert(task)
    assert await store.due_callbacks(NOW + 3, 10) == tasks[:4]
    assert await store.due_callbacks(NOW + 9, 2) == tasks[:2]
    assert await store.due_callbacks(NOW + 9, 0) == []


@pytest.mark.gen_test
async def test_hosts_can_be_passed_over(store: Store) -> None:
    """However many wait for them: those behind come forward."""
    tasks = [told_to("slow.example", at=NOW + n) for n in range(5)]
    other, third = told_to("b.example", at=NOW + 8), told_to("c.example", at=NOW + 9)
    for task in (*tasks, other, third):
        await store.insert(task)
    assert await store.due_callbacks(NOW + 9, 2, but_not_to={"slow.example"}) == [other, third]
    assert await store.due_callbacks(NOW + 9, 2, but_not_to={"slow.example", "b.example"}) == [third]


@pytest.mark.gen_test
async def test_users_can_be_passed_over(store: Store) -> None:
    """Whatever hosts theirs go to."""
    tasks = [told_to(f"{n}.example", user="eve", at=NOW + n) for n in range(5)]
    anns, bobs = told_to("a.example", at=NOW + 8), told_to("b.example", user="bob", at=NOW + 9)
    for task in (*tasks, anns, bobs):
        await store.insert(task)
    assert await store.due_callbacks(NOW + 9, 2, but_not_of={"eve"}) == [anns, bobs]
    assert await store.due_callbacks(NOW + 9, 2, but_not_of={"eve"}, but_not_to={"a.example"}) == [bobs]


@pytest.mark.gen_test
async def test_a_callback_is_saved_alone(store: Store) -> None:
    """Neither seq nor anything else of the task moves, and what is delivered is due no more."""
    task = told_to("a.example")
    await store.insert(task)
    assert task.callback is not None
    begun = task.callback.begun(NOW + 5)
    await store.save_callback(task.id, begun, task.callback.revision)
    assert await store.find(task.id) == replace(task, callback=begun)
    assert await store.due_callbacks(NOW + 9, 10) == []
    delivered = begun.delivered(NOW + 6)
    await store.save_callback(task.id, delivered, begun.revision)
    assert await store.find(task.id) == replace(task, callback=delivered)
    assert await store.due_callbacks(NOW * 2, 10) == []


@pytest.mark.gen_test
async def test_only_one_begins_an_attempt(store: Store) -> None:
    """Over a revision that is no longer stored, or a task that is gone, nothing is saved."""
    task = told_to("a.example")
    await store.insert(task)
    assert task.callback is not None
    begun = task.callback.begun(NOW + 5)
    await store.save_callback(task.id, begun, task.callback.revision)
    with pytest.raises(Stale):
        await store.save_callback(task.id, task.callback.begun(NOW + 7), task.callback.revision)
    assert await store.find(task.id) == replace(task, callback=begun)
    await store.delete(task.id)
    with pytest.raises(Stale):
        await store.save_callback(task.id, begun.delivered(NOW), begun.revision)
    assert await store.find(task.id) is None


@pytest.mark.gen_test
async def test_a_task_is_found_by_its_job(store: Store) -> None:
    """As long as it lives."""
    task = a_task()
    await store.insert(task)
    assert await store.find_by_job("job-1") is None
    moved = rendering(task)
    await store.save(moved, task.seq)
    assert await store.find_by_job("job-1") == moved
    assert await store.find_by_job("job-2") is None
    await store.save(failed(moved), moved.seq)
    assert await store.find_by_job("job-1") is None


@pytest.mark.gen_test
async def test_callbacks_of_a_clock_that_was_set_back(store: Store) -> None:
    """They wait anew, as long as they were to; one that was never tried is due at once."""
    hour = 3_600_000
    untried, tried, again, long = (told_to("a.example", at=NOW + n) for n in (hour, 2, 3, 4))
    due, later = callback_of(untried), NOW + 3 * hour
    tried = replace(tried, callback=due.begun(NOW + hour).failed("answered 500", NOW + hour, 0))
    again = replace(again, callback=callback_of(tried).due(NOW + 2 * hour))
    long = replace(long, callback=due.begun(NOW))
    for task in (untried, tried, again, long):
        await store.insert(task)
    assert await store.bring_callbacks_forward(NOW) == 3
    found = {task.id: callback_of(task) for task in await store.due_callbacks(later, 9)}
    assert found == {
        untried.id: replace(callback_of(untried), due_at=NOW, revision=callback_of(untried).revision + 1),
        tried.id: replace(
            callback_of(tried), due_at=NOW + 5_000, tried_at=NOW, revision=callback_of(tried).revision + 1
        ),
        again.id: replace(callback_of(again), due_at=NOW, revision=callback_of(again).revision + 1),
        long.id: long.callback,
    }
    assert await store.bring_callbacks_forward(NOW) == 0
