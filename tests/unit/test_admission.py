"""At most so many at the provider, the rest in line: fairly, over failures and restarts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sora_ws.admission import Admission
from sora_ws.store import StoreUnavailable
from sora_ws.task import Order, State, Task, Viewer
from tests.backends.jobs import Dialect
from tests.unit.works import ADA, Fault, Works, some_works

BOB = Viewer("bob")


async def create(w: Works, viewer: Viewer = ADA, prompt: str = "a cat") -> Task:
    w.clock.ahead_ms += 1  # of one ms, the order would be that of their random ids
    return await w.service.create(viewer, Order(prompt, "sora-2"))


async def until(w: Works, ids: Sequence[str], state: State) -> None:
    """Each of these tasks was told to be in this state."""
    missing = set(ids)
    while missing := missing - {task.id for task in w.told if task.state is state}:
        w.is_told.clear()
        await w.is_told.wait()


def most_at_once(w: Works) -> int:
    """How many tasks had a place at the provider at once, as it was told."""
    there: set[str] = set()
    most = 0
    for task in w.told:
        there.add(task.id) if task.is_at_provider else there.discard(task.id)
        most = max(most, len(there))
    return most


def called(w: Works) -> list[str]:
    """The users of those who had waited, in the order in which they were called."""
    waited = [task.id for task in w.told if task.waits]
    first_moves = {task.id: task for task in reversed(w.told) if not task.waits}
    return [task.user_id for task in sorted(map(first_moves.__getitem__, waited), key=lambda task: task.seq)]


@pytest.mark.gen_test(timeout=60)
async def test_never_more_than_its_places(tmp_path: Path) -> None:
    """All get to their ends, and at no moment more than three were at the provider."""
    async with some_works(tmp_path, Dialect(looks=2), places=3) as w:
        tasks = [await create(w, prompt="[fail]") for _ in range(12)]
        assert [task.waits for task in tasks] == [False] * 3 + [True] * 9
        w.poller.start()
        await until(w, [task.id for task in tasks], State.FAILED)
        assert most_at_once(w) == 3
        assert w.admission.waiting == 0


@pytest.mark.gen_test(timeout=60)
async def test_one_task_does_not_wait_behind_many(tmp_path: Path) -> None:
    """Users have turns, by their own oldest, whoever came first."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        w.poller.start()
        many = [await create(w, prompt="[fail]") for _ in range(8)]
        one = await create(w, BOB, "[fail]")
        assert one.queue_position == 2
        w.provider.jobs.dialect.looks = 1
        await until(w, [task.id for task in [*many, one]], State.FAILED)
        assert called(w) == ["ada", "bob", *["ada"] * 6]


@pytest.mark.gen_test(timeout=60)
async def test_places_in_line(tmp_path: Path) -> None:
    """As told at once, and as read later; who is at the provider has none."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        tasks = [await create(w, viewer) for viewer in (ADA, ADA, ADA, BOB, ADA, BOB)]
        assert [task.queue_position for task in tasks] == [None, 1, 2, 2, 4, 4]
        assert [task.queue_position for task in await w.service.live(user_id="ada")] == [None, 1, 3, 5]
        assert [(await w.service.get(BOB, task.id)).queue_position for task in tasks[3::2]] == [2, 4]


@pytest.mark.gen_test(timeout=60)
async def test_who_is_cancelled_or_deleted_leaves_the_line(tmp_path: Path) -> None:
    """Those behind move up, and the next place is theirs."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        w.poller.start()
        first, second, third, last = [await create(w) for _ in range(4)]
        await w.service.cancel(ADA, second.id)
        await w.service.delete(ADA, third.id)
        assert (await w.service.get(ADA, last.id)).queue_position == 1
        await w.service.cancel(ADA, first.id)
        await until(w, [last.id], State.RENDERING)
        assert {job.order["prompt"] for job in w.provider.jobs.all.values()} == {"a cat"}
        assert w.admission.waiting == 0


