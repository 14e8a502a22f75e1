"""When which task is attended to: in time, and whatever hangs elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from sora_ws import poller
from sora_ws.poller import CREATES_MAX, LOOKS_MAX
from sora_ws.provider.limiter import Kind
from sora_ws.rhythm import Rhythm
from sora_ws.task import Task, Watch
from tests.backends import dialects
from tests.backends.jobs import Dialect
from tests.unit.works import ADA, some_works

SELDOM = Rhythm(1_600, 1_600)  # so that the store has to be asked for every look
NEVER = Rhythm(3_600_000, 3_600_000)


@pytest.mark.gen_test(timeout=30)
async def test_short_waits_need_no_question(tmp_path: Path) -> None:
    """A look that is due before the store is asked again does not wait for that."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task = await w.accepted()
        w.poller.start()
        await w.until_looked_at(task, 1)
        w.store.before_due = asyncio.Event().wait
        await w.until_looked_at(task, 20)
        w.store.before_due = None


@pytest.mark.gen_test(timeout=30)
async def test_short_waits_end_with_the_task(tmp_path: Path) -> None:
    """A task that was cancelled meanwhile is not looked at for ever."""
    async with some_works(tmp_path, Dialect(looks=None, deletes=False)) as w:
        task, other = await w.accepted(), await w.accepted("another")
        w.poller.start()
        await w.until_looked_at(task, 2)
        await w.service.cancel(ADA, task.id)
        at_most = w.looks(task) + 1  # the one that was about to leave
        await w.until_looked_at(other, 10)
        assert w.looks(task) <= at_most


@pytest.mark.gen_test(timeout=30)
async def test_creates_that_hang_hold_no_look_up(tmp_path: Path) -> None:
    """However many wait for their answers, a healthy task is looked at, and creates keep to their limit."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task = await w.accepted()
        w.provider.jobs.dialect.creates = "held"
        for number in range(LOOKS_MAX + CREATES_MAX):
            await w.insert(f"cat {number}")
        w.poller.start()
        await w.provider.create_is_held.wait()
        await w.until_looked_at(task, 10)
        assert sum(request.method == "POST" for request in w.provider.requests) == 1 + CREATES_MAX
        w.provider.let_creates_go.set()


@pytest.mark.gen_test(timeout=30)
async def test_downloads_that_wait_hide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that wait for a download are due in the store; those behind them are found all the same."""
    monkeypatch.setattr(poller, "BATCH", 3)
    monkeypatch.setattr(poller, "DOWNLOADS_MAX", 1)
    async with some_works(tmp_path, Dialect(looks=0, drips="content"), rhythm=SELDOM) as w:
        for number in range(5):
            await w.accepted(f"cat {number}")
        w.poller.start()
        waiting = list(w.provider.jobs.all.values())
        await w.provider.until(lambda: all(job.looks for job in waiting))
        w.provider.jobs.dialect.looks = None
        await w.until_looked_at(await w.accepted("healthy"), 2)


@pytest.mark.gen_test(timeout=30)
async def test_the_store_is_not_asked_while_nothing_may_leave(tmp_path: Path) -> None:
    """A provider that wants to be left alone leaves the store alone too."""
    asked_at: list[int] = []
    async with some_works(tmp_path, Dialect(looks=None)) as w:

        async def note() -> None:
            asked_at.append(w.clock())

        w.store.before_due = note
        task = await w.accepted()
        limiter = w.limited.limiter
        limiter.failed(limiter.enter(Kind.LOOK), hold_s=0.3)
        until = w.clock() + 1000 * limiter.held_s
        w.poller.start()
        await w.until_looked_at(task, 1)
        assert asked_at[0] >= until - 1  # a clock of whole ms


@pytest.mark.gen_test(timeout=30)
async def test_a_row_that_was_overtaken_is_left_alone(tmp_path: Path) -> None:
    """The store said that a task is due, which was attended to before the answer came: it is not, twice."""
    async with some_works(tmp_path, Dialect(looks=None, creates="held"), rhythm=SELDOM) as w:
        w.store.before_due = w.provider.create_is_held.wait
        w.store.after_due = w.is_told.wait
        w.poller.start()
        task = await w.insert()
        w.poller.nudge(task)
        await w.provider.create_is_held.wait()
        w.provider.let_creates_go.set()
        await w.is_told.wait()
        w.store.before_due = w.store.after_due = None
        await w.until_looked_at(await w.stored(task), 2)
        assert (await w.stored(task)).watch.unknown_sends == 0
        assert len(w.provider.jobs.all) == 1


@pytest.mark.gen_test(timeout=30)
async def test_a_row_from_before_a_look_is_no_second_one(tmp_path: Path) -> None:
    """It was read when the task was due, and came when it had been looked at."""
    async with some_works(tmp_path, Dialect(looks=None), rhythm=NEVER) as w:
        task, other = await w.accepted(), await w.accepted("another")
        asked, gate = asyncio.Event(), asyncio.Event()

        async def late() -> None:
            asked.set()
            await gate.wait()

        await w.store.reschedule(task.id, Watch(w.clock()))
        w.told.clear()
        w.is_told.clear()
        w.store.after_due = late
        w.poller.start()
        await asked.wait()
        w.poller.nudge(await w.stored(task))
        await w.is_told.wait()
        await w.stored(task)  # the poller has let go of it
        gate.set()
        await w.poller.look_now(other.job_id or "")
        await w.until_looked_at(other, 1)
        await w.poller.stop(grace_s=20)
        assert w.looks(task) == 1


