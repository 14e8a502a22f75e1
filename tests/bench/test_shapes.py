"""The bench in a short form: nothing lost, nothing out of order, no line that got fat. Never a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

import pytest

from bench import rows
from bench.processes import Bench, Broken, bench
from bench.results import Result
from bench.tools import Missing
from tests.services import missing

KB_MAX: Final = 3 * 1.5  # three times what a line is meant to cost at most
OURS: Final = ("fast", "stream")


@pytest.fixture
def short_bench() -> Iterator[Bench]:
    try:
        with bench(rows.SHORT.memory[0] + 100) as made:
            yield made
    except Missing as error:
        missing(str(error))


@pytest.mark.parametrize("row", ["fan-out", "joined", "latency", "storm"])
def test_everybody_gets_everything_in_order(short_bench: Bench, row: str) -> None:
    """Both transports bring each change to each reader once, in order, and so does the load's own count."""
    results = list(rows.ROWS[row](short_bench, rows.SHORT, (*OURS, "limit")))
    assert {result.contender for result in results} >= set(OURS)


def test_a_line_is_small(short_bench: Bench) -> None:
    """A browser that is in and subscribed costs at most three times the goal."""
    [kb] = [result.median for result in _memory(short_bench) if "at a time" in result.what]
    assert kb <= KB_MAX


def test_a_lost_message_is_seen(short_bench: Bench) -> None:
    """A change that does not arrive breaks the run; no figure comes of it."""
    contender = short_bench.contender("limit")
    readers = short_bench.readers(contender, 10)
    readers.ready()
    readers.expect(3, 0.5)
    contender.publish(2)
    with pytest.raises(Broken, match="10 messages are missing"):
        rows.checked(contender, readers, 3)


def _memory(short_bench: Bench) -> Iterator[Result]:
    scale = dataclasses.replace(rows.SHORT, settle=0.0)
    return rows.memory(short_bench, scale, ("fast",))
