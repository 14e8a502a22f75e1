"""What is in the SQLite file: its tables and indexes, a task as a row, and what older files become.

What queries look for stands in columns, `watch`, `callback` and `idempotency` beside it as JSON, and the
rest of a task's document (`documents.py`) as JSON in `document`. An UPDATE rewrites the indexes of those
columns alone that it sets, so a save of a task on its way first tries to set no more than what moves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sora_ws.store import documents
from sora_ws.store.sqlite_lines import transaction
from sora_ws.task import Task, Watch

FORMAT: Final = 2  # of the tables; the documents in them have their own, and this one rises with it

TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS tasks (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    team TEXT,
    status TEXT NOT NULL,
    live INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    place TEXT,
    job_id TEXT,
    next_look_at INTEGER NOT NULL,
    watch TEXT NOT NULL,
    callback TEXT,
    idempotency TEXT,
    document TEXT NOT NULL
) STRICT""",
    """CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY,
    document TEXT NOT NULL,
    disabled INTEGER AS (document ->> '$.disabled')
) STRICT""",
    "CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, secret TEXT NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS durations (id TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT",
)
INDEXES: Final = (
    """CREATE UNIQUE INDEX IF NOT EXISTS tasks_by_key ON tasks (user_id, idempotency ->> '$.key')
    WHERE idempotency ->> '$.key' IS NOT NULL""",
    "CREATE INDEX IF NOT EXISTS tasks_of_user ON tasks (user_id, created_at, id)",
    "CREATE INDEX IF NOT EXISTS tasks_of_user_by_status ON tasks (user_id, status, created_at, id)",
    "CREATE INDEX IF NOT EXISTS tasks_of_team ON tasks (team, created_at, id) WHERE team IS NOT NULL",
    """CREATE INDEX IF NOT EXISTS tasks_of_team_by_status ON tasks (team, status, created_at, id)
    WHERE team IS NOT NULL""",
    "CREATE INDEX IF NOT EXISTS live_tasks ON tasks (live, created_at, id) WHERE live = 1",
    "CREATE INDEX IF NOT EXISTS live_tasks_of_user ON tasks (live, user_id, created_at, id) WHERE live = 1",
    """CREATE INDEX IF NOT EXISTS live_tasks_of_team ON tasks (live, team, created_at, id)
    WHERE live = 1 AND team IS NOT NULL""",
    "CREATE INDEX IF NOT EXISTS ended_tasks_of_user ON tasks (live, user_id, seq, id) WHERE live = 0",
    """CREATE INDEX IF NOT EXISTS ended_tasks_of_team ON tasks (live, team, seq, id)
    WHERE live = 0 AND team IS NOT NULL""",
    "CREATE INDEX IF NOT EXISTS due_tasks ON tasks (live, next_look_at, id) WHERE live = 1",
    """CREATE INDEX IF NOT EXISTS due_callbacks
    ON tasks (callback ->> '$.dueAt', id, callback ->> '$.host', user_id)
    WHERE callback ->> '$.dueAt' IS NOT NULL""",
    """CREATE INDEX IF NOT EXISTS tasks_by_place ON tasks (place, user_id, created_at, id)
    WHERE place IS NOT NULL""",
    "CREATE INDEX IF NOT EXISTS tasks_by_job ON tasks (job_id) WHERE job_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS disabled_users ON users (disabled, name) WHERE disabled = 1",
)

_FIELDS: Final = {  # columns, and what they are called in the document
    "id": "id",
    "user_id": "userId",
    "team": "team",
    "status": "status",
    "live": "live",
    "seq": "seq",
    "created_at": "createdAt",
    "place": "place",
    "job_id": "jobId",
}
_COLUMNS: Final = (*_FIELDS, "next_look_at", "watch", "callback", "idempotency", "document")
_MOVING: Final = ("seq", "next_look_at", "watch", "document")  # from look to look
_KEPT: Final = ("id", "idempotency")  # by every save
_LASTING: Final = tuple(column for column in _COLUMNS if column not in (*_MOVING, *_KEPT))

