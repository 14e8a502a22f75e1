"""How a task gets to the provider: once, as far as anybody can tell.

No backend knows a create that it has had before. So a task is stored as sent, with the time,
before the create leaves. Where no answer comes, or we die before it is kept, the provider's list
of jobs is asked for the lost one; only where that has none, or can't tell, the create is sent again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sora_ws import failpoint
from sora_ws.claims import Claims
from sora_ws.lost_job import CLOCKS_DIFFER_MS, UNCERTAIN, Finding, find_lost
from sora_ws.media import MediaStore
from sora_ws.provider import Listing, NoList, OutcomeUnknown, Refused, Unavailable, VideoProvider
from sora_ws.rhythm import Rhythm
from sora_ws.store import Stale, TaskStore
from sora_ws.task import Failure, FailureCode, Observation, State, Task, Watch
from sora_ws.writer import TaskWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

UNKNOWN_SENDS_MAX: Final = 3
LIST_TRIES_MAX: Final = 5
SETTLE_MS: Final = 5_000
IMAGE_GONE: Final = Failure(
    FailureCode.GENERATION_FAILED, "The input image is no longer stored here.", retryable=False
)


class Submitter:
    """Takes tasks to the provider.

    `settle_ms` is how long after a create its job may take to stand in the provider's list.
    `stop_job` is told of jobs that came of a create which nobody wants any more.
    `claims` is what other instances may do with the same jobs, None where this one is alone.
    `possible_doubles` counts the creates that were sent again though a job may have come of the
    one before.
    """

    def __init__(
        self,
        *,
        store: TaskStore,
        writer: TaskWriter,
        provider: VideoProvider,
        media: MediaStore,
        rhythm: Rhythm,
        clock: Callable[[], int],
        stop_job: Callable[[str], Awaitable[None]],
        settle_ms: int = SETTLE_MS,
        claims: Claims | None = None,
    ) -> None:
        self._store = store
        self._writer = writer
        self._provider = provider
        self._media = media
        self._rhythm = rhythm
        self._now = clock
        self._stop_job = stop_job
        self._settle_ms = settle_ms
        self._claims = claims
        self._adopting = asyncio.Lock()
        self._under_way: Counter[str] = Counter()
        self.possible_doubles = 0

    async def submit(self, task: Task) -> Task:
        """The task one step on. Raises Unavailable, and OSError where its image can't be read."""
        if task.watch.sent_at is not None:
            return await self._find_out(task, task.watch.sent_at)
        reference = await self._media.reference(task.id) if task.order.reference_type else None
        if task.order.reference_type and reference is None:
            return await self._writer.change_live(task, lambda task, now: task.fail(IMAGE_GONE, now))
        sent = replace(task, watch=replace(task.watch, sent_at=self._now()))
        try:
            await self._store.mark_sent(sent)
        except Stale:
            return task
        failpoint.reach("create_marked")
        with self._counted(task.order.prompt):
            return await self._send(sent, reference)

    async def _send(self, task: Task, reference: bytes | None) -> Task:
        try:
            job = await self._provider.create(task.order, reference)
        except Refused as refused:
            failure = refused.failure
            return await self._writer.change_live(task, lambda task, now: task.fail(failure, now))
        except OutcomeUnknown as error:
            log.warning(
                "nobody knows what came of submitting task %s: %s",
                task.id,
                error,
                extra={"action": "outcome_unknown", "task": task.id},
            )
            task = await self._put_off(task, self._settle_ms)
            failpoint.reach("outcome_unknown")
            return task
        failpoint.reach("create_answered")
        if self._is_late(task) and not await self._is_given(job.id, task):
            return await self._put_off(task, self._rhythm.min_ms)  # another instance found it for its own
        return await self._accept(task, job.id, job.seen)

    async def _accept(self, task: Task, job_id: str, seen: Observation) -> Task:
        def change(task: Task, now: int) -> Task:
            if task.job_id is not None:  # saved by a call that seemed to fail
                return task
            after = task.accept(job_id, seen, now)
            wait = 0 if after.state is State.ARCHIVING else self._rhythm.wait(after, now, seen)
            return replace(after, watch=Watch(now + wait, planned_at=now, looked_at=now))

        task = await self._writer.change_live(task, change)
        failpoint.reach("job_kept")
        if task.job_id != job_id:
            # Cancelled or deleted while the create was under way, or taken over from an instance that was
            # paused in the middle of it: the job is nobody's.
            if task.job_id is not None:
                self._count_possible_double(task, task.watch.unknown_sends)
            if await self._is_given(job_id, task):
                await self._stop_job(job_id)
        return task

    async def _find_out(self, task: Task, sent_at: int) -> Task:
        """A create has left, and its answer was not kept. Raises Unavailable."""
        found = await self._store.find(task.id)
        if found is None or found.watch.sent_at != sent_at:  # what we were given is old
            return found or task
        began = self._now()
        was_set_back = began < sent_at  # the clock, by at least so much: as much longer ago it may have left
        age = abs(began - sent_at)
        if not was_set_back and age < self._settle_ms:
            return await self._put_off(found, self._settle_ms - age)
        try:
            listing = await self._listing(found, age)
        except Unavailable as error:
            if error.holds_all:
                raise
            return await self._ask_later(found)
        async with self._adopting:  # so that no two take the same job
            if await self._may_be_listed(found.order.prompt):
                return await self._put_off(found, self._rhythm.min_ms)
            age += self._now() - began
            finding = UNCERTAIN if listing is None else await self._finding(found, age, listing)
            if finding.job is not None:
                return await self._adopt(found, finding.job.job.id, finding.job.job.seen)
        return await self._send_again(found, is_certain=finding.is_certain and not was_set_back)

    async def _listing(self, task: Task, age: int) -> Listing | None:
        """What the provider lists, None where it can't. Raises Unavailable: perhaps later."""
        try:
            return await self._provider.recent(age + CLOCKS_DIFFER_MS)
        except NoList as error:
            log.info("the provider lists no jobs: %s", error, extra={"action": "no_list"})
        except Unavailable as error:
            if error.holds_all or task.watch.looks + 1 < LIST_TRIES_MAX:
                raise
            log.warning("the provider does not list its jobs: %s", error, extra={"action": "no_list"})
        return None

    async def _finding(self, task: Task, age: int, listing: Listing) -> Finding:
        """The lost job, which is no other task's from now on. Raises StoreError."""
        taken = {*await self._store.known_jobs([job.job.id for job in listing.jobs])}
        while True:
            finding = find_lost(task.order, listing.now - age, listing, taken)
            if finding.job is None or await self._is_given(finding.job.job.id, task):
                return finding
            taken.add(finding.job.job.id)

    async def _may_be_listed(self, prompt: str) -> bool:
        """Whether the list may show the job of a create that is still under way, here or elsewhere."""
        if self._under_way[prompt]:
            return True
        return self._claims is not None and await self._claims.are_creates_under_way(prompt)

    async def _is_given(self, job_id: str, task: Task) -> bool:
        """Whether the job is this task's, and will be given to no other. Raises StoreError."""
        return self._claims is None or await self._claims.adopt(job_id, task.id)

    def _is_late(self, task: Task) -> bool:
        """Whether the answer to its create took so long that others may have looked for its job meanwhile."""
        age = self._now() - (task.watch.sent_at or 0)
        return self._claims is not None and self._claims.is_long(age)

    async def _adopt(self, task: Task, job_id: str, seen: Observation) -> Task:
        log.info(
            "the lost job of task %s is found: %s",
            task.id,
            job_id,
            extra={"action": "job_adopted", "task": task.id},
        )
        return await self._accept(task, job_id, seen)

    async def _send_again(self, task: Task, *, is_certain: bool) -> Task:
        sends = task.watch.unknown_sends + 1
        if sends >= UNKNOWN_SENDS_MAX:
            there = "no job came of the last one" if is_certain else "jobs may be running there"
            details = f"Submitting failed {sends} times with no known outcome; {there}."
            failure = Failure(FailureCode.GENERATION_FAILED, details, retryable=True)
            return await self._writer.change_live(task, lambda task, now: task.fail(failure, now))
        if not is_certain:
            self._count_possible_double(task, sends)
        wait = self._backoff(sends)
        return await self._writer.change_live(
            task,
            lambda task, now: replace(task, watch=Watch(now + wait, planned_at=now, unknown_sends=sends)),
        )

    def _count_possible_double(self, task: Task, sends: int) -> None:
        self.possible_doubles += 1
        log.warning(
            "task %s is submitted again, perhaps a job runs twice",
            task.id,
            extra={"action": "possible_double", "task": task.id, "sends": sends + 1},
        )

    async def _ask_later(self, task: Task) -> Task:
        looks = task.watch.looks + 1
        watch = replace(task.watch, looks=looks)
        return await self._put_off(replace(task, watch=watch), self._backoff(looks))

    async def _put_off(self, task: Task, wait_ms: int) -> Task:
        return await self._writer.change_live(
            task, lambda task, now: replace(task, watch=task.watch.look_after(wait_ms, now))
        )

    def _backoff(self, failures: int) -> int:
        return self._rhythm.backoff(failures, random.random())  # noqa: S311 -- jitter

    @contextmanager
    def _counted(self, prompt: str) -> Iterator[None]:
        """A create of this prompt is under way, until its job is kept."""
        self._under_way[prompt] += 1
        try:
            yield
        finally:
            self._under_way[prompt] -= 1
            self._under_way += Counter()  # drops the zeros
