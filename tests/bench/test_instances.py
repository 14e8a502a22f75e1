"""The bench of several instances in a short form: no message lost or doubled, no task looked at twice."""

from __future__ import annotations

import pytest

from bench.instances.rows import LOCAL, OTHER, ROWS
from bench.instances.scale import SHORT
from bench.rounds import Rounds
from bench.tools import Missing
from tests.services import missing

pytestmark = pytest.mark.alone

OPERATIONS_MAX = 5


@pytest.mark.parametrize("row", ["one_task", "many_tasks"])
def test_everybody_is_told_by_whichever_instance(row: str) -> None:
    """Each reader hears each change once and in order; the changes go through Redis."""
    found = _measured(row)
    assert found["2 instances", "pushes, /s"] > 0
    assert found["2 instances", "Redis, messages, a change"] >= 1


def test_both_instances_tell_the_same() -> None:
    """What one saves the readers of both hear, and the task stays where it is."""
    assert {who for who, _ in _measured("across")} == {LOCAL, OTHER}


def test_each_due_task_is_looked_at_once() -> None:
    """However many instances are started at once over them, and with few calls to the store."""
    found = _measured("due")
    for who in ("1 instance", f"{SHORT.many} instances"):
        assert found[who, "looks until all were looked at, a task"] == 1
        assert found[who, "store operations, a task"] <= OPERATIONS_MAX


def test_all_come_in_through_nginx() -> None:
    """By the site of conf/, in front of two instances."""
    found = _measured("nginx")
    assert found["Nginx, 2 instances", "CPU a browser: Nginx, µs"] > 0


def test_all_are_held_and_told() -> None:
    """Browsers of two instances: nobody is lost, all hear each change once, and all are seen to go."""
    found = {what: value for (_, what), value in _measured("held").items()}
    assert found["at one instance, at most, browsers"] * SHORT.held_by == SHORT.held
    assert found["a change, at the first, ms"] <= found["at half of them, ms"] <= found["at the last, ms"]


def _measured(row: str) -> dict[tuple[str, str], float]:
    """A run in which nothing was lost: what was, raises."""
    try:
        rounds: Rounds = ROWS[row](SHORT)
    except Missing as error:
        missing(str(error))
    return {(f.contender, f"{f.what}, {f.unit}"): f.median for f in rounds.figures}
