"""Worlds for end-to-end tests, over each database."""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.world import TRANSPORT, StartWorld, a_world
from tests.mongod import Mongod, mongod

__all__ = ["mongod"]


@pytest.fixture(params=["sqlite", "mongodb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sora.sqlite3"
    running: Mongod = request.getfixturevalue("mongod")
    return running.url(f"e2e_{uuid.uuid4().hex[:8]}")


@pytest.fixture
def transport() -> str:
    """How open lines are served, by WS_TRANSPORT; tests of the protocol are parametrised over both ways."""
    return TRANSPORT


@pytest.fixture
def world(tmp_path: Path, transport: str) -> StartWorld:
    """`async with world(dialect, SETTING="value") as w:` over SQLite."""
    return partial(a_world, tmp_path / "state", WS_TRANSPORT=transport)


@pytest.fixture
def worlds(tmp_path: Path, transport: str, database_url: str) -> StartWorld:
    """As `world`, once over each database."""
    return partial(a_world, tmp_path / "state", WS_TRANSPORT=transport, DATABASE_URL=database_url)