@pytest.mark.gen_test(timeout=60)
async def test_a_restart_takes_the_line_up(tmp_path: Path) -> None:
    """By what the store holds: places that are taken, and who waits."""
    async with some_works(tmp_path, Dialect(looks=None), places=2) as w:
        w.poller.start()
        tasks = [await create(w) for _ in range(4)]
        w.admission.stop()
        again = Admission(store=w.store, writer=w.writer, clock=w.clock, places=3, attend=w.poller.nudge)
        await again.start()
        await until(w, [task.id for task in tasks[:3]], State.RENDERING)
        assert again.waiting == 1
        assert (await w.stored(tasks[3])).waits
        again.stop()


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.gen_test(timeout=60)
async def test_an_insert_of_unknown_outcome(tmp_path: Path, is_done: bool) -> None:
    """A task that was not stored holds no place; one that was holds its own."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        insert = w.store.insert

        async def fail(task: Task) -> None:
            if is_done:
                await insert(task)
            raise StoreUnavailable("away")

        w.store.insert = fail  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await create(w)
        w.store.insert = insert  # type: ignore[method-assign]
        task = await create(w)
        w.poller.start()
        if is_done:
            await w.provider.until(lambda: len(w.provider.jobs.all) == 1)
            assert (await w.stored(task)).waits
        else:
            w.admission.wake()
            await until(w, [task.id], State.RENDERING)


@pytest.mark.gen_test(timeout=60)
async def test_an_insert_that_comes_late(tmp_path: Path) -> None:
    """A create was given up while its insert was under way: until that is over its place is kept."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        insert, gate = w.store.insert, asyncio.Event()
        w.store.settled = gate.wait  # type: ignore[assignment, method-assign]

        async def fail(task: Task) -> None:
            late.append(task)
            raise StoreUnavailable("away")

        late: list[Task] = []
        w.store.insert = fail  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await create(w)
        w.store.insert = insert  # type: ignore[method-assign]
        assert (await create(w)).waits
        await insert(late[0])
        gate.set()
        w.poller.start()
        await until(w, [late[0].id], State.RENDERING)
        assert w.admission.waiting == 1


@pytest.mark.gen_test(timeout=60)
async def test_who_comes_while_another_is_called(tmp_path: Path) -> None:
    """The place that is meant for the oldest of the line is not taken by who comes meanwhile."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        first, second = await create(w), await create(w)
        find = w.store.find
        third: list[Task] = []

        async def found(task_id: str) -> Task | None:
            if task_id == second.id and not third:
                w.store.find = find  # type: ignore[method-assign]
                third.append(await create(w))
            return await find(task_id)

        w.store.find = found  # type: ignore[method-assign]
        w.poller.start()
        await w.service.cancel(ADA, first.id)
        await until(w, [second.id], State.RENDERING)
        assert third[0].waits


@pytest.mark.gen_test(timeout=60)
async def test_a_count_that_fails(tmp_path: Path) -> None:
    """It is made again, and nobody is forgotten whose turn the store did not answer."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        first, second = await create(w), await create(w)
        ids, count, failed = w.store.ids_in_line, w.store.users_in_line, []

        async def no_ids(user_id: str, limit: int | None = None) -> Sequence[str]:
            w.store.ids_in_line = ids  # type: ignore[method-assign]
            raise StoreUnavailable("away")

        async def no_count() -> Sequence[tuple[str, int]]:
            w.store.users_in_line = count  # type: ignore[method-assign]
            failed.append(True)
            raise StoreUnavailable("away")

        w.store.ids_in_line = no_ids  # type: ignore[method-assign]
        w.store.users_in_line = no_count  # type: ignore[method-assign]
        w.poller.start()
        await w.service.cancel(ADA, first.id)
        await until(w, [second.id], State.RENDERING)
        assert failed


