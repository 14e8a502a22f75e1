"""When to look again and how long it may take: values in, values out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_ws.durations import USUAL, USUAL_MS
from sora_ws.rhythm import CALM_AFTER_MS, CALM_WAIT_MS, USUAL_SHARE, Rhythm
from sora_ws.task import Event, Observation, Order, ProgressSource, Task

NOW = 1_000_000
RHYTHM = Rhythm(min_ms=2_000, max_ms=30_000)
OVERDUE_MS = int(USUAL.quantile(USUAL_SHARE))


def rendering(progress: int | None = None, *, after_ms: int = 10_000, looks: int = 0) -> Task:
    """A task that the provider took at NOW and that was last seen to change `after_ms` later."""
    task = Task.new("ada", Order("a cat", "sora-2"), NOW).accept("job", Observation(None), NOW)
    task = task.observe(Observation(Event.STARTED, progress=progress), NOW + after_ms)
    return replace(task, watch=replace(task.watch, looks=looks))


def queued(looks: int) -> Task:
    task = Task.new("ada", Order("a cat", "sora-2"), NOW).accept("job", Observation(None), NOW)
    return replace(task, watch=replace(task.watch, looks=looks))


@given(
    progress=st.none() | st.integers(0, 100),
    after_ms=st.integers(0, 10 * OVERDUE_MS),
    later_ms=st.integers(0, CALM_AFTER_MS - 1),
    looks=st.integers(0, 10_000),
    asked=st.none() | st.integers(0, 10**9),
)
def test_a_healthy_task_is_looked_at_between_the_two_settings(
    progress: int | None, after_ms: int, later_ms: int, looks: int, asked: int | None
) -> None:
    """Whatever is known and whatever the provider advises."""
    task = rendering(progress, after_ms=after_ms, looks=looks)
    seen = Observation(None, look_after_ms=asked)
    assert 2_000 <= RHYTHM.wait(task, task.seq + later_ms, seen) <= 30_000


def test_while_nothing_is_known_the_wait_grows_by_half() -> None:
    """From the shortest to the longest."""
    waits = [RHYTHM.wait(queued(looks), NOW, looks=looks) for looks in range(8)]
    assert waits == [2_000, 3_000, 4_500, 6_750, 10_125, 15_187, 22_781, 30_000]


def test_the_nearer_the_end_the_shorter_the_wait() -> None:
    """The provider's own pace says when that is: 20 % in 10 s leaves 40 s, 80 % in 40 s leaves 10."""
    early, late = rendering(20), rendering(80, after_ms=40_000)
    assert RHYTHM.wait(early, early.seq) == 20_000
    assert RHYTHM.wait(late, late.seq) == 5_000


def test_the_providers_wish_is_a_lower_bound() -> None:
    """`openai-poll-after-ms`, within our own two."""
    assert RHYTHM.wait(queued(0), NOW, Observation(None, look_after_ms=7_000)) == 7_000
    assert RHYTHM.wait(queued(0), NOW, Observation(None, look_after_ms=100_000)) == 30_000
    assert RHYTHM.wait(queued(3), NOW, Observation(None, look_after_ms=100), looks=3) == 6_750


@given(
    later_ms=st.integers(0, 2 * CALM_AFTER_MS),
    advised=st.none() | st.integers(0, 10**9),
    asked=st.integers(0, 10**8),
)
def test_retry_after_is_kept_beyond_our_own_two(later_ms: int, advised: int | None, asked: int) -> None:
    """Whatever answer it comes with, and else it changes nothing."""
    task = rendering(50)
    seen = Observation(None, look_after_ms=advised, retry_after_ms=asked)
    without = Observation(None, look_after_ms=advised)
    wait = RHYTHM.wait(task, task.seq + later_ms, seen)
    assert wait == max(asked, RHYTHM.wait(task, task.seq + later_ms, without))


def test_after_an_hour_without_change_it_is_calm() -> None:
    """Five minutes, for ever: there is no last look."""
    task = rendering(50)
    assert RHYTHM.wait(task, task.seq + CALM_AFTER_MS) == CALM_WAIT_MS
    assert RHYTHM.wait(task, task.seq + 1000 * CALM_AFTER_MS) == CALM_WAIT_MS


@given(errors=st.integers(1, 10_000), chance=st.floats(0, 1), asked=st.integers(0, 10**7))
def test_backoff_is_bounded_and_keeps_retry_after(errors: int, chance: float, asked: int) -> None:
    """Never sooner than asked for, never longer than two minutes otherwise."""
    wait = RHYTHM.backoff(errors, chance, asked)
    assert wait >= max(asked, 2_000)
    assert wait <= max(asked, 120_000)


