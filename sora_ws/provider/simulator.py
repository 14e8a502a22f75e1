"""A videos API that only pretends: a real HTTP server of the ``/v1/videos`` format.

It keeps nothing that matters: jobs stand in their ids, and films are drawn when they are asked
for. Every answer says that it is a simulator's.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, StaticFileHandler

from sora_ws.provider.film_shelf import FilmShelf, NoFilm
from sora_ws.provider.simulated_job import Phase, SimulatedJob
from sora_ws.provider.simulated_order import Refusal, SimulatedOrder, error_body, whole

NAME: Final = "sora-ws-simulator"
BODY_BYTES_MAX: Final = 64 * 1024**2
REMEMBERED_MAX: Final = 1_000
LIST_DEFAULT: Final = 20
LIST_MAX: Final = 100
OVERLOADED: Final = {"en": "The model is overloaded, please try again later", "zh": "模型过载，请稍后重试"}

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Simulator:
    """The server. A job takes `seconds` (0: it is done at once), one with ``[slow]`` in its prompt
    five times as long; ``[fail]`` fails on the way, as is told in `language`; ``[blocked]`` is refused.
    """

    def __init__(self, seconds: float, language: Literal["en", "zh"] = "en") -> None:
        self._lasts = round(seconds * 1000)
        self._overloaded = OVERLOADED[language]
        self._prompts: dict[str, str] = {}
        self._deleted: dict[str, None] = {}
        self._shelf = FilmShelf()
        self._server: HTTPServer | None = None

    async def start(self, port: int = 0, address: str = "127.0.0.1") -> str:
        """Listen; returns the base URL, up to and with its /v1. Raises OSError where it can't."""
        sockets = bind_sockets(port, address)
        self._server = HTTPServer(
            self._application(), max_body_size=BODY_BYTES_MAX, max_buffer_size=BODY_BYTES_MAX
        )
        self._server.add_sockets(sockets)
        host = f"[{address}]" if ":" in address else address
        return f"http://{host}:{sockets[0].getsockname()[1]}/v1"

    async def stop(self) -> None:
        """Close the port and every connection, and throw the films away. May be called twice."""
        if self._server:
            self._server.stop()
            await self._server.close_all_connections()
            self._server = None
        await self._shelf.close()

    def create(self, order: SimulatedOrder) -> SimulatedJob:
        """A new job. Raises Refusal."""
        job = order.job(self._lasts, _now())
        _remember(self._prompts, job.id, order.prompt)
        return job

    def find(self, job_id: str) -> SimulatedJob:
        """The job of this id, whichever process made it. Raises Refusal."""
        job = None if job_id in self._deleted else SimulatedJob.of(job_id)
        if job is None:
            raise Refusal(404, f"Video with id '{job_id[:80]}' not found.", code="not_found")
        return job

    def delete(self, job: SimulatedJob) -> None:
        """Forget the job, as long as this process lives."""
        self._prompts.pop(job.id, None)
        _remember(self._deleted, job.id, None)

    def listed(self) -> list[SimulatedJob]:
        """The last jobs that this process was asked for, oldest first."""
        return [job for job in map(SimulatedJob.of, self._prompts) if job]

    async def film(self, job: SimulatedJob) -> Path:
        """The job's film, as a file. Raises Refusal."""
        if job.phase(_now()) is not Phase.COMPLETED:
            message = "Video is not ready yet, use GET /v1/videos/{video_id} to check its status."
            raise Refusal(404, message, code="not_ready")
        try:
            return await self._shelf.film(job)
        except NoFilm as error:
            log.warning("a film could not be drawn: %s", error)
            raise Refusal(500, "The film could not be drawn.", code="internal_error") from None

    def shown(self, job: SimulatedJob) -> dict[str, Any]:
        """The job as the format has it."""
        now = _now()
        phase = job.phase(now)
        error = {"code": "model_overloaded", "message": self._overloaded}
        return {
            "id": job.id,
            "object": "video",
            "model": job.model,
            "status": phase,
            "progress": job.progress(now),
            "created_at": job.created_at // 1000,
            "completed_at": job.ends_at // 1000 if phase is Phase.COMPLETED else None,
            "expires_at": None,
            "prompt": self._prompts.get(job.id, job.prompt),
            "seconds": str(job.seconds),
            "size": f"{job.width}x{job.height}",
            "remixed_from_video_id": None,
            "error": error if phase is Phase.FAILED else None,
            "simulated": True,
        }

    def _application(self) -> Application:
        return Application(
            [
                (r"/v1/videos", Videos),
                (r"/v1/videos/([^/]+)", Video),
                (r"/v1/videos/([^/]+)/content", Content, {"path": str(self._shelf.folder)}),
            ],
            default_handler_class=Nowhere,
            log_function=_log,
            simulator=self,
        )


