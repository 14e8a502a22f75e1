"""One seed: a server, its provider, its disk, its people, what happens to them, and the history of it."""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest.mock import patch

import jwt
import msgspec
from argon2 import PasswordHasher
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.web import Application

from sora_ws.app import App, use_steady_time
from sora_ws.attendant import Patience
from sora_ws.backing import make_store
from sora_ws.callbacks import SECOND, Delivery
from sora_ws.clock import Clock
from sora_ws.composition import Composition, application
from sora_ws.media.archive import Unplayable, _Facts
from sora_ws.media.links import Links
from sora_ws.provider.limiter import LimitedVideos, Limiter
from sora_ws.push.messages import Presenter
from sora_ws.push.sse import EventStreams
from sora_ws.rest import event_routes
from sora_ws.rest.views import view
from sora_ws.rhythm import Rhythm
from sora_ws.service import VideoService
from sora_ws.settings import Secret, Settings
from sora_ws.store import Store, StoreError
from sora_ws.task import Task, Viewer
from tests.history.checker import Violation, judge
from tests.simworld import clients, database, provider, receiver
from tests.simworld.events import Stream
from tests.simworld.line import Line, Socket
from tests.simworld.loop import LIFE, Beat, VirtualLoop
from tests.simworld.weather import STORMY_S, Weather

T = TypeVar("T")

PATIENT_S: Final = 900.0  # for the rest of the work when all is well again
RESTART_S: Final = 1.0
SETTLE_S: Final = 4.0  # for the last word to the slowest reader
EPOCH: Final = 1_800_000_000.0
KEY: Final = "0123456789abcdef0123456789abcdef"
USERS: Final = ("ada", "bob", "eve")
PATIENCE: Final = Patience(lost_looks=5, lost_ms=20_000, archive_ms=60_000)
CHEAP: Final = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
RETRY_MS: Final = tuple(seconds * SECOND for seconds in (1, 2, 4, 8, 15, 15, 15, 15))  # beyond any storm
MEMORY_DISK: Final = Path("/dev/shm")


