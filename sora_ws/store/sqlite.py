"""Tasks, users and keys in one SQLite file: the database of a start without configuration.

`sqlite_tables.py` has what is in the file. Every call is one transaction, which is done or not done
whatever becomes of its caller.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from sora_ws.callbacks import Callback
from sora_ws.durations import Durations, Kind
from sora_ws.store import (
    DEADLINE_SECONDS,
    Page,
    Stale,
    StoreFull,
    StoreUnavailable,
    User,
    UserExists,
    conflict,
    documents,
)
from sora_ws.store.sqlite_lines import Line, Writer, driver_errors
from sora_ws.store.sqlite_tables import (
    INSERT,
    SAVE,
    SAVE_MOVING,
    SELECT,
    from_json,
    prepare,
    task_from_row,
    task_to_row,
    to_json,
    watch_to_columns,
)
from sora_ws.task import LIVE, NEVER, State, Task, Watch

L = TypeVar("L", bound=Line)

# Room for the pages of 10,000 live tasks: with the default of 2 MB a save read six from the file again.
CACHE_KIB: Final = 32_000

PREPARE_SECONDS: Final = 600.0  # for what an older version has left, all of which is written anew


class SqliteStore:
    """`Store` over the file `path`, which is made with mode 0600, its folder with 0700.

    Reads have a connection of their own, so that they go on while a write waits for a lock or
    for the disk. Raises ValueError for text and numbers that SQLite can't hold.
    """

    def __init__(self, path: Path, *, deadline: float = DEADLINE_SECONDS) -> None:
        self._path = path
        self._deadline = deadline
        self._reader: Line | None = None
        self._writer: Writer | None = None

    async def open(self) -> None:
        await self.close()
        try:
            with driver_errors():
                await asyncio.to_thread(self._make_file)
            self._writer = await Writer.connect(self._path, self._deadline)
            await self._prepare(self._writer)
            self._reader = await Line.connect(self._path, self._deadline)
        except (OSError, StoreFull, StoreUnavailable) as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error
        finally:
            if self._reader is None:
                await self.close()

    async def ping(self) -> None:
        await self._read("SELECT 1 FROM tasks LIMIT 1")

    async def close(self) -> None:
        lines = (self._reader, self._writer)
        self._reader = self._writer = None
        for line in lines:
            if line is not None:
                await line.close()

    async def insert(self, task: Task) -> None:
        try:
            await self._write(INSERT, *task_to_row(task))
        except sqlite3.IntegrityError as error:
            raise await conflict(self, task) from error

    async def save(self, task: Task, over_seq: int) -> None:
        values = (*task_to_row(task), over_seq)
        # An end changes what is looked for in any case.
        updates = (SAVE_MOVING, SAVE) if task.is_live else (SAVE,)
        attempts = [(update, values) for update in updates]
        # Each step on the way may wait a moment for those of other tasks; an end is told at once.
        changed = await _opened(self._writer).write(*attempts, is_patient=task.is_live)
        if not changed:
            raise Stale(f"task {task.id} is no longer at seq {over_seq}")

    async def reschedule(self, task_id: str, watch: Watch) -> None:
        update = "UPDATE tasks SET next_look_at = ?, watch = ? WHERE id = ? AND live = 1"
        await self._write(update, *watch_to_columns(watch), task_id, is_patient=True)

    async def mark_sent(self, task: Task) -> None:
        update = """UPDATE tasks SET next_look_at = ?, watch = ?
            WHERE id = ? AND live = 1 AND seq = ? AND watch ->> '$.sentAt' IS NULL"""
        if not await self._write(update, *watch_to_columns(task.watch), task.id, task.seq):
            raise Stale(f"task {task.id} was sent by another, or has changed")

    async def settled(self) -> None:
        await _opened(self._writer).settled()

    async def find(self, task_id: str) -> Task | None:
        tasks = await self._tasks("WHERE id = ?", task_id)
        return tasks[0] if tasks else None

    async def find_all(self, task_ids: Collection[str]) -> Sequence[Task]:
        return await self._tasks("WHERE id IN (SELECT value FROM json_each(?))", _list(task_ids))

    async def find_by_key(self, user_id: str, key: str) -> Task | None:
        tasks = await self._tasks("WHERE user_id = ? AND idempotency ->> '$.key' = ?", user_id, key)
        return tasks[0] if tasks else None

    async def forget_key(self, task_id: str) -> None:
        await self._write("UPDATE tasks SET idempotency = NULL WHERE id = ?", task_id)

    async def list(self, page: Page) -> Sequence[Task]:
        where, values = _where(page)
        return await self._tasks(
            f"WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ?", *values, page.limit
        )

    async def live(self, *, user_id: str | None = None, team: str | None = None) -> Sequence[Task]:
        if user_id is not None:
            return await self._tasks("WHERE live = 1 AND user_id = ? ORDER BY created_at, id", user_id)
        if team is not None:
            return await self._tasks("WHERE live = 1 AND team = ? ORDER BY created_at, id", team)
        return await self._tasks("WHERE live = 1 ORDER BY created_at, id")

    async def ended_since(self, user_id: str, seq: int, limit: int) -> Sequence[Task]:
        newest = await self._tasks(
            "WHERE live = 0 AND user_id = ? AND seq > ? ORDER BY seq DESC, id DESC LIMIT ?",
            user_id,
            seq,
            limit,
        )
        return newest[::-1]

    async def live_of(self, *, user_ids: Collection[str] = (), teams: Collection[str] = ()) -> Sequence[Task]:
        return await self._tasks(f"WHERE live = 1 AND {_among(user_ids)}", _list(user_ids or teams))

    async def ended_of(
        self, seq: int, *, user_ids: Collection[str] = (), teams: Collection[str] = ()
    ) -> Sequence[Task]:
        where = f"WHERE live = 0 AND {_among(user_ids)} AND seq > ?"
        return await self._tasks(where, _list(user_ids or teams), seq)

    async def count_live(self, user_id: str | None = None) -> int:
        query = "SELECT count(*) FROM tasks WHERE live = 1"
        if user_id is None:
            [(count,)] = await self._read(query)
        else:
            [(count,)] = await self._read(f"{query} AND user_id = ?", user_id)
        return int(count)

    async def count_by_state(self) -> Mapping[State, int]:
        counts = ", ".join(f"count(*) FILTER (WHERE document ->> '$.state' = '{state}')" for state in LIVE)
        [row] = await self._read(f"SELECT {counts} FROM tasks WHERE live = 1")  # noqa: S608 no GROUP BY sorts
        return {state: count for state, count in zip(LIVE, row, strict=True) if count}

    async def due(self, until: int, limit: int, *, but_not: Collection[str] = ()) -> Sequence[Task]:
        # One text however many they are, so that the statement is prepared once.
        others = "id NOT IN (SELECT value FROM json_each(?))"
        return await self._tasks(
            f"WHERE live = 1 AND next_look_at <= ? AND {others} ORDER BY next_look_at, id LIMIT ?",
            until,
            _list(but_not),
            limit,
        )

    async def bring_forward(self, now: int) -> int:
        update = """UPDATE tasks SET next_look_at = ?1 + next_look_at - (watch ->> '$.plannedAt'),
                watch = json_set(watch, '$.plannedAt', ?1)
            WHERE live = 1 AND next_look_at >= ?1 AND next_look_at < ?2 AND watch ->> '$.plannedAt' > ?1"""
        return await self._write(update, now, NEVER)

    async def bring_callbacks_forward(self, now: int) -> int:
        due, tried = "callback ->> '$.dueAt'", "callback ->> '$.triedAt'"
        is_untried = "callback ->> '$.attempts' = 0"
        update = f"""UPDATE tasks SET callback = json_set(callback,
                '$.dueAt', ?1 + iif({is_untried}, 0, {due} - {tried}),
                '$.triedAt', iif({is_untried}, {tried}, ?1),
                '$.revision', callback ->> '$.revision' + 1)
            WHERE {due} > ?1 AND ({is_untried} OR {tried} > ?1)"""  # noqa: S608 values are bound
        return await self._write(update, now)

    async def find_by_job(self, job_id: str) -> Task | None:
        tasks = await self._tasks("WHERE job_id = ? AND live = 1 LIMIT 1", job_id)
        return tasks[0] if tasks else None

    async def at_provider(self) -> Sequence[str]:
        rows = await self._read("SELECT id FROM tasks WHERE place = ?", documents.AT_PROVIDER)
        return [task_id for (task_id,) in rows]

    async def users_in_line(self) -> Sequence[tuple[str, int]]:
        select = """SELECT min(created_at), user_id, count(*) FROM tasks
            WHERE place = ? GROUP BY user_id"""
        rows = await self._read(select, documents.IN_LINE)
        return [(user_id, count) for _, user_id, count in sorted(rows)]

    async def ids_in_line(self, user_id: str, limit: int | None = None) -> Sequence[str]:
        select = """SELECT id FROM tasks WHERE place = ? AND user_id = ?
            ORDER BY created_at, id LIMIT ?"""
        rows = await self._read(select, documents.IN_LINE, user_id, -1 if limit is None else limit)
        return [task_id for (task_id,) in rows]

    async def known_jobs(self, job_ids: Sequence[str]) -> frozenset[str]:
        wanted = ", ".join("?" * len(job_ids))
        rows = await self._read(f"SELECT job_id FROM tasks WHERE job_id IN ({wanted})", *job_ids)  # noqa: S608
        return frozenset(job_id for (job_id,) in rows)

    async def due_callbacks(
        self, until: int, limit: int, *, but_not_to: Collection[str] = (), but_not_of: Collection[str] = ()
    ) -> Sequence[Task]:
        return await self._tasks(
            f"""WHERE callback ->> '$.dueAt' <= ?
                AND callback ->> '$.host' NOT IN ({_places(but_not_to)})
                AND user_id NOT IN ({_places(but_not_of)})
                ORDER BY callback ->> '$.dueAt', id LIMIT ?""",
            until,
            *but_not_to,
            *but_not_of,
            limit,
        )

    async def save_callback(self, task_id: str, callback: Callback, over_revision: int) -> None:
        document = to_json(documents.callback_to_document(callback))
        update = "UPDATE tasks SET callback = ? WHERE id = ? AND callback ->> '$.revision' = ?"
        if not await self._write(update, document, task_id, over_revision):
            raise Stale(f"the callback of task {task_id} is no longer at revision {over_revision}")

    async def expire_video(self, task_id: str) -> None:
        await self._write(
            """UPDATE tasks SET document = json_set(document, '$.video.expired', json('true'))
            WHERE id = ? AND document ->> '$.video.size' IS NOT NULL""",
            task_id,
        )

    async def delete(self, task_id: str) -> None:
        await self._write("DELETE FROM tasks WHERE id = ?", task_id)

    async def add_user(self, user: User) -> None:
        row = (user.name, to_json(documents.user_to_document(user)))
        try:
            await self._write("INSERT INTO users (name, document) VALUES (?, ?)", *row)
        except sqlite3.IntegrityError as error:
            raise UserExists(user.name) from error

    async def find_user(self, name: str) -> User | None:
        users = await self._users("WHERE name = ?", name)
        return users[0] if users else None

    async def replace_user(self, user: User) -> None:
        document = to_json(documents.user_to_document(user))
        await self._write("UPDATE users SET document = ? WHERE name = ?", document, user.name)

    async def users(self) -> Sequence[User]:
        return await self._users("ORDER BY name")

    async def disabled_users(self) -> frozenset[str]:
        return frozenset(name for (name,) in await self._read("SELECT name FROM users WHERE disabled = 1"))

    async def keep(self, name: str, candidate: str) -> str:
        await self._write(
            "INSERT INTO keys (name, secret) VALUES (?, ?) ON CONFLICT DO NOTHING", name, candidate
        )
        [(secret,)] = await self._read("SELECT secret FROM keys WHERE name = ?", name)
        return str(secret)

    async def experience(self) -> Mapping[Kind, Durations]:
        rows = await self._read("SELECT document FROM durations")
        return dict(documents.durations_from_document(from_json(row)) for (row,) in rows)

    async def keep_durations(self, kind: Kind, durations: Durations) -> None:
        document = documents.durations_to_document(kind, durations)
        keep = "INSERT OR REPLACE INTO durations (id, document) VALUES (?, ?)"
        await self._write(keep, document["id"], to_json(document))

    async def forget_durations(self, kind: Kind) -> None:
        await self._write("DELETE FROM durations WHERE id = ?", documents.kind_id(kind))

    def _make_file(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives the files beside it the same mode. A file that is there is not opened by
        # this: to close it again would take away the locks of this process's other stores on it.
        self._path.touch(mode=0o600)
        # aiosqlite leaves a thread behind where it can't connect.
        sqlite3.connect(self._path).close()

    async def _prepare(self, writer: Line) -> None:
        await writer.run("PRAGMA journal_mode = WAL")
        await writer.run("PRAGMA synchronous = FULL")
        await writer.run(f"PRAGMA cache_size = -{CACHE_KIB}")
        await writer.apply(prepare, PREPARE_SECONDS)

    async def _tasks(self, where: str, *values: Any) -> Sequence[Task]:
        return [task_from_row(row) for row in await self._read(f"{SELECT} {where}", *values)]

    async def _users(self, where: str, *values: Any) -> Sequence[User]:
        select = f"SELECT document FROM users {where}"  # noqa: S608 values are bound
        rows = await self._read(select, *values)
        return [documents.user_from_document(from_json(row)) for (row,) in rows]

    async def _read(self, sql: str, *values: Any) -> Sequence[Any]:
        return await _opened(self._reader).run(sql, *values)

    async def _write(self, sql: str, *values: Any, is_patient: bool = False) -> int:
        return await _opened(self._writer).write((sql, values), is_patient=is_patient)


def _opened(line: L | None) -> L:
    if line is None:
        raise StoreUnavailable("the database is not open")
    return line


def _where(page: Page) -> tuple[str, Sequence[str | int]]:
    terms = ["user_id = ?" if page.team is None else "team = ?"]
    values: Sequence[str | int] = (page.user_id if page.team is None else page.team,)
    if page.status is not None:
        terms.append("status = ?")
        values = (*values, page.status.value)
    if page.before is not None:
        terms.append("(created_at, id) < (?, ?)")
        values = (*values, *page.before)
    return " AND ".join(terms), values


def _among(user_ids: Collection[str]) -> str:
    return f"{'user_id' if user_ids else 'team'} IN (SELECT value FROM json_each(?))"  # noqa: S608 one of two


def _list(values: Collection[str]) -> str:
    """For `json_each`: one text of a statement however many they are, so that it is prepared once."""
    return msgspec.json.encode([*values]).decode()


def _places(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))
