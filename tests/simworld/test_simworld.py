"""A thousand histories in virtual time, and that the world would notice a broken promise."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from unittest.mock import patch

import pytest

from sora_ws.admission import Admission
from sora_ws.callbacks import Callback
from sora_ws.push.hub import Hub
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Task
from tests.history.checker import Rule
from tests.simworld.seeds import digest, tried
from tests.simworld.world import World

CHECKOUT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("SIMWORLD_SEEDS", "1000"))
SABOTAGE_SEEDS = range(15)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """A world of faults has much to say."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.alone
@pytest.mark.timeout(1_200)  # two minutes on two cores that nobody else uses
def test_no_seed_breaks_a_promise() -> None:
    """Each seed that does is printed; `python -m tests.simworld SEED` shows its history."""
    assert {seed: text for seed, text in tried(range(SEEDS)) if text} == {}


FOUND: Final = {
    803: "a place was given to who came while it was meant for the line",
    1652: "the line was taken as counted by a count that had failed, and a task waited for ever",
    3499: "a place was given on before the insert that had been given up was over",
}


def test_no_seed_that_found_a_bug_finds_it_again() -> None:
    """As long as nothing else is drawn in this world; `tests/unit` has each of them by itself."""
    assert {seed: text for seed, text in tried(FOUND) if text} == {}


def test_one_seed_is_one_history() -> None:
    """Here and in another process, whatever its hashes."""
    code = "import logging; logging.disable(50); from tests.simworld.seeds import digest; print(digest(11))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert digest(11) == digest(11) == other.stdout.strip()
    assert digest(12) != digest(11)


def broken_rules() -> set[Rule]:
    """Those that some seeds find broken."""
    return {violation.rule for seed in SABOTAGE_SEEDS for violation in World(seed).run()}


def test_a_create_that_is_not_marked_is_found() -> None:
    """Sent without a note of it, a create is sent again after a death, and nobody counts the second job."""

    async def forgetful(self: SqliteStore, task: Task) -> None:
        """Nothing is noted."""

    with patch.object(SqliteStore, "mark_sent", forgetful):
        assert Rule.ONE_JOB in broken_rules()


def test_a_push_that_is_lost_is_found() -> None:
    """A hub that now and then forgets an end."""
    publish, ends = Hub.publish, 0

    def careless(self: Hub, task: Task) -> None:
        nonlocal ends
        ends += not task.is_live
        if task.is_live or ends % 5:
            publish(self, task)

    with patch.object(Hub, "publish", careless):
        assert Rule.TOLD in broken_rules()


def test_a_state_of_others_is_found() -> None:
    """A hub that tells everybody everything."""
    publish = Hub.publish

    def indiscreet(self: Hub, task: Task) -> None:
        publish(self, task)
        publish(self, replace(task, user_id="eve", seq=task.seq + 1))

    with patch.object(Hub, "publish", indiscreet):
        assert Rule.OWN in broken_rules() or Rule.RISES in broken_rules()


def test_a_place_that_is_given_twice_is_found() -> None:
    """A line that holds nobody."""
    with patch.object(Admission, "_has_room", True):
        assert Rule.PLACES in broken_rules()


def test_an_end_that_a_stream_missed_is_found() -> None:
    """An EventSource that comes back, and is told of what lives alone."""

    async def nothing(self: SqliteStore, user_id: str, seq: int, limit: int) -> Sequence[Task]:
        return []

    with patch.object(SqliteStore, "ended_since", nothing):
        assert Rule.TOLD in broken_rules()


def test_a_callback_that_is_forgotten_is_found() -> None:
    """An end that sets no callback due."""
    with patch.object(Callback, "due", lambda self, now: self):
        assert Rule.CALLED in broken_rules()
