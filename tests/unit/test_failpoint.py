"""Named steps at which a test lets the process fail; where each one kills is in tests/history."""

from __future__ import annotations

import pytest

from sora_ws import failpoint


def test_nothing_is_armed() -> None:
    """Unless the environment says so, a step is nothing."""
    failpoint.reach("task_stored")


def test_an_error_is_raised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its own step alone, and the second time the process goes on."""
    step, act = failpoint._read("job_kept:error")
    monkeypatch.setattr(failpoint, "_armed", step)
    monkeypatch.setattr(failpoint, "_act", act)
    failpoint.reach("task_stored")
    with pytest.raises(failpoint.FailpointError, match="job_kept"):
        failpoint.reach("job_kept")
    failpoint.reach("job_kept")


@pytest.mark.parametrize("text", ["job_kept", "job_kept:die", "nowhere:kill", ":kill"])
def test_what_does_not_exist_is_refused(text: str) -> None:
    """A misspelt step would never be reached, and its test would prove nothing."""
    with pytest.raises(ValueError, match="SORA_WS_FAILPOINT"):
        failpoint._read(text)
