"""Worlds for end-to-end tests, over each database."""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.world import StartWorld, a_world
from tests.mongod import Mongod, mongod

__all__ = ["mongod"]


def fresh_database(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/sora.sqlite3"
    running: Mongod = request.getfixturevalue("mongod")
    return running.url(f"e2e_{uuid.uuid4().hex[:8]}")


@pytest.fixture(params=["sqlite", "mongodb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind."""
    return fresh_database(request.param, request, tmp_path)


@pytest.fixture(params=["fast", "stream"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> StartWorld:
    """`async with world(dialect, SETTING="value") as w:` over SQLite, by each transport."""
    return partial(a_world, tmp_path / "state", WS_TRANSPORT=request.param)


@pytest.fixture(params=["fast-sqlite", "stream-sqlite", "fast-mongodb"])
def worlds(request: pytest.FixtureRequest, tmp_path: Path) -> StartWorld:
    """As `world`, over each database too."""
    transport, database = request.param.split("-")
    url = fresh_database(database, request, tmp_path)
    return partial(a_world, tmp_path / "state", WS_TRANSPORT=transport, DATABASE_URL=url)
