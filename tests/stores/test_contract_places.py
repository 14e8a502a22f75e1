"""What the ports promise of jobs at the provider and their tasks, held against every database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from sora_ws.store import Store
from sora_ws.task import Event, Observation, Task
from tests.stores.tasks import NOW, a_task, completed, failed, rendering


async def insert(store: Store, tasks: Iterable[Task]) -> None:
    for task in tasks:
        await store.insert(task)


def ids(tasks: Iterable[Task]) -> list[str]:
    return [task.id for task in tasks]


@pytest.mark.gen_test
async def test_jobs_that_a_task_has_are_known(store: Store) -> None:
    """Of live tasks and of ended ones, whatever stands in their ids; asking for none gives none."""
    odd = "video_+/=:" + "x" * 500
    live, ended = rendering(a_task()), completed(a_task())
    odd_one = replace(rendering(a_task()), job_id=odd)
    tasks = [replace(live, job_id="job-live"), replace(ended, job_id="job-ended"), odd_one, a_task()]
    await insert(store, tasks)
    assert await store.known_jobs(["job-live", "job-new", odd]) == {"job-live", odd}
    assert await store.known_jobs(["job-ended"]) == {"job-ended"}
    assert await store.known_jobs([]) == frozenset()


@pytest.mark.gen_test
async def test_the_line_is_told_by_user(store: Store) -> None:
    """How many wait, first the user whose oldest is the oldest; of one user the ids, oldest first."""
    assert await store.users_in_line() == []
    anns = [a_task(at=NOW + n).wait_in_line() for n in (5, 1, 3)]
    bobs = [a_task(user="bob", at=NOW + n).wait_in_line() for n in (0, 9)]
    await insert(store, [*anns, *bobs, a_task(), rendering(a_task()), completed(a_task())])
    assert await store.users_in_line() == [("bob", 2), ("ann", 3)]
    assert await store.ids_in_line("ann") == ids([anns[1], anns[2], anns[0]])
    assert await store.ids_in_line("ann", limit=1) == [anns[1].id]
    assert await store.ids_in_line("nobody") == []


@pytest.mark.gen_test
async def test_who_waits_is_not_due(store: Store) -> None:
    """However many wait, a question for what is due passes them over; called, they are due."""
    waiting = [a_task(at=NOW + n).wait_in_line() for n in range(5)]
    await insert(store, [*waiting, due := a_task(at=NOW + 9)])
    assert await store.due(NOW + 99, 2) == [due]
    assert await store.bring_forward(NOW - 99) == 1
    [due] = await store.due(NOW - 99, 9)
    called = waiting[0].called(NOW + 10)
    await store.save(called, waiting[0].seq)
    assert await store.due(NOW + 99, 9) == [due, called]
    assert await store.users_in_line() == [("ann", 4)]


@pytest.mark.gen_test
async def test_places_at_the_provider(store: Store) -> None:
    """Those who are sent or have a job there that is not done; who waits or has ended holds none."""
    new, there, waiting = a_task(), rendering(a_task()), a_task().wait_in_line()
    archiving = a_task().accept("job-1", Observation(Event.FINISHED), NOW)
    ended = [completed(a_task()), failed(a_task()), a_task().wait_in_line().cancel(NOW)]
    await insert(store, [new, there, waiting, archiving, *ended])
    assert set(await store.at_provider()) == {new.id, there.id}
    await store.save(waiting.cancel(NOW + 1), waiting.seq)
    await store.delete(new.id)
    assert await store.at_provider() == [there.id]
    assert await store.users_in_line() == []
