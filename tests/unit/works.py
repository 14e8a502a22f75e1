"""What works on tasks, with every part real: SQLite, files, a provider over HTTP. No sockets of users."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sora_ws.admission import Admission
from sora_ws.attendant import PATIENCE, Attendant, Patience
from sora_ws.clock import Clock
from sora_ws.media.files import FileMedia
from sora_ws.poller import Poller
from sora_ws.provider.limiter import LimitedVideos, Limiter
from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.rhythm import Rhythm
from sora_ws.service import VideoService
from sora_ws.store import StoreError
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Order, Task, Viewer
from sora_ws.writer import TaskWriter
from tests.backends.dialects import DialectServer
from tests.backends.jobs import Dialect

FAST = Rhythm(50, 200)
ADA = Viewer("ada")


class Time(Clock):
    """The clock, which a test may set forward."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_ms = 0

    def __call__(self) -> int:
        return super().__call__() + self.ahead_ms


@dataclass
class Fault:
    """One save that fails: instead of its work, or, where it `is_done`, behind it."""

    error: StoreError
    is_done: bool = False
    of: Callable[[Task], bool] = lambda task: True


class FaultyStore(SqliteStore):
    """The real store; saves fail by `faults`, each once, and a test may come between by the hooks."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.faults: list[Fault] = []
        self.before_due: Callable[[], Awaitable[object]] | None = None
        self.after_due: Callable[[], Awaitable[object]] | None = None
        self.before_insert: Callable[[], Awaitable[object]] | None = None
        self.after_count: Callable[[], Awaitable[object]] | None = None

    async def save(self, task: Task, over_seq: int) -> None:
        await self._faulty(task, lambda: super(FaultyStore, self).save(task, over_seq))

    async def mark_sent(self, task: Task) -> None:
        await self._faulty(task, lambda: super(FaultyStore, self).mark_sent(task))

    async def _faulty(self, task: Task, save: Callable[[], Awaitable[None]]) -> None:
        fault = next((fault for fault in self.faults if fault.of(task)), None)
        if fault is not None:
            self.faults.remove(fault)
        if fault is None or fault.is_done:
            await save()
        if fault is not None:
            raise fault.error

    async def due(self, until: int, limit: int, *, but_not: Collection[str] = ()) -> Sequence[Task]:
        if self.before_due is not None:
            await self.before_due()
        tasks = await super().due(until, limit, but_not=but_not)
        if self.after_due is not None:
            await self.after_due()
        return tasks

    async def insert(self, task: Task) -> None:
        if self.before_insert is not None:
            await self.before_insert()
        await super().insert(task)

    async def count_live(self, user_id: str | None = None) -> int:
        count = await super().count_live(user_id)
        if self.after_count is not None:
            await self.after_count()
        return count


@dataclass
class Works:
    """`told` holds what was published, in order; `is_told` is set by each."""

    store: FaultyStore
    provider: DialectServer
    limited: LimitedVideos
    media: FileMedia
    media_folder: Path
    clock: Time
    writer: TaskWriter
    attendant: Attendant
    poller: Poller
    admission: Admission
    service: VideoService
    told: list[Task]
    is_told: asyncio.Event

    async def insert(self, prompt: str = "a cat", *, image: str | None = None) -> Task:
        """A new task in the store, which nobody has been told of."""
        task = Task.new("ada", Order(prompt, "sora-2", reference_type=image), self.clock())
        await self.store.insert(task)
        return task

    async def accepted(self, prompt: str = "a cat") -> Task:
        """A task that the provider has."""
        task, _ = await self.attendant.advance(await self.insert(prompt))
        assert task.job_id is not None
        return task

    async def step(self, task: Task) -> Task:
        """What the poller does with it when its time has come."""
        self.clock.ahead_ms += max(0, task.watch.next_look_at - self.clock())
        task, urls = await self.attendant.advance(task)
        return task if urls is None else await self.attendant.archive(task, urls)

    async def stored(self, task: Task) -> Task:
        found = await self.store.find(task.id)
        assert found is not None
        return found

    def looks(self, task: Task) -> int:
        """How often the provider was asked for the task's job."""
        path = f"/v1/videos/{task.job_id}"
        return sum((request.method, request.path) == ("GET", path) for request in self.provider.requests)

    async def until_looked_at(self, task: Task, times: int) -> None:
        """Returns when it was, this often from now on."""
        enough = self.looks(task) + times
        await self.provider.until(lambda: self.looks(task) >= enough)


@asynccontextmanager
async def some_works(
    folder: Path,
    dialect: Dialect | None = None,
    *,
    rhythm: Rhythm = FAST,
    patience: Patience = PATIENCE,
    tasks_per_user_max: int = 1_000,
    places: int = 100,
) -> AsyncIterator[Works]:
    """Works of their own; the poller stands still until a test starts it."""
    server, store, clock = DialectServer(dialect), FaultyStore(folder / "db"), Time()
    await store.open()
    limiter = Limiter(rhythm.min_ms / 1000, rhythm.max_ms / 1000)
    provider = LimitedVideos(OpenAIVideos(await server.start(), None), limiter)
    media_folder = folder / "media"
    media = FileMedia(media_folder)
    told: list[Task] = []
    is_told = asyncio.Event()

    def publish(task: Task) -> None:
        told.append(task)
        is_told.set()
        admission.note(task)

    writer = TaskWriter(store, clock, publish)
    attendant = Attendant(
        store=store,
        writer=writer,
        provider=provider,
        media=media,
        rhythm=rhythm,
        clock=clock,
        patience=patience,
    )
    poller = Poller(store, attendant, provider, clock)
    admission = Admission(store=store, writer=writer, clock=clock, places=places, attend=poller.nudge)
    await admission.start()
    service = VideoService(
        store=store,
        writer=writer,
        media=media,
        clock=clock,
        admission=admission,
        attend=poller.nudge,
        stop_job=attendant.stop_job,
        call_back=lambda: None,
        tasks_per_user_max=tasks_per_user_max,
        simulated=False,
    )
    try:
        yield Works(
            store,
            server,
            provider,
            media,
            media_folder,
            clock,
            writer,
            attendant,
            poller,
            admission,
            service,
            told,
            is_told,
        )
    finally:
        await service.close(0)
        admission.stop()
        await poller.stop(0)
        await provider.close()
        await server.stop()
        await store.close()
