"""A task gets to the provider once, or it is said and counted that nobody can tell."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sora_ws.attendant import Patience
from sora_ws.provider import Listing
from sora_ws.provider.limiter import Kind
from sora_ws.store import StoreUnavailable
from sora_ws.submitting import LIST_TRIES_MAX, UNKNOWN_SENDS_MAX
from sora_ws.task import FailureCode, State, Task
from tests.backends.jobs import Dialect
from tests.unit.works import ADA, Fault, Works, some_works

AT_ONCE = Patience(settle_ms=0)


async def until_decided(w: Works, task: Task) -> Task:
    """Step after step, until the provider has the task or it has ended."""
    for _ in range(30):
        if task.job_id is not None or not task.is_live:
            return task
        task = await w.step(task)
    raise AssertionError(task)


def creates(w: Works) -> int:
    return sum(request.method == "POST" for request in w.provider.requests)


def lists(w: Works) -> int:
    return sum(r.path == "/v1/videos" and "order=" in r.query for r in w.provider.requests)


@pytest.mark.gen_test(timeout=30)
async def test_it_is_stored_as_sent_before_it_is(tmp_path: Path) -> None:
    """With the time, while the create has no answer yet."""
    async with some_works(tmp_path, Dialect(creates="held")) as w:
        task = await w.insert()
        began = w.clock()
        submitting = asyncio.ensure_future(w.attendant.advance(task))
        await w.provider.create_is_held.wait()
        sent_at = (await w.stored(task)).watch.sent_at
        assert sent_at is not None
        assert began <= sent_at <= w.clock()
        w.provider.let_creates_go.set()
        await submitting


@pytest.mark.gen_test(timeout=30)
async def test_nothing_leaves_without_its_mark(tmp_path: Path) -> None:
    """A store that does not keep the time keeps the create back."""
    async with some_works(tmp_path) as w:
        w.store.faults = [Fault(StoreUnavailable("away"))]
        with pytest.raises(StoreUnavailable):
            await w.attendant.advance(await w.insert())
        assert creates(w) == 0


@pytest.mark.gen_test(timeout=30)
async def test_a_lost_job_is_adopted(tmp_path: Path) -> None:
    """The answer was lost on its way: the job is found in the list, and no second one made."""
    async with some_works(tmp_path, Dialect(looks=None, creates="reset"), patience=AT_ONCE) as w:
        task = await until_decided(w, await w.insert())
        assert list(w.provider.jobs.all) == [task.job_id]
        assert w.attendant.possible_doubles == 0


@pytest.mark.gen_test(timeout=30)
async def test_a_death_before_the_answer_is_kept(tmp_path: Path) -> None:
    """The next start finds the task as sent, and its job in the list."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        accepted = await w.accepted()
        w.clock.ahead_ms += 60_000
        unkept = replace(
            await w.insert(),
            watch=replace(accepted.watch, next_look_at=w.clock(), sent_at=w.clock() - 61_000),
        )
        await w.store.save(unkept, unkept.seq)
        await w.store.delete(accepted.id)
        task = await until_decided(w, unkept)
        assert task.job_id == accepted.job_id
        assert creates(w) == 1


@pytest.mark.gen_test(timeout=30)
async def test_a_job_may_take_a_while_to_be_listed(tmp_path: Path) -> None:
    """The list is not asked right behind the create."""
    async with some_works(tmp_path, Dialect(creates="reset"), patience=Patience(settle_ms=60_000)) as w:
        task, _ = await w.attendant.advance(await w.insert())
        task, _ = await w.attendant.advance(task)
        assert lists(w) == 0
        assert task.watch.sent_at is not None
        assert task.watch.next_look_at >= task.watch.sent_at + 60_000
        assert (await w.step(task)).job_id is not None


@pytest.mark.gen_test(timeout=30)
async def test_equal_orders_get_a_job_each(tmp_path: Path) -> None:
    """Asked for at once, no two adopt the same one."""
    async with some_works(tmp_path, Dialect(looks=None, creates="reset"), patience=AT_ONCE) as w:
        tasks = [await w.insert() for _ in range(4)]
        tasks = [task for task, _ in await asyncio.gather(*map(w.attendant.advance, tasks))]
        tasks = list(await asyncio.gather(*(until_decided(w, task) for task in tasks)))
        assert {task.job_id for task in tasks} == set(w.provider.jobs.all)
        assert len(w.provider.jobs.all) == 4


