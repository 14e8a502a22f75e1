"""The states that are told behind a subscribe: one read of the store for all who ask while it runs.

8,000 who come to one room at once would otherwise stand in a queue before the store, the last of
them for longer than its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from sora_ws.push.hub import Hub, task_topic
from sora_ws.store import StoreUnavailable, TaskStore
from sora_ws.task import Task

READS_AT_ONCE: Final = 64
"""The others wait here, where no deadline runs yet."""

SLICE: Final = 64  # who is told what was read in a turn of the loop, some 3 ms


class _Read(NamedTuple):
    """What the store said, and what was published since it was asked, by task id."""

    stored: Sequence[Task]
    published: Mapping[str, Task]


Placed = Callable[[Sequence[Task]], Awaitable[Sequence[Task]]]
"""Tells those among the tasks that wait in line their places there."""

_Asking = list["asyncio.Future[_Read | Exception]"]


class StateReads:
    """Reads states, and gives the newer of what is stored and what is published meanwhile.

    So whoever subscribes before its next `await` misses no change: neither one between the read
    and the subscription, nor one between somebody else's read and its own question.
    """

    def __init__(self, hub: Hub, store: TaskStore, placed: Placed) -> None:
        self._hub = hub
        self._store = store
        self._placed = placed
        self._asking: dict[str, _Asking] = {}
        self._places = asyncio.Semaphore(READS_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()

    async def task(self, task_id: str) -> Task | None:
        """The task's state, None where there is no such task. Raises StoreError."""

        async def read() -> Sequence[Task]:
            task = await self._store.find(task_id)
            return () if task is None else await self._placed([task])

        stored, published = await self._ask(task_topic(task_id), read)
        return _newer(stored[0], published) if stored else None

    async def live(
        self, topic: str, *, user_id: str | None = None, team: str | None = None
    ) -> Sequence[Task]:
        """The states of the room's live tasks. Raises StoreError."""

        async def read() -> Sequence[Task]:
            return await self._placed(await self._store.live(user_id=user_id, team=team))

        stored, published = await self._ask(topic, read)
        newest = {task.id: _newer(task, published) for task in stored}
        return list((dict(published) | newest).values())

    async def close(self) -> None:
        """Give up what is under way; to who asks the store is away."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _ask(self, topic: str, read: Callable[[], Awaitable[Sequence[Task]]]) -> _Read:
        asking = self._asking.get(topic)
        if asking is None:
            asking = self._asking[topic] = []
            running = asyncio.create_task(self._run(topic, read, asking))
            self._running.add(running)
            running.add_done_callback(lambda running: self._ended(running, asking))
        answer: asyncio.Future[_Read | Exception] = asyncio.get_running_loop().create_future()
        asking.append(answer)
        found = await answer
        if isinstance(found, Exception):
            raise found.with_traceback(None)  # it is raised for each of them
        return found

    async def _run(self, topic: str, read: Callable[[], Awaitable[Sequence[Task]]], asking: _Asking) -> None:
        """Read, and tell all who ask; who comes when it is read needs a newer one."""
        found: _Read | Exception
        with self._hub.following(topic) as published:
            try:
                if self._hub.others is not None:
                    await self._hub.others.reach(topic)
                async with self._places:
                    found = _Read(await read(), published)
            except Exception as error:  # each of them answers it
                found = error
            finally:
                del self._asking[topic]
            while asking:
                for answer in asking[:SLICE]:
                    if not answer.done():
                        answer.set_result(found)
                del asking[:SLICE]
                await asyncio.sleep(0)  # they go on before we do, and are followed until then

    def _ended(self, running: asyncio.Task[None], asking: _Asking) -> None:
        self._running.discard(running)
        for answer in asking:  # it was given up
            if not answer.done():
                answer.set_result(StoreUnavailable("the server stops"))


def _newer(task: Task, published: Mapping[str, Task]) -> Task:
    other = published.get(task.id)
    return task if other is None or other.seq <= task.seq else other
