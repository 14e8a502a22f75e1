"""kill -9 under load, and what the checker says of it."""

from __future__ import annotations

from pathlib import Path

from tests.history.run import a_run


def test_a_quiet_history(tmp_path: Path) -> None:
    """Nothing dies, nothing is broken: what the other histories are measured by."""
    with a_run(tmp_path, reset_every=5) as run:
        run.clients.create(12)
        assert run.verdict() == []
