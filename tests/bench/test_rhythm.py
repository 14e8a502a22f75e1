"""The learned rhythm over drawn tasks: what is owed of it, with seeds that give the same each time."""

from __future__ import annotations

import statistics
import xml.etree.ElementTree as ET
from random import Random

import pytest

from bench.rhythm import picture
from bench.rhythm.backends import BACKENDS, TELLING
from bench.rhythm.compare import Draw, goals, oracles, outcome
from bench.rhythm.replay import Seen, replay
from bench.rhythm.rhythms import doubling, fixed, oracle, ours

SEED = 1


def test_the_goals_are_reached() -> None:
    """Against the fixed rhythm, and against who knows the true distributions."""
    draw = Draw.of(SEED, 500)
    base = outcome("fixed", draw, lambda _: fixed()).all
    own = outcome("ours", draw, lambda _: ours()).all
    reached = goals(base, own, oracles(draw, (0.85, 1.2, 1.7)))
    assert reached["looksOfFixed"] <= 1.4
    assert reached["delayOfFixed"] <= 0.3
    assert reached["delayOfOracleAtEqualLooks"] <= 1.15
    assert reached["errorOfOracle"] <= 1.15


def test_a_replay_can_be_repeated() -> None:
    """The same seed draws the same tasks, and these are looked at alike."""
    one, other = (
        replay(ours(), BACKENDS[0], Draw.of(SEED, 50).durations[BACKENDS[0].name]) for _ in range(2)
    )
    assert one == other


@pytest.mark.parametrize("seed", range(4))
def test_a_provider_twice_as_slow_is_followed(seed: int) -> None:
    """From the twentieth slow task on, looks and delays are nearly those of who never knew it fast."""
    backend, random = BACKENDS[0], Random(seed)
    fast, slow, same = ([backend.draw(random) * factor for _ in range(120)] for factor in (1, 2, 2))
    last = slow[20:60]
    changed = _last(replay(ours(), backend, fast + slow[:60]), len(last))
    settled = _last(replay(ours(), backend, same + slow[:60]), len(last))
    assert changed[0] <= 1.2 * settled[0]
    assert changed[1] <= 1.5 * settled[1]


def test_who_tells_its_progress_evenly_is_seen_sooner() -> None:
    """The provider's pace and what was learned together tell more than either."""
    draw = Draw.of(SEED, 100, (TELLING[0],))
    durations = draw.durations[TELLING[0].name]
    told, silent = replay(ours(), TELLING[0], durations), replay(ours(), BACKENDS[0], durations)
    assert told.delay < silent.delay
    assert told.looks_a_task < silent.looks_a_task


def test_the_oracle_is_no_worse_than_any_other() -> None:
    """The sum that it makes least is least: mean delay and looks at their price."""
    backend = BACKENDS[0]
    durations = Draw.of(SEED, 2_000).durations[backend.name]
    costs = [
        statistics.fmean(seen.delays) + seen.looks_a_task
        for seen in (replay(make, backend, durations) for make in (oracle(backend, 1.0), fixed(), doubling()))
    ]
    assert costs[0] < min(costs[1:])


def test_the_picture_can_be_read() -> None:
    """An SVG with a line for each frontier and a name for each rhythm."""
    few, many = Seen([4, 6], [15.0, 16.0]), Seen([9, 9], [4.0, 5.0])
    drawn = picture.draw({"fixed": [few, many], "ours": [few, many]}, {"ours": many})
    root = ET.fromstring(drawn)
    assert len(root.findall("{*}path")) == 2
    assert "ours" in [text.text for text in root.findall("{*}text")]


def _last(seen: Seen, count: int) -> tuple[float, float]:
    """Looks a task and the median delay of the last ones."""
    return statistics.fmean(seen.looks[-count:]), statistics.median(seen.delays[-count:])
