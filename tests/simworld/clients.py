"""People of the world, who create tasks, watch them, read slowly, and come back."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sora_ws.push.connection import Connection, Data
from sora_ws.push.frames import Opcode
from sora_ws.service import ServiceError
from sora_ws.store import StoreError
from sora_ws.task import Idempotency, Order, Viewer

if TYPE_CHECKING:
    from tests.simworld.world import World

WINDOW: Final = 3_000  # bytes that a socket takes before its reader does
LOOK_UP_S: Final = 1.0
CALM_READS_S: Final = 0.05
NOTHING: Final[dict[str, Any]] = {"type": "nothing"}


class Line:
    """A socket, and the client at its other end: the `Transport` of one connection."""

    def __init__(self, world: World, name: str, chance: random.Random, reads_s: float) -> None:
        self.name = name
        self.messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._world = world
        self._chance = chance
        self._reads_s = reads_s  # how long it takes between two reads
        self._under_way = bytearray()
        self._unread = bytearray()
        self._is_wanted = False
        self._is_opened = False
        self._is_over = False
        self._arrived: deque[bytes] = deque()
        self._is_handling = False
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
        return bool(self._arrived)

    def want_writable(self) -> None:
        self._is_wanted = True

    def finish(self) -> None:
        self._world.later(0.01, self.cut)

    def abort(self) -> None:
        self._world.later(0.01, self.cut)

    # --- the client's end ---

    def say(self, type_: str, payload: dict[str, Any]) -> None:
        """It arrives a little later, if there is still somebody."""
        text = json.dumps({"type": type_, "payload": payload}).encode()
        self._world.later(self._chance.uniform(0.001, 0.1), self._arrive, _masked(text))

    def trip(self) -> None:
        """Some trouble on the way."""
        if self._world.is_stormy:
            self.cut()

    def cut(self, by: str = "server") -> None:
        """The line is gone; what was read by now is all that there is."""
        if self._is_over:
            return
        self._is_over = True
        if self._is_opened:
            self._world.note("closed", line=self.name, by=by)
        self.messages.put_nowait(None)
        if self.connection is not None:
            self._world.in_server(self.connection.abort)

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

    def _read(self) -> None:
        self._unread += self._under_way
        self._under_way.clear()
        if self._is_over:
            return
        for opcode, payload in _frames(self._unread):
            if opcode == Opcode.TEXT:
                self._hear(json.loads(payload))
            elif opcode == Opcode.PING:
                self._world.later(0.01, self._arrive, _masked(b"", Opcode.PONG))
        if self._is_wanted and self.connection is not None:
            self._is_wanted = False
            self._world.in_server(self.connection.writable)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] == "authSuccess":
            self._is_opened = True
            self._world.note("opened", line=self.name, user=self.name.partition("-")[0])
        if message["type"] != "heartbeat":
            self._world.note("heard", line=self.name, message=message)
            self.messages.put_nowait(message)


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


class Person:
    """One user: creates tasks, and watches all of them by several lines."""

    def __init__(self, world: World, user: str) -> None:
        self.user = user
        self._world = world
        self._chance = random.Random(f"{world.seed} {user}")
        self._count = itertools.count(1)
        self._lines = itertools.count(1)
        self.tasks: set[str] = set()
        self._open: set[Line] = set()

    async def create_all(self, count: int, within_s: float) -> None:
        """So many tasks at random times; each is sent until it is accepted."""
        moments = sorted(self._chance.uniform(0, within_s) for _ in range(count))
        creating = [asyncio.create_task(self._create(at)) for at in moments]
        await asyncio.gather(*creating)

    async def _create(self, at: float) -> None:
        chance = random.Random(f"{self._world.seed} {self.user} {at}")
        await asyncio.sleep(at)
        prompt = f"{self.user}-{next(self._count)}"
        self._world.note("asked", user=self.user, prompt=prompt)
        while (task_id := await self._ask(prompt, chance)) is None:  # noqa: ASYNC110
            await asyncio.sleep(chance.uniform(0.2, 3))
        self.tasks.add(task_id)
        for line in sorted(self._open, key=lambda line: line.name):
            self._world.later(chance.uniform(0, LOOK_UP_S), line.messages.put_nowait, NOTHING)
        if chance.random() < 0.1:
            await asyncio.sleep(chance.uniform(0, 15))
            with suppress(ServiceError, StoreError, ConnectionError, TimeoutError):
                await self._world.ask(chance, lambda s: s.cancel(Viewer(self.user), task_id))

    async def _ask(self, prompt: str, chance: random.Random) -> str | None:
        began = self._world.loop.time()
        task_id, status = None, None
        try:
            task = await self._world.ask(
                chance,
                lambda service: service.create(
                    Viewer(self.user), Order(prompt, "sora-2"), idempotency=Idempotency(prompt, prompt)
                ),
            )
            task_id, status = task.id, 202
        except StoreError:
            status = 503
        except (ConnectionError, TimeoutError):
            pass
        took_s = self._world.loop.time() - began
        self._world.note(
            "answered", user=self.user, prompt=prompt, status=status, took_s=took_s, videoId=task_id
        )
        return task_id

    async def watch(self, *, by_room: bool, reads_s: float) -> None:
        """Watch until the world is over, coming back after each end of the line."""
        chance = random.Random(f"{self._world.seed} {self.user} {by_room} {reads_s}")
        while not self._world.is_over:
            line = self._world.connect(f"{self.user}-{next(self._lines)}", chance, reads_s)
            if line is not None:
                self._open.add(line)
                await self._use(line, chance, by_room=by_room)
                self._open.discard(line)
            await asyncio.sleep(chance.uniform(0.1, 2))

    async def _use(self, line: Line, chance: random.Random, *, by_room: bool) -> None:
        """Until it is over: cut by some trouble on the way, or by the server."""
        self._world.later(chance.expovariate(1 / 40), line.trip)
        line.say("auth", {"token": self._world.tokens[self.user]})
        wanted: set[str] | None = None  # not before it is known who this is
        while (message := await line.messages.get()) is not None:
            if message["type"] == "error":
                line.cut()
                return
            if message["type"] == "authSuccess":
                wanted = set()
                if by_room:
                    line.say("subscribe_room", {"room": "user"})
            if wanted is not None and not by_room:
                for task in sorted(self.tasks - wanted):
                    line.say("subscribe_task", {"videoId": task})
                wanted |= self.tasks
