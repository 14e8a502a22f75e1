"""Three instances, hurt in every way at once; the checker judges the history."""

from __future__ import annotations

from pathlib import Path

from tests.history.instances import hurt_all_at_once

SECONDS = 15.0  # `python -m tests.history.instances` takes ten minutes
SEED = 24  # with it so short a time has one of most kinds


def test_everything_at_once(tmp_path: Path) -> None:
    """Instances, Redis and the database die, hang and come back, and every promise is kept."""
    violations, faults = hurt_all_at_once(tmp_path, SECONDS, SEED)
    assert violations == []
    assert {"cut off from redis", "kill instance", "kill primary", "pause instance"} <= {*faults}, faults
