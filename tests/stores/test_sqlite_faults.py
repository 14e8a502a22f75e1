"""What becomes of SQLite's tasks when its file is locked, its disk full, the power gone."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from sora_ws.store import NewerFormat, StoreError, StoreFull, StoreUnavailable
from sora_ws.store.sqlite import SqliteStore
from sora_ws.store.sqlite_lines import COMMIT_MAX
from sora_ws.task import Order, Task, Watch
from tests.services import a_small_disk
from tests.stores.conftest import SqliteDatabase
from tests.stores.tasks import NOW, a_task

IMPATIENT = 1.0  # seconds; a deadline for tests that see it pass


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process holds the write lock meanwhile."""
    command = [sys.executable, "-m", "tests.stores.locker", str(path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        yield
        other.communicate()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    with a_small_disk(tmp_path, 2) as disk:
        yield disk


def faults_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [fault for (fault,) in connection.execute("PRAGMA integrity_check") if fault != "ok"]


def a_long_task(at: int = NOW) -> Task:
    return a_task(at=at, order=Order("映" * 32_000, "sora-2"))


async def fill(store: SqliteStore) -> list[Task]:
    """Insert tasks until there is no room; returns those that were accepted, oldest first."""
    accepted: list[Task] = []
    with suppress(StoreFull):
        while True:
            task = a_long_task(at=NOW + len(accepted))
            await store.insert(task)
            accepted.append(task)
    return accepted


@pytest.mark.gen_test(timeout=30)
async def test_a_locked_file_is_unavailable_for_writes(sqlite_database: SqliteDatabase) -> None:
    """While another process has the lock, writes fail and reads go on; then all does again."""
    store = SqliteStore(sqlite_database.path, deadline=IMPATIENT)
    await store.open()
    task, other = a_task(), a_task()
    await store.insert(task)
    with locked(sqlite_database.path):
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.insert(other)
        assert await store.find(task.id) == task
    await store.insert(other)
    assert await store.find(other.id) == other
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_a_write_that_waits_stops_nothing_else(sqlite_database: SqliteDatabase) -> None:
    """The loop and the reads go on while a write waits for the lock, and then it is done."""
    store = SqliteStore(sqlite_database.path)
    await store.open()
    task = a_task()
    with locked(sqlite_database.path):
        write = asyncio.ensure_future(store.insert(task))
        assert await store.live() == []
        assert not write.done()
    await write
    assert await store.live() == [task]
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_a_lock_holds_no_close_up(sqlite_database: SqliteDatabase) -> None:
    """To close waits for a write under way, and that for the lock only as long as a stop may take."""
    store = SqliteStore(sqlite_database.path, deadline=60.0)
    await store.open()
    with locked(sqlite_database.path):
        write = asyncio.ensure_future(store.insert(a_task()))
        assert await store.live() == []
        async with asyncio.timeout(15):
            await store.close()
        with pytest.raises(StoreUnavailable, match="locked"):
            await write


@pytest.mark.gen_test(timeout=30)
async def test_writes_that_gave_up_are_not_made_later(sqlite_database: SqliteDatabase) -> None:
    """Of a crowd that waited in vain at most those are kept that had reached SQLite."""
    store = SqliteStore(sqlite_database.path, deadline=IMPATIENT)
    await store.open()
    with locked(sqlite_database.path):
        inserts = (store.insert(a_task()) for _ in range(50))
        outcomes = await asyncio.gather(*inserts, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    last = a_task()
    await store.insert(last)
    kept = await store.live()
    assert last in kept
    assert len(kept) <= 3
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_writes_at_the_same_time_have_each_an_outcome_of_its_own(
    sqlite_database: SqliteDatabase,
) -> None:
    """Committed together, a double and what can't be stored fail alone; who gave up leaves nothing behind."""
    store = SqliteStore(sqlite_database.path)
    await store.open()
    tasks = [a_task(at=NOW + n) for n in range(250)]
    await store.insert(tasks[0])  # so that the next one is a double
    gives_up = asyncio.ensure_future(store.insert(a_task(at=NOW - 1)))
    too_large = replace(a_task(), watch=Watch(2**70))
    writes = asyncio.gather(*(store.insert(task) for task in (*tasks, too_large)), return_exceptions=True)
    await asyncio.sleep(0)
    gives_up.cancel()
    double, *fine, unstorable = await writes
    found = await store.live()
    await store.close()
    assert isinstance(double, StoreError)
    assert isinstance(unstorable, ValueError)
    assert set(fine) == {None}
    assert found == tasks


@pytest.mark.gen_test(timeout=30)
async def test_a_store_opens_when_the_lock_is_gone(sqlite_database: SqliteDatabase) -> None:
    """A locked file can't be opened, and later it can, by the same store."""
    store = SqliteStore(sqlite_database.path, deadline=IMPATIENT)
    await store.open()
    await store.close()
    with locked(sqlite_database.path), pytest.raises(StoreUnavailable, match="locked"):
        await store.open()
    await store.open()
    await store.ping()
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_calls_at_the_close_end_at_once(sqlite_database: SqliteDatabase) -> None:
    """What has begun ends, what waits is told that the store is closed."""
    store = SqliteStore(sqlite_database.path)
    await store.open()
    inserts = [asyncio.ensure_future(store.insert(a_task())) for _ in range(10 * COMMIT_MAX)]
    await asyncio.wait(inserts, return_when=asyncio.FIRST_COMPLETED)
    await store.close()
    outcomes = await asyncio.gather(*inserts, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {type(None), StoreUnavailable}
    await store.open()
    assert len(await store.live()) == outcomes.count(None)
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    """Writes say that it is full, reads go on, what was accepted stays, and room heals it."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1_000_000))
    store = SqliteStore(small_disk / "tasks.sqlite3")
    await store.open()
    accepted = await fill(store)
    with pytest.raises(StoreFull):
        await store.insert(a_long_task())
    assert accepted
    assert await store.live() == accepted
    filler.unlink()
    last = a_long_task(at=NOW + len(accepted))
    await store.insert(last)
    await store.close()
    assert faults_of(small_disk / "tasks.sqlite3") == []
    await store.open()
    assert await store.live() == [*accepted, last]
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_power_cut_loses_nothing_that_was_accepted(
    sqlite_database: SqliteDatabase, tmp_path: Path
) -> None:
    """A write-ahead log that is cut off or garbled behind the last accepted task holds all of them."""
    path, copy = sqlite_database.path, tmp_path / "copy.sqlite3"
    log, log_copy = path.with_name(f"{path.name}-wal"), copy.with_name(f"{copy.name}-wal")
    chance = random.Random(14)
    store = SqliteStore(path)
    await store.open()
    accepted: list[str] = []
    for n in range(20):
        synced = log.stat().st_size
        task = a_task(at=NOW + n)
        await store.insert(task)
        cut = chance.randint(synced, log.stat().st_size)
        shutil.copy(path, copy)
        log_copy.write_bytes(log.read_bytes()[:cut] + chance.randbytes(chance.randint(0, 9_000)))
        assert faults_of(copy) == []
        later = SqliteStore(copy)
        await later.open()
        found = [kept.id for kept in await later.live()]
        await later.close()
        assert found[: len(accepted)] == accepted
        accepted.append(task.id)
    await store.close()


@pytest.mark.gen_test
async def test_each_write_is_on_the_disk_when_it_returns(sqlite_database: SqliteDatabase) -> None:
    """The connection that writes waits for the disk at every commit, in a write-ahead log."""
    store = SqliteStore(sqlite_database.path)
    await store.open()
    writer = store._writer
    assert writer is not None
    assert await writer.run("PRAGMA synchronous") == [(2,)]
    assert await writer.run("PRAGMA journal_mode") == [("wal",)]
    await store.close()


@pytest.mark.gen_test
async def test_the_file_is_its_owners_alone(sqlite_database: SqliteDatabase) -> None:
    """Nobody else may read tasks, password hashes and keys, whatever the umask."""
    store = SqliteStore(sqlite_database.path)
    await store.open()
    await store.insert(a_task())
    folder = sqlite_database.path.parent
    modes = {file.name: file.stat().st_mode & 0o777 for file in [folder, *folder.iterdir()]}
    assert modes.pop("state") == 0o700
    assert modes == {f"tasks.sqlite3{end}": 0o600 for end in ("", "-shm", "-wal")}
    await store.close()


@pytest.mark.gen_test
async def test_a_later_format_is_not_opened(sqlite_database: SqliteDatabase) -> None:
    """A file of a later version is refused, and left as it is."""
    store = SqliteStore(sqlite_database.path)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(sqlite_database.path)) as connection:
        connection.execute("PRAGMA user_version = 3")
    with pytest.raises(NewerFormat, match="format 3"):
        await store.open()
    with closing(sqlite3.connect(sqlite_database.path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)


def no_folder(path: Path) -> None:
    path.parent.write_text("a file")


def a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def no_database(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("something else " * 100)


@pytest.mark.gen_test
@pytest.mark.parametrize("spoil", [no_folder, a_folder, no_database])
async def test_a_path_without_a_database_is_unavailable(
    sqlite_database: SqliteDatabase, spoil: Callable[[Path], None]
) -> None:
    """What can't be a database is named, and a store can still be closed."""
    spoil(sqlite_database.path)
    store = SqliteStore(sqlite_database.path)
    with pytest.raises(StoreUnavailable, match=re.escape(str(sqlite_database.path))):
        await store.open()
    await store.close()


FORGETFUL = """
import asyncio, sys
from pathlib import Path
from sora_ws.store.sqlite import SqliteStore
from sora_ws.store.sqlite_lines import COMMIT_MAX

async def main():
    global store
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    raise SystemExit(3)

asyncio.run(main())
"""


def test_a_store_left_open_keeps_no_process(sqlite_database: SqliteDatabase) -> None:
    """A process that an error ends is over, whoever did not come to close the store."""
    command = [sys.executable, "-c", FORGETFUL, str(sqlite_database.path)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 3
