"""How the databases go about the very queries that a store sends them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Protocol

import aiosqlite
import pytest

from sora_ws.store.sqlite_lines import Statement, Writer
from tests.stores.conftest import Database, MongoDatabase, SqliteDatabase

# What SQLite says of values that come with a query as one list: they are read once, into a set.
OF_A_LIST = ("LIST SUBQUERY ", "SCAN json_each VIRTUAL TABLE ")
OVER_AN_INDEX = {"IXSCAN", "COUNT_SCAN", "IDHACK"}
OF_THE_SESSION = {"lsid", "$db", "$clusterTime", "$readPreference", "maxTimeMS", "txnNumber"}


class Recorder(Protocol):
    """Listens to what is sent to a database, and lets the database explain it."""

    @property
    def database(self) -> Database: ...

    @contextmanager
    def listening(self) -> Iterator[None]: ...

    def indexes(self) -> set[str]:
        """The indexes that serve what was heard. Fails where something is scanned or sorted."""
        ...


class SqliteRecorder:
    """Every read goes through `execute_fetchall`, every write with all its attempts through `write`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.database = database
        self._heard: list[Statement] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        execute, write = aiosqlite.Connection.execute_fetchall, Writer.write

        def read(connection: aiosqlite.Connection, sql: str, values: Sequence[Any]) -> Any:
            self._heard.append((sql, values))
            return execute(connection, sql, values)

        def written(writer: Writer, *attempts: Statement, is_patient: bool = False) -> Any:
            self._heard += attempts
            return write(writer, *attempts, is_patient=is_patient)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aiosqlite.Connection, "execute_fetchall", read)
            patch.setattr(Writer, "write", written)
            yield

    def indexes(self) -> set[str]:
        with closing(sqlite3.connect(self.database.path)) as connection:
            plans = [connection.execute(f"EXPLAIN QUERY PLAN {sql}", values) for sql, values in self._heard]
            steps = [step for plan in plans for *_, step in plan]
        return {self._index(step) for step in steps if not step.startswith(OF_A_LIST)}

    def _index(self, step: str) -> str:
        assert step.startswith("SEARCH "), step
        assert " INDEX " in step, step
        return step.partition(" INDEX ")[2].split()[0]


class MongoRecorder:
    """The server's own profiler writes down every command."""

    def __init__(self, database: MongoDatabase) -> None:
        self.database = database

    @contextmanager
    def listening(self) -> Iterator[None]:
        with self.database.server.client() as client:
            client[self.database.name].command("profile", 2)
            yield
            client[self.database.name].command("profile", 0)

    def indexes(self) -> set[str]:
        with self.database.server.client() as client:
            database = client[self.database.name]
            heard = database["system.profile"].find({"appName": "sora-ws"})
            plans = [database.command("explain", self._command(entry)) for entry in heard]
        stages = list(_winning_stages(plans))
        names = {stage["stage"] for stage in stages}
        assert not names & {"COLLSCAN", "SORT"}, names
        return {stage.get("indexName", "_id_") for stage in stages if stage["stage"] in OVER_AN_INDEX}

    def _command(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """What the profiler has written down, as the command that it was."""
        collection = entry["ns"].partition(".")[2]
        if entry["op"] == "update":
            return {"update": collection, "updates": [entry["command"]]}
        if entry["op"] == "remove":
            return {"delete": collection, "deletes": [entry["command"]]}
        return {name: value for name, value in entry["command"].items() if name not in OF_THE_SESSION}


def _winning_stages(answer: Any, *, winning: bool = False) -> Iterator[Mapping[str, Any]]:
    """All stages of the plans that were chosen, wherever they stand in answers to `explain`."""
    if isinstance(answer, list):
        for part in answer:
            yield from _winning_stages(part, winning=winning)
    if isinstance(answer, Mapping):
        if winning and "stage" in answer:
            yield answer
        for name, part in answer.items():
            yield from _winning_stages(part, winning=winning or name == "winningPlan")
