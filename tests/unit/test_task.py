"""The domain: any state, any observation, and nothing is ever lost or goes back."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_ws.task import (
    LIVE,
    STATUS,
    TRANSITIONS,
    Event,
    Failure,
    FailureCode,
    ImpossibleTransition,
    Observation,
    Order,
    ProgressSource,
    State,
    Status,
    Task,
    Video,
    Viewer,
)

NOW = 1_000_000
VIDEO = Video(duration=4.0, size=1000, width=1280, height=720, has_thumbnail=True)
FAILURE = Failure(FailureCode.GENERATION_FAILED, "no luck", retryable=True)
STEPS = list(LIVE)

times = st.integers(min_value=0, max_value=2 * NOW)
observations = st.builds(
    Observation,
    event=st.none() | st.sampled_from([event for event in Event if event is not Event.ARCHIVED]),
    progress=st.none() | st.integers(-1000, 1000),
    failure=st.none() | st.just(FAILURE),
    estimated=st.booleans(),
    overdue=st.booleans(),
)


def new_task() -> Task:
    return Task.new("ada", Order("a cat", "sora-2"), NOW)


def task_in(state: State) -> Task:
    """A task that came to this state on its own road."""
    task = new_task()
    if state is State.SUBMITTING:
        return task
    task = task.accept("job", Observation(Event.ACCEPTED), NOW + 1000)
    if state is State.QUEUED:
        return task
    task = task.observe(Observation(Event.STARTED, progress=10), NOW + 2000)
    if state is State.RENDERING:
        return task
    if state is State.FAILED:
        return task.fail(FAILURE, NOW + 3000)
    if state is State.CANCELLED:
        return task.cancel(NOW + 3000)
    task = task.observe(Observation(Event.FINISHED), NOW + 3000)
    return task if state is State.ARCHIVING else task.complete(VIDEO, NOW + 4000)


states = st.sampled_from(list(State))


@given(state=states, seen=observations, now=times)
def test_any_state_takes_any_observation(state: State, seen: Observation, now: int) -> None:
    """Nothing raises; progress, steps and seq never fall; what is known is kept; an end stays an end."""
    before = task_in(state)
    after = before.observe(seen, now)
    assert after.progress >= before.progress
    assert STEPS.index(after.step) >= STEPS.index(before.step)
    assert (after.seq > before.seq) is (after is not before)
    assert (after.id, after.order, after.job_id) == (before.id, before.order, before.job_id)
    if not before.is_live:
        assert after is before
    if after.is_live:
        assert 0 <= after.progress <= 99
    assert (after.failure is not None) is (after.state in (State.FAILED, State.CANCELLED))
    assert (after.finished_at is not None) is (not after.is_live)


@given(seen=st.lists(st.tuples(observations, times), max_size=20))
def test_a_history_of_observations_only_rises(seen: list[tuple[Observation, int]]) -> None:
    """Over any number of looks, in any order of times, seq and progress rise and there is one end."""
    task = new_task().accept("job", Observation(None), NOW)
    ends = 0
    for observation, now in seen:
        after = task.observe(observation, now)
        assert after.seq >= task.seq
        assert after.progress >= task.progress
        ends += task.is_live and not after.is_live
        task = after
    assert ends <= 1


@given(state=states, event=st.sampled_from(list(Event)))
def test_what_the_table_lacks_is_an_error_that_names_both(state: State, event: Event) -> None:
    """A call that can't be is refused with state and event, and the table says which can."""
    task = task_in(state)
    calls = {
        Event.ACCEPTED: lambda: task.accept("job", Observation(None), NOW),
        Event.ARCHIVED: lambda: task.complete(VIDEO, NOW),
        Event.FAILED: lambda: task.fail(FAILURE, NOW),
        Event.CANCELLED: lambda: task.cancel(NOW),
    }
    if event not in calls:
        return
    if (state, event) in TRANSITIONS:
        assert calls[event]().seq > task.seq
        return
    with pytest.raises(ImpossibleTransition, match=f"{state}.*{event}"):
        calls[event]()


def test_every_state_has_a_status_and_every_live_one_an_end() -> None:
    """The tables are whole."""
    assert set(STATUS) == set(State)
    for state in LIVE:
        assert TRANSITIONS[state, Event.FAILED] is State.FAILED
        assert TRANSITIONS[state, Event.CANCELLED] is State.CANCELLED
    assert {state for state, _ in TRANSITIONS} == set(LIVE)


