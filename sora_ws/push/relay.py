"""What instances on one database tell each other: the states that they save, and a few words.

A state is told at home first, so nothing here is ever waited for. Each topic that somebody here listens
to is subscribed at the bus. Where that was not so, because the bus was away or had not confirmed it yet,
the topic is *blind*: its tasks are read from the store again, until the bus has it and they were read
once more behind that. While an instance is missing, all topics are.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count, islice
from typing import Final

import msgspec

from sora_ws.bus import Bus
from sora_ws.push.hub import TEAM, USER, Hub, topics_of
from sora_ws.push.roll_call import BEAT_S, RollCall
from sora_ws.store import StoreError, TaskStore
from sora_ws.task import NEVER, Order, Task, Watch

log = logging.getLogger(__name__)

REACH_S: Final = 0.5
"""So long a subscriber waits for the bus; then the store alone is asked, and asked again later."""

GATHER_S: Final = 0.05  # confirmations come in a row, and are followed by one reading

ASK_EVERY: Final = 30  # beats
READ_AT_ONCE: Final = 500  # tasks or rooms
LEEWAY_MS: Final = 60_000
"""Between a change and when its loss is noticed, with clocks that differ."""

ORIGIN_BYTES: Final = 4
WORDS: Final = "words:"
HERE: Final = f"{WORDS}here"
GOODBYE: Final = b"-"


class Relay:
    """`hub.Others` over a bus, and the other way round: what they publish is published here."""

    def __init__(
        self,
        hub: Hub,
        store: TaskStore,
        bus: Bus,
        *,
        prefix: str,
        name: str,
        clock: Callable[[], int],
        read_every_s: float,
    ) -> None:
        """`prefix` is in front of all channels: one for all instances on one database, and for no other.

        `name` is this instance's alone, and the same after a restart.
        `at_work`, to be set, tells the names of the instances that are, heard or not; it raises StoreError.
        `read_every_s`: how often blind topics are read again while the bus is away.
        """
        self.at_work: Callable[[], Awaitable[Iterable[str]]] = _nobody
        self.heard_states = 0
        self.reads = 0
        self.unreadable = 0
        self._hub = hub
        self._store = store
        self._bus = bus
        self._prefix = prefix
        self._now = clock
        self._read_every_s = read_every_s
        self._me = secrets.token_hex(ORIGIN_BYTES).encode()
        self._topics: dict[bytes, str] = {}  # that are wanted, by their channel
        self._joined: set[str] = set()
        self._blind: set[str] = set()
        self._seen_again: set[str] = set()  # joined since before the reading that is under way began
        self._blind_since = 0
        self._reaching: dict[str, asyncio.Event] = {}
        self._news = asyncio.Event()
        self._running: Sequence[asyncio.Task[None]] = ()
        self._name = name
        self._roll = RollCall()
        self._words: dict[str, Callable[[bytes], None]] = {}
        self._said = 0

    async def start(self) -> None:
        await self._bus.start(self)
        self.listen(HERE)
        self._running = (
            asyncio.create_task(self._keep_reading()),
            asyncio.create_task(self._keep_calling()),
        )

    async def stop(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._say(HERE, GOODBYE)
        await self._bus.stop()

    # --- states ---

    def publish(self, task: Task) -> None:
        """Tell the others of a state that was saved, and told here."""
        head = b"%b %b %d " % (self._me, task.id.encode(), task.seq)
        self._bus.publish(task.id, map(self._channel, topics_of(task)), head + msgspec.json.encode(task))

    def listen(self, topic: str) -> None:
        channel = self._channel(topic)
        if channel not in self._topics:
            self._topics[channel] = topic
            self._bus.subscribe(channel)

    def leave(self, topic: str) -> None:
        channel = self._channel(topic)
        if self._topics.pop(channel, None) is None:
            return
        self._forget([topic])
        self._blind.discard(topic)
        self._reaching.pop(topic, None)
        self._bus.unsubscribe(channel)

    def are_heard(self, topic: str) -> bool:
        return topic in self._joined and topic not in self._blind

    async def reach(self, topic: str) -> None:
        if topic not in self._joined and self._bus.is_up:
            reached = self._reaching.setdefault(topic, asyncio.Event())
            with suppress(TimeoutError):
                async with asyncio.timeout(REACH_S):
                    await reached.wait()
        if not (topic in self._joined and self._roll.is_complete) and self._channel(topic) in self._topics:
            self._make_blind([topic])

    # --- words ---

    def say(self, name: str, word: bytes) -> None:
        """Tell it to the others, once and now; who is cut off just then never hears it."""
        self._say(WORDS + name, word)

    def on_word(self, name: str, act: Callable[[bytes], None]) -> None:
        """Call it with each word of this name that another instance says."""
        self._words[name] = act
        self.listen(WORDS + name)

    def _say(self, topic: str, word: bytes) -> None:
        if self._bus.is_up:
            self._said += 1
            self._bus.publish(f"{topic} {self._said}", [self._channel(topic)], b"%b %b" % (self._me, word))

    # --- what comes by the bus ---

    def heard(self, channel: bytes, data: bytes) -> None:
        topic = self._topics.get(channel)
        if topic is None or data.startswith(self._me):
            return
        try:
            if topic == HERE:
                self._called(*data.split(b" ", 1))
            elif topic.startswith(WORDS):
                self._words[topic.removeprefix(WORDS)](data.split(b" ", 1)[1])
            else:
                self._take(data)
        except (ValueError, IndexError):  # msgspec's errors are ValueErrors
            self.unreadable += 1
            if self.unreadable == 1:
                log.warning("an instance of another version says what can't be read here")
        except Exception:
            log.exception("what another instance said could not be handled", extra={"action": "fault"})

    def joined(self, channel: bytes) -> None:
        topic = self._topics.get(channel)
        if topic is None:
            return
        self._joined.add(topic)
        if topic == HERE:
            self._roll.begin_anew()
        reached = self._reaching.pop(topic, None)
        if reached is not None:
            reached.set()
        if topic in self._blind:
            self._news.set()

    def parted(self, channels: Collection[bytes]) -> None:
        topics = [self._topics[channel] for channel in channels if channel in self._topics]
        parted = [topic for topic in topics if topic in self._joined]
        self._forget(parted)
        self._make_blind(parted)

    def _take(self, data: bytes) -> None:
        """A state on one of its topics; on the others it may have come before, and is not read again."""
        _, task_id, seq, state = data.split(b" ", 3)
        if not self._hub.knows(task_id.decode(), int(seq)):
            self.heard_states += 1
            self._hub.publish(msgspec.json.decode(state, type=Task))

    def _channel(self, topic: str) -> bytes:
        return f"{self._prefix}:{topic}".encode(errors="surrogatepass")

    def _forget(self, topics: Iterable[str]) -> None:
        self._joined.difference_update(topics)
        self._seen_again.difference_update(topics)

    # --- what may have been missed ---

    async def _keep_calling(self) -> None:
        for beat in count(1):
            self._say(HERE, self._name.encode())
            await asyncio.sleep(BEAT_S)
            if HERE in self._joined:
                self._roll.beat()
                if beat % ASK_EVERY == 0:
                    await self._ask_who_is_at_work()
            if not self._roll.is_complete:
                self._make_blind(self._topics.values())

    async def _ask_who_is_at_work(self) -> None:
        with suppress(StoreError):
            self._roll.expect({*await self.at_work()} - {self._name})

    def _called(self, run: bytes, name: bytes) -> None:
        if name == GOODBYE:
            self._roll.goodbye(run)
        elif self._roll.here(run, name.decode()):
            self._make_blind(self._topics.values())

    def _make_blind(self, topics: Iterable[str]) -> None:
        topics = [topic for topic in topics if not topic.startswith(WORDS)]
        if topics and not self._blind:
            self._blind_since = self._now() - LEEWAY_MS
            self._news.set()
        self._blind.update(topics)

    async def _keep_reading(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._read_every_s if self._blind else None):
                    await self._news.wait()
            await asyncio.sleep(GATHER_S)
            self._news.clear()
            await self._read_blind()

    async def _read_blind(self) -> None:
        """Read them, and let those see again that were joined all the while."""
        began, topics = self._now(), tuple(self._blind)
        self._seen_again = self._joined & self._blind if self._roll.is_complete else set()
        try:
            await self._read(topics, self._blind_since)
        except StoreError as error:
            log.warning("what other instances changed is not read yet: %s", error)
        except Exception:
            log.exception("what other instances changed can't be read", extra={"action": "fault"})
        else:
            self._blind -= self._seen_again
            self._blind_since = began - LEEWAY_MS

    async def _read(self, topics: Sequence[str], since: int) -> None:
        seen: set[str] = set()
        waited_for = {task_id for topic in topics for task_id in self._hub.live_in(topic)}

        def tell(tasks: Sequence[Task]) -> None:
            self.reads += len(tasks)
            for task in tasks:
                seen.add(task.id)
                self._hub.publish(task)

        for users in _slices(_names(topics, USER)):
            tell(await self._store.live_of(user_ids=users))
            tell(await self._store.ended_of(since, user_ids=users))
        for teams in _slices(_names(topics, TEAM)):
            tell(await self._store.live_of(teams=teams))
            tell(await self._store.ended_of(since, teams=teams))
        for ids in _slices([*waited_for - seen]):
            tell(await self._store.find_all(ids))
        if gone := waited_for - seen:
            self._tell_gone(gone, topics)

    def _tell_gone(self, task_ids: set[str], topics: Iterable[str]) -> None:
        """They were deleted, and cancelled before; who waits for their ends on these topics hears that."""
        now, gone = self._now(), dict[str, Task]()
        for topic in topics:
            kind, _, name = topic.partition(":")
            for task_id in task_ids & {*self._hub.live_in(topic)}:
                task = gone.get(task_id) or Task(
                    task_id, "", Order("", ""), created_at=now, seq=now, watch=Watch(NEVER)
                )
                if kind == "user":
                    task = replace(task, user_id=name)
                elif kind == "team":
                    task = replace(task, team=name)
                gone[task_id] = task
        for task in gone.values():
            self._hub.publish(task.cancel(now))


async def _nobody() -> Iterable[str]:
    return ()


def _names(topics: Iterable[str], prefix: str) -> Sequence[str]:
    return [topic.removeprefix(prefix) for topic in topics if topic.startswith(prefix)]


def _slices(names: Sequence[str]) -> Iterator[Sequence[str]]:
    rest = iter(names)
    while some := tuple(islice(rest, READ_AT_ONCE)):
        yield some
