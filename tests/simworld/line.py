"""Lines to the server, without a network: what is sent arrives a little later, if somebody reads it."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from sora_ws.push.connection import Connection, Data
from sora_ws.push.frames import Opcode

if TYPE_CHECKING:
    from tests.simworld.world import World

WINDOW: Final = 3_000  # bytes that a socket takes before its reader does
CALM_READS_S: Final = 0.05


class Line:
    """A connection's `Transport`, and the client at its other end, who finds None behind all `messages`."""

    def __init__(self, world: World, chance: random.Random, reads_s: float) -> None:
        self.messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._world = world
        self._chance = chance
        self._reads_s = reads_s  # how long it takes between two reads
        self._under_way = bytearray()
        self._unread = bytearray()
        self._is_wanted = False
        self._is_finished = False
        self._is_over = False
        self.connection: Connection | None = None

    # --- the server's end ---

    @property
    def send(self) -> Callable[[Data], int]:
        return self._take

    def _take(self, data: Data) -> int:
        if self._is_over:
            raise BrokenPipeError
        room = WINDOW - len(self._under_way)
        if room <= 0:
            raise BlockingIOError
        if not self._under_way:
            reads_s = self._reads_s if self._world.is_stormy else min(self._reads_s, CALM_READS_S)
            self._world.later(reads_s * self._chance.uniform(0.5, 1.5), self._read)
        self._under_way += bytes(data[:room])
        return min(room, len(data))

    @property
    def has_unread(self) -> bool:
        return False

    def want_writable(self) -> None:
        self._is_wanted = True

    def finish(self) -> None:
        """What is under way still arrives."""
        self._is_finished = True
        if not self._under_way:
            self._world.later(0.01, self.cut)

    def abort(self) -> None:
        self._world.later(0.01, self.cut)

    # --- the client's end ---

    def trip(self) -> None:
        """Some trouble on the way."""
        if self._world.is_stormy:
            self.cut()

    def cut(self, by: str = "server") -> None:
        """The line is gone; what was read by now is all that there is."""
        if self._is_over:
            return
        self._is_over = True
        self._is_cut(by)
        self.messages.put_nowait(None)
        if self.connection is not None:
            self._world.in_server(self.connection.abort)

    def _read(self) -> None:
        self._unread += self._under_way
        self._under_way.clear()
        if self._is_over:
            return
        self._parse()
        if self._is_finished:
            self._world.later(0.01, self.cut)
        if self._is_wanted and self.connection is not None:
            self._is_wanted = False
            self._world.in_server(self.connection.writable)

    def _parse(self) -> None:
        """Take off the front of `_unread` what is whole."""
        raise NotImplementedError

    def _is_cut(self, by: str) -> None:
        """Nothing is read any more."""
        raise NotImplementedError


class Socket(Line):
    """A WebSocket."""

    def __init__(self, world: World, name: str, chance: random.Random, reads_s: float) -> None:
        super().__init__(world, chance, reads_s)
        self.name = name
        self._is_opened = False
        self._arrived: deque[bytes] = deque()
        self._is_handling = False

    @property
    def has_unread(self) -> bool:
        return bool(self._arrived)

    def say(self, type_: str, payload: dict[str, Any]) -> None:
        """It arrives a little later, if there is still somebody."""
        text = json.dumps({"type": type_, "payload": payload}).encode()
        self._world.later(self._chance.uniform(0.001, 0.1), self._arrive, _masked(text))

    def _arrive(self, data: bytes) -> None:
        self._arrived.append(data)
        if not self._is_handling:
            self._world.in_server(self._bring)

    def _bring(self) -> None:
        """What has come, up to a message that has to be waited for."""
        while self._arrived and not self._is_over and self.connection is not None:
            handling = self.connection.receive(self._arrived.popleft())
            if handling is not None:
                self._is_handling = True
                self._world.loop.create_task(self._await(handling))
                return

    async def _await(self, handling: Awaitable[None]) -> None:
        await handling
        self._is_handling = False
        self._bring()

    def _parse(self) -> None:
        for opcode, payload in _frames(self._unread):
            if opcode == Opcode.TEXT:
                self._hear(json.loads(payload))
            elif opcode == Opcode.PING:
                self._world.later(0.01, self._arrive, _masked(b"", Opcode.PONG))

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "authSuccess":
            self._is_opened = True
            self._world.note("opened", line=self.name, user=self.name.partition("-")[0])
        if message["type"] != "heartbeat":
            self._world.note("heard", line=self.name, message=message)
            self.messages.put_nowait(message)

    def _is_cut(self, by: str) -> None:
        if self._is_opened:
            self._world.note("closed", line=self.name, by=by)


def _masked(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """A client's frame; masked with zeros, which changes nothing."""
    length = len(payload)
    head = (
        bytes([0x80 | opcode, 0x80 | length])
        if length < 126
        else bytes([0x80 | opcode, 0xFE, *length.to_bytes(2)])
    )
    return head + bytes(4) + payload


def _frames(data: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take whole frames off the front."""
    while len(data) >= 2:
        start, length = 2, data[1]
        if length == 126:
            start, length = 4, int.from_bytes(data[2:4])
        elif length == 127:
            start, length = 10, int.from_bytes(data[2:10])
        if len(data) < start + length:
            return
        opcode, payload = data[0] & 15, bytes(data[start : start + length])
        del data[: start + length]
        yield opcode, payload