class World:
    """Runs once; `history` is what people and provider saw, and the doubles that the server counted."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.history: list[dict[str, Any]] = []
        self.loop = VirtualLoop()
        self.tokens = {
            user: jwt.encode({"sub": user, "exp": int(EPOCH) + 86_400}, KEY, "HS256") for user in USERS
        }
        self._time = self.loop.time
        self.places = self._chance("places").choice((1, 2, 3, 5, 100))
        self._disk = database.Disk(self._chance("disk"), self._weather("disk", database.PHASES))
        self.loop.delay_s = self._disk.delay_s
        self._provider = provider.SimProvider(
            self,
            self._chance("provider"),
            self._weather("provider", provider.PHASES),
            lists=self._chance("kind of provider").random() < 0.7,
        )
        self._receiver = receiver.Receiver(
            self, self._chance("receiver"), self._weather("receiver", receiver.PHASES)
        )
        self._people = [clients.Person(self, user) for user in USERS]
        self._life = 0
        self._context = Context()
        self._app: _SimApp | None = None
        self._is_ready = False
        self.is_over = False
        self._lines: list[Line] = []
        self._open_databases: list[database.Connection] = []
        self._asking: set[asyncio.Future[Any]] = set()

    def run(self) -> list[Violation]:
        """The whole history; what is wrong with it."""
        memory_disk = MEMORY_DISK if MEMORY_DISK.is_dir() else None
        folder = Path(tempfile.mkdtemp(prefix="simworld-", dir=memory_disk))
        try:
            with self._given(folder):
                self.loop.run_until_complete(self._happen(folder))
                self._kill()
        finally:
            self._bury()
            shutil.rmtree(folder)
        return judge(self.history, self.places, EPOCH)

    # --- what its inhabitants use ---

    @property
    def is_stormy(self) -> bool:
        """Things may go wrong."""
        return self._time() < STORMY_S

    def note(self, what: str, **facts: Any) -> None:
        self.history.append({"at": self._time(), "what": what, **facts})

    def later(self, delay_s: float, act: Callable[..., object], *arguments: Any) -> None:
        """Something of the world, whoever sets it off."""
        Context().run(self.loop.call_later, delay_s, act, *arguments)

    def in_server(self, act: Callable[[], object]) -> None:
        """Something that the server's process does, if there is one."""
        self._context.run(act)

    def connect(self, name: str, chance: random.Random, reads_s: float) -> Socket | None:
        """A line to the server, None where nobody listens."""
        if self._app is None or not self._is_ready or self._app.parts is None:
            return None
        if self._app.parts.lines.refusal("127.0.0.1") is not None:
            return None
        line = Socket(self, name, chance, reads_s)
        line.connection = self._context.run(self._app.parts.lines.adopt, line, "127.0.0.1")
        self._lines.append(line)
        return line

    def request(self, stream: Stream) -> bool:
        """A request for a stream of events; False where nobody listens."""
        if self._app is None or not self._is_ready or self._app.events is None:
            return False
        self._lines.append(stream)
        self._context.run(stream.request, self._app.events)
        return True

    async def ask(self, chance: random.Random, call: Callable[[VideoService], Awaitable[T]]) -> T:
        """A request and its answer. Raises ConnectionError where the server dies in between."""
        await asyncio.sleep(chance.uniform(0.001, 0.1))
        if self._app is None or not self._is_ready or self._app.parts is None:
            raise ConnectionRefusedError
        answer: asyncio.Future[T] = self.loop.create_future()
        self._asking.add(answer)
        service = self._app.parts.service

        async def serve() -> None:
            try:
                result = await call(service)
            except Exception as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        self._context.run(self.loop.create_task, serve())
        try:
            result = await answer
            await asyncio.sleep(chance.uniform(0.001, 0.1))
        finally:
            self._asking.discard(answer)
        return result

    # --- what happens ---

    async def _happen(self, folder: Path) -> None:
        chance = self._chance("fate")
        living = asyncio.create_task(self._live(folder, chance))
        listening = [
            asyncio.create_task(
                person.follow("/api/events", {"room": "user"}, chance.choice(clients.READS_S))
            )
            for person in self._people
        ]
        creating = [
            asyncio.create_task(person.create_all(chance.randint(1, 4), STORMY_S * 0.8))
            for person in self._people
        ]
        watching = [
            asyncio.create_task(person.watch(by_room=by_room, reads_s=chance.choice(clients.READS_S)))
            for person in self._people
            for by_room in (True, False)
        ]
        await living
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENT_S):
                await asyncio.gather(*creating)
                await self._until_all_ended()
        await asyncio.sleep(SETTLE_S)
        await self._find_all()
        self.is_over = True
        for line in self._lines:
            line.cut("client")
        for task in creating:
            task.cancel()
        following = [task for person in self._people for task in person.following]
        everybody = (*creating, *watching, *listening, *following)
        for outcome in await asyncio.gather(*everybody, return_exceptions=True):
            if isinstance(outcome, Exception):  # a fault of the world's own
                raise outcome

    async def _live(self, folder: Path, chance: random.Random) -> None:
        """The server's lives, one after the other; the last one has no end."""
        self._start(folder)
        while True:
            await asyncio.sleep(min(chance.expovariate(1 / 15), STORMY_S - self._time()))
            if not self.is_stormy:
                break
            if chance.random() < 0.25:
                await self._stop()
            self._kill()
            await asyncio.sleep(chance.uniform(0.1, 3))
            self._start(folder)

    def _start(self, folder: Path) -> None:
        self._life += 1
        self._context = Context()
        self._context.run(LIFE.set, str(self._life))
        self._context.run(self._begin, folder)

    def _begin(self, folder: Path) -> None:
        use_steady_time(IOLoop.current())
        self._app = app = _SimApp(self, folder)

        async def compose() -> None:
            try:
                await app._compose(make_store(app.settings))
            except StoreError:
                self.later(RESTART_S, self._start_again, folder, app)
            else:
                self._is_ready = self._app is app

        self.loop.create_task(compose())

    def _start_again(self, folder: Path, app: _SimApp) -> None:
        """As systemd does with a server that ended by itself."""
        if self._app is app:
            self._kill()
            self._start(folder)

    async def _stop(self) -> None:
        """SIGTERM."""
        app = self._app
        if app is not None and self._is_ready:
            self._is_ready = False
            stopped = self._context.run(self.loop.create_task, app.stop())
            await asyncio.wait([stopped], timeout=5)

    def _kill(self) -> None:
        self._is_ready = False
        self._app = None
        self.loop.kill(str(self._life))
        for connection in self._open_databases:
            connection.tear()
        self._open_databases.clear()
        for line in self._lines:
            line.connection = None
            line.cut()
        self._lines.clear()
        for answer in self._asking:
            if not answer.done():
                answer.set_exception(ConnectionResetError())

    async def _until_all_ended(self) -> None:
        chance = self._chance("end")
        living = [(Viewer(person.user), task) for person in self._people for task in sorted(person.tasks)]
        while living:
            viewer, task_id = living[-1]
            with suppress(StoreError, ConnectionError):
                task = await self.ask(chance, lambda s, v=viewer, t=task_id: s.get(v, t))  # type: ignore[misc]
                if not (task.is_live or (task.callback and task.callback.state is Delivery.PENDING)):
                    living.pop()
                    continue
            await asyncio.sleep(0.5)

    async def _find(self, chance: random.Random, viewer: Viewer, task_id: str) -> Task:
        """Whatever the disk has still to do from the storm."""
        while True:
            with suppress(StoreError):
                return await self.ask(chance, lambda service: service.get(viewer, task_id))

    async def _find_all(self) -> None:
        """Everybody looks once more at all that was accepted."""
        presenter, chance = (
            Presenter("en", Links(b"key", "http://localhost"), Rhythm(500, 3_000)),
            self._chance("end"),
        )
        for person in self._people:
            for task_id in sorted(person.tasks):
                asked_at = self._time()
                task = await self._find(chance, Viewer(person.user), task_id)
                shown = msgspec.to_builtins(view(task, presenter, 0))
                self.note("found", user=person.user, asked_at=asked_at, task=shown)

    # --- what is given ---

    def _chance(self, name: str) -> random.Random:
        return random.Random(f"{self.seed} {name}")

    def _weather(self, name: str, kinds: tuple[str, ...]) -> Weather:
        return Weather(self._chance(f"{name}'s weather"), self.loop.time, kinds, STORMY_S)

    def _connect(self, path: Path, **options: Any) -> database.Connection:
        connection = database.Connection(path, self._disk, **options)
        self._open_databases.append(connection)
        return connection

    async def _probe(self, video: Path, picture: Path) -> tuple[Any, bool]:
        await asyncio.sleep(self._disk.delay_s())
        if not _is_video(video):
            raise Unplayable("cut short")
        return _Facts(8.0, 1280, 720), False

    @contextmanager
    def _given(self, folder: Path) -> Iterator[None]:
        chance = self._chance("secrets")
        state = random.getstate()
        random.seed(self.seed)
        with (
            patch.object(time, "time", lambda: EPOCH + self.loop.time()),
            patch.object(time, "monotonic", self.loop.time),
            patch.object(secrets, "token_hex", lambda size=32: chance.randbytes(size).hex()),
            patch.object(secrets, "token_bytes", lambda size=32: chance.randbytes(size)),
            patch.object(secrets, "choice", chance.choice),
            patch.multiple(PeriodicCallback, _run=Beat._run, _schedule_next=Beat._schedule_next),
            patch("sora_ws.metrics.LAG_EVERY_S", 3_600.0),  # there is none here
            patch("aiosqlite.connect", self._connect),
            patch("sora_ws.media.archive._probe", self._probe),
            patch("sora_ws.composition.Sender", lambda allowed: self._receiver),
            patch("sora_ws.callbacks.RETRY_MS", RETRY_MS),
            patch("sora_ws.auth.PasswordHasher", lambda: CHEAP),
            patch("sora_ws.submitting.log.warning", self._count_doubles),
        ):
            yield
        random.setstate(state)

    def _count_doubles(self, text: str, *arguments: Any, extra: Any = None, **options: Any) -> None:
        if extra and extra["action"] == "possible_double":
            self.note("doubled", videoId=extra["task"])

    def _bury(self) -> None:
        """Let the dead lives' coroutines go without a word."""
        hook, sys.unraisablehook = sys.unraisablehook, lambda what: None
        try:
            self.loop.lost.clear()
            self.loop.close()
            gc.collect()
        finally:
            sys.unraisablehook = hook