class Answering(RequestHandler):
    """What all answers have in common."""

    @property
    def simulator(self) -> Simulator:
        simulator: Simulator = self.settings["simulator"]
        return simulator

    def set_default_headers(self) -> None:
        self.set_header("Server", NAME)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        self.finish(error.body if isinstance(error, Refusal) else error_body(status_code, self._reason))


class Videos(Answering):
    """``/v1/videos``"""

    def post(self) -> None:
        """Create."""
        job = self.simulator.create(self._order())
        self.write(self.simulator.shown(job))

    def get(self) -> None:
        """List."""
        limit = whole(self.get_query_argument("limit", str(LIST_DEFAULT)), "limit", 0, LIST_MAX)
        jobs = self._jobs_asked_for()
        page = [self.simulator.shown(job) for job in jobs[:limit]]
        self.write(
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": len(jobs) > limit,
            }
        )

    def _order(self) -> SimulatedOrder:
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            return SimulatedOrder.from_json(self.request.body)
        if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
            names = self.request.body_arguments
            return SimulatedOrder.from_form({name: self.get_body_argument(name) for name in names})
        raise Refusal(415, f"Unsupported content type: '{kind[:80]}'.")

    def _jobs_asked_for(self) -> list[SimulatedJob]:
        jobs = self.simulator.listed()
        if self.get_query_argument("order", "desc") != "asc":
            jobs.reverse()
        after = self.get_query_argument("after", None)
        place = next((number for number, job in enumerate(jobs, 1) if job.id == after), 0)
        return jobs[place:]


class Video(Answering):
    """``/v1/videos/{id}``"""

    def get(self, job_id: str) -> None:
        """Look."""
        self.write(self.simulator.shown(self.simulator.find(job_id)))

    def delete(self, job_id: str) -> None:
        """Stop and forget."""
        job = self.simulator.find(job_id)
        self.simulator.delete(job)
        self.write({"id": job.id, "object": "video.deleted", "deleted": True})


class Content(Answering, StaticFileHandler):
    """``/v1/videos/{id}/content``: the film, or the part of it that a Range names."""

    async def get(self, job_id: str, include_body: bool = True) -> None:
        """Download."""
        job = self.simulator.find(job_id)
        if self.get_query_argument("variant", "video") != "video":
            raise Refusal(400, "This simulator makes films only, no thumbnails.", param="variant")
        film = await self.simulator.film(job)
        await super().get(film.name, include_body)

    def compute_etag(self) -> str:
        """The film's name, which says all that the film is made of."""
        return f'"{Path(self.absolute_path or "").stem}"'


class Nowhere(Answering):
    """Every other path."""

    def prepare(self) -> None:
        raise Refusal(404, f"Invalid URL ({self.request.method} {self.request.path})")


def _now() -> int:
    return time.time_ns() // 1_000_000


def _remember(kept: dict[str, _T], key: str, value: _T) -> None:
    kept[key] = value
    if len(kept) > REMEMBERED_MAX:
        del kept[next(iter(kept))]


def _log(handler: RequestHandler) -> None:
    log.debug("%s %s %d", handler.request.method, handler.request.path, handler.get_status())
