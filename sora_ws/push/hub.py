"""Who listens to what, and the fan-out. Knows no store, no token and no socket.

The first change in a tick of the loop schedules a flush; what changes before that runs goes
along. A state is encoded once and framed once, whatever the number of its readers, and leaves
each of them in one write.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol

from msgspec import Struct

from sora_ws import failpoint
from sora_ws.push.connection import Connection
from sora_ws.push.fanout import Delivery, Push, Round, deliveries_of
from sora_ws.push.messages import Presenter
from sora_ws.task import Task

KNOWN_MAX: Final = 65_536
"""Of how many tasks the last `seq` is remembered; an older one is no longer pushed twice by us."""

SEVERAL: Final = 2
"""So many listen to a task that the next one may come too: its state is kept."""

TASK: Final = "task:"
USER: Final = "user:"
TEAM: Final = "team:"

FEW_TOPICS: Final = 8  # in a tuple: 64 bytes for one, where a set takes 216

SLICE: Final = 500  # sockets a turn of the loop, some 3 ms


class Topic(Struct, gc=False, eq=False):
    """Who listens to one thing. Its lines know it too: the cycle ends when they leave."""

    name: str
    listeners: set[Connection]
    newest: Task | None = None
    """The newest state of a live task that several listen to."""
    is_over: bool = False
    """The end of the task has been told."""
    live: set[str] | None = None
    """Where there are other instances: the tasks that a room was told of and whose end it was not."""


class Others(Protocol):
    """The other instances: what they save is published here, on the topics that somebody listens to."""

    def listen(self, topic: str) -> None:
        """Somebody listens to it from now on. Idempotent."""
        ...

    def leave(self, topic: str) -> None:
        """Nobody does any more. Idempotent."""
        ...

    def are_heard(self, topic: str) -> bool:
        """Whether everything that they saved on it since `reach` is published here."""
        ...

    async def reach(self, topic: str) -> None:
        """Returns when they are heard, or can't be just now: then they are as soon as they can.

        What is read from the store behind it is missing nothing that is not published here later.
        """
        ...


def task_topic(task_id: str) -> str:
    return f"{TASK}{task_id}"


def user_topic(user_id: str) -> str:
    return f"{USER}{user_id}"


def team_topic(team: str) -> str:
    return f"{TEAM}{team}"


def topics_of(task: Task) -> tuple[str, ...]:
    """Where a change of the task is told."""
    topics = (task_topic(task.id), user_topic(task.user_id))
    return topics if task.team is None else (*topics, team_topic(task.team))


class Hub:
    """Topic → connections, and the door that only a newer `seq` passes."""

    def __init__(self, presenter: Presenter, clock: Callable[[], int]) -> None:
        self._presenter = presenter
        self._now = clock
        self._topics: dict[str, Topic] = {}
        self._followers: dict[str, list[dict[str, Task]]] = {}
        self._known: OrderedDict[str, int] = OrderedDict()
        self._changed: dict[str, Task] = {}
        self._shown: dict[str, dict[Connection, int]] = {}  # of changes that wait for their flush
        self._round: Round | None = None
        self.subscriptions = 0
        self.pushes_sent = 0
        self.others: Others | None = None

    # --- who listens ---

    def subscribe(self, connection: Connection, name: str) -> None:
        """Idempotent."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, set())
            if self.others is not None and not name.startswith(TASK):
                topic.live = set()
            if name not in self._followers:
                self._listen(name)
        if connection not in topic.listeners:
            topic.listeners.add(connection)
            _note(connection, topic)
            self.subscriptions += 1

    def hears(self, connection: Connection, name: str) -> bool:
        """Whether it has subscribed to the topic."""
        topic = self._topics.get(name)
        return topic is not None and connection in topic.listeners

    def unsubscribe(self, connection: Connection, name: str) -> None:
        """Idempotent."""
        topic = self._topics.get(name)
        if topic is None or connection not in topic.listeners:
            return
        if connection.is_open:
            self._serve_first(connection)
        self._leave(connection, topic)

    def drop(self, connection: Connection) -> None:
        """The connection listens to nothing any more."""
        for topic in tuple(connection.topics):
            self._leave(connection, topic)

    def _leave(self, connection: Connection, topic: Topic) -> None:
        topic.listeners.remove(connection)
        _strike(connection, topic)
        self.subscriptions -= 1
        if len(topic.listeners) < SEVERAL:
            topic.newest = None
        if not topic.listeners:
            del self._topics[topic.name]
            self._leave_unheard(topic.name)

    def newest(self, task_id: str) -> Task | None:
        """The newest state of a live task that several listen to; None where the store must be asked.

        Thousands come back at once after a restart: they need no read each. An ended task is not
        kept, since it may be deleted without another word.
        """
        topic = self._topics.get(task_topic(task_id))
        if topic is None or (self.others is not None and not self.others.are_heard(topic.name)):
            return None
        return topic.newest

    def knows(self, task_id: str, seq: int) -> bool:
        """Whether a state as new as this one has been published here."""
        return self._known.get(task_id, -1) >= seq

    def live_in(self, name: str) -> Iterable[str]:
        """The tasks that those who listen to the topic wait for: they were not told their ends."""
        topic = self._topics.get(name)
        if topic is None or topic.is_over:
            return ()
        return (name.removeprefix(TASK),) if topic.live is None else tuple(topic.live)

    @contextmanager
    def following(self, topic: str) -> Iterator[Mapping[str, Task]]:
        """The newest states that are published on the topic meanwhile, by task id.

        A subscriber reads the store inside, and sends the newer of both: no change falls
        between the read and the subscription.
        """
        seen: dict[str, Task] = {}
        if topic not in self._followers and topic not in self._topics:
            self._listen(topic)
        self._followers.setdefault(topic, []).append(seen)
        try:
            yield seen
        finally:
            followers = self._followers[topic]
            # By identity: two followers that saw nothing are equal.
            followers[:] = [other for other in followers if other is not seen]
            if not followers:
                del self._followers[topic]
                if self.others is not None:  # not yet: who has read may subscribe right behind it
                    self._soon(partial(self._leave_unheard, topic))

    def _listen(self, topic: str) -> None:
        if self.others is not None:
            self.others.listen(topic)

    def _leave_unheard(self, topic: str) -> None:
        if self.others is not None and topic not in self._topics and topic not in self._followers:
            self.others.leave(topic)

    # --- what they hear ---

    def publish(self, task: Task) -> None:
        """Tell the state to all who listen, unless they know one as new."""
        self._tell(task)

    def show(self, connection: Connection, tasks: Sequence[Task], behind: bytes = b"") -> None:
        """The tasks' current states to one connection, in one write with what they come behind.

        One may have been read that is saved and not published yet. Then it is news for the others
        too: when its writer comes to publish it, it will be none.
        """
        self._serve_first(connection)
        for task in tasks:
            self._tell(task, but=connection)
            self._keep(task)
            if task.id in self._changed:
                self._shown.setdefault(task.id, {})[connection] = task.seq
        if tasks:
            now = self._now()
            pushes = [Push(task, self._presenter, now) for task in tasks]
            Delivery(pushes, {connection}, behind).to([connection])
            self.pushes_sent += len(pushes)
        elif behind:
            connection.send(behind)

    def _tell(self, task: Task, but: Connection | None = None) -> None:
        for name in topics_of(task):
            for seen in self._followers.get(name, ()):
                if task.id not in seen or seen[task.id].seq < task.seq:
                    seen[task.id] = task
        if not self._is_news(task):
            return
        self._keep(task)
        if any(len(topic.listeners) > (but in topic.listeners) for topic in self._heard(task)):
            if not self._changed and self._round is None:
                self._soon(self.flush)
            self._changed[task.id] = task

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
            if task.id in shown:
                readers = readers - {c for c, seq in shown[task.id].items() if seq >= task.seq}
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

    def _heard(self, task: Task) -> list[Topic]:
        """Those of the task's topics to which somebody listens."""
        return [self._topics[name] for name in topics_of(task) if name in self._topics]

    def _readers(self, task: Task) -> Set[Connection]:
        found = [topic.listeners for topic in self._heard(task)]
        return found[0] if len(found) == 1 else set().union(*found)

    def _keep(self, task: Task) -> None:
        if self.others is not None:
            self._keep_in_rooms(task)
        topic = self._topics.get(task_topic(task.id))
        if topic is None:
            return
        topic.is_over = not task.is_live
        if len(topic.listeners) >= SEVERAL:
            # Of one that waits, the place in line changes without a word: the store is asked.
            topic.newest = task if task.is_live and not task.waits else None

    def _keep_in_rooms(self, task: Task) -> None:
        for room in self._heard(task):
            if room.live is None:
                continue
            if task.is_live:
                room.live.add(task.id)
            else:
                room.live.discard(task.id)

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


def _note(connection: Connection, topic: Topic) -> None:
    """The connection listens to it."""
    topics = connection.topics
    if isinstance(topics, set):
        topics.add(topic)
    else:
        connection.topics = (*topics, topic) if len(topics) < FEW_TOPICS else {*topics, topic}


def _strike(connection: Connection, topic: Topic) -> None:
    """The connection no longer listens to it."""
    topics = connection.topics
    if isinstance(topics, set):
        topics.remove(topic)
    else:
        connection.topics = tuple(other for other in topics if other is not topic)
