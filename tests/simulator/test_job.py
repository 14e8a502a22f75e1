"""A job is its id and the clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_ws.provider.simulated_job import ID_MAX, PREFIX, Phase, SimulatedJob

NOW = 1_795_000_000_000
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def job(prompt: str = "a cat", lasts: int = 20_000) -> SimulatedJob:
    """A job that was asked for at NOW."""
    return SimulatedJob.new(prompt, "sora-2", 4, (1280, 720), lasts=lasts, now=NOW)


@given(prompt=TEXT, model=TEXT, lasts=st.integers(0, 2**40), seconds=st.integers(1, 120))
def test_an_id_holds_the_whole_job(prompt: str, model: str, lasts: int, seconds: int) -> None:
    """From its id alone a job comes back as it was, and no id is longer than 500 characters."""
    made = SimulatedJob.new(prompt, model, seconds, (4096, 4096), lasts=lasts, now=NOW)
    assert len(made.id) <= ID_MAX
    assert SimulatedJob.of(made.id) == made


@pytest.mark.parametrize("letter", ["a", "é", "猫", "😀"])
def test_the_longest_prompt_keeps_its_beginning(letter: str) -> None:
    """A prompt that is too long for an id is cut, between letters."""
    made = SimulatedJob.new(letter * 32_000, letter * 100, 120, (4096, 4096), lasts=10**9, now=NOW)
    assert len(made.id) <= ID_MAX
    assert 60 <= len(made.prompt) <= 100
    assert set(made.prompt) == {letter, "…"}


@given(st.one_of(TEXT, TEXT.map(lambda text: PREFIX + text), st.from_regex(rf"\A{PREFIX}[A-Za-z0-9_-]+\Z")))
def test_what_was_not_made_here_is_no_job(text: str) -> None:
    """Garbage is no id, whatever it looks like."""
    assert SimulatedJob.of(text) is None


MADE = job().id  # one for all examples: each is drawn from what the one before was


@given(st.data())
def test_a_changed_id_is_no_job(data: st.DataObject) -> None:
    """An id with one character changed, cut off or added is none."""
    made = MADE
    place = data.draw(st.integers(len(PREFIX), len(made) - 1))
    other = data.draw(st.sampled_from("Aa0-_=").filter(lambda letter: letter != made[place]))
    for changed in (made[:place] + other + made[place + 1 :], made[:place], made + other):
        assert SimulatedJob.of(changed) is None


def test_two_jobs_of_one_prompt_differ() -> None:
    """The same order twice in one millisecond is two jobs."""
    assert job().id != job().id


@given(st.lists(st.integers(-10_000, 40_000)).map(sorted), st.booleans())
def test_progress_rises_with_the_clock(ages: list[int], fails: bool) -> None:
    """Progress never falls, and 100 is for a film that is there."""
    made = job("[fail]" if fails else "")
    seen = [made.progress(NOW + age) for age in ages]
    assert seen == sorted(seen)
    for age, progress in zip(ages, seen, strict=True):
        assert (progress == 100) == (made.phase(NOW + age) is Phase.COMPLETED)


@pytest.mark.parametrize(
    ("prompt", "age", "phase", "progress"),
    [
        ("a cat", 0, Phase.QUEUED, 0),
        ("a cat", 1_999, Phase.QUEUED, 0),
        ("a cat", 2_000, Phase.IN_PROGRESS, 10),
        ("a cat", 19_999, Phase.IN_PROGRESS, 99),
        ("a cat", 20_000, Phase.COMPLETED, 100),
        ("a cat [fail]", 11_999, Phase.IN_PROGRESS, 59),
        ("a cat [fail]", 12_000, Phase.FAILED, 60),
        ("a cat [FAIL]", 10**9, Phase.FAILED, 60),
        ("[slow] a cat", 99_999, Phase.IN_PROGRESS, 99),
        ("[slow] a cat", 100_000, Phase.COMPLETED, 100),
    ],
)
def test_a_job_goes_its_way(prompt: str, age: int, phase: Phase, progress: int) -> None:
    """A job of 20 s waits, works and ends as its prompt says."""
    made = job(prompt)
    assert (made.phase(NOW + age), made.progress(NOW + age)) == (phase, progress)


def test_a_job_of_no_time_is_done_at_once() -> None:
    """With 0 s the film is there when the job is."""
    assert job(lasts=0).phase(NOW) is Phase.COMPLETED


def test_marks_are_not_shown() -> None:
    """The film's words are the prompt's without its marks."""
    assert job("[Slow] a cat [fail] sleeps").words == "a cat sleeps"