@pytest.mark.gen_test(timeout=30)
async def test_a_job_whose_create_is_under_way_is_left_alone(tmp_path: Path) -> None:
    """It stands in the list, belongs to no task yet, and is another's all the same."""
    async with some_works(tmp_path, Dialect(looks=None, creates="lost"), patience=AT_ONCE) as w:
        lost, _ = await w.attendant.advance(await w.insert())
        w.provider.jobs.dialect.creates = "held"
        other = await w.insert()
        submitting = asyncio.ensure_future(w.attendant.advance(other))
        await w.provider.create_is_held.wait()
        w.provider.jobs.create({"prompt": "a cat", "model": "sora-2"})
        lost = await w.step(lost)
        assert (lost.job_id, lost.watch.unknown_sends) == (None, 0)
        w.provider.let_creates_go.set()
        await submitting


@pytest.mark.gen_test(timeout=30)
async def test_no_job_came_of_it(tmp_path: Path) -> None:
    """A list that shows none is believed: the create is sent again, and no double is possible."""
    async with some_works(tmp_path, Dialect(looks=None, creates="lost"), patience=AT_ONCE) as w:
        task, _ = await w.attendant.advance(await w.insert())
        w.provider.jobs.dialect.creates = "any"
        task = await until_decided(w, task)
        assert list(w.provider.jobs.all) == [task.job_id]
        assert (creates(w), w.attendant.possible_doubles) == (2, 0)