@pytest.mark.gen_test(timeout=30)
async def test_a_watch_that_is_read_too_late(tmp_path: Path) -> None:
    """What a database shows may be a moment old: what was counted since is not forgotten."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task, find = await w.accepted(), w.store.find

        async def older(task_id: str) -> Task | None:
            found = await find(task_id)
            return None if found is None else replace(found, watch=task.watch)

        w.store.find = older  # type: ignore[method-assign]
        w.provider.jobs.all = {}
        w.poller.start()
        await w.until_looked_at(task, 4)
        found = await find(task.id)
        assert found is not None
        assert found.watch.missing >= 3


@pytest.mark.gen_test(timeout=30)
async def test_who_waits_for_the_probe_stays_where_it_is(tmp_path: Path) -> None:
    """While one look at a time may leave, no other task is taken and put off for it."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        tasks = [await w.accepted(f"cat {number}") for number in range(5)]
        w.provider.jobs.dialect.trouble = (502, "")
        limiter = w.limited.limiter
        limiter.failed(limiter.enter(Kind.LOOK), hold_s=0)
        before = len(w.provider.requests)
        w.poller.start()
        await w.provider.until(lambda: len(w.provider.requests) >= before + 4)
        await w.poller.stop(grace_s=20)
        errors = [(await w.stored(task)).watch.errors for task in tasks]
        assert sum(errors) == len(w.provider.requests) - before


@pytest.mark.gen_test(timeout=30)
async def test_looks_that_hang_read_no_more_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who could not be looked at anyhow is left in the store."""
    monkeypatch.setattr(poller, "BATCH", 3)
    monkeypatch.setattr(poller, "LOOKS_MAX", 2)
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        tasks = [await w.accepted(f"cat {number}") for number in range(30)]
        w.clock.ahead_ms += 1_000  # all of them are due
        asked: list[int] = []

        async def note() -> None:
            asked.append(len(asked))

        w.store.after_due = note
        w.provider.jobs.dialect.drips = "looks"
        w.poller.start()
        for _ in range(50):
            w.poller.nudge(tasks[0])  # a tick
            await w.stored(tasks[0])  # the store has answered what was asked
        assert len(asked) <= 3


@pytest.mark.gen_test(timeout=30)
async def test_more_than_a_batch_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is asked again at once where it had more to tell, not when the next question is due."""
    monkeypatch.setattr(poller, "BATCH", 2)
    monkeypatch.setattr(poller, "ASK_EVERY_MS", 3_600_000)
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        tasks = [await w.accepted(f"cat {number}") for number in range(7)]
        w.poller.start()
        for task in tasks:
            await w.until_looked_at(task, 1)


@pytest.mark.gen_test(timeout=30)
async def test_word_of_a_job_is_a_look(tmp_path: Path) -> None:
    """At once, whenever the next one would be; a job that nobody knows is none."""
    async with some_works(tmp_path, Dialect(looks=None), rhythm=NEVER) as w:
        task = await w.accepted()
        w.poller.start()
        await w.poller.look_now("job_of_others")
        await w.poller.look_now(task.job_id or "")
        await w.until_looked_at(task, 1)
        assert w.looks(task) == 1


@pytest.mark.gen_test(timeout=30)
async def test_word_of_a_job_that_waits_for_its_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits no longer, and is looked at once for all that came."""
    monkeypatch.setattr(poller, "LOOK_AHEAD_MS", 2 * 3_600_000)
    async with some_works(tmp_path, Dialect(looks=None), rhythm=NEVER) as w:
        asked = asyncio.Event()
        task = await w.accepted()

        async def note() -> None:
            asked.set()

        w.store.after_due = note
        w.poller.start()
        await asked.wait()
        await w.stored(task)  # the poller has taken what the store said
        await w.poller.look_now(task.job_id or "")
        await w.until_looked_at(task, 1)


@pytest.mark.gen_test(timeout=30)
async def test_word_of_a_job_during_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look may have left before; so there is one more behind it, however much word came."""
    monkeypatch.setattr(dialects, "DRIP_S", 0.005)  # two looks in two seconds, not in twenty
    async with some_works(tmp_path, Dialect(looks=None, drips="looks"), rhythm=NEVER) as w:
        task, other = await w.accepted(), await w.accepted("another")
        w.poller.start()
        await w.poller.look_now(task.job_id or "")
        await w.provider.until(lambda: w.looks(task) == 1)
        for _ in range(20):
            await w.poller.look_now(task.job_id or "")
        await w.until_looked_at(task, 1)
        await w.poller.look_now(other.job_id or "")
        await w.until_looked_at(other, 1)
        await w.poller.stop(grace_s=20)
        assert w.looks(task) == 2
