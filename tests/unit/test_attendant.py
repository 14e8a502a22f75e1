"""One step of one task, against a provider, a store and a disk that don't do what they should."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from sora_ws.attendant import STOP_TRIES, Patience
from sora_ws.provider import Unavailable
from sora_ws.rhythm import Rhythm
from sora_ws.store import StoreError, StoreFull, StoreUnavailable
from sora_ws.submitting import UNKNOWN_SENDS_MAX
from sora_ws.task import FailureCode, Observation, State, Task
from tests.backends.jobs import Dialect
from tests.stores.test_sqlite_faults import small_disk
from tests.unit.works import ADA, Fault, Works, some_works

__all__ = ["small_disk"]

GRACE_MS = 10_000
HOUR_MS = 3_600_000


@pytest.mark.gen_test(timeout=30)
async def test_an_end_that_a_look_brings_is_told(tmp_path: Path) -> None:
    """Also where the answer to its save was lost: no later look would find it due."""
    async with some_works(tmp_path, Dialect(looks=1)) as w:
        task = await w.accepted("[fail]")
        w.store.faults = [Fault(StoreUnavailable("lost"), is_done=True, of=lambda task: not task.is_live)]
        task = await w.step(task)
        assert task.state is State.FAILED
        assert w.told[-1] == task


@pytest.mark.parametrize("error", [StoreFull("full"), StoreUnavailable("away")])
@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.gen_test(timeout=30)
async def test_a_jobs_id_is_not_lost(tmp_path: Path, error: StoreError, is_done: bool) -> None:
    """Whatever befalls the save behind a create, there is one job, kept and told once."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task = await w.insert()
        w.store.faults = [Fault(error, is_done, of=lambda task: task.job_id is not None)]
        task, _ = await w.attendant.advance(task)
        assert list(w.provider.jobs.all) == [task.job_id]
        assert w.told == [task] == [await w.stored(task)]


@pytest.mark.gen_test(timeout=30)
async def test_an_older_row_does_not_fail_an_accepted_task(tmp_path: Path) -> None:
    """Read before the provider took it and handled behind that, it changes nothing."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task = await w.insert()
        sends = UNKNOWN_SENDS_MAX - 1
        older = replace(task, watch=replace(task.watch, sent_at=w.clock(), unknown_sends=sends))
        accepted, _ = await w.attendant.advance(task)
        after, _ = await w.attendant.advance(older)
        assert after == accepted == await w.stored(task)


@pytest.mark.gen_test(timeout=30)
async def test_an_image_that_cannot_be_read_delays(tmp_path: Path) -> None:
    """Nothing leaves without it, and nothing counts as sent; once it can be read, it goes along."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task = await w.insert(image="image/png")
        image = w.media_folder / f"{task.id}.reference"
        image.mkdir()
        for _ in range(UNKNOWN_SENDS_MAX + 1):
            task = await w.step(task)
        assert task.is_live
        assert (task.watch.sent_at, task.watch.unknown_sends) == (None, 0)
        assert w.provider.requests == []
        image.rmdir()
        await w.media.save_reference(task.id, b"\x89PNG")
        assert (await w.step(task)).job_id is not None
        [job] = w.provider.jobs.all.values()
        assert job.order["input_reference"] == b"\x89PNG"


@pytest.mark.gen_test(timeout=30)
async def test_an_image_that_is_gone_fails_the_task(tmp_path: Path) -> None:
    """It says so, and nothing is made without it."""
    async with some_works(tmp_path) as w:
        task = await w.step(await w.insert(image="image/png"))
        assert task.failure is not None
        assert (task.failure.code, task.failure.retryable) == (FailureCode.GENERATION_FAILED, False)
        assert "image" in (task.failure.details or "")
        assert w.provider.requests == []


async def without_content(w: Works) -> Task:
    """A finished job whose video was asked for once, in vain."""
    task = await w.step(await w.accepted())
    assert task.watch.no_content_since is not None
    return task


@pytest.mark.parametrize("trouble", [(502, "Bad Gateway"), (404, '{"error": {"code": "not_found"}}')])
@pytest.mark.gen_test(timeout=30)
async def test_an_outage_does_not_count_as_a_missing_video(tmp_path: Path, trouble: tuple[int, str]) -> None:
    """The grace of a finished job without a video is over only where the provider could be asked for it."""
    patience = Patience(lost_looks=1_000, archive_ms=GRACE_MS)
    async with some_works(tmp_path, Dialect(looks=0, content="none"), patience=patience) as w:
        task = await without_content(w)
        began = w.clock()
        w.provider.jobs.dialect.trouble = trouble
        while w.clock() < began + 2 * GRACE_MS:
            task = await w.step(task)
        w.provider.jobs.dialect.trouble = None
        task = await w.step(task)
        assert task.is_live
        began = w.clock()
        while task.is_live:
            task = await w.step(task)
        assert w.clock() > began + GRACE_MS / 2
        assert task.state is State.FAILED


@pytest.mark.gen_test(timeout=30)
async def test_our_own_absence_does_not_count_as_a_missing_video(tmp_path: Path) -> None:
    """One try in vain, an hour in which nobody looked, and one more: the task lives."""
    patience = Patience(archive_ms=GRACE_MS)
    async with some_works(tmp_path, Dialect(looks=0, content="none"), patience=patience) as w:
        task = await without_content(w)
        w.clock.ahead_ms += HOUR_MS
        assert (await w.step(task)).is_live


