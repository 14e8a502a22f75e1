"""Server-Sent Events: one more kind of reader at the hub (WHATWG HTML, section 9.2).

Behind the request only the socket is kept, as with WebSockets; what a push looks like to these
readers is made once for all of them, and who reads slowly owes the newest state of each task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence, Set
from typing import TYPE_CHECKING, Final

from tornado.iostream import IOStream, SSLIOStream

from sora_ws.push.connection import Connection
from sora_ws.push.frames import Opcode
from sora_ws.push.stream import StreamTransport

if TYPE_CHECKING:
    from sora_ws.auth import Identity
    from sora_ws.push.hub import Hub
    from sora_ws.push.lines import Lines
    from sora_ws.push.reads import StateReads
    from sora_ws.push.sockets import Sockets, SocketTransport
    from sora_ws.task import Task

RETRY: Final = b"retry: 3000\n\n"
COMMENT: Final = b":\n\n"


def event(seq: int, text: bytes) -> bytes:
    """A message as an event; JSON has no line break in it."""
    return b"id: %d\ndata: %b\n\n" % (seq, text)


class EventStream(Connection, gc=False, eq=False):
    """A client that only listens. It hears pushes and, as a comment, beats; nothing else."""

    task_id: str | None = None
    """The one task that it listens to, with whose end it ends; None for all of a user."""

    def receive(self, data: bytes) -> Awaitable[None] | None:
        """A request has come; what may come behind it is of no interest."""
        return None

    def send_text(self, text: bytes) -> None:
        """Replies and warnings are for who can answer."""

    def beat(self, frame: bytes) -> None:
        self.heard_at = self._listener.now  # its silence says nothing
        self.send(COMMENT, key=Opcode.PING)

    def ended(self, task_ids: Set[str]) -> None:
        """It was told the end of these tasks."""
        if self.task_id in task_ids:
            self.close(None)

    def _goodbye(self, code: int | None, reason: str) -> bytes:
        return b""  # the end of the body says it


class EventStreams:
    """Opens them: what is answered by one is a line among the lines from then on."""

    def __init__(self, lines: Lines, hub: Hub, reads: StateReads, sockets: Sockets | None) -> None:
        """`sockets` is None where Tornado's stream serves them."""
        self.lines = lines
        self.hub = hub
        self.reads = reads
        self._sockets = sockets

    async def open(
        self,
        stream: IOStream,
        *,
        head: bytes,
        identity: Identity,
        topic: str,
        states: Sequence[Task],
        task_id: str | None,
    ) -> None:
        """Answer by the head, an event for each state, and one for each change on the topic.

        Returns when nothing of Tornado's is in use any more. The states must be those
        that `reads` gave in this turn of the loop.
        """
        stream.set_nodelay(True)  # else an event waits until the one before is acknowledged
        transport = self._transport(stream)
        transport.connection = events = self.lines.adopt_stream(transport, identity, task_id)
        self.hub.subscribe(events, topic)
        events.send(head + RETRY)
        self.hub.show(events, states)
        if isinstance(transport, StreamTransport):
            await transport.read(events)

    def _transport(self, stream: IOStream) -> StreamTransport | SocketTransport:
        if self._sockets is None or isinstance(stream, SSLIOStream) or stream.closed() or stream.writing():
            return StreamTransport(stream)
        return self._sockets.take(stream)[0]
