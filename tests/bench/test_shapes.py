"""The bench in a short form: nothing lost, nothing out of order, no line that got fat. Never a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.message import TEAM, subscribe_task
from bench.processes import CALM, OURS, Bench, Broken, bench
from bench.rounds import Rounds
from bench.rows import ROWS
from bench.rows.memory import Way, growth_kb
from bench.scale import SHORT
from bench.tools import Missing
from tests.services import missing

pytestmark = pytest.mark.alone

KB_MAX = 3 * 1.5  # three times what a line is meant to cost at most
BYTES_MAX = 0.75  # of a progress, compressed


@pytest.fixture
def short_bench() -> Iterator[Bench]:
    try:
        with bench(SHORT.readers_max) as made:
            yield made
    except Missing as error:
        missing(str(error))


@pytest.mark.parametrize("row", ["fanout", "joined", "whole"])
def test_everybody_gets_everything_in_order(short_bench: Bench, row: str) -> None:
    """Both transports bring each change to each reader once, in order."""
    assert _measured(short_bench, row, *OURS, "limit")


@pytest.mark.parametrize("row", ["latency", "storm", "idle", "holds"])
def test_a_row_is_measured(short_bench: Bench, row: str) -> None:
    """Nothing is lost while many come, are told to go, or nothing happens."""
    assert _measured(short_bench, row, "fast", "limit")


def test_a_line_is_small(short_bench: Bench) -> None:
    """A browser that is in and subscribed costs at most three times the goal."""
    [count] = SHORT.memory
    way = Way("", count, CALM, subscribe_task(TEAM))
    assert growth_kb(short_bench, "fast", way, SHORT.settle) <= KB_MAX


def test_compressed_pushes_are_whole_and_smaller(short_bench: Bench) -> None:
    """Who agreed to permessage-deflate can read every change, and gets fewer bytes for it."""
    rounds = _measured(short_bench, "deflate", "fast", "limit")
    assert _value(rounds, "bytes, of plain") <= BYTES_MAX


@pytest.mark.parametrize("transport", OURS)
def test_who_never_reads_is_closed_and_the_others_miss_nothing(short_bench: Bench, transport: str) -> None:
    """More than MAX_SEND_BUFFER_BYTES unread closes a line with 4413."""
    assert _value(_measured(short_bench, "stuck", transport), "closed with 4413") == 100


def test_a_lost_message_is_seen(short_bench: Bench) -> None:
    """A change that does not arrive breaks the run; no figure comes of it."""
    contender, readers = short_bench.served("limit", 10)
    readers.expect(3, 0.5)
    contender.publish(2)
    with pytest.raises(Broken, match="10 messages are missing"):
        readers.counted(3)


def _measured(short_bench: Bench, row: str, *who: str) -> Rounds:
    """A run in which nothing was lost: what was, raises."""
    rounds = ROWS[row].measure(short_bench, SHORT, who)
    assert {figure.contender for figure in rounds.figures} == set(who)
    return rounds


def _value(rounds: Rounds, what: str) -> float:
    """Of the one of our transports that was measured."""
    [value] = [f.median for f in rounds.figures if f.contender in OURS and f.what == what]
    return value
