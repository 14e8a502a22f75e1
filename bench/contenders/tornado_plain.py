"""Tornado as its own documentation shows it: a handler a reader, `write_message` a reader.

python -m bench.contenders.tornado_plain TASKS TEMPLATE [deflate]
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from bench.contenders.commands import Contender, obey, say
from bench.message import CROWD, HOLE

BACKLOG = 4096


class Reader(WebSocketHandler):
    """Answers auth and subscribe, and is from then on one of the readers."""

    def initialize(self, readers: set[Reader], states: list[str], deflates: bool) -> None:
        self._readers = readers
        self._states = states
        self._deflates = deflates

    def get_compression_options(self) -> dict[str, Any] | None:
        return {} if self._deflates else None

    def open(self, *args: str, **kwargs: str) -> None:
        self.set_nodelay(True)

    async def on_message(self, message: str | bytes) -> None:
        request = json.loads(message)
        if request["type"] == "auth":
            await self.write_message('{"type":"authSuccess"}')
            return
        is_of_team = request["id"] != CROWD
        if is_of_team:
            self._readers.add(self)
        await self.write_message('{"type":"subscribeSuccess"}')
        for state in self._states if is_of_team else self._states[:1]:
            await self.write_message(state)

    def on_close(self) -> None:
        self._readers.discard(self)


class PlainTornado(Contender):
    """A loop over all readers."""

    def __init__(self, readers: set[Reader], template: str) -> None:
        self._readers = readers
        self._template = template

    def publish(self, seqs: Sequence[int]) -> None:
        for seq in seqs:
            text = self._template.replace(HOLE, str(seq))
            for reader in tuple(self._readers):
                try:
                    reader.write_message(text)
                except WebSocketClosedError:
                    self._readers.discard(reader)

    async def published(self) -> None:
        await asyncio.sleep(0)

    def lines(self) -> int:
        return len(self._readers)

    async def leave(self) -> None:
        for reader in tuple(self._readers):
            reader.close(1001, "the server stops")
        await asyncio.sleep(0)


async def main(task_count: int, template: str, *options: str) -> None:
    readers: set[Reader] = set()
    own = {
        "readers": readers,
        "states": [template.replace(HOLE, "1")] * task_count,
        "deflates": "deflate" in options,
    }
    app = Application([("/ws", Reader, own)], log_function=lambda handler: None)
    sockets = bind_sockets(0, "127.0.0.1", backlog=BACKLOG)
    HTTPServer(app).add_sockets(sockets)
    say(port=sockets[0].getsockname()[1])
    await obey(PlainTornado(readers, template))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
