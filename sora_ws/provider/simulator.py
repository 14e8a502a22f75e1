"""A videos API that only pretends: a real HTTP server of the ``/v1/videos`` format.

It keeps nothing that matters: jobs stand in their ids and films are drawn when they are asked
for. Every answer says that it is a simulator's.
"""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, StaticFileHandler

from sora_ws.provider.film_shelf import FilmShelf, NoFilm
from sora_ws.provider.simulated_job import BLOCKED, Phase, SimulatedJob, is_marked

NAME: Final = "sora-ws-simulator"
MODEL: Final = "sora-2"
SECONDS: Final = "4"
SECONDS_MAX: Final = 120
SIZE: Final = "1280x720"
SIDE_MIN: Final = 64
SIDE_MAX: Final = 4096
PROMPT_MAX: Final = 32_000
BODY_MAX: Final = 64 * 1024 * 1024
REMEMBERED_MAX: Final = 1_000
LIST_DEFAULT: Final = 20
LIST_MAX: Final = 100
OVERLOADED: Final = {"en": "The model is overloaded, please try again later", "zh": "模型过载，请稍后重试"}

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Refusal(HTTPError):
    """An answer that is an error, in the shape of the format."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(status)
        self.body = _error(message, status, code=code, param=param)


def _error(message: str, status: int, *, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Asked(msgspec.Struct):
    """The body of a create, as it came."""

    prompt: str = ""
    model: str = MODEL
    seconds: str | int = SECONDS
    size: str = SIZE


class Simulator:
    """The server. A job takes `seconds` (0: it is done at once); failures are told in `language`."""

    def __init__(self, seconds: float, language: Literal["en", "zh"] = "en") -> None:
        self._lasts = round(seconds * 1000)
        self._language = language
        self._prompts: dict[str, str] = {}
        self._deleted: dict[str, None] = {}
        self._shelf = FilmShelf()
        self._server: HTTPServer | None = None

    async def start(self, port: int = 0, address: str = "127.0.0.1") -> str:
        """Listen; returns the base URL, up to and with its /v1. Raises OSError where it can't."""
        sockets = bind_sockets(port, address)
        self._server = HTTPServer(self._application(), max_body_size=BODY_MAX, max_buffer_size=BODY_MAX)
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

    async def film(self, job: SimulatedJob) -> Path:
        """The film of a job, as a file. Raises Refusal."""
        if job.phase(now_ms()) is not Phase.COMPLETED:
            message = "Video is not ready yet, use GET /v1/videos/{video_id} to check its status."
            raise Refusal(404, message, code="not_ready")
        try:
            return await self._shelf.film(job)
        except NoFilm as error:
            log.error("a film could not be drawn: %s", error)  # noqa: TRY400 - the cause is in another process
            raise Refusal(500, "The film could not be drawn.", code="internal_error") from None

    def create(self, asked: Asked) -> dict[str, Any]:
        """A new job's first answer. Raises Refusal."""
        job = _ordered(asked, self._lasts)
        _remember(self._prompts, job.id, asked.prompt)
        return self.shown(job)

    def find(self, job_id: str) -> SimulatedJob:
        """The job of this id. Raises Refusal."""
        job = None if job_id in self._deleted else SimulatedJob.of(job_id)
        if job is None:
            raise Refusal(
                404, f"Video with id '{job_id[:80]}' not found.", code="not_found", param="video_id"
            )
        return job

    def delete(self, job: SimulatedJob) -> None:
        """Forget the job, as long as this process lives."""
        self._prompts.pop(job.id, None)
        _remember(self._deleted, job.id, None)

    def listed(self) -> list[SimulatedJob]:
        """The jobs that this process was asked for, oldest first."""
        return [job for job in map(SimulatedJob.of, self._prompts) if job]

    def shown(self, job: SimulatedJob) -> dict[str, Any]:
        """The job as the format has it."""
        now = now_ms()
        phase = job.phase(now)
        message = OVERLOADED[self._language]
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
            "error": {"code": "model_overloaded", "message": message} if phase is Phase.FAILED else None,
            "simulated": True,
        }


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
        body = error.body if isinstance(error, Refusal) else _error(self._reason, status_code)
        self.finish(body)


