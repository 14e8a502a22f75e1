"""What is learned of how long tasks take: from intervals, not from moments, and newest first."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_ws import durations
from sora_ws.durations import BINS, EDGES, FADING, SEED, USUAL, Durations, Experience, kinds
from sora_ws.task import Order

ORDER = Order("a cat", "sora-2", 8, "1280x720")
MINUTE = 60_000
DAY = 24 * 60 * MINUTE

ages = st.integers(0, 10 * DAY) | st.sampled_from([round(edge) for edge in EDGES])
intervals = st.tuples(ages, ages).map(lambda pair: (min(pair), max(pair)))
learned = st.lists(intervals, max_size=12).map(lambda ends: of(*ends))


def of(*ends: tuple[int, int]) -> Durations:
    """What such ends teach, beginning with nothing."""
    known = Durations((0.0,) * BINS)
    for after, by in ends:
        known = known.learn(after, by)
    return known


@given(known=learned, end=intervals)
def test_each_end_weighs_one(known: Durations, end: tuple[int, int]) -> None:
    """It is spread over its interval, nothing of it is lost, and what was there fades."""
    after = known.learn(*end)
    assert math.isclose(after.total, FADING * known.total + 1, rel_tol=1e-9)
    assert all(weight >= 0 for weight in after.weights)
    low, high = (durations._bin(age) for age in end)
    outside = [*range(low), *range(high + 1, BINS)]
    assert all(after.weights[index] == FADING * known.weights[index] for index in outside)


@given(known=learned, one=ages, other=ages)
def test_shares_rise_from_nothing_to_all(known: Durations, one: int, other: int) -> None:
    """Whatever was learned: 0 at the start, 1 at the end, never back."""
    early, late = sorted((one, other))
    assert 0.0 == known.share(0) <= known.share(early) <= known.share(late) <= 1.0
    assert math.isclose(known.share(EDGES[-1]), 1.0)


@given(known=learned, one=st.floats(0, 1), other=st.floats(0, 1))
def test_quantiles_rise(known: Durations, one: float, other: float) -> None:
    """They stay within what is measured, and lead back to their shares."""
    low, high = sorted((one, other))
    assert 0.0 <= known.quantile(low) <= known.quantile(high) <= EDGES[-1]
    assert math.isclose(known.share(known.quantile(low)), low, abs_tol=1e-9)


@given(known=learned, one=ages, other=ages)
def test_progress_rises_within_its_bounds(known: Durations, one: int, other: int) -> None:
    """Exactly from 0 to 1, however the sums are rounded, and never back by more than that rounding."""
    early, late = (known.progress(age) for age in sorted((one, other)))
    assert 0.0 <= early <= 1.0
    assert 0.0 <= late <= 1.0
    assert early <= late + 1e-9


@given(known=learned, age=ages)
def test_what_remains_is_never_negative(known: Durations, age: int) -> None:
    """At any age."""
    assert 0.0 <= known.remaining(age) < math.inf


@given(known=learned, age=ages, least=st.integers(1, 5_000), more=st.integers(0, 60_000))
def test_a_wait_keeps_to_its_bounds(known: Durations, age: int, least: int, more: int) -> None:
    """And a dearer look is never nearer."""
    waits = [known.wait(age, price, least, least + more) for price in (1, 500, 1_000, 100_000)]
    assert least <= waits[0] <= waits[1] <= waits[2] <= waits[3] <= least + more


@given(one=learned, other=learned, third=learned)
def test_to_merge_is_to_add(one: Durations, other: Durations, third: Durations) -> None:
    """In any order, and nothing is lost."""
    assert one.merged(other) == other.merged(one)
    assert math.isclose(one.merged(other).total, one.total + other.total, abs_tol=1e-9)
    left, right = one.merged(other).merged(third), one.merged(other.merged(third))
    assert all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(left.weights, right.weights, strict=True))


def test_looks_stand_where_ends_are() -> None:
    """None but by the longest wait before the first plausible end, and many around the usual one."""
    known = of(*[(MINUTE + 1_000 * second, MINUTE + 1_000 * (second + 1)) for second in range(30)])
    assert known.wait(0, 1_000, 2_000, 30_000) == 30_000
    assert known.wait(75_000, 1_000, 2_000, 30_000) < 10_000


def test_beyond_all_that_was_learned_looks_grow_rare() -> None:
    """They don't stay at the shortest wait for ever."""
    known = of(*[(10_000, 12_000)] * 30)
    assert known.wait(11_000, 1_000, 100, 30_000) < 3_000
    assert known.wait(300_000, 1_000, 100, 30_000) > 10_000
    assert known.wait(100 * DAY, 1_000, 100, 30_000) == 30_000