def test_backoff_has_full_jitter() -> None:
    """Tasks that failed together come back apart."""
    assert len({RHYTHM.backoff(5, chance / 10) for chance in range(1, 11)}) >= 9


def test_a_silent_provider_is_estimated() -> None:
    """None or 0 while it works is filled in by time; the provider's own word is left alone."""
    task = rendering(None)
    for told in (None, 0):
        seen = RHYTHM.supplement(Observation(Event.STARTED, progress=told), task, NOW + USUAL_MS)
        assert seen.estimated
        assert seen.progress is not None
        assert 60 < seen.progress < 95
    assert not RHYTHM.supplement(Observation(Event.STARTED, progress=7), task, NOW + USUAL_MS).estimated
    silent_now = RHYTHM.supplement(Observation(Event.STARTED, progress=None), rendering(30), NOW + USUAL_MS)
    assert silent_now.progress is None
    assert RHYTHM.supplement(Observation(Event.ACCEPTED), task, NOW + USUAL_MS).progress is None


@given(
    known=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**6)), max_size=10),
    waits=st.lists(st.integers(0, 10**6), max_size=20),
)
def test_an_estimate_rises_and_never_arrives(known: list[tuple[int, int]], waits: list[int]) -> None:
    """0–99 and never back, also where what is learned changes between two looks."""
    rhythm, task, now = Rhythm(2_000, 30_000), rendering(None), NOW + 10_000
    ends = iter(known)
    for wait in waits:
        now += wait
        before, task = task, task.observe(rhythm.supplement(Observation(Event.STARTED), task, now), now)
        assert 0 <= before.progress <= task.progress <= 99
        after, width = next(ends, (0, 0))
        rhythm.experience.learn(task.order, after, after + width)


def test_overdue_is_well_beyond_the_usual() -> None:
    """Then nobody can say how long it still takes."""
    task = rendering(None)
    assert not RHYTHM.supplement(Observation(Event.STARTED), task, NOW + 2 * USUAL_MS).overdue
    seen = RHYTHM.supplement(Observation(Event.STARTED), task, NOW + OVERDUE_MS + 1)
    assert seen.overdue
    late = task.observe(seen, NOW + OVERDUE_MS + 1)
    assert late.progress_source is ProgressSource.ESTIMATED
    assert RHYTHM.remaining_s(late, NOW + OVERDUE_MS + 1) is None


def test_the_remaining_time_is_by_experience_at_first_and_by_the_providers_pace_at_last() -> None:
    """20 % in 10 s leave 40 s by the pace, 97 % in 97 s leave 3; what is usual counts for the rest."""
    early, late = rendering(20), rendering(97, after_ms=97_000)
    assert 60 < (RHYTHM.remaining_s(early, early.seq) or 0) < 120
    assert 3 <= (RHYTHM.remaining_s(late, late.seq) or 0) < 8


@pytest.mark.parametrize("later_ms", [0, 5_000, 39_000])
def test_the_remaining_time_counts_down_between_looks(later_ms: int) -> None:
    """Whole seconds, and no more than a moment before."""
    task = rendering(80, after_ms=80_000)
    left = [RHYTHM.remaining_s(task, task.seq + later_ms + more) for more in (0, 1_000)]
    assert None not in left
    assert left == sorted(left, key=lambda seconds: -(seconds or 0))


@pytest.mark.parametrize("told", [True, False])
def test_a_task_that_waits_at_the_provider_has_an_estimate(told: bool) -> None:
    """What was learned counts from when the provider took it; without it from what is usual."""
    rhythm = Rhythm(2_000, 30_000)
    for _ in range(30 * told):
        rhythm.experience.learn(queued(0).order, 39_000, 41_000)
    assert abs((rhythm.remaining_s(queued(0), NOW) or 0) - (40 if told else 120)) <= 1


def test_a_finished_task_teaches() -> None:
    """The next one is looked at by the longest wait first, and closely where the first one ended."""
    rhythm = Rhythm(2_000, 30_000)
    task = queued(0)
    task = replace(task, watch=replace(task.watch, looked_at=NOW + 44_000))
    for _ in range(10):
        rhythm.learn(task, NOW + 46_000)
    assert rhythm.wait(queued(0), NOW) == 30_000
    assert rhythm.wait(queued(1), NOW + 44_000) < 2_100


def test_a_provider_that_is_stuck_is_not_asked_all_the_time() -> None:
    """By its pace 99 % are nearly done; where they last, what was learned says when to look."""
    rhythm, task = Rhythm(2_000, 30_000), rendering(99, after_ms=60_000)
    for _ in range(30):
        rhythm.experience.learn(task.order, 39_000, 41_000)
    assert rhythm.wait(task, task.seq + 120_000) >= 15_000