class Videos(Answering):
    """``/v1/videos``"""

    def post(self) -> None:
        """Create."""
        self.write(self.simulator.create(_asked(self)))

    def get(self) -> None:
        """List."""
        jobs = self.simulator.listed()
        if self.get_query_argument("order", "desc") != "asc":
            jobs.reverse()
        after = self.get_query_argument("after", None)
        ids = [job.id for job in jobs]
        if after in ids:
            jobs = jobs[ids.index(after) + 1 :]
        limit = _limit(self.get_query_argument("limit", str(LIST_DEFAULT)))
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
            raise Refusal(400, "This simulator makes videos only, no thumbnails.", param="variant")
        film = await self.simulator.film(job)
        await super().get(film.name, include_body)

    def compute_etag(self) -> str:
        """The film's name, which says all that the film is made of."""
        return f'"{Path(self.absolute_path or "").stem}"'


class Nowhere(RequestHandler):
    """Every other path."""

    def prepare(self) -> None:
        self.set_header("Server", NAME)
        self.set_status(404)
        self.finish(_error(f"Invalid URL ({self.request.method} {self.request.path})", 404))


def now_ms() -> int:
    """The clock that jobs go by."""
    return time.time_ns() // 1_000_000


def _asked(handler: RequestHandler) -> Asked:
    kind = handler.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        fields = {name: handler.get_body_argument(name) for name in handler.request.body_arguments}
        return msgspec.convert(fields, Asked)
    if kind != "application/json":
        raise Refusal(415, f"Unsupported content type: '{kind[:80]}'.")
    try:
        return msgspec.json.decode(handler.request.body, type=Asked)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"We could not parse the JSON body of your request: {error}") from None


def _ordered(asked: Asked, lasts: int) -> SimulatedJob:
    """The job that was asked for. Raises Refusal where there can be none."""
    if not asked.prompt.strip():
        raise Refusal(
            400, "Missing required parameter: 'prompt'.", code="missing_required_parameter", param="prompt"
        )
    if len(asked.prompt) > PROMPT_MAX:
        raise Refusal(
            400,
            f"The prompt is longer than {PROMPT_MAX} characters.",
            code="string_above_max_length",
            param="prompt",
        )
    if is_marked(asked.prompt, BLOCKED):
        raise Refusal(400, "Your request was blocked by our moderation system.", code="moderation_blocked")
    return SimulatedJob.new(
        asked.prompt, asked.model, _seconds(str(asked.seconds)), _size(asked.size), lasts=lasts, now=now_ms()
    )


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text) or int(text) > SECONDS_MAX:
        raise Refusal(
            400,
            f"Invalid value for 'seconds': a whole number from 1 to {SECONDS_MAX}.",
            code="invalid_value",
            param="seconds",
        )
    return int(text)


def _size(text: str) -> tuple[int, int]:
    sides = [int(side) for side in text.split("x")] if re.fullmatch(r"[0-9]{2,4}x[0-9]{2,4}", text) else []
    if not sides or not all(SIDE_MIN <= side <= SIDE_MAX for side in sides):
        raise Refusal(
            400,
            f"Invalid value for 'size': WIDTHxHEIGHT, each {SIDE_MIN} to {SIDE_MAX}.",
            code="invalid_value",
            param="size",
        )
    return sides[0], sides[1]


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) > LIST_MAX:
        raise Refusal(
            400, f"Invalid value for 'limit': 0 to {LIST_MAX}.", code="invalid_value", param="limit"
        )
    return int(text)


def _remember(kept: dict[str, _T], key: str, value: _T) -> None:
    kept[key] = value
    if len(kept) > REMEMBERED_MAX:
        del kept[next(iter(kept))]


def _log(handler: RequestHandler) -> None:
    log.debug("%s %s %d", handler.request.method, handler.request.path, handler.get_status())