def test_the_usual_road() -> None:
    """From the prompt to the video, with what clients see at each step."""
    task = new_task()
    assert (task.status, task.step, task.progress) == (Status.QUEUED, State.SUBMITTING, 0)
    task = task.accept("job", Observation(Event.ACCEPTED), NOW + 1_500)
    assert (task.status, task.step) == (Status.QUEUED, State.QUEUED)
    task = task.observe(Observation(Event.STARTED, progress=30), NOW + 3_000)
    assert (task.status, task.step, task.progress) == (Status.PROCESSING, State.RENDERING, 30)
    task = task.observe(Observation(Event.FINISHED, progress=100), NOW + 9_000)
    assert (task.status, task.step, task.progress) == (Status.PROCESSING, State.ARCHIVING, 99)
    task = task.complete(VIDEO, NOW + 10_400)
    assert (task.status, task.progress) == (Status.COMPLETED, 100)
    assert task.metrics is not None
    assert (task.metrics.total, task.metrics.queue, task.metrics.process) == (10, 3, 7)


def test_finished_between_two_looks_counts_as_work_since_accepted() -> None:
    """Nobody saw it start, so the provider is taken to have begun when it took the job."""
    task = new_task().accept("job", Observation(Event.ACCEPTED), NOW + 2_000)
    task = task.observe(Observation(Event.FINISHED), NOW + 8_000).complete(VIDEO, NOW + 9_000)
    assert task.metrics is not None
    assert (task.metrics.queue, task.metrics.process) == (2, 7)


def test_create_answered_as_finished_goes_straight_to_the_archive() -> None:
    """Some backends answer a create with a finished job."""
    task = new_task().accept("job", Observation(Event.FINISHED), NOW)
    assert task.state is State.ARCHIVING


def test_seq_is_the_time_and_always_rises() -> None:
    """A clock that stands still or runs back still gives a higher seq."""
    task = new_task().accept("job", Observation(Event.ACCEPTED), NOW)
    assert task.seq == NOW + 1
    later = task.observe(Observation(Event.STARTED), NOW + 500)
    assert later.seq == NOW + 500
    assert later.observe(Observation(Event.STARTED, progress=5), NOW).seq == NOW + 501


def test_a_look_without_news_is_no_change() -> None:
    """The very same task comes back, so that nothing is written or pushed."""
    task = task_in(State.RENDERING)
    assert task.observe(Observation(Event.STARTED, progress=10), NOW + 9_000) is task
    assert task.observe(Observation(Event.ACCEPTED, progress=3), NOW + 9_000) is task
    assert task.observe(Observation(None), NOW + 9_000) is task


def test_overdue_is_a_change_once() -> None:
    """The words change when it takes longer than usual, and then stay."""
    task = task_in(State.RENDERING)
    overdue = task.observe(Observation(Event.STARTED, overdue=True), NOW + 9_000)
    assert overdue.overdue
    assert overdue.seq > task.seq
    assert overdue.observe(Observation(Event.STARTED), NOW + 10_000) is overdue


def test_the_providers_larger_progress_wins_over_the_estimate() -> None:
    """An estimate moves a silent task; the provider's word moves it further, never back."""
    task = task_in(State.QUEUED).observe(Observation(Event.STARTED, progress=40, estimated=True), NOW + 2000)
    assert (task.progress, task.progress_source) == (40, ProgressSource.ESTIMATED)
    assert task.observe(Observation(Event.STARTED, progress=20), NOW + 3000).progress == 40
    further = task.observe(Observation(Event.STARTED, progress=60), NOW + 3000)
    assert (further.progress, further.progress_source) == (60, ProgressSource.PROVIDER)


def test_a_failure_without_a_word_still_has_a_code() -> None:
    """FAILED with nothing said is a GENERATION_FAILED that may be tried again."""
    task = task_in(State.RENDERING).observe(Observation(Event.FAILED), NOW + 5_000)
    assert task.failure == Failure(FailureCode.GENERATION_FAILED, None, retryable=True)


def test_no_observation_can_claim_the_archive() -> None:
    """Whether a video is here is no provider's to say."""
    with pytest.raises(ValueError, match="archived"):
        Observation(Event.ARCHIVED)


def test_ids_are_128_random_bits() -> None:
    """They can't be guessed or counted."""
    ids = {new_task().id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(bytes.fromhex(task_id.removeprefix("video_"))) == 16 for task_id in ids)


def test_the_owner_and_the_team_may_see_it() -> None:
    """Nobody else may, and a team counts only where the task has one."""
    task = replace(new_task(), team="film")
    assert task.may_be_seen_by(Viewer("ada"))
    assert task.may_be_seen_by(Viewer("bob", ("film",)))
    assert not task.may_be_seen_by(Viewer("bob", ("other",)))
    assert not new_task().may_be_seen_by(Viewer("bob", ("film",)))


def test_the_diagram_is_drawn_from_the_table() -> None:
    """docs/states.md is what the script draws today."""
    script = Path(__file__).parents[2] / "docs" / "draw_states.py"
    drawn = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert drawn.returncode == 0, drawn.stderr
