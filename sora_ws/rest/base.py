"""What all handlers share: how a body comes in, who asks, and how an answer or an error goes out.

No cookie is ever read or set. A request is somebody's by its bearer token alone, so there is
nothing that a page elsewhere could ride on, and CORS only decides who may read an answer.
"""

from __future__ import annotations

import logging
import re
import sys
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, cast

import msgspec
from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, RequestHandler, stream_request_body

from sora_ws.auth import Identity, TokenInvalid
from sora_ws.peers import client_address, origin_is_allowed
from sora_ws.rest.context import RestContext
from sora_ws.rest.problem import CONTENT_TYPE, REFUSALS, Problem, problem_of
from sora_ws.rest.under_way import UnderWay
from sora_ws.settings import Settings
from sora_ws.task import Viewer

log = logging.getLogger(__name__)

BODY_BYTES_MAX: Final = 64 * 1024
BODY_S_MIN: Final = 30
BODY_BYTES_A_SECOND: Final = 16 * 1024  # a phone on a poor line
LINGER_BYTES: Final = 128 * 1024 * 1024
VERBS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

_encoder = msgspec.json.Encoder()


@stream_request_body
class Handler(RequestHandler):
    """A handler that anybody may call.

    The body is streamed so that a request is refused by its headers, before memory is spent on
    it. A refused one is answered at once and the rest of its body passes by unread: a close with
    bytes still coming in would reset the line and cost the client its answer.
    """

    body_bytes_max = BODY_BYTES_MAX

    def initialize(self, settings: Settings) -> None:
        self._settings = settings
        self._body = bytearray()
        self._received = 0
        self._is_refused = False

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")  # the links to videos carry their permission
        self.set_header("Cache-Control", "no-store")

    async def prepare(self) -> None:
        self._under_way.begin(self)
        self._allow_origin()
        connection = cast(HTTP1Connection, self.request.connection)
        connection.set_max_body_size(sys.maxsize)  # Tornado's limit answers 400; `data_received` counts
        connection.set_body_timeout(BODY_S_MIN + self.body_bytes_max / BODY_BYTES_A_SECOND)
        try:
            if self._announced_bytes() > self.body_bytes_max:
                raise self._too_big()
            await self.admit()
        except REFUSALS as refusal:
            if self.request.headers.get("Expect") == "100-continue":
                raise  # the body is not under way yet, and must not be asked for
            self._refuse(refusal)

    def on_finish(self) -> None:
        self._under_way.end(self)

    def on_connection_close(self) -> None:
        self._under_way.end(self)

    @property
    def _under_way(self) -> UnderWay:
        under_way: UnderWay = self.settings["under_way"]
        return under_way

    async def admit(self) -> None:
        """May raise what ends the request before its body is read."""

    def data_received(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if self._is_refused:
            if self._received > self.body_bytes_max + LINGER_BYTES:
                self.finish()
        elif self._received > self.body_bytes_max:
            self._refuse(self._too_big())
        else:
            self._body += chunk

    @property
    def body(self) -> bytes:
        """The whole body."""
        return bytes(self._body)

    @property
    def address(self) -> str:
        """The client's, behind trusted proxies too."""
        peer = self.request.remote_ip or ""
        return client_address(peer, self.request.headers, self._settings.trusted_proxies)

    async def head(self, *args: str) -> None:
        """As GET, without the body: RFC 9110 section 9.3.2."""
        answered = self.get(*args)
        if answered is not None:
            await answered

    def options(self, *args: str) -> None:
        """What may be done here, also for a browser's preflight."""
        self.set_status(204)
        self.set_header("Allow", self._allowed_verbs())
        if "Access-Control-Allow-Origin" in self._headers:
            self.set_header("Access-Control-Allow-Methods", self._allowed_verbs())
            self.set_header(
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Idempotency-Key, If-None-Match, If-Range, Last-Event-ID, Range",
            )
            self.set_header("Access-Control-Max-Age", "600")

    def reply(self, value: object, status: int = 200) -> None:
        """Answer with a value as JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(_encoder.encode(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else HTTPError(status_code)
        self._write_problem(problem_of(error))

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """What an operator should see; never the query, which may hold a token."""
        status = problem_of(value).status
        request = f"{self.request.method} {self.request.path}"
        if status == 500:
            log.error("%s failed", request, exc_info=value, extra={"action": "request_failed"})
        elif status > 500:
            log.warning("%s: %s", request, value, extra={"action": "request_refused"})

    def _refuse(self, refusal: Exception) -> None:
        """Answer now; the request ends when its body has gone by."""
        self.log_exception(type(refusal), refusal, refusal.__traceback__)
        self._is_refused = True
        self._body.clear()
        self.clear()
        self._write_problem(problem_of(refusal))
        self.set_header("Content-Length", str(sum(map(len, self._write_buffer))))
        self.flush()
        # Tornado looks the verb up when the body is there.
        setattr(self, str(self.request.method).lower(), self._end)

    def _end(self, *args: str) -> None:
        self.finish()

    def _write_problem(self, problem: Problem) -> None:
        self._allow_origin()
        self.set_status(problem.status, HTTPStatus(problem.status).phrase)
        self.set_header("Content-Type", CONTENT_TYPE)
        if problem.status == 405:
            self.set_header("Allow", self._allowed_verbs())
        for name, value in problem.headers.items():
            self.set_header(name, value)
        self.write(problem.encode())

    def _allow_origin(self) -> None:
        self.add_header("Vary", "Origin")
        origin = self.request.headers.get("Origin", "")
        if origin and origin_is_allowed(origin, self.request.host, self._settings.allowed_origins):
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Expose-Headers", "Date, ETag, Location, Retry-After")

    def _allowed_verbs(self) -> str:
        """The verbs that this handler has: RFC 9110 section 10.2.1."""
        own = [verb for verb in VERBS if getattr(type(self), verb.lower()) is not RequestHandler.get]
        if "GET" not in own:
            own.remove("HEAD")
        return ", ".join([*own, "OPTIONS"])

    def _announced_bytes(self) -> int:
        announced = self.request.headers.get("Content-Length", "")
        return int(announced) if re.fullmatch(r"[0-9]{1,18}", announced) else 0

    def _too_big(self) -> Problem:
        return Problem(413, f"The body may have at most {self.body_bytes_max} bytes.")


class ApiHandler(Handler):
    """A handler for those who have a token."""

    takes_token_in_query = False
    """There it would stand in the logs of every proxy on the way."""

    def initialize(self, context: RestContext) -> None:  # type: ignore[override]
        super().initialize(context.settings)
        self.context = context

    async def admit(self) -> None:
        """Raises TokenInvalid, TokenExpired, UserDisabled, or Problem."""
        if self.request.method != "OPTIONS":  # a preflight carries no token
            self.identity: Identity = self.context.tokens.identify(self._token())

    @property
    def viewer(self) -> Viewer:
        """Who asks."""
        return self.identity.viewer

    def _token(self) -> str:
        """The bearer token. Raises TokenInvalid where there is none, Problem where there are two."""
        given = {_bearer(header) for header in self.request.headers.get_list("Authorization")}
        in_query = {value.decode("latin-1") for value in self.request.query_arguments.get("access_token", [])}
        if len(given | in_query) > 1:
            raise Problem(400, "Send one token: these differ, and nobody can tell which of them counts.")
        if self.takes_token_in_query:
            given |= in_query
        return next(iter(given), "")


def _bearer(header: str) -> str:
    """The token of an Authorization header: RFC 6750 section 2.1."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise TokenInvalid
    return token.strip()
