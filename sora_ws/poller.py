"""Which task is due, and when: the periodic look-out over everything that has not ended.

The store is asked about once a second for what comes due before the next time; a tick starts
what is due now, and awaits none of it. A task that is in hand is not taken twice; a task that
was lost with a process is due in the store and found there by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from collections.abc import Callable, Coroutine
from typing import Final

from tornado.ioloop import PeriodicCallback

from sora_ws.attendant import Attendant
from sora_ws.claims import Claims
from sora_ws.provider import ProviderError
from sora_ws.provider.limiter import LimitedVideos
from sora_ws.store import StoreError, TaskStore
from sora_ws.task import State, Task

log = logging.getLogger(__name__)

TICK_MS: Final = 90  # a look that is due leaves within 100 ms, and many leave together
ASK_EVERY_MS: Final = 1_000
LOOK_AHEAD_MS: Final = 1_500  # more than ASK_EVERY_MS, so that nothing comes due unseen
BATCH: Final = 200  # so that reading them holds the loop for a few ms
LOOKS_MAX: Final = 128  # 10,000 tasks at 30 s, where an answer takes up to 300 ms
CREATES_MAX: Final = 32
DOWNLOADS_MAX: Final = 8


class _Lane:
    """Tasks that wait for their time and then for one of `room` places."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._waiting: list[tuple[int, str, Task]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, task: Task, until: int) -> None:
        heapq.heappush(self._waiting, (until, task.id, task))

    def hasten(self, task_id: str, now: int) -> bool:
        """A task that waits here is due; False where it doesn't."""
        for place, (_, waiting, task) in enumerate(self._waiting):
            if waiting == task_id:
                self._waiting[place] = (now, task_id, task)
                heapq.heapify(self._waiting)
                return True
        return False

    def enter(self, now: int) -> Task | None:
        """The longest due task, in a place that it has until `leave`."""
        if not self._room or not self.is_due(now):
            return None
        self._room -= 1
        return heapq.heappop(self._waiting)[2]

    def leave(self) -> None:
        self._room += 1

    def clear(self) -> list[str]:
        """Nobody waits here any more; the ids of those who did."""
        waiting, self._waiting = self._waiting, []
        return [task_id for _, task_id, _ in waiting]

    def is_due(self, now: int) -> bool:
        """A task's time has come."""
        return bool(self._waiting) and self._waiting[0][0] <= now

    def is_behind(self, now: int) -> bool:
        """A task is due and there is no place for it."""
        return not self._room and self.is_due(now)


