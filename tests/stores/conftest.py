"""The databases that the contract of the stores is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest
from tornado.ioloop import IOLoop

from sora_ws.store import Claimant, Store
from sora_ws.store.mongo import MongoStore
from sora_ws.store.sqlite import SqliteStore
from tests.mongod import Mongod, mongod, mongod_replica_set, start_mongod

__all__ = ["mongod", "mongod_replica_set", "start_mongod"]


class Database(Protocol):
    """An empty database of the test's own."""

    def store(self) -> Store:
        """One more store on it, not yet open."""
        ...


@dataclass
class SqliteDatabase:
    """A file."""

    path: Path

    def store(self) -> Store:
        return SqliteStore(self.path)


@dataclass
class MongoDatabase:
    """A name on a shared server."""

    server: Mongod
    name: str

    def store(self) -> Store:
        return MongoStore(self.server.url(self.name))

    def claim_store(self, instance: str, lease_ms: int = 60_000) -> MongoStore:
        """One more, of one of several instances, not yet open."""
        return MongoStore(self.server.url(self.name), claimant=Claimant(instance, lease_ms))


@dataclass
class SharedDatabase(MongoDatabase):
    """A name on a shared server, whose store is that of an instance which has no others beside it."""

    def store(self) -> Store:
        return self.claim_store("alone")


@pytest.fixture
def sqlite_database(tmp_path: Path) -> SqliteDatabase:
    return SqliteDatabase(tmp_path / "state" / "tasks.sqlite3")


@pytest.fixture
def mongo_database(mongod: Mongod) -> Iterator[MongoDatabase]:
    yield from _mongo_database(mongod)


@pytest.fixture
def claimed_database(mongo_database: MongoDatabase) -> SharedDatabase:
    return SharedDatabase(mongo_database.server, mongo_database.name)


@pytest.fixture
def replica_set_database(mongod_replica_set: Mongod) -> Iterator[MongoDatabase]:
    yield from _mongo_database(mongod_replica_set)


@pytest.fixture(params=["sqlite", "mongo", "replica_set", "claimed"])
def database(request: pytest.FixtureRequest) -> Database:
    """One after the other, each kind of database that has an adapter."""
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return found


@pytest.fixture
def store(database: Database, io_loop: IOLoop) -> Iterator[Store]:
    """An open store on `database`."""
    store = database.store()
    io_loop.run_sync(store.open)
    yield store
    io_loop.run_sync(store.close)


def _mongo_database(server: Mongod) -> Iterator[MongoDatabase]:
    name = f"test_{uuid4().hex}"
    yield MongoDatabase(server, name)
    with server.client() as client:
        client.drop_database(name)