@pytest.mark.parametrize("trouble", [(409, '{"error": {"message": "busy"}}'), (503, "")])
@pytest.mark.gen_test(timeout=30)
async def test_a_job_is_stopped_at_last(tmp_path: Path, trouble: tuple[int, str]) -> None:
    """A provider that does not take it in is told again."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task = await w.accepted()
        w.provider.jobs.dialect.trouble = trouble
        stopping = asyncio.ensure_future(w.attendant.stop_job(task.job_id or ""))
        await w.provider.until(lambda: w.provider.requests[-1].method == "DELETE")
        w.provider.jobs.dialect.trouble = None
        await stopping
        assert w.provider.jobs.all == {}


@pytest.mark.gen_test(timeout=30)
async def test_a_job_that_cannot_be_stopped_is_given_up(tmp_path: Path) -> None:
    """A provider that never takes it in is told a few times."""
    async with some_works(tmp_path, Dialect(looks=None), rhythm=Rhythm(1, 1)) as w:
        task = await w.accepted()
        w.provider.jobs.dialect.trouble = (503, "")
        await w.attendant.stop_job(task.job_id or "")
        assert sum(request.method == "DELETE" for request in w.provider.requests) == STOP_TRIES


@pytest.mark.gen_test(timeout=60)
async def test_a_video_without_room_leaves_room_to_all_else(small_disk: Path) -> None:
    """It fills the disk that the database is on; while it waits, that room is free again."""
    async with some_works(small_disk, Dialect(looks=0, content="endless")) as w:
        task = await w.step(await w.accepted())
        assert (task.state, task.watch.errors) == (State.ARCHIVING, 1)
        assert await w.stored(task) == task
        assert not w.media.partial(task.id).exists()


@pytest.mark.gen_test(timeout=60)
async def test_a_wish_for_time_is_no_missing_video(tmp_path: Path) -> None:
    """A provider that answers looks, and asks for time where it is asked for the video."""
    patience = Patience(archive_ms=GRACE_MS)
    async with some_works(tmp_path, Dialect(looks=0, content="asks for time"), patience=patience) as w:
        task = await w.step(await w.accepted())
        assert w.limited.limiter.held_s > 0
        assert (task.watch.errors, task.watch.no_content_since) == (1, None)


def wait_of(task: Task) -> int:
    """From the last look to the next, in ms."""
    return task.watch.next_look_at - task.watch.planned_at


@pytest.mark.gen_test(timeout=30)
async def test_retry_after_is_kept_whatever_it_comes_with(tmp_path: Path) -> None:
    """A job that runs, one that is not known there, and one that is finished and has no video yet."""
    async with some_works(tmp_path, Dialect(looks=None, advice={"Retry-After": "60"})) as w:
        running = await w.step(await w.accepted())
        jobs, w.provider.jobs.all = w.provider.jobs.all, {}
        unknown = await w.step(running)
        w.provider.jobs.all, w.provider.jobs.dialect.looks = jobs, 0
        w.provider.jobs.dialect.content = "as json"
        finished = await w.step(unknown)
        assert (running.state, unknown.watch.missing, finished.watch.errors) == (State.RENDERING, 1, 1)
        assert min(map(wait_of, (running, unknown, finished))) >= 60_000
        assert w.limited.limiter.trusts


@pytest.mark.gen_test(timeout=30)
async def test_a_refused_key_with_a_time(tmp_path: Path) -> None:
    """Who refuses it and says when to ask again is asked then, though that is beyond the longest wait."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task = await w.accepted()

        async def refused(job_id: str) -> Observation:
            raise Unavailable("no", retry_after_s=60, is_configuration=True)

        w.limited.look = refused  # type: ignore[method-assign]
        assert wait_of(await w.step(task)) >= 60_000


@pytest.mark.gen_test(timeout=30)
async def test_a_video_that_is_not_there_yet(tmp_path: Path) -> None:
    """Who says when it will be is asked then, and waiting for that is not counted as in vain."""
    patience = Patience(archive_ms=GRACE_MS)
    async with some_works(tmp_path, Dialect(looks=0, content="not yet"), patience=patience) as w:
        task = await w.accepted()
        for _ in range(3):
            task = await w.step(task)
            assert 60_000 <= wait_of(task) < 61_000
        w.provider.jobs.dialect.content = "video"
        assert (await w.step(task)).state is State.COMPLETED


@pytest.mark.gen_test(timeout=30)
async def test_a_video_that_nobody_wants_any_more(tmp_path: Path) -> None:
    """Its task was cancelled while it was fetched: nothing of it stays."""
    async with some_works(tmp_path, Dialect(looks=0)) as w:
        task = await w.accepted()
        keep = w.media.keep

        async def cancelled(name: str, source: Path) -> None:
            w.media.keep = keep  # type: ignore[method-assign]
            await w.service.cancel(ADA, task.id)
            await keep(name, source)

        w.media.keep = cancelled  # type: ignore[method-assign]
        assert (await w.step(task)).state is State.CANCELLED
        assert await w.media.oldest(9) == []


@pytest.mark.gen_test(timeout=30)
async def test_when_a_job_is_lost(tmp_path: Path) -> None:
    """Unknown often enough, over long enough, and in a row."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task = await w.accepted()
        jobs, w.provider.jobs.all = w.provider.jobs.all, {}
        for _ in range(5):  # often, and in no time
            task, _ = await w.attendant.advance(task)
        assert (task.is_live, task.watch.missing) == (True, 5)
        w.provider.jobs.all = jobs
        w.clock.ahead_ms += 60_000
        task, _ = await w.attendant.advance(task)
        w.provider.jobs.all = {}
        for _ in range(4):  # long ago, and not in a row
            task, _ = await w.attendant.advance(task)
        assert (task.is_live, task.watch.missing) == (True, 4)
        w.clock.ahead_ms += 60_000
        task, _ = await w.attendant.advance(task)
        assert task.failure is not None
        assert task.failure.code is FailureCode.PROVIDER_LOST_TASK
