"""Three ways of laying channels over the topics of tasks: one each, one for all, some by hash.

Where several topics share a channel a message begins with its topics, so that who wants none of them drops
it unread. All go over the product's own bus.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from binascii import crc32
from collections.abc import Collection, Iterable
from itertools import chain
from typing import Final

import msgspec

from sora_ws.bus import Bus
from sora_ws.push.hub import Hub, task_topic, topics_of, user_topic
from sora_ws.task import Task

SHARDS: Final = 16
PREFIX: Final = b"sora-ws:bench:0123abcd:"
ORIGIN: Final = b"01234567"


class Way(ABC):
    """How an instance subscribes, tells and hears."""

    def __init__(self, bus: Bus, hub: Hub) -> None:
        self.bus = bus
        self.hub = hub
        self.decoded = 0
        self.messages = 0
        self.wanted: set[str] = set()

    @abstractmethod
    def want(self, topics: Collection[str]) -> set[bytes]:
        """Listen to these; the channels that have to be joined for it."""

    @abstractmethod
    def publish(self, task: Task) -> None: ...

    @abstractmethod
    def heard(self, channel: bytes, data: bytes) -> None: ...

    def _subscribe(self, channels: Iterable[bytes]) -> set[bytes]:
        joining = set(channels)
        for channel in joining:
            self.bus.subscribe(channel)
        return joining

    def _take(self, state: bytes) -> None:
        """As `Relay` does with a state that is wanted here."""
        _, task_id, seq, document = state.split(b" ", 3)
        if not self.hub.knows(task_id.decode(), int(seq)):
            self.decoded += 1
            self.hub.publish(msgspec.json.decode(document, type=Task))


def _state(task: Task) -> bytes:
    return b"%b %b %d " % (ORIGIN, task.id.encode(), task.seq) + msgspec.json.encode(task)


class PerTopic(Way):
    """A channel for each topic: a change is published on each of its own."""

    def __init__(self, bus: Bus, hub: Hub) -> None:
        super().__init__(bus, hub)
        self._topics: dict[bytes, str] = {}

    def want(self, topics: Collection[str]) -> set[bytes]:
        self._topics |= {PREFIX + topic.encode(): topic for topic in topics}
        return self._subscribe(self._topics)

    def publish(self, task: Task) -> None:
        channels = [PREFIX + topic.encode() for topic in topics_of(task)]
        self.bus.publish(task.id, channels, _state(task))

    def heard(self, channel: bytes, data: bytes) -> None:
        self.messages += 1
        if channel in self._topics:
            self._take(data)


class Shared(Way):
    """Channels by the hash of the user, whom a task's readers know when they have read it."""

    shards = SHARDS

    def want(self, topics: Collection[str]) -> set[bytes]:
        self.wanted |= set(topics)
        users = [topic for topic in topics if topic.startswith("user:")]
        return self._subscribe(map(self._channel, users))

    def publish(self, task: Task) -> None:
        head = " ".join(topics_of(task)).encode()
        self.bus.publish(task.id, [self._channel(user_topic(task.user_id))], head + b"|" + _state(task))

    def heard(self, channel: bytes, data: bytes) -> None:
        self.messages += 1
        head, _, state = data.partition(b"|")
        if not self.wanted.isdisjoint(head.decode().split(" ")):
            self._take(state)

    def _channel(self, topic: str) -> bytes:
        return PREFIX + b"%d" % (crc32(topic.encode()) % self.shards)


class OneForAll(Shared):
    """One channel."""

    shards = 1


WAYS: Final[dict[str, type[Way]]] = {"per topic": PerTopic, "one": OneForAll, "shards": Shared}


def topics_to_want(tasks: Iterable[Task]) -> list[str]:
    """Of who follows each of these tasks, and the room of their user."""
    topics = ((task_topic(task.id), user_topic(task.user_id)) for task in tasks)
    return list(dict.fromkeys(chain.from_iterable(topics)))
