"""Two hubs over one store and one Redis: what is saved here is told there, and nothing is missed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sora_ws.bus.redis import RedisBus
from sora_ws.bus.redis_url import RedisUrl
from sora_ws.push import relay as relay_module
from sora_ws.push import roll_call
from sora_ws.push.hub import Hub, task_topic, team_topic, topics_of, user_topic
from sora_ws.push.reads import StateReads
from sora_ws.push.relay import Relay
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Event, Observation, Order, Task
from tests.history.proxy import SlowProxy
from tests.redisd import Redisd
from tests.unit.lines import Wire, open_line, presenter

GUARD_S = 20.0
NOW = 1_760_000_000_000
QUICK_S = 0.05


async def unplaced(tasks: Any) -> Any:
    return tasks


class Side:
    """One instance, as far as it tells and is told."""

    def __init__(self, store: SqliteStore, url: str, prefix: str, name: str) -> None:
        self.store = store
        self.hub = Hub(presenter(), lambda: NOW)
        self.bus = RedisBus(RedisUrl.parse(url))
        self.relay = Relay(
            self.hub, store, self.bus, prefix=prefix, name=name, clock=lambda: NOW, read_every_s=QUICK_S
        )
        self.hub.others = self.relay
        self.reads = StateReads(self.hub, store, unplaced)
        self.told: list[Task] = []
        self._news = asyncio.Event()
        publish = self.hub.publish

        def publish_and_note(task: Task) -> None:
            publish(task)
            self.told.append(task)
            self._news.set()

        self.hub.publish = publish_and_note  # type: ignore[method-assign]

    def save_told(self, task: Task) -> None:
        """What a writer does behind a save."""
        self.hub.publish(task)
        self.relay.publish(task)

    async def hears(self, task: Task) -> None:
        async with asyncio.timeout(GUARD_S):
            while task not in self.told:
                self._news.clear()
                await self._news.wait()

    async def listen(self, topic: str, *, reads: bool = True) -> Wire:
        """A client that subscribes as clients do: the state is read, then it listens."""
        connection, wire, _ = open_line()
        kind, _, name = topic.partition(":")
        states: list[Task] = []
        if kind == "task":
            found = await self.reads.task(name)
            states = [found] if found else []
        else:
            states = list(await self.reads.live(topic, **{"user_id" if kind == "user" else "team": name}))
        self.hub.subscribe(connection, topic)
        self.hub.show(connection, states)
        return wire


async def until(is_so: Callable[[], bool]) -> None:
    """For what tells nobody that it is so."""
    async with asyncio.timeout(GUARD_S):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def seqs(wire: Wire) -> list[int]:
    return [message["payload"]["seq"] for message in wire.messages()]


def progressed(task: Task, progress: int) -> Task:
    return task.observe(Observation(Event.STARTED, progress=progress), task.seq + 10)


@pytest.fixture
def sides(tmp_path: Path) -> Callable[..., Any]:
    """`async with sides(url_of_a, url_of_b) as (a, b):`"""

    @asynccontextmanager
    async def start(*urls: str) -> AsyncIterator[list[Side]]:
        prefix = uuid.uuid4().hex
        async with AsyncExitStack() as stack:
            store = SqliteStore(tmp_path / "sora.sqlite3")
            await store.open()
            stack.push_async_callback(store.close)
            started = []
            for n, url in enumerate(urls):
                side = Side(store, url, prefix, f"side {n}")
                await side.relay.start()
                stack.push_async_callback(side.relay.stop)
                started.append(side)
            yield started

    return start


async def stored(store: SqliteStore, **fields: Any) -> Task:
    task = replace(Task.new("ada", Order("a cat", "sora-2"), NOW), **fields)
    await store.insert(task)
    return task


async def save(store: SqliteStore, task: Task, change: Callable[[Task], Task]) -> Task:
    after = change(task)
    await store.save(after, over_seq=task.seq)
    return after


@pytest.mark.gen_test(timeout=30)
async def test_only_what_somebody_listens_to_is_taken_in(sides: Any, redis: Redisd) -> None:
    """By the task, the user or the team, once; and nothing of what nobody asked for."""
    async with sides(redis.url, redis.url) as (a, b):
        heard = await stored(a.store, team="cats")
        other = await stored(a.store, user_id="bob")
        wires = [
            await b.listen(topic) for topic in (task_topic(heard.id), user_topic("ada"), team_topic("cats"))
        ]
        newer = progressed(heard, 10)
        a.save_told(progressed(other, 10))
        a.save_told(newer)
        await b.hears(newer)
        await b.listen(user_topic("bob"))
        newest = progressed(other, 20)
        a.save_told(newest)
        await b.hears(newest)
        assert b.told == [newer, newest]
        assert b.relay.heard_states == 2
        for wire in wires:
            assert seqs(wire) == [heard.seq, newer.seq]


@pytest.mark.gen_test(timeout=30)
async def test_who_left_costs_nothing_more(sides: Any, redis: Redisd) -> None:
    """A topic without listeners is no channel any more, and one that was only asked for neither."""
    async with sides(redis.url, redis.url) as (a, b):
        task = await stored(a.store)
        await b.listen(task_topic(task.id))
        [connection] = b.hub._topics[task_topic(task.id)].listeners
        b.hub.drop(connection)
        await b.reads.task(task.id)
        await b.reads.task("video_0")
        await b.listen(user_topic("bob"))  # behind whose confirmation the others are gone
        channels = redis.ask("PUBSUB", "CHANNELS", f"{b.relay._prefix}:*").split()
        assert sorted(name.split(":", 1)[1] for name in channels) == ["user:bob", "words:here"]


@pytest.mark.gen_test(timeout=30)
async def test_who_leaves_twice_says_it_once(sides: Any, start_redis: Callable[..., Redisd]) -> None:
    """Redis is told that a channel is wanted no more, and not again."""
    server = start_redis()
    async with sides(server.url) as (a,):
        await a.listen(user_topic("ada"))
        for _ in range(2):
            a.relay.leave(user_topic("ada"))
            await a.listen(user_topic("bob"))
            await a.relay.reach(user_topic("bob"))
            a.relay.leave("task:video_0")
        statistics = server.ask("INFO", "commandstats")
        assert "cmdstat_unsubscribe:calls=1," in statistics


@pytest.mark.gen_test(timeout=30)
async def test_a_change_between_the_read_and_the_confirmation(sides: Any, redis: Redisd) -> None:
    """Redis is asked so late that the word of it goes by: the store is read again behind its answer."""
    with SlowProxy(redis.port) as proxy:
        async with sides(redis.url, f"redis://127.0.0.1:{proxy.port}") as (a, b):
            task = await stored(a.store)
            b.relay._read_every_s = GUARD_S * 2  # so that only the answer can be why it is read
            proxy.cut()
            wire = await b.listen(task_topic(task.id))
            assert seqs(wire) == [task.seq]
            await until(lambda: b.relay.reads > 0)
            newer = await save(a.store, task, lambda task: progressed(task, 10))
            before = a.bus.sent
            a.save_told(newer)
            await until(lambda: a.bus.sent >= before + len(topics_of(newer)))
            proxy.mend()
            await b.hears(newer)
            await until(lambda: b.relay.are_heard(task_topic(task.id)))


@pytest.mark.gen_test(timeout=30)
async def test_a_state_that_may_be_old_is_not_shown(sides: Any, start_redis: Callable[..., Redisd]) -> None:
    """The newest state that several listen to is kept, but for as long as the others are not heard."""
    server = start_redis()
    async with sides(server.url, server.url) as (a, b):
        task = await stored(a.store)
        for _ in range(2):
            await b.listen(task_topic(task.id))
        assert b.hub.newest(task.id) == task
        server.kill()
        newer = await save(a.store, task, lambda task: progressed(task, 10))
        a.save_told(newer)
        await b.hears(newer)
        assert b.hub.newest(task.id) is None
        assert seqs(await b.listen(task_topic(task.id))) == [newer.seq]


@pytest.mark.gen_test(timeout=30)
async def test_what_happened_in_a_break_is_read(sides: Any, start_redis: Callable[..., Redisd]) -> None:
    """Live tasks, those that ended, new ones, and one that was deleted; in rooms as by their ids."""
    server = start_redis()
    async with sides(server.url, server.url) as (a, b):
        moved, ended, deleted = [await stored(a.store, team="cats") for _ in range(3)]
        for task in (moved, ended, deleted):
            await b.listen(task_topic(task.id))
        room, team = await b.listen(user_topic("ada")), await b.listen(team_topic("cats"))
        server.kill()
        moved = await save(a.store, moved, lambda task: progressed(task, 10))
        ended = await save(a.store, ended, lambda task: task.cancel(task.seq + 1))
        await a.store.delete(deleted.id)
        new = await stored(a.store, team="cats")
        for task in (moved, ended, new):
            await b.hears(task)
        await until(lambda: not b.hub.live_in(task_topic(deleted.id)))
        for wire in (room, team):
            assert {moved.seq, ended.seq, new.seq} <= set(seqs(wire))


@pytest.mark.gen_test(timeout=30)
async def test_a_room_hears_of_what_was_deleted_in_a_break(
    sides: Any, start_redis: Callable[..., Redisd]
) -> None:
    """What it was told of as live has an end, once; what had ended before is left in peace."""
    server = start_redis()
    async with sides(server.url, server.url) as (a, b):
        shown, pushed, ended = [await stored(a.store, team="cats") for _ in range(3)]
        await b.listen(task_topic(ended.id))
        wires = [await b.listen(topic) for topic in (user_topic("ada"), team_topic("cats"))]
        ended = await save(a.store, ended, lambda task: task.cancel(task.seq + 1))
        a.save_told(ended)
        await b.hears(ended)
        server.kill()
        for task in (shown, pushed, ended):
            await a.store.delete(task.id)
        await until(lambda: not {shown.id, pushed.id} & {*b.hub.live_in(user_topic("ada"))})
        for wire in wires:
            told = [(m["payload"]["videoId"], m["payload"]["status"]) for m in wire.messages()]
            for task in (shown, pushed, ended):
                assert [status for video_id, status in told if video_id == task.id][1:] == ["failed"]


@pytest.mark.gen_test(timeout=30)
async def test_an_end_from_shortly_before_the_break(sides: Any, start_redis: Callable[..., Redisd]) -> None:
    """A room is told of it, whether it was saved before the first reading or, by a slow clock, behind it."""
    server = start_redis()
    async with sides(server.url, server.url) as (a, b):
        before, behind, _ = [await stored(a.store, created_at=NOW, seq=NOW - 50_000) for _ in range(3)]
        await b.listen(user_topic("ada"))
        b.relay._read_every_s = GUARD_S * 2  # so that nothing but the break is why it is read
        before = await save(a.store, before, lambda task: task.cancel(NOW - 30_000))
        server.kill()
        await b.hears(before)
        b.relay._read_every_s = QUICK_S
        b.relay._news.set()
        readings = b.relay.reads
        await until(lambda: b.relay.reads > readings + 10)
        behind = await save(a.store, behind, lambda task: task.cancel(NOW - 30_000))
        await b.hears(behind)


@pytest.mark.gen_test(timeout=30)
async def test_what_a_dead_instance_had_saved_is_told(
    sides: Any, redis: Redisd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was killed between its save and the word of it: when it is missed, the store is read."""
    monkeypatch.setattr(relay_module, "BEAT_S", QUICK_S)
    async with sides(redis.url, redis.url) as (a, b):
        task = await stored(a.store)
        wire = await b.listen(task_topic(task.id))
        await until(lambda: bool(b.relay._roll._others))
        for running in a.relay._running:
            running.cancel()
        ended = await save(a.store, task, lambda task: task.cancel(task.seq + 1))
        await b.hears(ended)
        assert seqs(wire)[-1] == ended.seq


