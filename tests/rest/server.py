"""A server of REST alone, and how tests talk to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from argon2 import PasswordHasher
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.testing import bind_unused_port
from tornado.web import Application

from sora_ws.admission import Admission
from sora_ws.auth import Accounts, Tokens
from sora_ws.clock import Clock
from sora_ws.media.files import FileMedia
from sora_ws.media.links import Links
from sora_ws.metrics import Metrics
from sora_ws.push.messages import Presenter, Stats
from sora_ws.rest import RestContext, UnderWay, log_request, routes
from sora_ws.rhythm import Rhythm
from sora_ws.service import VideoService
from sora_ws.settings import Secret, Settings
from sora_ws.signatures import Verifier
from sora_ws.store import StoreError
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Event, Observation, Order, Task, Video
from sora_ws.webhooks import Webhooks
from sora_ws.writer import TaskWriter

KEY = "0123456789abcdef0123456789abcdef"
PASSWORD = "correct horse"
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)


@dataclass
class Answer:
    """An answer of whatever status."""

    status: int
    headers: HTTPHeaders
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def fetch(url: str, method: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
    """One request over a line of its own."""
    client = AsyncHTTPClient(force_instance=True)
    try:
        response = await client.fetch(
            url,
            method=method,
            headers=HTTPHeaders(headers),
            body=body,
            allow_nonstandard_methods=True,
            follow_redirects=False,
            decompress_response=False,
            raise_error=False,
        )
    finally:
        client.close()
    if response.code == 599:
        raise AssertionError(f"no answer: {response.error}")
    return Answer(response.code, response.headers, response.body)


@dataclass
class RestServer:
    """One server on a port of its own; `not_ready` is what readiness says, `provider_trouble` what is
    wrong with the provider."""

    settings: Settings
    store: SqliteStore
    media: FileMedia
    tokens: Tokens
    accounts: Accounts
    links: Links
    clock: Clock
    service: VideoService
    port: int
    not_ready: str | None = None
    provider_trouble: str | None = None
    stopped_jobs: list[str] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    look_trouble: StoreError | None = None
    server: HTTPServer | None = None

    @classmethod
    async def start(cls, settings: Settings) -> RestServer:
        sock, port = bind_unused_port()
        store, clock = SqliteStore(settings.state_dir / "db"), Clock()
        await store.open()
        stopped_jobs: list[str] = []

        async def stop_job(job_id: str) -> None:
            stopped_jobs.append(job_id)

        media = FileMedia(settings.state_dir / "media")
        writer = TaskWriter(store, clock, lambda task: None)
        admission = Admission(
            store=store,
            writer=writer,
            clock=clock,
            places=settings.sora_max_in_flight,
            attend=lambda task: None,
        )
        service = VideoService(
            store=store,
            writer=writer,
            media=media,
            clock=clock,
            admission=admission,
            attend=lambda task: None,
            stop_job=stop_job,
            call_back=lambda: None,
            tasks_per_user_max=settings.max_tasks_per_user,
            simulated=True,
        )
        rest = cls(
            settings=settings,
            store=store,
            media=media,
            tokens=Tokens(settings.jwt_expires_in, Secret(KEY)),
            accounts=Accounts(store, CHEAP),
            links=Links(b"k" * 32, f"http://127.0.0.1:{port}"),
            clock=clock,
            service=service,
            port=port,
            stopped_jobs=stopped_jobs,
        )
        rest.server = HTTPServer(
            Application(routes(rest.context()), log_function=log_request, under_way=UnderWay())
        )
        rest.server.add_socket(sock)
        return rest

    async def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            await self.server.close_all_connections()
        await self.service.close(grace_s=0)
        await self.store.close()

    def context(self) -> RestContext:
        async def stats() -> Stats:
            return Stats(1, 1, 2, await self.store.count_live(), 3, 0.5, 0, 1.5)

        async def readiness() -> str | None:
            return self.not_ready

        secrets = self.settings.sora_webhook_secret
        return RestContext(
            settings=self.settings,
            tokens=self.tokens,
            accounts=self.accounts,
            service=self.service,
            presenter=Presenter("en", self.links, Rhythm(2_000, 30_000)),
            links=self.links,
            media=self.media,
            clock=self.clock,
            stats=stats,
            readiness=readiness,
            provider_trouble=lambda: self.provider_trouble,
            webhooks=Webhooks(Verifier(secrets), self.look_now) if secrets else None,
            metrics=lambda: Metrics().page(self.store),
        )

    async def look_now(self, job_id: str) -> None:
        """As the poller's; nobody looks here."""
        if self.look_trouble is not None:
            raise self.look_trouble
        self.looked_at.append(job_id)

    def token(self, user_id: str = "ann", *teams: str) -> str:
        return self.tokens.issue(user_id, user_id.title(), teams)[0]

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: str | None = "ann",
        teams: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, as the user unless that is None; `body` goes as JSON unless it is bytes."""
        sent = HTTPHeaders(headers or {})
        if user is not None:
            sent["Authorization"] = f"Bearer {self.token(user, *teams)}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        return await fetch(f"http://127.0.0.1:{self.port}{path}", method, sent, body)

    async def create(self, user: str = "ann", **body: Any) -> str:
        """The id of a new task."""
        answer = await self.call("POST", "/api/videos", {"prompt": "a cat", **body}, user=user)
        assert answer.status == 202, answer.body
        video_id: str = answer.json["videoId"]
        return video_id

    async def send_raw(self, sent: bytes, more: bytes = b"") -> bytes:
        """Whatever comes back on a line of its own until it is closed or silent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(sent)
            await writer.drain()
            writer.write(more)
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()

    async def hang_up_after(self, sent: bytes, length: int) -> None:
        """Send, read so many bytes of the answer, and go."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        await asyncio.wait_for(reader.readexactly(length), 20)
        writer.transport.abort()

    async def keep(self, task: Task) -> Task:
        """Put the task into the store as it is."""
        await self.store.insert(task)
        return task

    def new(self, user: str = "ann", *, team: str | None = None, **order: Any) -> Task:
        """A task that nobody has stored yet."""
        return Task.new(
            user, Order(**({"prompt": "a cat", "model": "sora-2"} | order)), self.clock(), team=team
        )

    async def completed(
        self, user: str = "ann", content: bytes = b"film", *, team: str | None = None
    ) -> Task:
        """A task with an archived video of these bytes."""
        task = self.new(user, team=team)
        task = task.accept("job-1", Observation(Event.STARTED), task.created_at + 2_000)
        task = task.observe(Observation(Event.FINISHED), task.created_at + 7_000)
        video = Video(duration=4.0, size=len(content), width=1280, height=720, has_thumbnail=True)
        task = await self.keep(task.complete(video, task.created_at + 9_500))
        for name, what in ((f"{task.id}.mp4", content), (f"{task.id}.jpg", b"picture")):
            source = self.media.partial(task.id)
            await asyncio.to_thread(source.write_bytes, what)
            await self.media.keep(name, source)
        return task
