"""The one way in which a stored task changes.

`seq` is the fence: a change is saved only over the state that it was made from, and the loser
of a race reads again and decides again. What is saved is published, in that order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from sora_ws import failpoint
from sora_ws.store import Stale, StoreFull, StoreUnavailable, TaskStore
from sora_ws.task import Task

log = logging.getLogger(__name__)

INSIST_WAIT_MAX_S: Final = 5.0

Change = Callable[[Task, int], Task]
"""What becomes of a task at a time in ms; the task itself where nothing does."""


class Gone(Exception):
    """The task was deleted meanwhile."""


class TaskWriter:
    """Saves changes and tells them on: `publish` gets each state after it was saved."""

    def __init__(self, store: TaskStore, clock: Callable[[], int], publish: Callable[[Task], None]) -> None:
        self._store = store
        self._now = clock
        self._publish = publish

    async def insert(self, task: Task, check: Callable[[], Awaitable[None]] | None = None) -> None:
        """Store a new task. Raises DuplicateKey.

        Where `check` raises behind that, the task is taken back; who has seen it by another instance, which
        may have read it meanwhile, is told that it is cancelled.
        """
        await self._store.insert(task)
        if check is not None:
            try:
                await check()
            except Exception:
                await self._store.delete(task.id)
                self._publish(task.cancel(self._now()))
                raise
        failpoint.reach("task_stored")
        self._publish(task)

    async def apply(self, task: Task, change: Callable[[Task, int], Task]) -> Task:
        """Save what `change` makes of the task, and publish it where clients can see it.

        `change` is asked again about the newer state when somebody else was faster. Raises
        Gone where the task was deleted.
        """
        while True:
            after = change(task, self._now())
            try:
                if after.seq != task.seq:
                    await self._store.save(after, over_seq=task.seq)
                    failpoint.reach("change_saved" if after.is_live else "end_saved")
                    self._publish(after)
                    if not after.is_live:
                        failpoint.reach("end_published")
                elif after.watch != task.watch:
                    await self._store.reschedule(task.id, after.watch)
            except Stale:
                found = await self._store.find(task.id)
                if found is None:
                    raise Gone(task.id) from None
                # It may be our own: saved by a call that failed, and told to nobody yet.
                self._publish(found)
                task = found
                continue
            return after

    async def change_live(self, task: Task, change: Change) -> Task:
        """Insist on a change of a task that has not ended; a deleted one counts as cancelled."""

        def unless_ended(task: Task, now: int) -> Task:
            return change(task, now) if task.is_live else task

        try:
            return await self.insist(task, unless_ended)
        except Gone:
            return task.cancel(self._now())

    async def insist(self, task: Task, change: Callable[[Task, int], Task]) -> Task:
        """As apply, for news that exists nowhere else: a store that is away or full is waited for."""
        wait = 0.1
        while True:
            try:
                return await self.apply(task, change)
            except (StoreUnavailable, StoreFull) as error:
                log.warning("task %s waits for the store: %s", task.id, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, INSIST_WAIT_MAX_S)
