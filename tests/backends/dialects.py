"""A videos API with switches: a real HTTP server that speaks whichever dialect a test names.

With every switch at its default it speaks the plain format. A prompt with ``[fail]`` fails, one
with ``[blocked]`` is refused.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.backends.film import film
from tests.backends.jobs import Dialect, Job, Jobs
from tests.ports import free_port

BODY_MAX: Final = 64 * 1024 * 1024
BLOCKED: Final = "Your request was blocked by our moderation system."
NO_JSON: Final = "We could not parse the JSON body of your request."
NO_FORM: Final = {"detail": [{"type": "missing", "loc": ["body", "prompt"], "msg": "Field required"}]}
NOT_READY: Final = "Video is not ready yet, use GET /v1/videos/{video_id} to check its status."
DRIP_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    query: str
    headers: HTTPHeaders
    body: bytes
    at: float = field(default_factory=time.monotonic)


class DialectServer:
    """The backend. `jobs.dialect` may be changed while it runs; `requests` holds all that came."""

    def __init__(self, dialect: Dialect | None = None) -> None:
        self.jobs = Jobs(dialect or Dialect())
        self.requests: list[Request] = []
        self.requests_elsewhere: list[Request] = []
        self.under_way = asyncio.Event()  # much of an endless body was taken
        self.gave_up = asyncio.Event()  # and then no more of it
        self.create_is_held = asyncio.Event()  # a create came and waits for
        self.let_creates_go = asyncio.Event()
        self.base_url = ""
        self._a_request_came = asyncio.Event()
        self._servers: list[HTTPServer] = []

    async def start(self, port: int | None = None, host: str = "127.0.0.1") -> str:
        """Listen, on loopback unless told otherwise; returns the base URL, up to and with its /v1."""
        elsewhere = Application([(r"/film.mp4", Elsewhere)], server=self)
        self.jobs.film_url = f"{self._listen(elsewhere, 0, host)}/film.mp4"
        self.base_url = f"{self._listen(self._application(), port or free_port(), host)}/v1"
        return self.base_url

    async def until(self, holds: Callable[[], bool]) -> None:
        """Returns when it holds; asked again after every request."""
        while not holds():
            self._a_request_came.clear()
            await self._a_request_came.wait()

    def record(self, request: Request) -> None:
        self.requests.append(request)
        self._a_request_came.set()

    async def stop(self) -> None:
        """Close both ports and every connection."""
        for server in self._servers:
            server.stop()
            await server.close_all_connections()
        self._servers.clear()

    def _listen(self, application: Application, port: int, host: str) -> str:
        sockets = bind_sockets(port, host)
        server = HTTPServer(application, max_body_size=BODY_MAX, max_buffer_size=BODY_MAX)
        server.add_sockets(sockets)
        self._servers.append(server)
        return f"http://{host}:{sockets[0].getsockname()[1]}"

    def _application(self) -> Application:
        return Application(
            [
                (r"/old/(.*)", Moved),
                (r"/circle/.*", Circle),
                (r"/v1/videos", Videos),
                (r"/v1/videos/([^/]+)", Video),
                (r"/v1/videos/([^/]+)/content", Content),
            ],
            server=self,
            log_function=lambda handler: None,
        )


class Answering(RequestHandler):
    """What all answers have in common: the record of what came, and the key."""

    @property
    def server(self) -> DialectServer:
        server: DialectServer = self.settings["server"]
        return server

    @property
    def jobs(self) -> Jobs:
        return self.server.jobs

    @property
    def dialect(self) -> Dialect:
        return self.jobs.dialect

    def initialize(self) -> None:
        self._gone = asyncio.Event()

    def on_connection_close(self) -> None:
        self._gone.set()

    def prepare(self) -> None:
        self.server.record(recorded(self))
        if self.dialect.key and self.request.headers.get("Authorization") != f"Bearer {self.dialect.key}":
            self.refuse(401, "Incorrect API key provided.", "invalid_api_key")
        elif self.dialect.trouble is not None:
            status, body = self.dialect.trouble
            self.set_status(status)
            self.finish(body)

    def refuse(self, status: int, message: str, code: str | None = None) -> None:
        """Answer with an error in the shape of the format."""
        self.set_status(status)
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self.finish({"error": error})

    def ask_for_time(self) -> None:
        """A server in trouble that says when it may be asked again."""
        self.set_header("Retry-After", "1")
        self.refuse(500, "internal error")

    def reset(self) -> None:
        """Break the connection off, so that the other side reads a reset and no end."""
        stream = self.detach()
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()

    async def drip(self, body: bytes) -> None:
        """Send the body byte by byte, until it ends or nobody listens."""
        self.set_header("Content-Length", str(len(body)))
        try:
            for index in range(len(body)):
                self.write(body[index : index + 1])
                await self.flush()
                await asyncio.sleep(DRIP_S)
        except StreamClosedError:
            return

    def job(self, job_id: str) -> Job | None:
        """The job; None where there is none, which is answered already."""
        for name, value in self.dialect.advice.items():
            self.set_header(name, value)
        job = self.jobs.all.get(job_id)
        if job is None:
            self.refuse(404, f"Video with id '{job_id}' not found.", "not_found")
        return job


class Videos(Answering):
    """``/v1/videos``"""

    async def post(self) -> None:
        """Create."""
        is_form = self.request.headers["Content-Type"].startswith("multipart/form-data")
        match self.dialect.creates:
            case "form" if not is_form:
                self.set_status(422)
                self.write(NO_FORM)
            case "json" if is_form:
                self.refuse(400, NO_JSON)
            case "reset":
                self.jobs.create(self._order(is_form))
                self.reset()
            case "lost":
                self.reset()
            case "asks for time":
                self.ask_for_time()
            case "silent":
                self.jobs.create(self._order(is_form))
                await self._gone.wait()
            case "held":
                self.server.create_is_held.set()
                await self.server.let_creates_go.wait()
                self._create(self._order(is_form))
            case "late":
                job = self.jobs.create(self._order(is_form))
                self.server.create_is_held.set()
                await self.server.let_creates_go.wait()
                self.write(self.jobs.shown(job))
            case _:
                self._create(self._order(is_form))

    def _create(self, order: dict[str, Any]) -> None:
        if "[blocked]" in order["prompt"]:
            self.refuse(400, BLOCKED, "moderation_blocked")
            return
        self.write(self.jobs.shown(self.jobs.create(order)))

    def _order(self, is_form: bool) -> dict[str, Any]:
        if is_form:
            order: dict[str, Any] = {
                name: self.get_body_argument(name) for name in self.request.body_arguments
            }
            for name, files in self.request.files.items():
                order[name] = files[0]["body"]
            return order
        order = json.loads(self.request.body)
        if reference := order.get("input_reference"):
            order["input_reference"] = b64decode(reference.partition(";base64,")[2])
        return order

    def get(self) -> None:
        """List."""
        match self.dialect.lists:
            case "no route":
                self.refuse(404, "Invalid URL (GET /v1/videos)")
            case "error":
                self.refuse(500, "internal error")
            case _:
                names = self.request.query_arguments
                self.write(self.jobs.listed({name: self.get_query_argument(name) for name in names}))


class Video(Answering):
    """``/v1/videos/{id}``"""

    async def get(self, job_id: str) -> None:
        """Look."""
        job = self.job(job_id)
        if job is None or self._is_held_back(job):
            return
        job.looks += 1
        body = json.dumps(self.jobs.shown(job))
        if self.dialect.drips == "looks":
            await self.drip(body.encode())
        elif self.jobs.has_failed(job):
            self._show_failure(body)
        else:
            self.write(body)

    def _is_held_back(self, job: Job) -> bool:
        if self.dialect.limit is not None:
            for name, value in self.dialect.limit.items():
                self.set_header(name, value)
            self.refuse(429, "slow down", "rate_limit_exceeded")
            return True
        if self.dialect.loses_every_other_look:
            seen = sum(request.path == self.request.path for request in self.server.requests)
            if seen % 2:
                self.refuse(404, f"Video with id '{job.id}' not found.", "not_found")
                return True
        return False

    def _show_failure(self, body: str) -> None:
        match self.dialect.failure:
            case "http 500":
                self.set_status(500)
                self.write(body)
            case "within a message":
                self.refuse(
                    500, f"litellm.InternalServerError: Hosted_vllmException - {body}\n\nLiteLLM: failed"
                )
            case _:
                self.write(body)

    def delete(self, job_id: str) -> None:
        """Stop and forget."""
        if not self.dialect.deletes:
            self.set_status(405)
            self.write({"detail": "Method Not Allowed"})
            return
        if job := self.job(job_id):
            del self.jobs.all[job.id]
            self.write({"id": job.id, "object": "video.deleted", "deleted": True})


class Content(Answering):
    """``/v1/videos/{id}/content``; a ``variant`` that is asked for is ignored, as many do."""

    async def get(self, job_id: str) -> None:
        """Download."""
        job = self.job(job_id)
        if job is None:
            return
        job.contents += 1
        if not self.jobs.has_ended(job):
            self.refuse(404, NOT_READY)
        elif self.dialect.drips == "content":
            await self.drip(film())
        else:
            await self._send(job)

    async def _send(self, job: Job) -> None:
        match self.dialect.content:
            case "none":
                self.refuse(500, "litellm.APIConnectionError: No response data in completed operation")
            case "asks for time":
                self.ask_for_time()
            case "not yet":
                self.set_header("Retry-After", "60")
                self.refuse(409, NOT_READY)
            case "late" if job.contents == 1:
                self.refuse(404, "The file is not there yet")
            case "as json":
                self.set_header("Content-Type", "video/mp4")
                self.write(json.dumps({"error": {"message": NOT_READY}}))
            case "redirect":
                self.redirect(self.jobs.film_url)
            case "url":
                self.refuse(404, "Not Found")
            case "reset":
                self.set_header("Content-Length", str(len(film())))
                self.write(film()[:100])
                await self.flush()
                self.reset()
            case "endless":
                await self._send_for_ever()
            case _:
                self.set_header("Content-Type", "video/mp4")
                self.write(film())

    async def _send_for_ever(self) -> None:
        self.write(film())
        try:
            for number in itertools.count():
                self.write(bytes(65_536))
                await self.flush()
                if number == 100:
                    self.server.under_way.set()
        except StreamClosedError:
            self.server.gave_up.set()


class Moved(Answering):
    """``/old/…``, where the API was before."""

    def get(self, path: str) -> None:
        self.redirect(f"/v1/{path}", status=308)

    post = get


class Circle(Answering):
    """``/circle/…``, which leads to itself."""

    def get(self) -> None:
        self.redirect(self.request.path)


class Elsewhere(RequestHandler):
    """The film on another origin, which needs no key and must not get one."""

    def get(self) -> None:
        server: DialectServer = self.settings["server"]
        server.requests_elsewhere.append(recorded(self))
        self.set_header("Content-Type", "video/mp4")
        self.write(film())


def recorded(handler: RequestHandler) -> Request:
    """What came in, as it came."""
    request = handler.request
    method, path = request.method or "", request.path
    return Request(method, path, request.query, request.headers, request.body)