@pytest.mark.gen_test(timeout=60)
async def test_who_is_being_stored_is_not_counted_away(tmp_path: Path) -> None:
    """A count that the store makes meanwhile does not know of the task yet, and is not taken."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        first, second = await create(w), await create(w)
        begun, gate, counted = asyncio.Event(), asyncio.Event(), asyncio.Event()
        count = w.store.users_in_line

        async def late() -> None:
            begun.set()
            await gate.wait()

        async def counting() -> Sequence[tuple[str, int]]:
            users = await count()
            counted.set()
            return users

        w.store.before_insert, w.store.users_in_line = late, counting  # type: ignore[method-assign]
        third = asyncio.ensure_future(create(w))
        await begun.wait()
        w.clock.ahead_ms += 10_000  # the line may be counted again
        await w.service.cancel(ADA, second.id)
        await counted.wait()
        await w.stored(first)  # the count was taken or not
        assert w.admission.waiting == 1
        gate.set()
        assert (await third).waits


@pytest.mark.gen_test(timeout=60)
async def test_a_store_that_fails_at_a_turn(tmp_path: Path) -> None:
    """The turn comes again when the store is back."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        w.poller.start()
        first, second = await create(w), await create(w)
        w.store.faults = [Fault(StoreUnavailable("away"), of=lambda task: task.id == second.id)]
        await w.service.cancel(ADA, first.id)
        await until(w, [second.id], State.RENDERING)


@pytest.mark.gen_test(timeout=60)
async def test_nobody_overtakes_a_turn_that_failed(tmp_path: Path) -> None:
    """The place is free and the store did not say whose it is: who comes then waits behind."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        first, second = await create(w), await create(w)
        ids, failed = w.store.ids_in_line, asyncio.Event()

        async def no_ids(user_id: str, limit: int | None = None) -> Sequence[str]:
            w.store.ids_in_line = ids  # type: ignore[method-assign]
            failed.set()
            raise StoreUnavailable("away")

        w.store.ids_in_line = no_ids  # type: ignore[method-assign]
        w.poller.start()
        await w.service.cancel(ADA, first.id)
        await failed.wait()
        assert (await create(w, BOB)).waits
        await until(w, [second.id], State.RENDERING)


@pytest.mark.gen_test(timeout=60)
async def test_the_line_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, no question reads them: a turn reads the one task whose it is."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        tasks = [await create(w) for _ in range(300)]
        read: list[int] = []
        tasks_of = w.store._tasks

        async def counted(where: str, *values: Any) -> Sequence[Task]:
            found = await tasks_of(where, *values)
            read.append(len(found))
            return found

        monkeypatch.setattr(w.store, "_tasks", counted)
        w.poller.start()
        await until(w, [tasks[0].id], State.RENDERING)
        await w.service.cancel(ADA, tasks[0].id)
        await until(w, [tasks[1].id], State.RENDERING)
        assert max(read) == 1
        assert w.admission.waiting == 298


class OneOfMany:
    """`admission.Others` of which nobody is there: the test says what they do."""

    took_over: Callable[[], None]
    hear: Callable[[bool], None]

    def __init__(self, *, leads: bool = True) -> None:
        self._leads = leads

    async def start(self, took_over: Callable[[], None], heard: Callable[[bool], None]) -> None:
        self.took_over, self.hear = took_over, heard

    def stop(self) -> None: ...

    def leave_it_to_us(self) -> bool:
        return self._leads

    def tell(self, *, has_come: bool) -> None: ...


@pytest.mark.parametrize("leads", [False, True])
@pytest.mark.parametrize("has_come", [False, True])
@pytest.mark.gen_test(timeout=60)
async def test_words_of_others_are_no_questions_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_come: bool, leads: bool
) -> None:
    """Each task that comes or ends anywhere is a word to all. Who gives the places out asks the store at who
    comes; nobody does at who goes, where nobody waits; and nobody reads all who have a place."""
    async with some_works(tmp_path, Dialect()) as w:
        asked: Counter[str] = Counter()

        def count(name: str) -> None:
            ask = getattr(w.store, name)

            async def counted() -> object:
                asked[name] += 1
                return await ask()

            monkeypatch.setattr(w.store, name, counted)

        count("users_in_line")
        count("at_provider")
        others = OneOfMany(leads=leads)
        one = Admission(
            store=w.store, writer=w.writer, clock=w.clock, places=3, attend=w.poller.nudge, others=others
        )
        began = w.clock()
        await one.start()
        for _ in range(20):
            others.hear(has_come)
            for _ in range(3):  # so that there is time for it
                await w.store.count_by_state()
        one.stop()
        seconds = (w.clock() - began) / 1000
        asks_at_each = leads and has_come
        assert (asked["users_in_line"] > seconds + 5) is asks_at_each
        assert asked["at_provider"] == (
            2 if leads else 1
        )  # the start's, and the first since it gives them out


@pytest.mark.gen_test(timeout=60)
async def test_nobody_overtakes_the_line(tmp_path: Path) -> None:
    """A place is free, and the store has not said yet whose it is: who comes now waits all the same."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        first, second = await create(w), await create(w)
        count, asked, gate = w.store.users_in_line, asyncio.Event(), asyncio.Event()

        async def late() -> Sequence[tuple[str, int]]:
            asked.set()
            await gate.wait()
            return await count()

        w.store.users_in_line = late  # type: ignore[method-assign]
        w.clock.ahead_ms += 10_000
        w.poller.start()
        await w.service.cancel(ADA, first.id)
        await asked.wait()
        third = await create(w, BOB)
        assert third.waits
        gate.set()
        await until(w, [second.id], State.RENDERING)


