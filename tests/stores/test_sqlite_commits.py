"""Writes that come together are committed together, and each is answered for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sora_ws.store import DuplicateKey, Stale, StoreFull, StoreUnavailable, sqlite_lines
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Idempotency
from tests.stores.conftest import SqliteDatabase
from tests.stores.tasks import NOW, a_task, failed, rendering
from tests.stores.test_sqlite_faults import IMPATIENT, a_long_task, faults_of, locked, small_disk

__all__ = ["small_disk"]

CROWD = 60


async def opened(path: Path, deadline: float = 5.0) -> SqliteStore:
    store = SqliteStore(path, deadline=deadline)
    await store.open()
    return store


def assert_at_rest(store: SqliteStore) -> None:
    """Nothing waits, and nothing goes round and round."""
    assert store._writer is not None
    assert store._writer._committing is None
    assert store._writer._gathering is None
    assert not store._writer._waiting


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many writes each commit held."""
    sizes: list[int] = []

    committed = sqlite_lines._committed

    def counted(connection: Any, batch: Sequence[Any]) -> Sequence[Any]:
        sizes.append(len(batch))
        return committed(connection, batch)

    monkeypatch.setattr(sqlite_lines, "_committed", counted)
    return sizes


@pytest.mark.gen_test(timeout=30)
async def test_a_crowd_is_committed_together(sqlite_database: SqliteDatabase, commits: list[int]) -> None:
    """What comes in one turn of the loop takes one commit, and all of it is there."""
    store = await opened(sqlite_database.path)
    tasks = [a_task(at=NOW + number) for number in range(CROWD)]
    await asyncio.gather(*map(store.insert, tasks))
    assert list(await store.live()) == tasks
    assert commits == [CROWD]
    assert_at_rest(store)
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_a_step_on_the_way_waits_for_company(
    sqlite_database: SqliteDatabase, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until somebody comes who can't wait, as a new task or an end; then all are committed together."""
    store = await opened(sqlite_database.path)
    tasks = [a_task(at=NOW + number) for number in range(3)]
    await asyncio.gather(*map(store.insert, tasks))
    monkeypatch.setattr("sora_ws.store.sqlite_lines.GATHER_S", 3_600.0)
    steps = [asyncio.ensure_future(store.save(rendering(task), task.seq)) for task in tasks[:2]]
    assert await store.live() == tasks
    await store.save(failed(tasks[2]), tasks[2].seq)
    await asyncio.gather(*steps)
    assert list(await store.live()) == [rendering(task) for task in tasks[:2]]
    assert commits == [3, 3]
    assert_at_rest(store)
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_one_of_many_saves_over_one_seq_wins(sqlite_database: SqliteDatabase) -> None:
    """Compare and set holds among those that are committed together, too."""
    store = await opened(sqlite_database.path)
    task = a_task()
    await store.insert(task)
    after = [replace(rendering(task), progress=number) for number in range(10)]
    saves = (store.save(one, over_seq=task.seq) for one in after)
    outcomes = await asyncio.gather(*saves, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None)] + 9 * [Stale]
    assert await store.find(task.id) == after[0]
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_who_breaks_a_rule_fails_alone(sqlite_database: SqliteDatabase, commits: list[int]) -> None:
    """A key that is taken and a text that can't be stored spoil nothing for the others."""
    store = await opened(sqlite_database.path)
    key = Idempotency("key", "digest")
    first, second = replace(a_task(), idempotency=key), replace(a_task(), idempotency=key)
    other = a_task(at=NOW + 1)
    outcomes = await asyncio.gather(
        *(store.insert(task) for task in (first, second, other)),
        store.keep("\ud800", "a lone surrogate"),
        return_exceptions=True,
    )
    assert list(map(type, outcomes)) == [type(None), DuplicateKey, type(None), UnicodeEncodeError]
    assert list(await store.live()) == [first, other]
    assert commits == [4]
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_full_disk_fails_all_of_a_commit_clearly(small_disk: Path) -> None:
    """Each is told that it is full, none of them is kept, none is tried again; room heals it."""
    (small_disk / "filler").write_bytes(bytes(1_000_000))
    store = await opened(small_disk / "tasks.sqlite3")
    tasks = [a_long_task(at=NOW + number) for number in range(CROWD)]
    outcomes = await asyncio.gather(*map(store.insert, tasks), return_exceptions=True)
    assert set(map(type, outcomes)) == {StoreFull}
    assert await store.live() == []
    assert_at_rest(store)
    (small_disk / "filler").unlink()
    await store.insert(tasks[0])
    assert list(await store.live()) == tasks[:1]
    await store.close()
    assert faults_of(small_disk / "tasks.sqlite3") == []


@pytest.mark.gen_test(timeout=30)
async def test_a_lock_fails_all_of_a_commit_clearly(
    sqlite_database: SqliteDatabase, commits: list[int]
) -> None:
    """Each is told of the lock within its deadline, and the next write finds the way free."""
    store = await opened(sqlite_database.path, IMPATIENT)
    with locked(sqlite_database.path):
        crowd = (store.insert(a_task()) for _ in range(CROWD))
        outcomes = await asyncio.gather(*crowd, return_exceptions=True)
        assert set(map(type, outcomes)) == {StoreUnavailable}
        assert_at_rest(store)
        assert commits == [CROWD]
    task = a_task()
    await store.insert(task)
    assert list(await store.live()) == [task]
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_who_gave_up_is_left_out(sqlite_database: SqliteDatabase) -> None:
    """Also where the commit has begun and waits for a lock."""
    store = await opened(sqlite_database.path)
    stays, leaves = a_task(at=NOW), [a_task() for _ in range(3)]
    with locked(sqlite_database.path):
        staying = asyncio.ensure_future(store.insert(stays))
        leaving = [asyncio.ensure_future(store.insert(task)) for task in leaves]
        assert await store.live() == []
        for one in leaving:
            one.cancel()
        await asyncio.wait(leaving)
    await staying
    assert list(await store.live()) == [stays]
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_who_gave_up_is_left_out_alone_too(sqlite_database: SqliteDatabase) -> None:
    """The one statement that waits for its turn, behind one that waits for a lock."""
    store = await opened(sqlite_database.path)
    with locked(sqlite_database.path):
        stays, leaves = a_task(at=NOW), a_task()
        staying = asyncio.ensure_future(store.insert(stays))
        assert await store.live() == []
        leaving = asyncio.ensure_future(store.insert(leaves))
        assert await store.live() == []
        leaving.cancel()
        await asyncio.wait((leaving,))
    await staying
    await store.delete("nobody")  # behind it all that was under way is done
    assert list(await store.live()) == [stays]
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_a_commit_that_breaks_off_leaves_no_transaction(sqlite_database: SqliteDatabase) -> None:
    """None of it is kept, and the next ones are."""
    store = await opened(sqlite_database.path)
    assert store._writer is not None
    before, behind = a_task(), [a_task(at=NOW), a_task(at=NOW + 1)]
    broken = (store.insert(before), store._writer.write(("no SQL at all", ())))
    outcomes = await asyncio.gather(*broken, return_exceptions=True)
    assert set(map(type, outcomes)) == {StoreUnavailable}
    await asyncio.gather(*map(store.insert, behind))
    assert list(await store.live()) == behind
    await store.close()
