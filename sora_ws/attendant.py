"""What is done with a task whose time has come: submit it, look at it, fetch its video.

Intent before act: a task is archived before it is called completed. Whatever dies in between,
the next start goes on from the store.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sora_ws import failpoint
from sora_ws.claims import Claims
from sora_ws.media import MediaStore
from sora_ws.media.archive import Unplayable, archive
from sora_ws.provider import Missing, NoContent, ProviderError, Unavailable, VideoProvider
from sora_ws.rhythm import BACKOFF_MAX_MS, Rhythm
from sora_ws.store import TaskStore
from sora_ws.submitting import SETTLE_MS, Submitter
from sora_ws.task import Event, Failure, FailureCode, State, Task, Video, Watch
from sora_ws.writer import TaskWriter

log = logging.getLogger(__name__)

VIDEO_BYTES_MAX: Final = 4 * 1024**3
STOP_TRIES: Final = 5
STOPS_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a provider may contradict itself before a task ends by it.

    A job is lost after `lost_looks` "unknown" answers in a row over at least `lost_ms`: behind
    a gateway they flip. A finished job without a video fails after `archive_ms`: some backends
    publish the file late. Time in which nobody could ask it counts for nothing. The job of a
    create without an answer is looked for after `settle_ms`.
    """

    lost_looks: int = 5
    lost_ms: int = 60_000
    archive_ms: int = 600_000
    settle_ms: int = SETTLE_MS


PATIENCE: Final = Patience()


