"""What users ask for, over a store and a disk that fail half-way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sora_ws.service import TooManyTasks
from sora_ws.store import StoreUnavailable
from sora_ws.task import Idempotency, Order, State
from tests.backends.jobs import Dialect
from tests.unit.works import ADA, Fault, some_works


@pytest.mark.parametrize("is_done", [True, False])
@pytest.mark.gen_test(timeout=30)
async def test_a_cancel_that_nobody_knows_of_is_told(tmp_path: Path, is_done: bool) -> None:
    """The store failed and may have saved it: it is cancelled, told once, and its job is stopped."""
    async with some_works(tmp_path, Dialect(looks=None)) as w:
        task = await w.accepted()
        w.told.clear()
        w.store.faults = [Fault(StoreUnavailable("away"), is_done)]
        with pytest.raises(StoreUnavailable):
            await w.service.cancel(ADA, task.id)
        await w.provider.until(lambda: w.provider.requests[-1].method == "DELETE")
        assert [task.state for task in w.told] == [State.CANCELLED]
        assert w.told == [await w.stored(task)]


@pytest.mark.gen_test(timeout=30)
async def test_a_delete_that_fails_half_way_can_be_asked_for_again(tmp_path: Path) -> None:
    """As long as there are files of it, there is the task."""
    async with some_works(tmp_path, Dialect(looks=0)) as w:
        task = await w.step(await w.accepted())
        assert task.state is State.COMPLETED
        picture = w.media_folder / f"{task.id}.jpg"
        picture.unlink()
        picture.mkdir()
        with pytest.raises(OSError, match="directory"):
            await w.service.delete(ADA, task.id)
        picture.rmdir()
        await w.service.delete(ADA, task.id)
        assert await w.store.find(task.id) is None
        assert [path.name for path in w.media_folder.iterdir()] == ["partial"]


@pytest.mark.gen_test(timeout=30)
async def test_a_create_that_ends_meanwhile_counts(tmp_path: Path) -> None:
    """One task is allowed: a create that counts before another is stored is too many all the same."""
    async with some_works(tmp_path, Dialect(looks=None), tasks_per_user_max=1) as w:
        both_counted, first_is_there = asyncio.Event(), asyncio.Event()
        counted: list[None] = []

        async def let_the_first_pass() -> None:
            counted.append(None)
            if len(counted) == 2:
                both_counted.set()
                await first_is_there.wait()

        w.store.after_count, w.store.before_insert = let_the_first_pass, both_counted.wait
        first = asyncio.ensure_future(w.service.create(ADA, Order("one", "sora-2")))
        second = asyncio.ensure_future(w.service.create(ADA, Order("two", "sora-2")))
        await first
        first_is_there.set()
        with pytest.raises(TooManyTasks):
            await second


@pytest.mark.gen_test(timeout=30)
async def test_an_end_that_was_saved_behind_a_later_one_is_not_lost(tmp_path: Path) -> None:
    """Who has heard of the later one, and comes back, is told of both; also behind a clock set back."""
    async with some_works(tmp_path) as w:
        slow, quick = await w.insert("slow"), await w.insert("quick")
        now = w.clock()
        await w.store.save(quick.cancel(now + 5), over_seq=quick.seq)
        await w.store.save(slow.cancel(now), over_seq=slow.seq)
        for heard in (now + 5, now + 3_600_000):
            assert {task.id for task in await w.service.ended_since("ada", heard)} == {slow.id, quick.id}


@pytest.mark.gen_test(timeout=30)
async def test_another_instance_was_faster(tmp_path: Path) -> None:
    """It has the key: its task is the answer, and of the image that came here nothing stays."""
    async with some_works(tmp_path) as w:
        order, key = Order("a cat", "sora-2", reference_type="image/png"), Idempotency("key", "digest")
        first = await w.service.create(ADA, order, reference=b"image", idempotency=key)
        find_by_key = w.store.find_by_key

        async def not_yet(user_id: str, key: str) -> None:
            w.store.find_by_key = find_by_key  # type: ignore[method-assign]

        w.store.find_by_key = not_yet  # type: ignore[method-assign]
        second = await w.service.create(ADA, order, reference=b"image", idempotency=key)
        assert second.id == first.id
        assert [holding.task_id for holding in await w.media.oldest(9)] == [first.id]
