"""What is told behind a subscribe: one read for all who ask at once, and no change missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sora_ws.push import reads as reads_module
from sora_ws.push.hub import Hub, user_topic
from sora_ws.push.reads import READS_AT_ONCE, SLICE, StateReads
from sora_ws.store import StoreUnavailable
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Event, Observation, Order, Task
from tests.unit.lines import presenter

ROOM = user_topic("ada")
GUARD_S = 20.0


async def unplaced(tasks: Sequence[Task]) -> Sequence[Task]:
    """Nobody waits in line."""
    return tasks


class GatedStore(SqliteStore):
    """The real store; what it has read it tells when a test lets it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads = 0
        self.waiting = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def live(self, *, user_id: str | None = None, team: str | None = None) -> Sequence[Task]:
        self.reads += 1
        self.waiting += 1
        found = await super().live(user_id=user_id, team=team)
        await self.gate.wait()
        self.waiting -= 1
        if self.error is not None:
            raise self.error
        return found

    async def save_newer(self, task: Task, progress: int) -> Task:
        newer = task.observe(Observation(Event.STARTED, progress=progress), task.seq + 10)
        await self.save(newer, over_seq=task.seq)
        return newer


class Room:
    """A hub, a store with one task in it, and those who ask for its state."""

    def __init__(self, store: GatedStore, task: Task) -> None:
        self.store = store
        self.task = task
        self.hub = Hub(presenter(), lambda: 0)
        self.reads = StateReads(self.hub, store, unplaced)

    def ask(self, user: str = "ada") -> asyncio.Task[list[int]]:
        return asyncio.create_task(self._ask(user))

    async def _ask(self, user: str) -> list[int]:
        found = await self.reads.live(user_topic(user), user_id=user)
        return [task.progress for task in found]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD_S):
            while not holds():  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0)

    async def until_read(self) -> None:
        """The store has been asked, and has what it will tell."""
        await self.until(lambda: self.store.waiting > 0)
        await self.store.ping()  # its reads are done one after the other


@asynccontextmanager
async def some_room(folder: Path) -> AsyncIterator[Room]:
    store = GatedStore(folder / "db")
    await store.open()
    task = Task.new("ada", Order("a cat", "sora-2"), 1000)
    task = task.accept("job", Observation(Event.STARTED, progress=10), 2000)
    await store.insert(task)
    room = Room(store, task)
    try:
        yield room
    finally:
        await room.reads.close()
        await store.close()


def all_of(asking: Sequence[asyncio.Task[list[int]]]) -> Coroutine[object, object, list[list[int]]]:
    async def wait() -> list[list[int]]:
        async with asyncio.timeout(GUARD_S):
            return list(await asyncio.gather(*asking))

    return wait()


@pytest.mark.gen_test(timeout=60)
async def test_a_crowd_is_one_read(tmp_path: Path) -> None:
    """Who asks while it runs is told with the first, a slice in each turn of the loop."""
    async with some_room(tmp_path) as room:
        asking = [room.ask() for _ in range(3 * SLICE)]
        await room.until_read()
        asking += [room.ask() for _ in range(SLICE)]
        await asyncio.sleep(0)
        room.store.gate.set()
        told = []
        while not all(each.done() for each in asking):
            await asyncio.sleep(0)
            told.append(sum(each.done() for each in asking))
        assert max(after - before for before, after in zip([0, *told], told, strict=False)) <= SLICE
        assert await all_of(asking) == [[10]] * (4 * SLICE)
        assert room.store.reads == 1
        assert await all_of([room.ask()]) == [[10]]
        assert room.store.reads == 2


@pytest.mark.gen_test(timeout=60)
async def test_the_newer_of_what_is_read_and_published(tmp_path: Path) -> None:
    """A state that was read before a newer one was published is not told after it, also to who came late."""
    async with some_room(tmp_path) as room:
        first = room.ask()
        await room.until_read()
        room.hub.publish(await room.store.save_newer(room.task, 50))
        late = room.ask()
        await asyncio.sleep(0)
        room.store.gate.set()
        assert await all_of([first, late]) == [[50], [50]]
        assert room.store.reads == 1


@pytest.mark.gen_test(timeout=60)
async def test_what_is_published_while_they_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those whose turn comes later are told what has changed since the first of them was."""
    monkeypatch.setattr(reads_module, "SLICE", 1)
    async with some_room(tmp_path) as room:
        asking = [room.ask() for _ in range(3)]
        await room.until_read()
        newer = await room.store.save_newer(room.task, 50)
        room.store.gate.set()
        await room.until(asking[0].done)
        room.hub.publish(newer)
        assert await all_of(asking) == [[10], [50], [50]]


@pytest.mark.gen_test(timeout=60)
async def test_a_read_that_fails_fails_for_all_of_them(tmp_path: Path) -> None:
    """Each of them is told, and who asks next has a read of its own."""
    async with some_room(tmp_path) as room:
        asking = [room.ask() for _ in range(3)]
        await room.until_read()
        room.store.error = StoreUnavailable("away")
        room.store.gate.set()
        for each in asking:
            with pytest.raises(StoreUnavailable):
                await all_of([each])
        room.store.error = None
        assert await all_of([room.ask()]) == [[10]]


@pytest.mark.gen_test(timeout=60)
async def test_who_gives_up_takes_nobody_along(tmp_path: Path) -> None:
    """A line that is dropped while it waits leaves the others their read."""
    async with some_room(tmp_path) as room:
        gone, stays = room.ask(), room.ask()
        await room.until_read()
        gone.cancel()
        room.store.gate.set()
        assert await all_of([stays]) == [[10]]
        assert gone.cancelled()


@pytest.mark.gen_test(timeout=60)
async def test_a_crowd_with_rooms_of_their_own(tmp_path: Path) -> None:
    """So many reads at once and no more: a deadline runs for those whose turn it is."""
    async with some_room(tmp_path) as room:
        asking = [room.ask(f"user {number}") for number in range(2 * READS_AT_ONCE)]
        await room.until(lambda: room.store.waiting == READS_AT_ONCE)
        room.store.gate.set()
        assert await all_of(asking) == [[]] * len(asking)


@pytest.mark.gen_test(timeout=60)
async def test_a_stop_leaves_nobody_waiting(tmp_path: Path) -> None:
    """Whoever asks when the reads are given up is told that the store is away: 503, and no fault of ours."""
    async with some_room(tmp_path) as room:
        asking = room.ask()
        await room.until_read()
        await room.reads.close()
        with pytest.raises(StoreUnavailable):
            await all_of([asking])