@pytest.mark.gen_test(timeout=60)
async def test_what_an_instance_saves_that_was_never_heard(
    sides: Any, redis: Redisd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store says that it is at work; cut off from Redis, what it saves is read for as long as it is."""
    monkeypatch.setattr(relay_module, "BEAT_S", QUICK_S)
    monkeypatch.setattr(relay_module, "ASK_EVERY", 1)
    monkeypatch.setattr(roll_call, "GONE", 5)
    async with sides(redis.url) as (a,):
        at_work = {"side 0", "cut off"}

        async def names() -> set[str]:
            return at_work

        a.relay.at_work = names
        task = await stored(a.store)
        await a.listen(task_topic(task.id))
        await a.hears(await save(a.store, task, lambda task: task.cancel(task.seq + 1)))
        await until(lambda: all(other.silent > 10 for other in a.relay._roll._others.values()))
        assert not a.relay.are_heard(task_topic(task.id))
        at_work.remove("cut off")
        await until(lambda: a.relay.are_heard(task_topic(task.id)))


@pytest.mark.gen_test(timeout=30)
async def test_words_are_heard_by_the_others(sides: Any, start_redis: Callable[..., Redisd]) -> None:
    """By whoever waits for them, and not by who says them; said to nobody they are lost."""
    server = start_redis()
    async with sides(server.url, server.url, server.url) as (a, b, c):
        heard: list[bytes] = []
        a.relay.on_word("hold", lambda word: heard.append(b"a " + word))
        b.relay.on_word("hold", lambda word: heard.append(b"b " + word))
        await b.relay.reach("words:hold")
        await a.relay.reach("words:hold")
        a.relay.say("other", b"nobody waits for it")
        a.relay.say("hold", b"5 s")
        await until(lambda: heard == [b"b 5 s"])
        c.relay.say("hold", b"6 s")
        await until(lambda: len(heard) == 3)
        assert sorted(heard) == [b"a 6 s", b"b 5 s", b"b 6 s"]


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize(
    "data", [b"", b"x", b"x video_1 9", b"x video_1 nine {}", b"x video_1 9 {}", b"\xff" * 50]
)
async def test_what_cant_be_read_is_passed_over(sides: Any, redis: Redisd, data: bytes) -> None:
    """As from an instance of another version: the next state is heard."""
    async with sides(redis.url, redis.url) as (a, b):
        task = await stored(a.store)
        await b.listen(task_topic(task.id))
        a.bus.publish("k", [a.relay._channel(task_topic(task.id))], data)
        newer = progressed(task, 10)
        a.save_told(newer)
        await b.hears(newer)
        assert b.relay.unreadable == 1
