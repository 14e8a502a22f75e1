"""People of the world, who create tasks, watch them, read slowly, and come back."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sora_ws.callbacks import Callback
from sora_ws.service import ServiceError
from sora_ws.store import StoreError
from sora_ws.task import Idempotency, Order, Viewer
from tests.simworld.events import EventSource, Stream
from tests.simworld.line import Socket

if TYPE_CHECKING:
    from tests.simworld.world import World

NO_CONTENT: Final = 204
LATER: Final = (429, 503)
READS_S: Final = (0.001, 0.05, 2.0)
LOOK_UP_S: Final = 1.0
CALLBACK: Final = Callback("https://told.example.com", "told.example.com")
NOTHING: Final[dict[str, Any]] = {"type": "nothing"}


class Person:
    """One user: creates tasks, and watches all of them by several lines."""

    def __init__(self, world: World, user: str) -> None:
        self.user = user
        self._world = world
        self._chance = random.Random(f"{world.seed} {user}")
        self._count = itertools.count(1)
        self._lines = itertools.count(1)
        self.tasks: set[str] = set()
        self._open: set[Socket] = set()
        self.following: list[asyncio.Task[None]] = []

    async def create_all(self, count: int, within_s: float) -> None:
        """So many tasks at random times; each is sent until it is accepted."""
        moments = sorted(self._chance.uniform(0, within_s) for _ in range(count))
        creating = [asyncio.create_task(self._create(at)) for at in moments]
        await asyncio.gather(*creating)

    async def _create(self, at: float) -> None:
        chance = random.Random(f"{self._world.seed} {self.user} {at}")
        await asyncio.sleep(at)
        prompt = f"{self.user}-{next(self._count)}"
        callback = CALLBACK if chance.random() < 0.5 else None
        self._world.note("asked", user=self.user, prompt=prompt, callback=callback is not None)
        while (task_id := await self._ask(prompt, callback, chance)) is None:  # noqa: ASYNC110
            await asyncio.sleep(chance.uniform(0.2, 3))
        self.tasks.add(task_id)
        for line in sorted(self._open, key=lambda line: line.name):
            self._world.later(chance.uniform(0, LOOK_UP_S), line.messages.put_nowait, NOTHING)
        if chance.random() < 0.3:
            path, of = f"/api/videos/{task_id}/events", {"videoId": task_id}
            self.following.append(asyncio.create_task(self.follow(path, of, chance.choice(READS_S))))
        if chance.random() < 0.1:
            await asyncio.sleep(chance.uniform(0, 15))
            with suppress(ServiceError, StoreError, ConnectionError, TimeoutError):
                await self._world.ask(chance, lambda s: s.cancel(Viewer(self.user), task_id))

    async def _ask(self, prompt: str, callback: Callback | None, chance: random.Random) -> str | None:
        began = self._world.loop.time()
        task_id, status = None, None
        try:
            task = await self._world.ask(
                chance,
                lambda service: service.create(
                    Viewer(self.user),
                    Order(prompt, "sora-2"),
                    callback=callback,
                    idempotency=Idempotency(prompt, prompt),
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

    async def follow(self, path: str, of: dict[str, str], reads_s: float) -> None:
        """Listen to a stream of events as an EventSource does, until it or the world is over."""
        chance = random.Random(f"{self._world.seed} {self.user} {path}")
        source = EventSource(
            self._world, f"{self.user}-{next(self._lines)}", path, of, self._world.tokens[self.user]
        )
        status = None
        while not (self._world.is_over or status == NO_CONTENT):
            stream = Stream(self._world, source, chance, reads_s)
            if self._world.request(stream):
                self._world.later(chance.expovariate(1 / 30), stream.trip)
                await stream.messages.get()
                status = stream.status
                assert status in (None, NO_CONTENT, *LATER), status
            await asyncio.sleep(chance.uniform(0.1, 3))
        source.closed("client")

    async def _use(self, line: Socket, chance: random.Random, *, by_room: bool) -> None:
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