class Poller:
    """Gives each due task to the attendant.

    Looks, creates and downloads have a limit each, so that none that hangs starves the others.
    While the provider's limiter holds them back they stay where they are, and cost the store nothing.
    Where instances share the store, `claims` says which tasks are ours; None where all of them are.
    """

    def __init__(
        self,
        store: TaskStore,
        attendant: Attendant,
        provider: LimitedVideos,
        clock: Callable[[], int],
        claims: Claims | None = None,
    ) -> None:
        self._store = store
        self._attendant = attendant
        self._provider = provider
        self._limiter = provider.limiter
        self._now = clock
        self._claims = claims
        self._era = 0  # of what we have claimed: what was claimed in an older one may be another's
        self._beat = PeriodicCallback(self._tick, TICK_MS)
        self._creates = _Lane(CREATES_MAX)
        self._looks = _Lane(LOOKS_MAX)
        self._in_hand: set[str] = set()
        self._let_go: set[str] = set()
        self._again: set[str] = set()
        self._downloads = asyncio.Semaphore(DOWNLOADS_MAX)
        self._running: set[asyncio.Task[None]] = set()
        self._asking = False
        self._ask_at = 0
        self._store_is_away = False

    def start(self) -> None:
        """Begin with whatever the store holds."""
        self._beat.start()
        if self._claims is not None:
            self._claims.start(lambda: self._in_hand)

    async def stop(self, grace_s: float) -> None:
        """Take on nothing more. What is under way may end within `grace_s`, so that no create
        is left without its answer; the rest is broken off and goes on after the next start."""
        self._beat.stop()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._claims is not None:
            await self._claims.stop()

    def nudge(self, task: Task) -> None:
        """A task that is due by now, without waiting for the store to say so."""
        if self._beat.is_running():
            self._take(task, task.watch.next_look_at)
            self._tick()

    async def look_now(self, job_id: str) -> None:
        """There is word of a job: look at its task ahead of its time, if there is one that lives.

        The provider's own wish to be left alone is kept. Raises StoreError.
        """
        task = await self._store.find_by_job(job_id)
        if task is None or not self._beat.is_running():
            return
        if self._claims is not None:
            await self._claims.hasten(task.id, self._now())
        elif task.id in self._in_hand:
            self.heard_of(task.id)
        else:
            self._take(task, self._now())
            self._tick()

    def heard_of(self, task_id: str) -> None:
        """The task is due by now: where it is not in hand, the store says whose it is."""
        if task_id not in self._in_hand:
            self._ask_at = 0
        elif not self._looks.hasten(task_id, self._now()):
            self._again.add(task_id)  # the look under way may have left before the word came
        if self._beat.is_running():
            self._tick()

    def _tick(self) -> None:
        now = self._now()
        if self._claims is not None and not self._claims.are_sure():
            self._begin_anew(self._claims)
        if self._limiter.held_s:
            return
        has_room = len(self._looks) < BATCH or not self._looks.is_behind(now)
        if now >= self._ask_at and not self._asking and has_room:
            self._asking = True
            self._start(self._ask())
        if self._limiter.trusts:
            self._start_due(self._creates, now)
        elif self._creates.is_due(now) and not self._looks.is_due(now) and self._limiter.wants_check:
            self._start(self._check())
        if self._limiter.lets_look:
            self._start_due(self._looks, now, 1 if self._limiter.lets_one else LOOKS_MAX)

    def _begin_anew(self, claims: Claims) -> None:
        """We were paused, or the store away: what waits here may be another's by now. The store says."""
        self._in_hand.difference_update(self._creates.clear(), self._looks.clear())
        self._era += 1
        self._ask_at = 0
        claims.begin_anew()

    def _start_due(self, lane: _Lane, now: int, most: int = CREATES_MAX) -> None:
        for _ in range(most):
            task = lane.enter(now)
            if task is None:
                return
            self._start(self._attend(task, lane))

    async def _check(self) -> None:
        """Creates wait for a good word of the provider, and there is no job to ask for."""
        with contextlib.suppress(ProviderError):  # its limiter has heard it
            await self._provider.check()

    async def _ask(self) -> None:
        """Take the tasks that come due before the store is asked again."""
        now, era = self._now(), self._era
        self._let_go.clear()
        ask_again_in = ASK_EVERY_MS
        try:
            # What is in hand is due in the store as well. Left out there: at 333 looks a second each task
            # was read 2.6 times, at 8 µs.
            due = await self._store.due(now + LOOK_AHEAD_MS, BATCH, but_not=self._in_hand)
            if len(due) == BATCH:
                ask_again_in = 0  # there are more, and they come as soon as these are taken
            for task in due if era == self._era else ():
                if task.id not in self._let_go:  # else it may be older than what was done since
                    self._take(task, task.watch.next_look_at)
        except StoreError as error:
            if not self._store_is_away:
                log.warning("the store can't say what is due: %s", error, extra={"action": "store_away"})
            self._store_is_away = True
        else:
            if self._store_is_away:
                log.info("the store is back", extra={"action": "store_back"})
            self._store_is_away = False
        finally:
            self._ask_at = now + ask_again_in
            self._asking = False

    def _take(self, task: Task, at: int) -> None:
        if task.id in self._in_hand:
            return
        self._in_hand.add(task.id)
        lane = self._creates if task.job_id is None else self._looks
        lane.wait(task, at)

    async def _attend(self, task: Task, lane: _Lane) -> None:
        soon, era = None, self._era
        try:
            after = await self._advance(task, lane)
            at = self._now() if task.id in self._again else after.watch.next_look_at
            soon = await self._if_soon(after, at)
        except StoreError as error:
            # The task is still due in the store, and comes again when that is back.
            log.warning("task %s waits for the store: %s", task.id, error)
        finally:
            self._in_hand.discard(task.id)
            self._again.discard(task.id)
            self._let_go.add(task.id)
        if soon is None or era != self._era or lane.is_behind(self._now()):
            return  # the store says who is next
        self._take(soon, at)

    async def _advance(self, task: Task, lane: _Lane) -> Task:
        try:
            task, urls = await self._attendant.advance(task)
        finally:
            lane.leave()
        if task.state is not State.ARCHIVING or urls is None:
            return task
        async with self._downloads:
            return await self._attendant.archive(task, urls)

    async def _if_soon(self, task: Task, at: int) -> Task | None:
        """The task where it may be due before the store says so; read again, as it may have ended."""
        if not task.is_live or at > self._now() + LOOK_AHEAD_MS:
            return None
        found = await self._store.find(task.id)
        if found is None or not found.is_live:
            return None
        # A watch may be read a moment later than it is written.
        is_older = found.seq == task.seq and found.watch.planned_at < task.watch.planned_at
        return task if is_older else found

    def _start(self, work: Coroutine[object, None, None]) -> None:
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._ended)

    def _ended(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        if not running.cancelled() and (error := running.exception()) is not None:
            log.error("a look ended by a fault of ours", exc_info=error, extra={"action": "fault"})
