"""What a save writes in SQLite, and how a file of an older format becomes one of this."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sora_ws.store import StoreUnavailable
from sora_ws.store.sqlite import SqliteStore
from sora_ws.store.sqlite_tables import SAVE, SAVE_MOVING, prepare, task_to_row
from sora_ws.task import Watch
from tests.stores.conftest import SqliteDatabase
from tests.stores.kept_databases import kept_tasks, restore_sqlite
from tests.stores.tasks import NOW, a_task, rendering
from tests.stores.test_kept_databases import check
from tests.stores.test_sqlite_faults import faults_of, small_disk

__all__ = ["small_disk"]

OLD = 1


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        return [*connection.iterdump(), f"format {version}"]


def written_by(sql: str) -> set[str]:
    """The indexes that a statement puts entries into, by SQLite's own program for it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        prepare(connection)
        program = connection.execute(f"EXPLAIN {sql}", (*task_to_row(a_task()), NOW)).fetchall()
        roots = {cursor: root for _, opcode, cursor, root, *_ in program if opcode == "OpenWrite"}
        written = {roots[cursor] for _, opcode, cursor, *_ in program if opcode == "IdxInsert"}
        indexes = connection.execute("SELECT rootpage, name FROM sqlite_schema WHERE type = 'index'")
        return {name for root, name in indexes if root in written}


def test_a_step_on_the_way_rewrites_the_indexes_by_time_alone() -> None:
    """Eleven others stay as they are."""
    assert written_by(SAVE_MOVING) == {"due_tasks", "ended_tasks_of_user", "ended_tasks_of_team"}
    assert len(written_by(SAVE)) == 14


@pytest.mark.gen_test
async def test_only_what_is_looked_for_is_worth_a_whole_save(sqlite_database: SqliteDatabase) -> None:
    """Progress sets what moves at each look; a new state sets the columns that queries look for, too."""
    store = sqlite_database.store()
    await store.open()
    task = a_task()
    await store.insert(task)
    with closing(sqlite3.connect(sqlite_database.path)) as other:
        other.execute("CREATE TABLE whole (seq INTEGER)")
        other.execute(
            """CREATE TRIGGER whole_saves AFTER UPDATE OF status ON tasks
            BEGIN INSERT INTO whole VALUES (new.seq); END"""
        )
        begun = rendering(task)
        further = replace(begun, progress=50, watch=Watch(NOW + 9), seq=begun.seq + 1)
        await store.save(begun, task.seq)
        await store.save(further, begun.seq)
        await store.reschedule(task.id, Watch(NOW + 10))
        assert other.execute("SELECT seq FROM whole").fetchall() == [(begun.seq,)]
    assert await store.find(task.id) == replace(further, watch=Watch(NOW + 10))
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_a_file_of_an_older_format_becomes_one_of_this(
    sqlite_database: SqliteDatabase, tmp_path: Path
) -> None:
    """The same tables and indexes as in a new file, and columns that older tasks did not have yet."""
    new = SqliteStore(tmp_path / "new.sqlite3")
    await new.open()
    await new.close()
    restore_sqlite(OLD, sqlite_database.path)
    store = sqlite_database.store()
    await store.open()
    at_provider = {task.id for task in kept_tasks() if task.is_at_provider}
    assert set(await store.at_provider()) == at_provider
    await store.close()
    made, moved = (
        {line for line in dump(path) if not line.startswith("INSERT")}
        for path in (tmp_path / "new.sqlite3", sqlite_database.path)
    )
    assert moved == made


@pytest.mark.gen_test(timeout=30)
async def test_two_that_open_an_older_file_at_once(sqlite_database: SqliteDatabase) -> None:
    """As a server and a command beside it: one changes it, the other waits and finds it changed."""
    restore_sqlite(OLD, sqlite_database.path)
    stores = [sqlite_database.store() for _ in range(2)]
    await asyncio.gather(*(store.open() for store in stores))
    for store in stores:
        assert await store.find(kept_tasks()[0].id) == kept_tasks()[0]
        await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_an_older_version_that_died_before_it_noted_its_format(sqlite_database: SqliteDatabase) -> None:
    """It made its tables first."""
    restore_sqlite(OLD, sqlite_database.path)
    with closing(sqlite3.connect(sqlite_database.path)) as connection:
        connection.execute("PRAGMA user_version = 0")
    await check(sqlite_database.store())


DYING = """
import os, signal, sqlite3, sys
from sora_ws.store.sqlite_tables import prepare

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA cache_size = 1")  # so that what is not committed is written to the log, too

def die(sql):
    if sql.startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

connection.set_trace_callback(die)
prepare(connection)
"""


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("at", ["CREATE TABLE", "INSERT INTO tasks", "DROP TABLE", "CREATE INDEX", "COMMIT"])
async def test_a_death_in_the_middle_leaves_the_older_file(sqlite_database: SqliteDatabase, at: str) -> None:
    """All of it, and the next start changes it."""
    restore_sqlite(OLD, sqlite_database.path)
    before = dump(sqlite_database.path)
    dying = await asyncio.create_subprocess_exec(sys.executable, "-c", DYING, sqlite_database.path, at)
    assert await dying.wait() == -signal.SIGKILL
    assert dump(sqlite_database.path) == before
    await check(sqlite_database.store())
    assert faults_of(sqlite_database.path) == []


@pytest.mark.gen_test(timeout=60)
async def test_a_disk_that_is_full_leaves_the_older_file(small_disk: Path) -> None:
    """The start says what is missing, and goes on when there is room."""
    path = small_disk / "tasks.sqlite3"
    restore_sqlite(OLD, path)
    with closing(sqlite3.connect(path)) as connection:
        long = "UPDATE tasks SET document = json_set(document, '$.order.prompt', ?) WHERE id = ?"
        tasks = [replace(task, order=replace(task.order, prompt="x" * 30_000)) for task in kept_tasks()]
        connection.executemany(long, [(task.order.prompt, task.id) for task in tasks])
        connection.commit()
    before = dump(path)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 200_000))
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match="full"):
        await store.open()
    assert dump(path) == before
    filler.unlink()
    await store.open()
    assert [await store.find(task.id) for task in tasks] == tasks
    await store.close()
    assert faults_of(path) == []