@pytest.mark.parametrize("seed", range(4))
def test_slow_looks_do_not_teach_slowness(seed: int) -> None:
    """Looked at every 30 s only, tasks of about 105 s are not taken for such of 120."""
    random, known = Random(seed), USUAL
    for _ in range(100):
        duration = random.gauss(105_000, 10_000)
        looks = int(duration // 30_000)
        known = known.learn(30_000 * looks, 30_000 * (looks + 1))
    assert 98_000 < known.quantile(0.5) < 112_000


@pytest.mark.parametrize("seed", range(4))
def test_a_provider_twice_as_slow_is_followed_within_twenty_tasks(seed: int) -> None:
    """After a long time at one speed, what is said at half time is right for the new one."""
    random, experience = Random(seed), Experience()
    for number in range(320):
        duration = int(120_000 * (1 if number < 300 else 2) * math.exp(random.gauss(0, 0.25)))
        experience.learn(ORDER, duration - 5_000, duration + 5_000)
    known = experience.of(ORDER)
    assert known is not None
    assert 80_000 < known.remaining(120_000) < 160_000


def test_a_new_kind_begins_with_the_wider_one() -> None:
    """Another length of a model with what is known of the model, another model with what is known of all."""
    experience = Experience()
    assert experience.of(ORDER) is None
    for _ in range(50):
        experience.learn(ORDER, 40_000, 42_000)
    longer, other = Order("", "sora-2", 20, "1280x720"), Order("", "veo")
    for order in (longer, other):
        known = experience.of(order)
        assert known is not None
        assert 39_000 < known.quantile(0.5) < 43_000
    experience.learn(longer, 100_000, 101_000)
    known = experience.of(longer)
    assert known is not None
    assert 0.4 < known.share(43_000) < 0.6  # what was known of the model, as if that had been one task
    for _ in range(2):
        experience.learn(longer, 100_000, 101_000)
    known = experience.of(longer)
    assert known is not None
    assert 95_000 < known.quantile(0.5) < 106_000
    assert known.total < 3 + SEED
    of_first = experience.of(ORDER)
    assert of_first is not None
    assert 39_000 < of_first.quantile(0.5) < 43_000


def test_kinds_are_told_apart() -> None:
    """A task without length and size is no model, and a model no task."""
    assert kinds(Order("", "sora-2")) == (("sora-2", None, None), ("sora-2",), ())


def test_kinds_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that no task came of for longest is forgotten, and said to be."""
    monkeypatch.setattr(durations, "KINDS_MAX", 10)
    experience = Experience()
    for number in range(10):
        experience.learn(Order("", f"model {number}"), 1_000, 2_000)
    assert sum(experience.get(kind) is not None for kind in experience.changed) == 10
    assert experience.get(("model 0",)) is None
    assert ("model 0",) in experience.changed
    assert experience.get(()) is not None


@given(known=learned)
def test_bins_follow_each_other(known: Durations) -> None:
    """No gap, no overlap, and each one rises."""
    assert EDGES[0] == 0
    assert all(low < high for low, high in pairwise(EDGES))
    assert len(known.weights) == BINS
