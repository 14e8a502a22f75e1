"""Who listens to what, and the fan-out. Knows no store, no token and no socket.

The first change in a tick of the loop schedules a flush; what changes before that runs goes
along. A state is encoded once and framed once, whatever the number of its readers, and leaves
each of them in one write.
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Final

from sora_ws import failpoint
from sora_ws.push.connection import Connection
from sora_ws.push.fanout import Delivery, Push, Round, deliveries_of
from sora_ws.push.messages import Presenter
from sora_ws.task import Task

KNOWN_MAX: Final = 65_536
"""Of how many tasks the last `seq` is remembered; an older one is no longer pushed twice by us."""

FEW_TOPICS: Final = 8  # in a tuple: 64 bytes for one, where a set takes 216

SLICE: Final = 500  # sockets a turn of the loop, some 3 ms


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


class Hub:
    """Topic → connections, and the door that only a newer `seq` passes."""

    def __init__(self, presenter: Presenter, clock: Callable[[], int]) -> None:
        self._presenter = presenter
        self._now = clock
        self._listeners: dict[str, set[Connection]] = {}
        self._followers: dict[str, list[dict[str, Task]]] = {}
        self._known: OrderedDict[str, int] = OrderedDict()
        self._newest: dict[str, Task] = {}
        self._changed: dict[str, Task] = {}
        self._shown: dict[tuple[Connection, str], int] = {}  # of changes that wait for their flush
        self._round: Round | None = None
        self.subscriptions = 0
        self.pushes_sent = 0

    # --- who listens ---

    def subscribe(self, connection: Connection, topic: str) -> None:
        """Idempotent."""
        topic = sys.intern(topic)  # one string for all who listen
        listeners = self._listeners.setdefault(topic, set())
        if connection not in listeners:
            listeners.add(connection)
            _note(connection, topic)
            self.subscriptions += 1

    def unsubscribe(self, connection: Connection, topic: str) -> None:
        """Idempotent."""
        listeners = self._listeners.get(topic)
        if listeners is None or connection not in listeners:
            return
        if connection.is_open:
            self._serve_first(connection)
        listeners.remove(connection)
        _strike(connection, topic)
        self.subscriptions -= 1
        if not listeners:
            del self._listeners[topic]
        if len(listeners) < 2:
            self._newest.pop(topic, None)

    def drop(self, connection: Connection) -> None:
        """The connection listens to nothing any more."""
        for topic in tuple(connection.topics):
            self.unsubscribe(connection, topic)

    def newest(self, task_id: str) -> Task | None:
        """The newest state of a live task that several listen to; None where the store must be asked.

        Thousands come back at once after a restart: they need no read each. An ended task is not
        kept, since it may be deleted without another word.
        """
        return self._newest.get(task_topic(task_id))

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

    async def states(self, topic: str, reading: Awaitable[Iterable[Task]]) -> list[Task]:
        """What is read from the store, no older than anything that was published meanwhile.

        Who subscribes right behind this misses nothing: no change falls between the two.
        """
        with self.following(topic) as meanwhile:
            read = {task.id: task for task in await reading}
        newer = {id_: task for id_, task in meanwhile.items() if id_ not in read or read[id_].seq < task.seq}
        return list((read | newer).values())

    # --- what they hear ---

    def publish(self, task: Task) -> None:
        """Tell the state to all who listen, unless they know one as new."""
        for topic in topics_of(task):
            for seen in self._followers.get(topic, ()):
                if task.id not in seen or seen[task.id].seq < task.seq:
                    seen[task.id] = task
        if not self._is_news(task):
            return
        topic = task_topic(task.id)
        if topic in self._newest:
            self._keep(topic, task)
        if not self._changed and self._round is None:
            self._soon(self.flush)
        self._changed[task.id] = task

    def show(self, connection: Connection, tasks: Sequence[Task]) -> None:
        """The tasks' current states to one connection, behind its `subscribeSuccess`."""
        self._serve_first(connection)
        now = self._now()
        for task in tasks:
            self._is_news(task)  # from here on an older state is none
            if task.id in self._changed:
                self._shown[connection, task.id] = task.seq
            topic = task_topic(task.id)
            if len(self._listeners.get(topic, ())) >= 2:
                self._keep(topic, task)
        if tasks:
            pushes = [Push(task, self._presenter, now) for task in tasks]
            Delivery(pushes, {connection}).to([connection])
            self.pushes_sent += len(pushes)

    def flush(self) -> None:
        """Send what has changed since the last time, a slice in each turn of the loop.

        One round at a time: what changes meanwhile waits for the next, so that no reader is
        told a newer state by one round and an older one by another.
        """
        if self._round is not None or not self._changed:
            return
        changed, self._changed = self._changed, {}
        shown, self._shown = self._shown, {}
        now = self._now()
        changes = []
        for task in changed.values():
            readers = self._readers(task)
            if shown:
                readers = {c for c in readers if shown.get((c, task.id), -1) < task.seq}
            if readers:
                changes.append((Push(task, self._presenter, now), readers))
        if changes:
            failpoint.reach("pushes_ready")
            self._round = Round(deliveries_of(changes), SLICE)
            self._go_on()

    def _go_on(self) -> None:
        running = self._round
        if running is None:
            return
        if running.step():
            self._soon(self._go_on)
            return
        failpoint.reach("pushes_sent")
        self.pushes_sent += running.sent
        self._round = None
        if self._changed:
            self._soon(self.flush)

    def _soon(self, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(act)

    def _serve_first(self, connection: Connection) -> None:
        """What is on its way to this reader comes before what is about to be said to it."""
        if self._round is not None:
            self._round.serve(connection)

    def _readers(self, task: Task) -> Set[Connection]:
        found = [self._listeners[topic] for topic in topics_of(task) if topic in self._listeners]
        return found[0] if len(found) == 1 else set().union(*found)

    def _keep(self, topic: str, task: Task) -> None:
        if task.is_live:
            self._newest[topic] = task
        else:
            self._newest.pop(topic, None)

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


def _note(connection: Connection, topic: str) -> None:
    """The connection listens to it."""
    topics = connection.topics
    if isinstance(topics, set):
        topics.add(topic)
    else:
        connection.topics = (*topics, topic) if len(topics) < FEW_TOPICS else {*topics, topic}


def _strike(connection: Connection, topic: str) -> None:
    """The connection no longer listens to it."""
    topics = connection.topics
    if isinstance(topics, set):
        topics.discard(topic)
    else:
        connection.topics = tuple(other for other in topics if other != topic)