class Attendant:
    """Takes one task one step further; never raises for what a provider answers."""

    def __init__(
        self,
        *,
        store: TaskStore,
        writer: TaskWriter,
        provider: VideoProvider,
        media: MediaStore,
        rhythm: Rhythm,
        clock: Callable[[], int],
        patience: Patience = PATIENCE,
        claims: Claims | None = None,
    ) -> None:
        self._writer = writer
        self._provider = provider
        self._media = media
        self._rhythm = rhythm
        self._now = clock
        self._patience = patience
        self._stops = asyncio.Semaphore(STOPS_AT_ONCE)
        self._submitter = Submitter(
            store=store,
            writer=writer,
            provider=provider,
            media=media,
            rhythm=rhythm,
            clock=clock,
            stop_job=self.stop_job,
            settle_ms=patience.settle_ms,
            claims=claims,
        )

    @property
    def possible_doubles(self) -> int:
        """How many creates were sent again though a job may have come of the one before."""
        return self._submitter.possible_doubles

    async def advance(self, task: Task) -> tuple[Task, tuple[str, ...] | None]:
        """Submit the task or look at it. Addresses come with it when there is a video to fetch."""
        if task.job_id is None:
            return await self._submit(task), None
        return await self._look(task, task.job_id)

    async def archive(self, task: Task, urls: Sequence[str]) -> Task:
        """Fetch the finished video and complete the task with it."""
        try:
            video = await self._fetched(task, urls)
            failpoint.reach("video_kept")
        except (NoContent, Unplayable) as error:
            return await self._no_content(task, error)
        except Unavailable as error:
            if error.holds_all or error.is_configuration:
                return await self._postpone(task, error)
            # Looks are answered, or we were not here: a gateway that lost the file says 502 for ever.
            return await self._no_content(task, error)
        except OSError as error:
            detail = f"the video of task {task.id} can't be stored here: {error.strerror}"
            log.error(detail, extra={"action": "archive_failed", "task": task.id})  # noqa: TRY400
            return await self._wait_longer(task)
        task = await self._writer.change_live(task, lambda task, now: task.complete(video, now))
        if task.state is not State.COMPLETED:
            await self._discard(task)
        return task

    async def _discard(self, task: Task) -> None:
        """Nobody wants its video any more."""
        try:
            await self._media.delete(task.id)
        except OSError as error:
            detail = f"the video of task {task.id} stays behind: {error.strerror}"
            log.error(detail, extra={"action": "discard_failed", "task": task.id})  # noqa: TRY400

    async def _fetched(self, task: Task, urls: Sequence[str]) -> Video:
        """Raises NoContent, Unplayable, Unavailable, and OSError where it can't be stored here."""
        partial = self._media.partial(task.id)
        try:
            await self._provider.download(task.job_id or "", urls, partial, VIDEO_BYTES_MAX)
            failpoint.reach("video_fetched")
            return await archive(self._media, task.id, partial)
        finally:  # else a part of it keeps the disk full, and the database waits for that room, too
            await asyncio.to_thread(partial.unlink, missing_ok=True)

    async def _submit(self, task: Task) -> Task:
        try:
            return await self._submitter.submit(task)
        except Unavailable as error:
            return await self._postpone(task, error)
        except OSError as error:
            detail = f"the input image of task {task.id} can't be read: {error.strerror}"
            log.error(detail, extra={"action": "image_unreadable", "task": task.id})  # noqa: TRY400
            return await self._wait_longer(task)

    async def _look(self, task: Task, job_id: str) -> tuple[Task, tuple[str, ...] | None]:
        try:
            seen = await self._provider.look(job_id)
        except Missing as error:
            return await self._missing(task, error), None
        except Unavailable as error:
            return await self._postpone(task, error), None
        failpoint.reach("look_answered")

        def change(task: Task, now: int) -> Task:
            after = task.observe(self._rhythm.supplement(seen, task, now), now)
            moved = after.state is not task.state
            looks = 0 if moved else task.watch.looks + 1
            wait = self._rhythm.wait(after, now, seen, looks=looks)
            watch = task.watch.look_after(
                wait,
                now,
                looks=looks,
                looked_at=now,
                errors=task.watch.errors if after.state is State.ARCHIVING else 0,
                missing=0,
                missing_since=None,
                no_content_since=_resumed(task.watch, now),
            )
            return replace(after, watch=watch)

        before, task = task, await self._writer.change_live(task, change)
        if task.state is not State.ARCHIVING or seen.event is not Event.FINISHED:
            return task, None
        if before.state is not State.ARCHIVING:
            self._rhythm.learn(before, task.seq)
        return task, seen.urls

    async def _missing(self, task: Task, error: Missing) -> Task:
        def change(task: Task, now: int) -> Task:
            missing = task.watch.missing + 1
            since = now if task.watch.missing_since is None else task.watch.missing_since
            if missing >= self._patience.lost_looks and now - since >= self._patience.lost_ms:
                details = f"The provider no longer knows the job: {error}"
                return task.fail(Failure(FailureCode.PROVIDER_LOST_TASK, details, retryable=True), now)
            watch = replace(task.watch, missing=missing, missing_since=since)
            return replace(task, watch=_put_off(watch, now, self._backoff(missing, _asked_ms(error))))

        return await self._writer.change_live(task, change)

    async def _no_content(self, task: Task, error: ProviderError | Unplayable) -> Task:
        def change(task: Task, now: int) -> Task:
            since = now if task.watch.no_content_since is None else task.watch.no_content_since
            if now - since >= self._patience.archive_ms:
                details = f"The provider calls the video finished, but does not hand it out: {error}"
                return task.fail(Failure(FailureCode.GENERATION_FAILED, details, retryable=True), now)
            errors = task.watch.errors + 1
            ours = self._rhythm.archive_retry(errors)
            asked = task.watch.next_look_at - now  # by the look that saw it finished
            if isinstance(error, ProviderError):
                asked = max(asked, _asked_ms(error))
            wait = max(ours, asked)
            watch = task.watch.look_after(wait, now, errors=errors, no_content_since=since + wait - ours)
            return replace(task, watch=watch)

        log.info("task %s is finished and has no video yet: %s", task.id, error)
        return await self._writer.change_live(task, change)

    async def _postpone(self, task: Task, error: Unavailable) -> Task:
        """Not the task's fault: it waits."""
        least_ms = self._rhythm.max_ms if error.is_configuration else 0
        return await self._wait_longer(task, max(least_ms, _asked_ms(error)))

    async def _wait_longer(self, task: Task, least_ms: int = 0) -> Task:
        def change(task: Task, now: int) -> Task:
            errors = task.watch.errors + 1
            watch = replace(task.watch, errors=errors)
            return replace(task, watch=_put_off(watch, now, self._backoff(errors, least_ms)))

        return await self._writer.change_live(task, change)

    def _backoff(self, failures: int, least_ms: int = 0) -> int:
        return self._rhythm.backoff(failures, random.random(), least_ms)  # noqa: S311 -- jitter

    async def stop_job(self, job_id: str) -> None:
        """Tell the provider that nobody wants the job any more; it may be unable to stop it.

        What it does not take in is said a few times more, over about a minute.
        """
        for tries in range(1, STOP_TRIES + 1):
            try:
                async with self._stops:
                    is_stopped = await self._provider.delete(job_id)
            except Unavailable as error:
                log.warning("the provider was not told that a job is cancelled: %s: %s", job_id, error)
                if tries < STOP_TRIES:
                    await asyncio.sleep(self._stop_wait_s(tries, error))
            else:
                if not is_stopped:
                    log.info("the provider can't stop a job, it may go on: %s", job_id)
                return

    def _stop_wait_s(self, tries: int, error: Unavailable) -> float:
        return self._backoff(tries, min(_asked_ms(error), BACKOFF_MAX_MS)) / 1000


def _asked_ms(error: ProviderError) -> int:
    """How long the provider asks to be left alone; 0 where it doesn't."""
    return int((error.retry_after_s or 0) * 1000)


def _put_off(watch: Watch, now: int, wait: int) -> Watch:
    """Look again after `wait` ms; until then nobody can tell whether there is a video."""
    since = _resumed(watch, now)
    return watch.look_after(wait, now, no_content_since=None if since is None else since + wait)


def _resumed(watch: Watch, now: int) -> int | None:
    """`no_content_since`, moved on by how much later than planned this look comes: we were away, or held."""
    if watch.no_content_since is None:
        return None
    return watch.no_content_since + max(0, now - watch.next_look_at)
