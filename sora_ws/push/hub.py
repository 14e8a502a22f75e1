"""Who listens to what, and the fan-out. Knows no store, no token and no socket.

The first change in a tick of the loop schedules a flush; what changes before that runs goes
along. A state is encoded once and framed once, whatever the number of its readers, and leaves
each of them in one write.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from msgspec import Raw, json

from sora_ws.push import frames
from sora_ws.push.connection import Connection
from sora_ws.push.frames import Opcode
from sora_ws.push.messages import Presenter, TaskBatch, Update, encode
from sora_ws.task import Task

KNOWN_MAX: Final = 65_536
"""Of how many tasks the last `seq` is remembered; an older one is no longer pushed twice by us."""

DEFLATE_BYTES_MIN: Final = 128  # below it the frame's head is most of what could be saved


def task_topic(task_id: str) -> str:
    return f"task:{task_id}"


def user_topic(user_id: str) -> str:
    return f"user:{user_id}"


def team_topic(team: str) -> str:
    return f"team:{team}"


def topics_of(task: Task) -> tuple[str, ...]:
    """Where a change of the task is told."""
    topics = (task_topic(task.id), user_topic(task.user_id))
    return topics if task.team is None else (*topics, team_topic(task.team))


class Push:
    """One state of one task, encoded and framed when the first reader needs it."""

    __slots__ = ("_deflated", "_payload", "_plain", "_timestamp", "_type", "task_id")

    def __init__(self, task: Task, presenter: Presenter, now: int) -> None:
        self.task_id = task.id
        self._type, payload = presenter.push(task, now)
        self._payload = Raw(json.encode(payload))
        self._timestamp = now
        self._plain: bytes | None = None
        self._deflated: bytes | None = None

    def frame(self, *, deflates: bool) -> bytes:
        if self._plain is None:
            self._plain = frames.frame(Opcode.TEXT, self._text())
        if not deflates:
            return self._plain
        if self._deflated is None:
            self._deflated = text_frame(self._text(), deflates=True)
        return self._deflated

    def update(self) -> Update:
        """The push as part of a `taskBatch`."""
        return Update(self._type, self._payload)

    def _text(self) -> bytes:
        return encode(self._type, self._payload, self._timestamp)


def text_frame(text: bytes, *, deflates: bool) -> bytes:
    """A text message as a frame, compressed for those who agreed and where it pays."""
    if deflates and len(text) >= DEFLATE_BYTES_MIN:
        return frames.frame(Opcode.TEXT, frames.deflate(text), compressed=True)
    return frames.frame(Opcode.TEXT, text)


class Hub:
    """Topic → connections, and the door that only a newer `seq` passes."""

    def __init__(self, presenter: Presenter, clock: Callable[[], int]) -> None:
        self._presenter = presenter
        self._now = clock
        self._listeners: dict[str, set[Connection]] = {}
        self._followers: dict[str, list[dict[str, Task]]] = {}
        self._known: OrderedDict[str, int] = OrderedDict()
        self._changed: dict[str, Task] = {}
        self.subscriptions = 0
        self.pushes_sent = 0

    # --- who listens ---

    def subscribe(self, connection: Connection, topic: str) -> None:
        """Idempotent. What changed in this tick is told first, to those who listened then."""
        self.flush()
        listeners = self._listeners.setdefault(topic, set())
        if connection not in listeners:
            listeners.add(connection)
            connection.topics.add(topic)
            self.subscriptions += 1

    def unsubscribe(self, connection: Connection, topic: str) -> None:
        """Idempotent."""
        listeners = self._listeners.get(topic)
        if listeners is None or connection not in listeners:
            return
        listeners.remove(connection)
        connection.topics.discard(topic)
        self.subscriptions -= 1
        if not listeners:
            del self._listeners[topic]

    def drop(self, connection: Connection) -> None:
        """The connection listens to nothing any more."""
        for topic in tuple(connection.topics):
            self.unsubscribe(connection, topic)

    @contextmanager
    def following(self, topic: str) -> Iterator[Mapping[str, Task]]:
        """The newest states that are published on the topic meanwhile, by task id.

        A subscriber reads the store inside, and sends the newer of both: no change falls
        between the read and the subscription.
        """
        seen: dict[str, Task] = {}
        self._followers.setdefault(topic, []).append(seen)
        try:
            yield seen
        finally:
            followers = self._followers[topic]
            # By identity: two followers that saw nothing are equal.
            followers[:] = [other for other in followers if other is not seen]
            if not followers:
                del self._followers[topic]

    # --- what they hear ---

    def publish(self, task: Task) -> None:
        """Tell the state to all who listen, unless they know one as new."""
        for topic in topics_of(task):
            for seen in self._followers.get(topic, ()):
                if task.id not in seen or seen[task.id].seq < task.seq:
                    seen[task.id] = task
        if not self._is_news(task):
            return
        if not self._changed:
            asyncio.get_running_loop().call_soon(self.flush)
        self._changed[task.id] = task

    def show(self, connection: Connection, tasks: Sequence[Task]) -> None:
        """The tasks' current states to one connection, behind its `subscribeSuccess`."""
        now = self._now()
        for task in tasks:
            self._is_news(task)  # from here on an older state is none
        if tasks:
            self._send(connection, [Push(task, self._presenter, now) for task in tasks])

    def flush(self) -> None:
        """Send what has changed since the last time."""
        if not self._changed:
            return
        changed, self._changed = self._changed, {}
        owed: dict[Connection, list[Push]] = {}
        now = self._now()
        for task in changed.values():
            readers = self._readers(task)
            if readers:
                push = Push(task, self._presenter, now)
                for connection in readers:
                    owed.setdefault(connection, []).append(push)
        for connection, pushes in owed.items():
            self._send(connection, pushes)

    def _readers(self, task: Task) -> set[Connection]:
        found = [self._listeners[topic] for topic in topics_of(task) if topic in self._listeners]
        return found[0] if len(found) == 1 else set().union(*found)

    def _send(self, connection: Connection, pushes: list[Push]) -> None:
        self.pushes_sent += len(pushes)
        if connection.is_stalled:
            # One by one under their tasks' ids, so that newer ones take their places.
            for push in pushes:
                connection.send(self._joined(connection, [push]), key=push.task_id)
        else:
            connection.send(self._joined(connection, pushes))

    def _joined(self, connection: Connection, pushes: list[Push]) -> bytes:
        if connection.batch:
            batch = encode("taskBatch", TaskBatch([push.update() for push in pushes]), self._now())
            return text_frame(batch, deflates=connection.deflates)
        if len(pushes) == 1:
            return pushes[0].frame(deflates=connection.deflates)
        return b"".join(push.frame(deflates=connection.deflates) for push in pushes)

    def _is_news(self, task: Task) -> bool:
        """Whether the state is newer than the last one known here; it is the last one now."""
        known = self._known.get(task.id)
        if known is not None and known >= task.seq:
            return False
        self._known[task.id] = task.seq
        self._known.move_to_end(task.id)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return True