@pytest.mark.parametrize("kind", ["no route", "no prompts"])
@pytest.mark.gen_test(timeout=30)
async def test_a_possible_double_is_counted_and_logged(
    tmp_path: Path, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no list can tell, the create is sent again."""
    dialect = Dialect(looks=None, creates="reset", lists=kind)
    async with some_works(tmp_path, dialect, patience=AT_ONCE) as w:
        task, _ = await w.attendant.advance(await w.insert())
        w.provider.jobs.dialect.creates = "any"
        task = await until_decided(w, task)
        assert task.job_id is not None
        assert len(w.provider.jobs.all) == 2
        assert w.attendant.possible_doubles == 1
        actions = [record.__dict__.get("action") for record in caplog.records]
        assert actions.count("possible_double") == 1


@pytest.mark.parametrize(
    ("creates_", "lists_", "words"),
    [
        ("reset", "no route", "jobs may be running there"),
        ("lost", "jobs", "no job came of the last one"),
    ],
)
@pytest.mark.gen_test(timeout=30)
async def test_after_three_it_fails(tmp_path: Path, creates_: Any, lists_: Any, words: str) -> None:
    """Retryable, and it says what may go on there."""
    dialect = Dialect(looks=None, creates=creates_, lists=lists_)
    async with some_works(tmp_path, dialect, patience=AT_ONCE) as w:
        task = await until_decided(w, await w.insert())
        assert task.state is State.FAILED
        assert task.failure is not None
        assert (task.failure.code, task.failure.retryable) == (FailureCode.GENERATION_FAILED, True)
        assert words in (task.failure.details or "")
        assert creates(w) == UNKNOWN_SENDS_MAX
        assert len(w.provider.jobs.all) <= 1 + w.attendant.possible_doubles


@pytest.mark.gen_test(timeout=30)
async def test_a_list_in_trouble_is_waited_for(tmp_path: Path) -> None:
    """A few times, and what was sent stays known as sent; then nothing can tell."""
    dialect = Dialect(looks=None)
    async with some_works(tmp_path, dialect, patience=AT_ONCE) as w:
        job_id = (await w.accepted("healthy")).job_id or ""
        dialect.creates, dialect.lists = "reset", "error"
        task, _ = await w.attendant.advance(await w.insert())
        for _ in range(LIST_TRIES_MAX - 1):
            task = await w.step(task)
            assert task.watch.sent_at is not None
            await w.limited.look(job_id)  # so that the provider is known to answer
        task = await w.step(task)
        assert (task.watch.sent_at, task.watch.unknown_sends) == (None, 1)
        assert task.watch.next_look_at > w.clock()
        assert w.attendant.possible_doubles == 1


@pytest.mark.gen_test(timeout=30)
async def test_a_list_that_comes_back_is_believed(tmp_path: Path) -> None:
    """Trouble at the list alone sends nothing again."""
    dialect = Dialect(looks=None, creates="reset", lists="error")
    async with some_works(tmp_path, dialect, patience=AT_ONCE) as w:
        task, _ = await w.attendant.advance(await w.insert())
        task = await w.step(task)
        dialect.lists = "jobs"
        task = await until_decided(w, task)
        assert list(w.provider.jobs.all) == [task.job_id]
        assert creates(w) == 1


@pytest.mark.gen_test(timeout=30)
async def test_a_list_that_takes_its_time(tmp_path: Path) -> None:
    """A job is as much older when it is shown: it is found behind a minute, too."""
    dialect = Dialect(looks=None, creates="reset")
    async with some_works(tmp_path, dialect, patience=AT_ONCE) as w:
        recent = w.limited.recent

        async def a_minute_later(age: int) -> Listing:
            listing = await recent(age)
            w.clock.ahead_ms += 60_000
            return replace(listing, now=listing.now + 60_000)

        w.limited.recent = a_minute_later  # type: ignore[method-assign]
        task = await until_decided(w, await w.insert())
        assert list(w.provider.jobs.all) == [task.job_id]


@pytest.mark.gen_test(timeout=30)
async def test_a_provider_that_asks_for_time_is_no_list_in_trouble(tmp_path: Path) -> None:
    """However long it does: the job is looked for behind that, and no second one made."""
    async with some_works(tmp_path, Dialect(looks=None, creates="reset"), patience=AT_ONCE) as w:
        task, _ = await w.attendant.advance(await w.insert())
        looks = LIST_TRIES_MAX - 1
        await w.store.reschedule(task.id, replace(task.watch, looks=looks))
        call = w.limited.limiter.enter(Kind.LOOK)
        w.limited.limiter.failed(call, hold_s=3_600)
        for _ in range(3):
            task = await w.step(await w.stored(task))
        assert (task.watch.looks, lists(w)) == (looks, 0)
        assert (creates(w), w.attendant.possible_doubles) == (1, 0)
        assert task.watch.sent_at is not None


@pytest.mark.gen_test(timeout=30)
async def test_a_create_that_is_answered_by_a_wish_for_time(tmp_path: Path) -> None:
    """Nobody knows what came of it, and all the same nothing leaves before that time."""
    async with some_works(tmp_path, Dialect(creates="asks for time")) as w:
        await w.attendant.advance(await w.insert())
        assert w.limited.limiter.held_s > 0
        assert not w.limited.limiter.lets_look


@pytest.mark.gen_test(timeout=30)
async def test_a_row_from_before_the_create(tmp_path: Path) -> None:
    """It says of an earlier one that nobody knows its outcome; the newer state counts."""
    async with some_works(tmp_path, Dialect(looks=None), patience=AT_ONCE) as w:
        task = await w.insert()
        old = replace(task, watch=replace(task.watch, sent_at=w.clock() - 60_000))
        again = replace(task, watch=replace(task.watch, next_look_at=w.clock() + 60_000))
        await w.store.save(again, over_seq=task.seq)
        after, _ = await w.attendant.advance(old)
        assert after == again == await w.stored(task)
        assert (creates(w), lists(w)) == (0, 0)


async def behind_a_clock_set_back(w: Works) -> Task:
    """A task whose create left an hour ahead of the next look."""
    w.clock.ahead_ms += 3_600_000
    task, _ = await w.attendant.advance(await w.insert())
    w.clock.ahead_ms = 0
    task, _ = await w.attendant.advance(task)
    return task


@pytest.mark.gen_test(timeout=30)
async def test_a_clock_that_was_set_back_behind_a_create(tmp_path: Path) -> None:
    """Its job seems as much older; it is looked for at once, and adopted."""
    async with some_works(tmp_path, Dialect(looks=None, creates="reset")) as w:
        task = await behind_a_clock_set_back(w)
        assert list(w.provider.jobs.all) == [task.job_id]


@pytest.mark.gen_test(timeout=30)
async def test_behind_such_a_clock_nothing_is_certain(tmp_path: Path) -> None:
    """A list without the job is no proof: what is sent again may be a double."""
    async with some_works(tmp_path, Dialect(looks=None, creates="lost")) as w:
        task = await behind_a_clock_set_back(w)
        assert (task.watch.unknown_sends, w.attendant.possible_doubles) == (1, 1)


@pytest.mark.gen_test(timeout=30)
async def test_a_job_that_nobody_wants_any_more_is_stopped(tmp_path: Path) -> None:
    """Its task was cancelled while the create was under way."""
    async with some_works(tmp_path, Dialect(creates="held")) as w:
        task = await w.insert()
        submitting = asyncio.ensure_future(w.attendant.advance(task))
        await w.provider.create_is_held.wait()
        await w.service.cancel(ADA, task.id)
        w.provider.let_creates_go.set()
        after, _ = await submitting
        assert after.state is State.CANCELLED
        assert w.provider.jobs.all == {}


@pytest.mark.parametrize("ahead_ms", [3_600_000, -3_600_000], ids=["fast", "slow"])
@pytest.mark.gen_test(timeout=30)
async def test_a_clock_that_is_wrong(tmp_path: Path, ahead_ms: int) -> None:
    """Ours and the provider's differ by an hour: its job is found, and no other one's from before."""
    dialect = Dialect(looks=None, creates="reset")
    async with some_works(tmp_path, dialect, patience=AT_ONCE) as w:
        w.clock.ahead_ms = ahead_ms
        older = w.provider.jobs.create({"prompt": "a cat", "model": "sora-2"})
        older.created_at -= 600
        task = await until_decided(w, await w.insert())
        assert set(w.provider.jobs.all) == {older.id, task.job_id}
