"""The use cases of users: create, get, list, cancel, retry, delete."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final
from weakref import WeakValueDictionary

from sora_ws import failpoint
from sora_ws.admission import Admission
from sora_ws.callbacks import Callback
from sora_ws.media import MediaStore
from sora_ws.store import DuplicateKey, Page, Stale, StoreError, StoreUnavailable, TaskStore
from sora_ws.task import Idempotency, Order, State, Task, Viewer
from sora_ws.writer import Change, Gone, TaskWriter

ENDED_MAX: Final = 1000
OVERLAP_MS: Final = 10_000  # more than a save may take
IDEMPOTENCY_MS: Final = 24 * 3600 * 1000


class ServiceError(Exception):
    """A request that can't be granted; the text is for the user."""


class NotFound(ServiceError):
    """No such task, or none that this viewer may see."""


class Forbidden(ServiceError):
    """The viewer sees it, and may not do this."""


class Conflict(ServiceError):
    """Not in the state that the task is in."""


class TooManyTasks(ServiceError):
    """The user's live tasks have reached their limit."""


class NoRoom(ServiceError):
    """There is no place for one more video."""


class KeyReused(ServiceError):
    """The idempotency key belongs to another request."""


class VideoService:
    """What users may do with tasks; who may do it is decided here.

    `attend` is told each new task that is due at once; `stop_job` tells the provider that a
    job isn't wanted any more, `call_back` the postman that a callback has become due. `has_others`: other
    instances create tasks in the same store.
    """

    def __init__(
        self,
        *,
        store: TaskStore,
        writer: TaskWriter,
        media: MediaStore,
        clock: Callable[[], int],
        admission: Admission,
        attend: Callable[[Task], None],
        stop_job: Callable[[str], Awaitable[None]],
        call_back: Callable[[], None],
        tasks_per_user_max: int,
        simulated: bool,
        has_others: bool = False,
    ) -> None:
        self._store = store
        self._writer = writer
        self._media = media
        self._now = clock
        self._admission = admission
        self._attend = attend
        self._stop_job = stop_job
        self._call_back = call_back
        self._tasks_per_user_max = tasks_per_user_max
        self._simulated = simulated
        self._has_others = has_others
        self._creating: Counter[str] = Counter()
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._background: set[asyncio.Future[None]] = set()

    async def create(
        self,
        viewer: Viewer,
        order: Order,
        *,
        team: str | None = None,
        reference: bytes | None = None,
        callback: Callback | None = None,
        idempotency: Idempotency | None = None,
    ) -> Task:
        """Store a new task; it is submitted at once, or in its turn.

        Raises Forbidden, TooManyTasks, NoRoom, KeyReused.
        """
        if team is not None and team not in viewer.teams:
            raise Forbidden(f"you are not in the team {team!r}")
        task = Task.new(
            viewer.user_id,
            order,
            self._now(),
            team=team,
            simulated=self._simulated,
            callback=callback,
            idempotency=idempotency,
        )
        if idempotency is None:
            return await self._insert(task, reference)
        # Sent many times at once, it counts once against the limit, and is one task.
        async with self._locks.setdefault((viewer.user_id, idempotency.key), asyncio.Lock()):
            earlier = await self._store.find_by_key(viewer.user_id, idempotency.key)
            if earlier is not None and not await self._expired(earlier):
                return _same(earlier, idempotency)
            try:
                return await self._insert(task, reference)
            except DuplicateKey as duplicate:  # another instance was faster
                await self._media.delete(task.id)
                return _same(duplicate.task, idempotency)

    async def _insert(self, task: Task, reference: bytes | None) -> Task:
        """Raises TooManyTasks, NoRoom, DuplicateKey.

        An image stays where the store failed: it may have kept the task and only not said so.
        """
        self._creating[task.user_id] += 1
        try:
            await self._check_room_for(task.user_id)
            if not await self._media.has_room():
                raise NoRoom("the disk of the videos is full")
            if reference is not None:
                await self._media.save_reference(task.id, reference)
            with self._admission.entering(task) as entered:
                await self._writer.insert(entered, self._still_room_for(task.user_id))
        finally:
            self._creating[task.user_id] -= 1
            self._creating += Counter()  # drops the zeros
        if not entered.waits:
            self._attend(entered)
        failpoint.reach("task_handed_on")
        return entered

    async def get(self, viewer: Viewer, task_id: str) -> Task:
        """Raises NotFound, the same for an unknown task and for somebody else's."""
        task = await self._store.find(task_id)
        if task is None or not task.may_be_seen_by(viewer):
            raise NotFound(f"there is no video {task_id}")
        [task] = await self._admission.placed([task])
        return task

    async def list(self, viewer: Viewer, page: Page) -> Sequence[Task]:
        """One page of the viewer's tasks, or of a team's. Raises Forbidden."""
        if page.team is not None and page.team not in viewer.teams:
            raise Forbidden(f"you are not in the team {page.team!r}")
        return await self._admission.placed(await self._store.list(page))

    async def live(self, *, user_id: str | None = None, team: str | None = None) -> Sequence[Task]:
        """The live tasks of a user or of a team, whoever asks."""
        return await self._admission.placed(await self._store.live(user_id=user_id, team=team))

    async def ended_since(self, user_id: str, seq: int) -> Sequence[Task]:
        """The user's tasks that ended behind this `seq`, oldest end first; at most the newest ENDED_MAX.

        Some before it come again: a task's seq is drawn before it is saved, so that whoever has heard of
        one may not have heard of another that is lower. And a clock may have been set back.
        """
        return await self._store.ended_since(user_id, min(seq, self._now()) - OVERLAP_MS, ENDED_MAX)

    async def cancel(self, viewer: Viewer, task_id: str) -> Task:
        """End a live task; the provider is told afterwards. Raises NotFound, Forbidden, Conflict.

        Where the store fails, nobody knows whether it was cancelled: then it is, as soon as the
        store is back, so that all who watch it hear of it.
        """
        task = await self._owned(viewer, task_id)

        def change(task: Task, now: int) -> Task:
            if not task.is_live:
                raise Conflict(f"the task has ended already: it is {task.status}")
            details = "A job that the provider has begun may still finish there." if task.job_id else None
            return task.cancel(now, details)

        try:
            task = await self._writer.apply(task, change)
        except Gone:
            raise NotFound(f"there is no video {task_id}") from None
        except StoreUnavailable:
            self._in_background(self._insist_on_cancel(task, change))
            raise
        failpoint.reach("cancel_saved")
        if task.job_id is not None:
            self._in_background(self._stop_job(task.job_id))
        return task

    async def _insist_on_cancel(self, task: Task, change: Change) -> None:
        def unless_ended(task: Task, now: int) -> Task:
            return change(task, now) if task.is_live else task

        with suppress(Gone):
            task = await self._writer.insist(task, unless_ended)
        if task.state is State.CANCELLED and task.job_id is not None:
            await self._stop_job(task.job_id)

    async def retry(self, viewer: Viewer, task_id: str, prompt: str | None = None) -> Task:
        """A new task like an ended one. Raises as create, NotFound, and Conflict while it lives."""
        task = await self._owned(viewer, task_id)
        if task.is_live:
            raise Conflict("the task has not ended yet: cancel it first")
        order = replace(task.order, prompt=prompt) if prompt is not None else task.order
        reference = await self._media.reference(task.id) if order.reference_type else None
        callback = Callback(task.callback.url, task.callback.host) if task.callback else None
        return await self.create(viewer, order, team=task.team, reference=reference, callback=callback)

    async def call_back(self, viewer: Viewer, task_id: str) -> Task:
        """Tell the end of a task again. Raises NotFound, Forbidden, Conflict where there is none to tell."""
        while True:
            task = await self._owned(viewer, task_id)
            if task.callback is None:
                raise Conflict("the task was created without a callbackUrl")
            if task.is_live:
                raise Conflict("the task has not ended yet: its callback comes by itself")
            callback = task.callback.due(self._now())
            with suppress(Stale):
                await self._store.save_callback(task.id, callback, task.callback.revision)
                self._call_back()
                return replace(task, callback=callback)

    async def delete(self, viewer: Viewer, task_id: str) -> None:
        """Forget the task and its video; a live one is cancelled first. Raises NotFound, Forbidden.

        The task goes last, so that what fails half-way can be asked for again.
        """
        task = await self._owned(viewer, task_id)
        if task.is_live:
            with suppress(Conflict):  # it ended by itself meanwhile
                await self.cancel(viewer, task_id)
        await self._media.delete(task_id)
        await self._store.delete(task_id)

    async def close(self, grace_s: float) -> None:
        """Wait for what still runs behind finished requests; what is late after `grace_s` is broken off."""
        if not self._background:
            return
        _, late = await asyncio.wait(self._background, timeout=grace_s)
        for work in late:
            work.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _owned(self, viewer: Viewer, task_id: str) -> Task:
        task = await self.get(viewer, task_id)
        if task.user_id != viewer.user_id:
            raise Forbidden("only its owner may do that")
        return task

    async def _check_room_for(self, user_id: str) -> None:
        others = self._creating[user_id] - 1  # read first: one that ends meanwhile counts twice, not never
        live = others + await self._store.count_live(user_id)
        if live >= self._tasks_per_user_max:
            raise self._too_many(live)

    def _too_many(self, live: int) -> TooManyTasks:
        return TooManyTasks(
            f"you have {live} live tasks, and {self._tasks_per_user_max} are allowed: wait for one to end"
        )

    def _still_room_for(self, user_id: str) -> Callable[[], Awaitable[None]] | None:
        """To be asked behind an insert, which others can't see before: of the last place both are refused."""

        async def check() -> None:
            with suppress(StoreError):  # who can't be counted is let in: the task may have been seen
                live = await self._store.count_live(user_id)
                if live > self._tasks_per_user_max:
                    raise self._too_many(live - 1)

        return check if self._has_others else None

    async def _expired(self, task: Task) -> bool:
        """Whether the task's idempotency key is over; if so, it is free again."""
        if self._now() - task.created_at < IDEMPOTENCY_MS:
            return False
        await self._store.forget_key(task.id)
        return True

    def _in_background(self, work: Awaitable[None]) -> None:
        running = asyncio.ensure_future(work)
        self._background.add(running)
        running.add_done_callback(self._background.discard)


def _same(task: Task, idempotency: Idempotency) -> Task:
    """The task of an earlier request under the same key, if it was the same request."""
    if task.idempotency is None or task.idempotency.digest != idempotency.digest:
        raise KeyReused("this Idempotency-Key was used for another request: send a new key")
    return task
