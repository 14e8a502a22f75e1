"""The bench of the ways between instances: every change arrives by each, and each is what it says."""

from __future__ import annotations

import shutil

import pytest

from bench.relay.__main__ import STRANGERS, measure
from bench.relay.ways import WAYS
from tests.services import missing

TASKS, CHANGES = 20, 400
MESSAGES_OUT = {"per topic": 2.0, "one": 1.0 + STRANGERS}


@pytest.mark.parametrize("way", WAYS)
def test_every_change_arrives(way: str) -> None:
    """Once, by each way; only with a channel for each topic nobody gets what nobody here wants."""
    if shutil.which("redis-server") is None:
        missing("no redis-server: Debian's package of that name is not installed")
    measured = measure(way, TASKS, CHANGES)
    assert measured["decoded"] == CHANGES
    assert measured["messages_in"] == (2.0 if way == "per topic" else 1.0)
    assert measured["messages_out"] == MESSAGES_OUT.get(way, measured["messages_out"])
