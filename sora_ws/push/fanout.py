"""How changes reach their readers: encoded once, framed once, one write a reader, in slices.

Pure but for the `put` of the connections that it is handed. docs/performance.md sets the ways of
fan-out side by side.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

from msgspec import Raw, json

from sora_ws.push import frames
from sora_ws.push.connection import BATCHES, DEFLATES, EVENTS, Connection
from sora_ws.push.frames import Opcode
from sora_ws.push.messages import Presenter, TaskBatch, Update, encode
from sora_ws.push.sse import EventStream, event
from sora_ws.task import Task

DEFLATE_BYTES_MIN: Final = 128  # below it the frame's head is most of what could be saved
KINDS: Final = 5


class Push:
    """One state of one task, encoded and framed when the first reader of a kind needs it."""

    __slots__ = ("_frames", "_payload", "_seq", "_timestamp", "_type", "is_last", "task_id")

    def __init__(self, task: Task, presenter: Presenter, now: int) -> None:
        self.task_id = task.id
        self.is_last = not task.is_live
        self._seq = task.seq
        self._type, payload = presenter.push(task, now)
        self._payload = Raw(json.encode(payload))
        self._timestamp = now
        self._frames: list[bytes] = [b""] * KINDS

    def frame(self, kind: int) -> bytes:
        """The push alone, for readers of this kind."""
        return self._frames[kind] or self._make(kind)

    def _make(self, kind: int) -> bytes:
        if kind & BATCHES:
            made = batch_frame([self], kind)
        else:
            text = encode(self._type, self._payload, self._timestamp)
            made = event(self._seq, text) if kind & EVENTS else text_frame(text, kind)
        self._frames[kind] = made
        return made

    @property
    def update(self) -> Update:
        """The push as part of a `taskBatch`."""
        return Update(self._type, self._payload)

    @property
    def timestamp(self) -> int:
        return self._timestamp


def text_frame(text: bytes, kind: int = 0) -> bytes:
    """A text message as a frame, compressed for those who agreed and where it pays."""
    if kind & DEFLATES and len(text) >= DEFLATE_BYTES_MIN:
        return frames.frame(Opcode.TEXT, frames.deflate(text), compressed=True)
    return frames.frame(Opcode.TEXT, text)


def batch_frame(pushes: Sequence[Push], kind: int) -> bytes:
    """Several pushes as one `taskBatch`."""
    batch = TaskBatch([push.update for push in pushes])
    return text_frame(encode("taskBatch", batch, pushes[0].timestamp), kind)


class Delivery:
    """The same pushes for many readers, behind the same frame: joined once for each kind of them."""

    __slots__ = ("_behind", "_ended", "_joined", "pushes", "readers")

    def __init__(self, pushes: Sequence[Push], readers: Set[Connection], behind: bytes = b"") -> None:
        self._behind = behind
        self.pushes = pushes
        self.readers = readers
        self._ended = {push.task_id for push in pushes if push.is_last}
        self._joined: list[bytes] = [b""] * KINDS

    def to(self, connections: Sequence[Connection]) -> None:
        """One write each. What goes wrong with one is dealt with when all have been served.

        This loop is what the product exists for: `put` is the socket's own `send`, and checking
        what it says costs nothing (0.85 of a bare C loop with it, 0.85 without).
        """
        joined, stalled, cut, gone = self._joined, [], [], []
        for connection in connections:
            frame = joined[connection.kind] or self._join(connection.kind)
            try:
                sent = connection.put(frame)
            except BlockingIOError:
                stalled.append(connection)
            except OSError:
                gone.append(connection)
            else:
                if sent != len(frame):
                    cut.append((connection, frame, sent))
        for connection in stalled:
            self._owe(connection)
        for connection, frame, sent in cut:
            connection.stall(frame, sent)
        for connection in gone:
            if connection.is_open:
                connection.abort()
        if self._ended:
            for connection in connections:
                if isinstance(connection, EventStream):
                    connection.ended(self._ended)

    def _join(self, kind: int) -> bytes:
        if len(self.pushes) == 1:
            made = self.pushes[0].frame(kind)
        elif kind & BATCHES:
            made = batch_frame(self.pushes, kind)
        else:
            made = b"".join(push.frame(kind) for push in self.pushes)
        self._joined[kind] = made = self._behind + made
        return made

    def _owe(self, connection: Connection) -> None:
        """Each push under its task's id, so that newer ones take their places."""
        if self._behind and connection.is_open:
            connection.owe(self._behind)
        for push in self.pushes:
            if connection.is_open:
                connection.owe(push.frame(connection.kind), push.task_id)


class Round:
    """Deliveries on their way, so many sockets at a time."""

    def __init__(self, deliveries: Sequence[Delivery], slice_size: int) -> None:
        self._slice_size = slice_size
        self._waiting = [(delivery, list(delivery.readers)) for delivery in deliveries]
        self._served: set[Connection] = set()
        self.sent = 0

    def step(self) -> bool:
        """Serve the next slice; False when none is left."""
        room = self._slice_size
        while self._waiting and room > 0:
            delivery, readers = self._waiting[-1]
            part = readers[-room:]
            del readers[-room:]
            room -= len(part)
            self._deliver(delivery, part)
            if not readers:
                self._waiting.pop()
        return bool(self._waiting)

    def serve(self, connection: Connection) -> None:
        """Serve one reader out of its turn: something is about to be said that must come behind it."""
        if connection in self._served:
            return
        for delivery, readers in self._waiting:
            if connection in delivery.readers and connection in readers:
                self._deliver(delivery, [connection])
        self._served.add(connection)

    def _deliver(self, delivery: Delivery, connections: list[Connection]) -> None:
        if self._served:
            connections = [c for c in connections if c not in self._served]
        delivery.to(connections)
        self.sent += len(connections) * len(delivery.pushes)


def deliveries_of(changes: Sequence[tuple[Push, Set[Connection]]]) -> list[Delivery]:
    """Pushes with their readers, put together so that each reader is in one delivery alone.

    Tasks with the same readers are joined once for all of them: that is how a hundred changes
    cost each reader one write.
    """
    groups: list[tuple[Set[Connection], list[Push]]] = []
    for push, readers in changes:
        # Most changes of a tick have the readers of the one before; compared in C, 20 ns a reader.
        if groups and (groups[-1][0] is readers or groups[-1][0] == readers):
            groups[-1][1].append(push)
        else:
            groups.append((readers, [push]))
    if len(groups) == 1:
        readers, pushes = groups[0]
        return [Delivery(pushes, readers)]
    owed: dict[Connection, list[Push]] = {}
    for readers, pushes in groups:
        for connection in readers:
            owed.setdefault(connection, []).extend(pushes)
    alike: dict[tuple[Push, ...], set[Connection]] = {}
    for connection, pushes in owed.items():
        alike.setdefault(tuple(pushes), set()).add(connection)
    return [Delivery(pushes_, readers_) for pushes_, readers_ in alike.items()]
