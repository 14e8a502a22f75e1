"""kill -9 at each step between "accepted" and "told", and at random; the checker judges each history."""

from __future__ import annotations

import random
from pathlib import Path

from tests.history.kills import die_at_each_step, die_at_random
from tests.history.run import a_run

KILLS = 5  # `make kills` has two hundred


def test_a_quiet_history(tmp_path: Path) -> None:
    """Nothing dies and nothing is broken: what the other histories are measured by."""
    with a_run(tmp_path, reset_every=5, callbacks=True) as run:
        run.clients.create(12)
        assert run.verdict() == []


def test_kill_9_at_each_step(tmp_path: Path, database_url: str) -> None:
    """The server comes to every step that has a name, dies there, and every promise is kept."""
    assert die_at_each_step(tmp_path, database_url) == []


def test_kill_9_at_random(tmp_path: Path, database_url: str) -> None:
    """The same at moments that nobody has thought of."""
    assert die_at_random(tmp_path, database_url, KILLS, random.Random(7)) == []
