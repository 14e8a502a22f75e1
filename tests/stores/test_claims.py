"""What a database that several instances share promises each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from sora_ws.store import LINE, Stale, StoreUnavailable
from sora_ws.store.mongo import MongoStore
from sora_ws.task import Task, Watch
from tests.stores.conftest import MongoDatabase
from tests.stores.tasks import NOW, a_task, rendering

LONG_MS = 3_600_000
SHORT_MS = 50


@asynccontextmanager
async def instances(
    database: MongoDatabase, *names: str, lease_ms: int = LONG_MS
) -> AsyncIterator[list[MongoStore]]:
    """The open stores of so many instances."""
    async with AsyncExitStack() as stack:
        stores = [database.claim_store(name, lease_ms) for name in names]
        for store in stores:
            stack.push_async_callback(store.close)
            await store.open()
        yield stores


async def unclaimed(database: MongoDatabase, count: int) -> list[Task]:
    """So many due tasks that nobody has claimed."""
    async with instances(database, "another") as (store,):
        tasks = [a_task(due=NOW + number) for number in range(count)]
        for task in tasks:
            await store.insert(task)
        await store.release()
        return tasks


@pytest.mark.gen_test(timeout=60)
async def test_a_due_task_is_given_to_one(mongo_database: MongoDatabase) -> None:
    """However many ask for what is due at the same time, each task is given to one of them."""
    tasks = await unclaimed(mongo_database, 300)
    async with instances(mongo_database, *"abcdefgh") as stores:
        given = await asyncio.gather(*(store.due(NOW + 300, 200) for store in stores for _ in range(4)))
        owners = {(task.id, number // 4) for number, batch in enumerate(given) for task in batch}
        ids = [task_id for task_id, _ in owners]
        assert len(ids) == len(set(ids))
        assert set(ids) <= {task.id for task in tasks}
        assert len(ids) >= 200


@pytest.mark.gen_test(timeout=60)
async def test_who_has_a_task_is_given_it_again(mongo_database: MongoDatabase) -> None:
    """Its owner gets it whenever it is due, also behind a restart; nobody else does."""
    [task] = await unclaimed(mongo_database, 1)
    async with instances(mongo_database, "a", "b") as (a, b):
        assert await a.due(NOW, 10) == [task]
        assert await b.due(NOW, 10) == []
        assert await a.due(NOW, 10) == [task]
        assert await a.due(NOW, 10, but_not=[task.id]) == []
    async with instances(mongo_database, "a") as (a,):
        assert await a.due(NOW, 10) == [task]


@pytest.mark.gen_test(timeout=60)
async def test_a_new_task_is_claimed_by_who_inserts_it(mongo_database: MongoDatabase) -> None:
    """So it may be submitted at once; one that waits in line is anybody's when it is called."""
    async with instances(mongo_database, "a", "b") as (a, b):
        task, waiting = a_task(due=NOW), a_task(due=NOW).wait_in_line()
        await a.insert(task)
        await a.insert(waiting)
        assert await b.find(task.id) == task
        assert await b.due(NOW, 10) == []
        called = waiting.called(NOW)
        await a.save(called, waiting.seq)
        [given] = await b.due(called.watch.next_look_at, 10)
        assert given.id == waiting.id


@pytest.mark.gen_test(timeout=60)
async def test_a_lease_that_is_over_is_taken(mongo_database: MongoDatabase) -> None:
    """Who died has its tasks no longer than its lease; what it comes to write then changes nothing."""
    async with (
        instances(mongo_database, "a", lease_ms=SHORT_MS) as (a,),
        instances(mongo_database, "b") as (b,),
    ):
        task = a_task(due=NOW)
        await a.insert(task)
        while not (given := await b.due(NOW, 10)):
            pass
        assert given == [task]
        assert await a.due(NOW, 10) == []
        await a.renew([task.id])
        assert await a.due(NOW, 10) == []
        await a.reschedule(task.id, Watch(NOW + 1_000))
        with pytest.raises(Stale):
            await a.mark_sent(task)
        assert await b.find(task.id) == task
        await b.mark_sent(task)
        await b.save(rendering(task), task.seq)
        with pytest.raises(Stale):
            await a.save(rendering(task, 10), task.seq)


@pytest.mark.gen_test(timeout=60)
async def test_a_lease_is_renewed(mongo_database: MongoDatabase) -> None:
    """What is in hand for longer stays with who has it."""
    async with instances(mongo_database, "a", lease_ms=500) as (a,), instances(mongo_database, "b") as (b,):
        task, other = a_task(due=NOW), a_task(due=NOW)
        await a.insert(task)
        await a.insert(other)
        while not (given := await b.due(NOW, 10)):
            await a.renew([task.id])
        assert [each.id for each in given] == [other.id]


