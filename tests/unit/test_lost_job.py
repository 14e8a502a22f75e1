"""Which listed job is the lost one, and when nobody can tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sora_ws.lost_job import Finding, find_lost
from sora_ws.provider import Job, ListedJob, Listing
from sora_ws.task import Event, Observation, Order

SENT_AT = 1_795_508_553_000
ORDER = Order("a cat", "sora-2", seconds=8, size="1280x720")
MINE = ListedJob(
    Job("mine", Observation(Event.ACCEPTED)), "a cat", "sora-2", "8", "1280x720", SENT_AT + 1_000
)
NOBODY = Finding(None, is_certain=True)
UNCERTAIN = Finding(None, is_certain=False)


def found(
    *jobs: ListedJob, ours: tuple[str, ...] = (), order: Order = ORDER, is_whole: bool = True
) -> Finding:
    return find_lost(order, SENT_AT, Listing(jobs, is_whole, SENT_AT + 9_000), ours)


def named(job_id: str, **fields: object) -> ListedJob:
    return replace(MINE, job=replace(MINE.job, id=job_id), **fields)  # type: ignore[arg-type]


SAME = {
    "as ordered": MINE,
    "what is not told contradicts nothing": replace(MINE, model=None, seconds=None, size=None),
    "the clocks differ": replace(MINE, created_at=SENT_AT - 5_000),
}
OTHERS = {
    "another prompt": replace(MINE, prompt="a dog"),
    "from before": replace(MINE, created_at=SENT_AT - 5_001),
}
DOUBTFUL = {
    "another model": replace(MINE, model="sora-2-pro"),
    "another length": replace(MINE, seconds="4"),
    "another size": replace(MINE, size="720x1280"),
    "no prompt": replace(MINE, prompt=None),
    "no time": replace(MINE, created_at=None),
}


@pytest.mark.parametrize("job", SAME.values(), ids=SAME)
def test_the_lost_job(job: ListedJob) -> None:
    """It is found among others."""
    assert found(*OTHERS.values(), job, *DOUBTFUL.values()) == Finding(job, is_certain=True)


@pytest.mark.parametrize("job", OTHERS.values(), ids=OTHERS)
def test_a_job_of_somebody_else(job: ListedJob) -> None:
    """With only such, none was made, as far as the list was read."""
    assert found(job) == NOBODY
    assert found(job, is_whole=False) == UNCERTAIN


@pytest.mark.parametrize("job", DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_job_that_may_be_it(job: ListedJob) -> None:
    """It is not taken, and makes all uncertain, unless a task has it."""
    assert found(job) == UNCERTAIN
    assert found(job, ours=(job.job.id,)) == NOBODY


def test_a_job_that_a_task_has() -> None:
    """It is nobody's lost one."""
    assert found(MINE, ours=("mine",)) == NOBODY


def test_of_several_the_oldest() -> None:
    """Whatever order they are listed in."""
    older = named("older", created_at=SENT_AT)
    assert found(MINE, older).job == found(older, MINE).job == older


def test_an_image_is_shown_by_no_list() -> None:
    """One job is taken; of two, each may be of another image."""
    order = replace(ORDER, reference_type="image/png")
    assert found(MINE, order=order).job == MINE
    assert found(MINE, named("other"), order=order) == UNCERTAIN


def test_what_an_order_leaves_open() -> None:
    """The provider's own choice contradicts nothing."""
    assert found(MINE, order=Order("a cat", "sora-2")).job == MINE