_VALUE: Final = {column: f"?{number}" for number, column in enumerate(_COLUMNS, 1)}
_OVER_SEQ: Final = f"?{len(_COLUMNS) + 1}"


def _each(columns: Sequence[str], operator: str, between: str) -> str:
    return between.join(f"{column} {operator} {_VALUE[column]}" for column in columns)


SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM tasks"  # noqa: S608 names alone, as below
INSERT: Final = f"INSERT INTO tasks ({', '.join(_COLUMNS)}) VALUES ({', '.join(_VALUE.values())})"  # noqa: S608

# Both take a row and the seq that it is saved over. The first does it where nothing else is changed.
SAVE_MOVING: Final = f"""UPDATE tasks SET {_each(_MOVING, "=", ", ")}
    WHERE id = {_VALUE["id"]} AND seq = {_OVER_SEQ} AND {_each(_LASTING, "IS", " AND ")}"""  # noqa: S608
SAVE: Final = f"""UPDATE tasks SET {_each((*_MOVING, *_LASTING), "=", ", ")}
    WHERE id = {_VALUE["id"]} AND seq = {_OVER_SEQ}"""  # noqa: S608


def task_to_row(task: Task) -> Sequence[Any]:
    """Raises ValueError like `documents.task_to_document`."""
    document = documents.task_to_document(task)
    fields = [document.pop(field) for field in _FIELDS.values()]
    watch = _watch_columns(document.pop("watch"))
    callback, idempotency = document.pop("callback"), document.pop("idempotency")
    return (
        *fields,
        *watch,
        callback and to_json(callback),
        idempotency and to_json(idempotency),
        to_json(document),
    )


def task_from_row(row: Sequence[Any]) -> Task:
    """The task of a row that `SELECT` has found. Raises NewerFormat."""
    *fields, next_look_at, watch, callback, idempotency, document = row
    parts = from_json(document)
    parts.update(zip(_FIELDS.values(), fields, strict=True))
    parts["watch"] = from_json(watch) | {"nextLookAt": next_look_at}
    parts["callback"] = callback and from_json(callback)
    parts["idempotency"] = idempotency and from_json(idempotency)
    return documents.task_from_document(parts)


def watch_to_columns(watch: Watch) -> tuple[int, str]:
    """`next_look_at`, and the rest as JSON."""
    return _watch_columns(documents.watch_to_document(watch))


def to_json(document: documents.Document) -> str:
    return msgspec.json.encode(document).decode()


def from_json(text: str) -> documents.Document:
    document: documents.Document = msgspec.json.decode(text)
    return document


def prepare(connection: sqlite3.Connection) -> None:
    """Make what is missing, and of an older file one of this format; all of it or nothing.

    Raises NewerFormat.
    """
    with transaction(connection):
        [(found,)] = connection.execute("PRAGMA user_version").fetchall()
        documents.check_format(found, FORMAT)
        is_older = found < FORMAT and _has_tasks(connection)
        if is_older:
            connection.execute("ALTER TABLE tasks RENAME TO older_tasks")
        for table in TABLES:
            connection.execute(table)
        if is_older:
            _move_older_tasks(connection)
        for index in INDEXES:
            connection.execute(index)
        if found < FORMAT:
            connection.execute(f"PRAGMA user_version = {FORMAT}")


def _has_tasks(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'tasks'").fetchall())


def _move_older_tasks(connection: sqlite3.Connection) -> None:
    """Format 1: the whole document as JSON, but for `watch`, and the columns generated from it."""
    for document, watch in connection.execute("SELECT document, watch FROM older_tasks"):
        task = documents.task_from_document(from_json(document) | {"watch": from_json(watch)})
        connection.execute(INSERT, task_to_row(task))
    connection.execute("DROP TABLE older_tasks")


def _watch_columns(watch: documents.Document) -> tuple[int, str]:
    return watch.pop("nextLookAt"), to_json(watch)