@pytest.mark.gen_test(timeout=60)
async def test_what_is_released_is_free(mongo_database: MongoDatabase) -> None:
    """Who stops holds nobody up; what others have stays theirs."""
    async with instances(mongo_database, "a", "b", "c") as (a, b, c):
        mine, theirs = a_task(due=NOW), a_task(due=NOW)
        await a.insert(mine)
        await b.insert(theirs)
        await a.release()
        assert await c.due(NOW, 10) == [mine]


@pytest.mark.gen_test(timeout=60)
async def test_a_task_is_hastened_for_its_owner(mongo_database: MongoDatabase) -> None:
    """Whoever hears that it has changed, its owner is given it; one that waits in line stays there."""
    async with instances(mongo_database, "a", "b") as (a, b):
        task, waiting = a_task(due=NOW + LONG_MS), a_task(due=NOW).wait_in_line()
        await a.insert(task)
        await a.insert(waiting)
        await b.hasten(task.id, NOW)
        await b.hasten(waiting.id, NOW)
        [given] = await a.due(NOW, 10)
        assert (given.id, given.watch.next_look_at) == (task.id, NOW)
        assert await b.find(waiting.id) == waiting


@pytest.mark.gen_test(timeout=60)
async def test_a_found_job_is_given_to_one_task(mongo_database: MongoDatabase) -> None:
    """However many want it at once; that one may ask again."""
    async with instances(mongo_database, *"abcd") as stores:
        given = await asyncio.gather(
            *(store.adopt("job", f"video_{n % 8}") for n, store in enumerate(stores * 8))
        )
        winners = [n % 8 for n, is_given in enumerate(given) if is_given]
        assert winners == [winners[0]] * 4
        assert await stores[0].adopt("another job", "video_8")


@pytest.mark.gen_test(timeout=60)
async def test_creates_under_way_are_known_to_all(mongo_database: MongoDatabase) -> None:
    """From their mark until the job is kept, or somebody has planned for an answer that never came."""
    async with instances(mongo_database, "a", "b") as (a, b):
        kept, lost = a_task(due=NOW), a_task(due=NOW)
        for task in (kept, lost):
            await a.insert(task)
        prompt = kept.order.prompt
        assert not await b.are_creates_under_way(prompt)
        sent = [replace(task, watch=replace(task.watch, sent_at=NOW + 5)) for task in (kept, lost)]
        for task in sent:
            await a.mark_sent(task)
        assert not await b.are_creates_under_way("another prompt")
        await a.reschedule(lost.id, sent[1].watch.look_after(1_000, NOW + 10))
        assert await b.are_creates_under_way(prompt)
        await a.save(rendering(sent[0]), kept.seq)
        assert not await b.are_creates_under_way(prompt)


@pytest.mark.gen_test(timeout=60)
async def test_one_has_a_role(mongo_database: MongoDatabase) -> None:
    """However many want it at once; until it gives it up or its term is over."""
    async with instances(mongo_database, *"abcd") as stores:
        first = await asyncio.gather(*(store.lead("line", LONG_MS) for store in stores))
        assert sum(first) == 1
        assert await asyncio.gather(*(store.lead("line", LONG_MS) for store in stores)) == first
        assert await stores[0].lead("other", LONG_MS)
        await stores[first.index(True)].release()
        assert sum(await asyncio.gather(*(store.lead("line", LONG_MS) for store in stores))) == 1


@pytest.mark.gen_test(timeout=60)
async def test_a_role_is_taken_from_who_is_gone(mongo_database: MongoDatabase) -> None:
    """When its term is over, and not before."""
    async with instances(mongo_database, "a", "b") as (a, b):
        assert await a.lead("line", 300)
        while not await b.lead("line", LONG_MS):
            pass
        assert not await a.lead("line", LONG_MS)


@pytest.mark.gen_test(timeout=60)
async def test_no_place_is_given_behind_a_term(mongo_database: MongoDatabase) -> None:
    """However late the word of who had the role arrives; what has a place at the provider keeps it."""
    async with instances(mongo_database, "a", "b") as (a, b):
        assert await a.lead(LINE, LONG_MS)
        there, waiting = a_task(due=NOW), a_task(due=NOW).wait_in_line()
        await a.insert(there)
        await a.insert(waiting)
        assert await a.lead(LINE, 1)
        while not await b.lead(LINE, LONG_MS):
            pass
        called = waiting.called(NOW)
        with pytest.raises(Stale):
            await a.save(called, waiting.seq)
        with pytest.raises(StoreUnavailable, match="another gives places out"):
            await a.insert(a_task(due=NOW))
        await a.save(rendering(there), there.seq)
        assert await b.at_provider() == [there.id]
        await b.save(called, waiting.seq)
        assert {*await b.at_provider()} == {there.id, waiting.id}
