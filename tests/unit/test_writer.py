"""Saved, then told: also where the store answers wrongly, late, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from sora_ws.store import StoreFull, StoreUnavailable
from sora_ws.task import State, Task
from tests.unit.works import Fault, some_works


def cancelled(task: Task, now: int) -> Task:
    return task.cancel(now) if task.is_live else task


@pytest.mark.gen_test(timeout=30)
async def test_an_end_is_told_though_the_answer_to_its_save_was_lost(tmp_path: Path) -> None:
    """The save was done and seemed to fail: the next try finds it done, and tells it once."""
    async with some_works(tmp_path) as w:
        task = await w.insert()
        w.store.faults = [Fault(StoreUnavailable("the answer was lost"), is_done=True)]
        after = await w.writer.insist(task, cancelled)
        assert after.state is State.CANCELLED
        assert w.told == [after] == [await w.stored(task)]


@pytest.mark.gen_test(timeout=30)
async def test_the_winner_of_a_race_is_told_by_the_loser_too(tmp_path: Path) -> None:
    """Whoever saved it may not live to tell it; the hub drops what it knows."""
    async with some_works(tmp_path) as w:
        task = await w.insert()
        winner = task.cancel(w.clock())
        await w.store.save(winner, over_seq=task.seq)
        assert await w.writer.apply(task, cancelled) == winner
        assert w.told == [winner]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreFull("full")])
@pytest.mark.gen_test(timeout=30)
async def test_what_is_insisted_on_outlasts_the_store(
    tmp_path: Path, error: StoreFull | StoreUnavailable
) -> None:
    """A store that is away or full is waited for; nothing is told before it is saved."""
    async with some_works(tmp_path) as w:
        task = await w.insert()
        w.store.faults = [Fault(error), Fault(error)]
        after = await w.writer.insist(task, cancelled)
        assert w.told == [after] == [await w.stored(task)]
