"""Who may go to the provider: so many jobs there at once, and the rest wait in the store, in line.

A task that finds a place free when it comes goes at once. Others are stored as waiting, and are not
read again until it is their turn: what is kept of them here is a number for each user.

Where instances share the store, one of them gives the places out, for all: who has that role reads them in
the store. What comes to the others waits in line until it is called.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, Protocol

from tornado.ioloop import PeriodicCallback

from sora_ws.line import Line
from sora_ws.store import StoreError, TaskStore
from sora_ws.task import Task
from sora_ws.writer import Gone, TaskWriter

log = logging.getLogger(__name__)

ROUND_EVERY_MS: Final = 1_000  # where nothing calls for one: the store was away, or others changed it
COUNT_EVERY_MS: Final = 1_000


class Others(Protocol):
    """The instances that share the store. One of them all gives the places out."""

    async def start(self, took_over: Callable[[], None], heard: Callable[[bool], None]) -> None:
        """Call `took_over` when this one does, `heard` with what another one tells. Raises StoreError."""
        ...

    def stop(self) -> None: ...

    def leave_it_to_us(self) -> bool:
        """Whether it is this one at this moment, whatever has held us up."""
        ...

    def tell(self, *, has_come: bool) -> None:
        """Somebody has come into line here, or else left it, or a place."""
        ...


class Admission:
    """Keeps at most `places` tasks at the provider. `attend` is told each task that gets a place.

    `others` are the instances that share the store, None where this one is alone.
    """

    def __init__(
        self,
        *,
        store: TaskStore,
        writer: TaskWriter,
        clock: Callable[[], int],
        places: int,
        attend: Callable[[Task], None],
        others: Others | None = None,
    ) -> None:
        self._store = store
        self._writer = writer
        self._now = clock
        self._places = places
        self._attend = attend
        self._others = others
        self._is_known = others is None  # who has the places, since we give them out
        self._is_asked = False  # the store, since then
        self._arriving: set[str] = set()  # tasks with a place that are being stored
        self._arrived: set[str] = set()  # those, since the store was last asked who has places
        self._held: set[str] = set()
        self._unsure: set[str] = set()  # the store did not say whether they hold a place
        self._line = Line()
        self._entering = 0  # tasks that are being stored as waiting
        self._is_calling = False  # somebody has left the line and has no place yet
        self._is_counted = False  # the store was asked who waits since the line last changed here
        self._count_at = 0
        self._round: asyncio.Task[None] | None = None
        self._again = False
        self._beat = PeriodicCallback(self._look_again, ROUND_EVERY_MS)

    @property
    def _has_room(self) -> bool:
        return self._decides and len(self._held) < self._places

    @property
    def _decides(self) -> bool:
        """Whether the places are ours to give."""
        return self._others is None or (self._gives_out and self._is_known)

    @property
    def _gives_out(self) -> bool:
        """Whether it is us, of all instances, who give the places out."""
        return self._others is not None and self._others.leave_it_to_us()

    @property
    def waiting(self) -> int:
        """How many tasks wait in line."""
        return len(self._line)

    async def start(self) -> None:
        """Begin with whatever the store holds. Raises StoreError."""
        if self._others is not None:
            await self._others.start(self._took_over, self._heard)
        self._held = set(await self._store.at_provider())
        await self._count()
        self._beat.start()
        self.wake()

    def stop(self) -> None:
        """Let nobody in any more; who waits is found by the next start."""
        self._beat.stop()
        if self._others is not None:
            self._others.stop()
        if self._round is not None:
            self._round.cancel()

    @contextmanager
    def entering(self, task: Task) -> Iterator[Task]:
        """The new task with a place that is its own, or as one that waits in line.

        It is stored inside; where that fails, it is made sure of later.
        """
        entered = self._enter(task)
        self._entering += entered.waits
        is_stored = False
        try:
            yield entered
            is_stored = True
        finally:
            if entered.waits:
                self._entering -= 1
                self._is_counted = False
                self._tell(has_come=True)
            self._arriving.discard(task.id)
            if not is_stored:
                self._unsure.add(task.id)
            if not is_stored or (entered.waits and self._has_room):
                self.wake()

    def _enter(self, task: Task) -> Task:
        if self._has_room and not self._line and not self._is_calling:
            self._held.add(task.id)
            self._arriving.add(task.id)
            self._arrived.add(task.id)
            return task
        self._line.join(task.user_id)
        position = self._line.position(task.user_id, self._line.count(task.user_id) - 1)
        return replace(task.wait_in_line(), queue_position=position)

    def note(self, task: Task) -> None:
        """What has become of a task: it may have left its place, or the line."""
        if task.is_at_provider or task.waits:
            return
        self._held.discard(task.id)
        if task.in_line:
            self._line.leave(task.user_id)
            self._is_counted = False
        if self._line:
            self.wake()
        self._tell(has_come=False)

    def wake(self) -> None:
        """Somebody waits, or a place may be free."""
        self._again = True
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._rounds())

    async def placed(self, tasks: Sequence[Task]) -> Sequence[Task]:
        """The tasks, those that wait with their places in line. Raises StoreError."""
        older: dict[str, dict[str, int]] = {}
        for user_id in {task.user_id for task in tasks if task.waits}:
            ids = await self._store.ids_in_line(user_id)
            older[user_id] = {task_id: number for number, task_id in enumerate(ids)}
        return [self._placed(task, older[task.user_id]) if task.waits else task for task in tasks]

    def _placed(self, task: Task, older: dict[str, int]) -> Task:
        position = self._line.position(task.user_id, older.get(task.id, -1))
        return replace(task, queue_position=position)

    def _took_over(self) -> None:
        """The places are given out here from now on: the store says who has them."""
        self._is_known = self._is_asked = False
        self.wake()

    def _heard(self, has_come: bool) -> None:
        """At another instance somebody has come into line, or else left it, or a place."""
        if not has_come and not self._line:
            return
        self._is_counted = False
        if not self._line and self._gives_out:
            self._count_at = 0  # the first who waits need not wait for the next count
        self.wake()

    def _tell(self, *, has_come: bool) -> None:
        if self._others is not None:
            self._others.tell(has_come=has_come)

    def _look_again(self) -> None:
        if self._others is not None:  # others change the line, too
            self._is_counted = False
        if self._line or self._unsure or not self._is_counted:
            self.wake()

    async def _rounds(self) -> None:
        while self._again:
            self._again = False
            try:
                await self._let_in()
            except StoreError as error:
                log.warning("tasks wait in line for the store: %s", error, extra={"action": "line_waits"})
                return

    async def _let_in(self) -> None:
        """Fill the free places, each user in turn."""
        await self._make_sure()
        if self._gives_out and not self._is_known:
            await self._read_places()
        if self._now() >= self._count_at and not self._is_counted:
            await self._count()
        await self._fill()
        # Others' tasks leave their places, and which is not told. To read who has one takes 3 µs for each:
        # worth it where somebody waits, and else no place is missed.
        if self._gives_out and self._line:
            await self._read_places()
            await self._fill()

    async def _fill(self) -> None:
        while self._has_room and (user_id := self._line.next()) is not None:
            self._is_counted = False
            self._is_calling = True
            try:
                for task_id in await self._store.ids_in_line(user_id, limit=1):
                    await self._call(task_id)
            except StoreError:
                self._line.give_back(user_id)  # else who comes now might overtake it
                raise
            finally:
                self._is_calling = False

    async def _make_sure(self) -> None:
        while unsure := set(self._unsure):
            await self._store.settled()
            for task_id in sorted(unsure):
                task = await self._store.find(task_id)
                if task is None or not task.is_at_provider:
                    self._held.discard(task_id)
                self._unsure.discard(task_id)

    async def _read_places(self) -> None:
        """Take over the store's word of who has a place."""
        self._arrived, self._is_asked = set(self._arriving), True
        held = await self._store.at_provider()
        if self._is_asked:  # and nobody else gave places out meanwhile
            self._held = {*held, *self._unsure, *self._arrived}
            self._is_known = True

    async def _count(self) -> None:
        """Take over the store's word of who waits, at most once a second: it counts them all.

        Not while the line changes here, which it may not know yet.
        """
        self._is_counted = True
        try:
            users = await self._store.users_in_line()
        except StoreError:
            self._is_counted = False
            raise
        if self._is_counted and not self._entering:
            self._line.update(users)
            self._count_at = self._now() + COUNT_EVERY_MS

    async def _call(self, task_id: str) -> None:
        """The task's turn has come: it leaves the line, in the store first."""
        task = await self._store.find(task_id)
        if task is None or not task.waits:
            return
        self._held.add(task_id)

        def call(task: Task, now: int) -> Task:
            return task.called(now) if task.waits and self._decides else task

        try:
            task = await self._writer.apply(task, call)
        except Gone:
            self._held.discard(task_id)
            return
        except StoreError:
            self._unsure.add(task_id)
            raise
        if task.is_at_provider:
            self._attend(task)
        else:
            self._held.discard(task_id)
