"""What a line that takes nothing more still has to send. Pure: no socket, no clock.

One ordered dict holds it all. A push stands under its task's id, and a newer state takes the
older one's place, at the end; a reply stands under a key of its own and is never replaced.
Two queues would let a snapshot overtake an older push.
"""

from __future__ import annotations


class Outbox:
    """Frames in the order in which they leave. `bytes_unread` counts the begun one too."""

    __slots__ = ("_begun", "_replies", "_waiting", "bytes_unread", "since")

    def __init__(self, begun: memoryview | None, since: float) -> None:
        """`begun` is the rest of a frame whose first bytes have left, `since` when a byte last did.

        It is a view, because thousands of stalled lines may share one joined batch.
        """
        self._begun = begun
        self._waiting: dict[object, bytes] = {}
        self._replies = 0
        self.bytes_unread = len(begun or b"")
        self.since = since

    def add(self, frame: bytes, key: object = None) -> bool:
        """A frame behind the others; True where it takes the place of what waits under the same key."""
        if key is None:
            self._replies += 1
            key = self._replies
        replaced = self._waiting.pop(key, b"")
        self._waiting[key] = frame
        self.bytes_unread += len(frame) - len(replaced)
        return bool(replaced)

    def clear(self) -> None:
        """Let go of all but the begun frame, which has to be finished."""
        self._waiting.clear()
        self.bytes_unread = len(self._begun or b"")

    def next(self) -> memoryview | None:
        """What is to be sent now, None where nothing is left."""
        if self._begun is None and self._waiting:
            self._begun = memoryview(b"".join(self._waiting.values()))
            self.clear()
        return self._begun

    def took(self, sent: int, now: float) -> None:
        """The socket took so many bytes of `next`."""
        self.since = now
        if self._begun is not None:
            self._begun = self._begun[sent:] if sent < len(self._begun) else None
            self.bytes_unread -= sent