@pytest.mark.gen_test(timeout=60)
async def test_who_is_gone_at_its_turn_keeps_no_place(tmp_path: Path) -> None:
    """Its document went between the call and the save of it: the next one goes."""
    async with some_works(tmp_path, Dialect(looks=None), places=1) as w:
        first, second, third = [await create(w) for _ in range(3)]
        find = w.store.find

        async def found(task_id: str) -> Task | None:
            task = await find(task_id)
            if task_id == second.id:
                await w.store.delete(task_id)
            return task

        w.store.find = found  # type: ignore[method-assign]
        w.poller.start()
        await w.service.cancel(ADA, first.id)
        await until(w, [third.id], State.RENDERING)


@pytest.mark.gen_test(timeout=60)
async def test_places_that_another_gave_while_they_were_read(tmp_path: Path) -> None:
    """What the store said before is not taken for what it holds now: no place is given twice."""
    async with some_works(tmp_path, places=1) as w:
        w.admission.stop()
        waiting = Task.new("ada", Order("a cat", "sora-2"), w.clock()).wait_in_line()
        await w.store.insert(waiting)
        others, read, again = OneOfMany(), w.store.at_provider, asyncio.Event()
        reads = 0

        async def at_provider() -> Sequence[str]:
            nonlocal reads
            held = await read()
            reads += 1
            if reads == 2:  # the first is made by the start
                await w.insert()
                others.took_over()
            if reads == 3:
                again.set()
            return held

        w.store.at_provider = at_provider  # type: ignore[method-assign]
        admission = Admission(
            store=w.store, writer=w.writer, clock=w.clock, places=1, attend=lambda task: None, others=others
        )
        await admission.start()
        await again.wait()
        assert (await w.stored(waiting)).waits
        admission.stop()


@pytest.mark.gen_test(timeout=60)
async def test_a_place_that_was_given_while_they_were_read(tmp_path: Path) -> None:
    """It is given, though the store did not know it yet: who waits for one is not called."""
    async with some_works(tmp_path, places=1) as w:
        w.admission.stop()
        first, second = (Task.new("ada", Order("a cat", "sora-2"), w.clock()) for _ in range(2))
        read, is_known, again = w.store.at_provider, asyncio.Event(), asyncio.Event()
        reads = 0

        async def at_provider() -> Sequence[str]:
            nonlocal reads
            held = await read()
            reads += 1
            if reads == 2:  # behind the start's, and the first by which the places are known
                is_known.set()
            elif reads == 3:
                await w.store.insert(first)
            elif reads == 4:
                again.set()
            return held

        w.store.at_provider = at_provider  # type: ignore[method-assign]
        admission = Admission(
            store=w.store,
            writer=w.writer,
            clock=w.clock,
            places=1,
            attend=lambda task: None,
            others=OneOfMany(),
        )
        await admission.start()
        await is_known.wait()
        await w.store.settled()  # what was read has been taken over
        with admission.entering(first) as entered:
            assert not entered.waits
            with admission.entering(second) as waiting:
                assert waiting.waits
                await w.store.insert(waiting)
            admission.wake()
            await again.wait()
        assert (await w.stored(waiting)).waits
        admission.stop()
