"""The databases that histories run over."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.mongod import Mongod, mongod, start_mongod

__all__ = ["mongod", "start_mongod"]


@pytest.fixture(params=["sqlite", "mongodb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sora.sqlite3"
    running: Mongod = request.getfixturevalue("mongod")
    return running.url(f"history_{uuid.uuid4().hex[:8]}")
