"""Databases as a version wrote them, kept as text in `kept/`, for the versions to come.

`python -m tests.stores.kept_databases` writes those of this version's formats that are not kept yet. The
tables of a SQLite file have a format of their own.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bson import json_util

from sora_ws.durations import BINS, Durations, Kind
from sora_ws.store import Store, User, documents, sqlite_tables
from sora_ws.store.mongo import MongoStore
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Event, Idempotency, Observation, Order, Task, Watch
from tests.mongod import Mongod, running_mongod
from tests.stores.tasks import A_CALLBACK, NOW, a_task, completed, failed, rendering

KEPT: Final = Path(__file__).parent / "kept"
USERS: Final = (User("admin", "hash-of-admin", NOW), User("bob", "hash-of-bob", NOW + 1, disabled=True))
SECRETS: Final = {"jwt": "a secret of 32 bytes, kept for ever", "links": "bGlua3M="}
LEARNED: Final[Mapping[Kind, Durations]] = {
    kind: Durations((*(0.0,) * first, 0.25, 1.5, *(0.0,) * (BINS - first - 2)))
    for first, kind in ((0, ()), (30, ("sora-2",)), (BINS - 2, ("sora-2", 8, "1280x720")))
}


def kept_tasks() -> Sequence[Task]:
    """A task in each state, with all that one can have; always the same.

    Where the documents have format 1 and stand whole in SQLite's, the first seven were written before a
    watch had its `planned_at`, and a task a callback and a place in line.
    """
    image = Order("一只猫\nwith \0 and 🌕", "sora-2-pro", 8, "1280x720", "image/png")
    archiving = a_task(at=NOW + 3).accept("job-3", Observation(Event.FINISHED), NOW + 4_000)
    made = [
        replace(a_task(at=NOW), order=image, team="team-a", idempotency=Idempotency("key", "digest")),
        replace(a_task(at=NOW + 1), watch=Watch(NOW + 1, sent_at=NOW + 900, errors=2, unknown_sends=1)),
        rendering(a_task(at=NOW + 2, user="bob")),
        archiving,
        completed(a_task(at=NOW + 4, team="team-a")),
        failed(a_task(at=NOW + 5)),
        a_task(at=NOW + 6).cancel(NOW + 5_000, "called off"),
    ]
    made = [replace(task, watch=replace(task.watch, planned_at=0)) for task in made]
    made += [a_task(at=NOW + 7, user="eve").wait_in_line(), *_with_callbacks()]
    return [replace(task, id=f"video_{number:032x}") for number, task in enumerate(made)]


def _with_callbacks() -> Iterator[Task]:
    """One whose end is still to be told, behind an attempt that failed, and one whose end was told."""
    for task in (
        failed(a_task(at=NOW + 8, callback=A_CALLBACK)),
        completed(a_task(at=NOW + 9, callback=A_CALLBACK)),
    ):
        assert task.callback is not None
        begun = task.callback.begun(NOW + 6_000)
        is_told = task.video is not None
        yield replace(
            task,
            callback=begun.delivered(NOW + 7_000)
            if is_told
            else begun.failed("answered 500", NOW + 7_000, 0.5),
        )


def formats(kind: str) -> Sequence[int]:
    """Those that are kept of the kind `sql` or `json`, oldest first."""
    return sorted(int(file.stem.removeprefix("format-")) for file in KEPT.glob(f"format-*.{kind}"))


def restore_sqlite(number: int, path: Path) -> None:
    """Make the file as that version left it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript((KEPT / f"format-{number}.sql").read_text(encoding="utf-8"))


def restore_mongo(number: int, server: Mongod, name: str) -> None:
    """Make the database as that version left it, without its indexes."""
    collections = json_util.loads((KEPT / f"format-{number}.json").read_text(encoding="utf-8"))
    with server.client() as client:
        for collection, kept in collections.items():
            client[name][collection].insert_many(kept)


async def _fill(store: Store) -> None:
    await store.open()
    for task in kept_tasks():
        await store.insert(task)
    for user in USERS:
        await store.add_user(user)
    for name, secret in SECRETS.items():
        await store.keep(name, secret)
    for kind, durations in LEARNED.items():
        await store.keep_durations(kind, durations)
    await store.close()


def _dump_sqlite(folder: Path) -> str:
    path = folder / "kept.sqlite3"
    asyncio.run(_fill(SqliteStore(path)))
    with closing(sqlite3.connect(path)) as connection:
        [version] = connection.execute("PRAGMA user_version").fetchone()
        return "\n".join([*connection.iterdump(), f"PRAGMA user_version = {version};", ""])


def _dump_mongo(server: Mongod) -> str:
    asyncio.run(_fill(MongoStore(server.url("kept"))))
    with server.client() as client:
        database = client["kept"]
        names = sorted(database.list_collection_names())
        collections: dict[str, list[Any]] = {name: list(database[name].find()) for name in names}
    return str(json_util.dumps(collections, indent=1, ensure_ascii=False)) + "\n"


def main() -> int:
    """Exit status 1 where both are kept already: what a version wrote stays as it is."""
    sql = KEPT / f"format-{sqlite_tables.FORMAT}.sql"
    json = KEPT / f"format-{documents.FORMAT}.json"
    if sql.exists() and json.exists():
        print(f"{sql.name} and {json.name} are kept already", file=sys.stderr)
        return 1
    if not sql.exists():
        with tempfile.TemporaryDirectory() as folder:
            sql.write_text(_dump_sqlite(Path(folder)), encoding="utf-8")
    if not json.exists():
        with running_mongod() as server:
            json.write_text(_dump_mongo(server), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
