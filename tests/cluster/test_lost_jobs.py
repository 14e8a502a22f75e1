"""Of two instances, whose tasks may be equal, no two take the same job at the provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sora_ws.attendant import Attendant, Patience
from sora_ws.claims import Claims
from sora_ws.media.files import FileMedia
from sora_ws.provider.limiter import LimitedVideos, Limiter
from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.store.mongo import MongoStore
from sora_ws.task import Order, State, Task
from sora_ws.writer import TaskWriter
from tests.backends.dialects import DialectServer
from tests.backends.jobs import Dialect
from tests.stores.conftest import MongoDatabase
from tests.unit.works import FAST, Time

LEASE_MS = 60_000


@dataclass
class Instance:
    """One instance, as far as it brings tasks to the provider."""

    store: MongoStore
    attendant: Attendant
    writer: TaskWriter
    clock: Time

    async def insert(self, prompt: str = "a cat") -> Task:
        task = Task.new("ada", Order(prompt, "sora-2"), self.clock())
        await self.store.insert(task)
        return task

    async def step(self, task: Task) -> Task:
        """What becomes of it at its next time."""
        self.clock.ahead_ms += max(0, task.watch.next_look_at - self.clock())
        return (await self.attendant.advance(task))[0]

    async def until_decided(self, task: Task) -> Task:
        """Step after step, until the provider has the task or it has ended."""
        for _ in range(30):
            if task.job_id is not None or not task.is_live:
                return task
            task = await self.step(task)
        raise AssertionError(task)


@asynccontextmanager
async def two(
    database: MongoDatabase, folder: Path, dialect: Dialect
) -> AsyncIterator[tuple[DialectServer, Instance, Instance]]:
    """Two instances on one database and one provider, which have one clock."""
    async with AsyncExitStack() as stack:
        server, clock, instances = DialectServer(dialect), Time(), []
        url = await server.start()
        stack.push_async_callback(server.stop)
        for name in ("a", "b"):
            store = database.claim_store(name, LEASE_MS)
            await store.open()
            stack.push_async_callback(store.close)
            provider = LimitedVideos(OpenAIVideos(url, None), Limiter(0.05, 0.2))
            stack.push_async_callback(provider.close)
            writer = TaskWriter(store, clock, lambda task: None)
            attendant = Attendant(
                store=store,
                writer=writer,
                provider=provider,
                media=FileMedia(folder / name),
                rhythm=FAST,
                clock=clock,
                patience=Patience(settle_ms=0),
                claims=Claims(store, LEASE_MS, lambda task_id: None),
            )
            instances.append(Instance(store, attendant, writer, clock))
        yield server, instances[0], instances[1]


@pytest.mark.gen_test(timeout=60)
async def test_equal_orders_get_a_job_each(mongo_database: MongoDatabase, tmp_path: Path) -> None:
    """The answers of all their creates were lost: looked for at once, each finds one of its own."""
    async with two(mongo_database, tmp_path, Dialect(looks=None, creates="reset")) as (server, a, b):
        owners = [a, b] * 4
        tasks = [await owner.insert() for owner in owners]
        steps = zip(owners, tasks, strict=True)
        tasks = await asyncio.gather(*(owner.step(task) for owner, task in steps))
        steps = zip(owners, tasks, strict=True)
        tasks = await asyncio.gather(*(owner.until_decided(task) for owner, task in steps))
        assert {task.job_id for task in tasks} == set(server.jobs.all)
        assert len(server.jobs.all) == len(tasks)


@pytest.mark.gen_test(timeout=60)
async def test_a_job_that_was_given_away_is_passed_over(
    mongo_database: MongoDatabase, tmp_path: Path
) -> None:
    """The other instance has found it and not stored that yet: the next one is taken."""
    async with two(mongo_database, tmp_path, Dialect(looks=None, creates="reset")) as (server, a, b):
        first, second = await a.step(await a.insert()), await b.step(await b.insert())
        oldest, other = server.jobs.all
        await a.store.adopt(oldest, first.id)
        assert (await b.until_decided(second)).job_id == other
        assert (await a.until_decided(first)).job_id == oldest


@pytest.mark.gen_test(timeout=60)
async def test_a_job_whose_answer_is_awaited_elsewhere_is_left_alone(
    mongo_database: MongoDatabase, tmp_path: Path
) -> None:
    """It stands in the list and belongs to no task yet; the instance that asked for it gets it."""
    async with two(mongo_database, tmp_path, Dialect(looks=None, creates="lost")) as (server, a, b):
        lost = await b.step(await b.insert())
        server.jobs.dialect.creates = "late"
        submitting = asyncio.ensure_future(a.step(await a.insert()))
        await server.create_is_held.wait()
        lost = await b.step(lost)
        assert (lost.job_id, lost.watch.unknown_sends) == (None, 0)
        server.let_creates_go.set()
        assert (await submitting).job_id in server.jobs.all
        lost = await b.until_decided(lost)
        assert lost.job_id is not None
        assert len(server.jobs.all) == 2


@pytest.mark.gen_test(timeout=60)
async def test_an_answer_that_comes_behind_a_pause(mongo_database: MongoDatabase, tmp_path: Path) -> None:
    """Another instance has given the job to an equal task meanwhile: this one looks for another."""
    async with two(mongo_database, tmp_path, Dialect(looks=None, creates="late")) as (server, a, b):
        paused = await a.insert()
        submitting = asyncio.ensure_future(a.step(paused))
        await server.create_is_held.wait()
        a.clock.ahead_ms += 2 * LEASE_MS
        [job] = server.jobs.all
        other = await b.insert()
        assert await b.store.adopt(job, other.id)
        await b.writer.apply(other, lambda task, now: replace(task, job_id=job, seq=task.seq + 1))
        server.let_creates_go.set()
        assert (await submitting).job_id is None
        server.jobs.dialect.creates = "any"
        assert (await a.until_decided(await submitting)).job_id not in (None, job)


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("is_taken", [True, False])
async def test_an_unwanted_job_is_stopped_unless_another_took_it(
    mongo_database: MongoDatabase, tmp_path: Path, is_taken: bool
) -> None:
    """Its task was cancelled while the create was under way."""
    async with two(mongo_database, tmp_path, Dialect(looks=None, creates="late")) as (server, a, b):
        task = await a.insert()
        submitting = asyncio.ensure_future(a.step(task))
        await server.create_is_held.wait()
        await b.writer.apply(task, lambda task, now: task.cancel(now))
        [job] = server.jobs.all
        if is_taken:
            assert await b.store.adopt(job, "video_of_another")
        server.let_creates_go.set()
        assert (await submitting).state is State.CANCELLED
        assert (job in server.jobs.all) is is_taken