def _is_video(file: Path) -> bool:
    return file.read_bytes().startswith(b"a video")


class _SimStreams(EventStreams):
    """Whose requests come without a socket."""

    def _transport(self, stream: Any) -> Any:
        return stream


class _SimApp(App):
    """The server itself, without a port; of its handlers, `events` alone."""

    events: Application | None = None

    def __init__(self, world: World, folder: Path) -> None:
        settings = Settings(
            state_dir=folder,
            jwt_secret=Secret(KEY),
            message_language="en",
            drain_seconds=1,
            sora_poll_min_interval=500,
            sora_poll_interval=3_000,
            sora_max_in_flight=world.places,
            sora_api_base_url="http://localhost/v1",
            max_send_buffer_bytes=65_536,
        )
        super().__init__(settings, composition=partial(_SimComposition, world))

    async def _compose(self, store: Store) -> None:
        await super()._compose(store)
        assert self.parts is not None
        self.events = await self.parts.application()


class _SimComposition(Composition):
    """The server's own parts, by the world's clock and over its provider."""

    def __init__(self, world: World, *given: Any) -> None:
        super().__init__(*given, patience=PATIENCE)
        self._clock = Clock(time.time, time.monotonic)
        self._world = world

    async def _provider(self) -> LimitedVideos:
        limiter = Limiter(0.5, 3.0, time=time.monotonic, chance=random.random)
        return LimitedVideos(self._world._provider, limiter)

    async def application(self) -> Application:
        streams = _SimStreams(self.lines, self.hub, self._reads, None)
        return application(list(event_routes(self._context, streams)), self._requests)
