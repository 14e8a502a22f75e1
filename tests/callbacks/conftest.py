"""Stores and a receiver for callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from sora_ws.store import Store
from tests.callbacks.receiver import Receiver, a_receiver
from tests.mongod import mongod, start_mongod
from tests.stores.conftest import Database, mongo_database, sqlite_database

__all__ = ["mongo_database", "mongod", "sqlite_database", "start_mongod"]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with a_receiver(tmp_path) as running:
        yield running


@pytest.fixture(params=["sqlite", "mongo"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return found


@pytest.fixture
def store(database: Database, io_loop: IOLoop) -> Iterator[Store]:
    """An open store on `database`."""
    store = database.store()
    io_loop.run_sync(store.open)
    yield store
    io_loop.run_sync(store.close)
