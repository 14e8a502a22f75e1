"""Which job of the provider's list is the one that a create made, whose answer never came. Pure."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from sora_ws.provider import ListedJob, Listing
from sora_ws.task import Order

CLOCKS_DIFFER_MS: Final = 5_000  # those of a provider: the one that dates jobs, the one that dates answers


@dataclass(frozen=True, slots=True)
class Finding:
    """`job` is the lost one. Without one, `is_certain` says that none was made, not only none found."""

    job: ListedJob | None
    is_certain: bool


UNCERTAIN: Final = Finding(None, is_certain=False)


def find_lost(order: Order, sent_at: int, listing: Listing, ours: Container[str]) -> Finding:
    """The job of a create that left at `sent_at`, among those that no task has (`ours`).

    In ms, by the provider's clock: ours may be wrong.

    It has the order's prompt, and contradicts the order in nothing that the list shows. Of several
    the oldest is as good as any: equal orders are equal work. Not so where an image came along,
    which no list shows. A job that may be it or not makes all uncertain.
    """
    free = [job for job in listing.jobs if job.job.id not in ours and _may_be(job, order, sent_at)]
    certain = [job for job in free if _is_certainly(job, order)]
    if len(certain) > 1 and order.reference_type is not None:
        return UNCERTAIN
    if certain:
        return Finding(min(certain, key=_age), is_certain=True)
    return Finding(None, is_certain=listing.is_whole and not free)


def _may_be(job: ListedJob, order: Order, sent_at: int) -> bool:
    is_old = job.created_at is not None and job.created_at < sent_at - CLOCKS_DIFFER_MS
    return not is_old and job.prompt in (None, order.prompt)


def _is_certainly(job: ListedJob, order: Order) -> bool:
    seconds = None if order.seconds is None else str(order.seconds)
    told = ((job.model, order.model), (job.seconds, seconds), (job.size, order.size))
    contradicts = any(theirs and asked and theirs != asked for theirs, asked in told)
    return job.prompt == order.prompt and job.created_at is not None and not contradicts


def _age(job: ListedJob) -> tuple[int, str]:
    return job.created_at or 0, job.job.id
