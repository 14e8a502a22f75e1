"""An EventSource: one line for its user, over however many streams of events."""

from __future__ import annotations

import asyncio
import json
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine
from tornado.web import Application

from tests.simworld.line import Line

if TYPE_CHECKING:
    from tests.simworld.world import World


class EventSource:
    """Comes back with its Last-Event-ID until it is told not to; without one, as somebody else.

    `of` says what it listens to, as a subscription would.
    """

    def __init__(self, world: World, name: str, path: str, of: dict[str, str], token: str) -> None:
        self.path = path
        self.headers = {"Host": "localhost", "Authorization": f"Bearer {token}"}
        self._world = world
        self._name = name
        self._of = of
        self._streams = 0
        self._line = ""

    def opened(self) -> None:
        """The answer has begun."""
        self._streams += 1
        if not self._line:
            self._line = f"{self._name}-{self._streams}"
            self._world.note("opened", line=self._line, user=self._name.partition("-")[0])
        self._hear({"type": "subscribeSuccess", "payload": self._of})

    def told(self, event: dict[str, str]) -> None:
        self.headers["Last-Event-ID"] = event["id"]
        self._hear(json.loads(event["data"]))

    def closed(self, by: str) -> None:
        """A stream is over; that is the end of the line where nothing is known to come back with."""
        if self._line and (by == "client" or "Last-Event-ID" not in self.headers):
            self._world.note("closed", line=self._line, by=by)
            self._line = ""

    def _hear(self, message: dict[str, Any]) -> None:
        self._world.note("heard", line=self._line, message=message)


class Stream(Line):
    """One request of an EventSource and its answer, as Tornado's handlers see them."""

    def __init__(self, world: World, source: EventSource, chance: random.Random, reads_s: float) -> None:
        super().__init__(world, chance, reads_s)
        self.context = SimpleNamespace(remote_ip="127.0.0.1", protocol="http")
        self._source = source
        self._has_begun = False
        self.status: int | None = None
        """Of an answer that is no stream."""

    def request(self, application: Application) -> None:
        """In the server: the request has come."""
        delegate = application.start_request(self, self)  # type: ignore[arg-type]
        line = RequestStartLine("GET", self._source.path, "HTTP/1.1")
        delegate.headers_received(line, HTTPHeaders(self._source.headers))
        delegate.finish()

    # --- the connection of the request ---

    def set_close_callback(self, callback: Any) -> None:
        """Whoever is gone before the answer is told so in vain."""

    def set_max_body_size(self, size: int) -> None:
        """There is no body."""

    def set_nodelay(self, value: bool) -> None:
        """Nothing is delayed."""

    def set_body_timeout(self, seconds: float) -> None:
        """There is no body."""

    def write_headers(
        self, start: ResponseStartLine, headers: Any, chunk: bytes = b""
    ) -> asyncio.Future[None]:
        """An answer that is no stream."""
        self.status = start.code
        written: asyncio.Future[None] = self._world.loop.create_future()
        written.set_result(None)
        return written

    def detach(self) -> Stream:
        return self

    # --- the client's end ---

    def _parse(self) -> None:
        while (end := self._unread.find(b"\n\n" if self._has_begun else b"\r\n\r\n")) >= 0:
            if not self._has_begun:
                self._has_begun = True
                del self._unread[: end + 4]
                self._source.opened()
                continue
            event = self._unread[:end].decode()
            del self._unread[: end + 2]
            fields = dict(line.split(": ", 1) for line in event.splitlines() if not line.startswith(":"))
            if "data" in fields:
                self._source.told(fields)

    def _is_cut(self, by: str) -> None:
        self._source.closed(by)
