"""Tornado as its own documentation shows it: a handler a reader, `write_message` a reader.

python -m bench.contenders.tornado_plain TASKS TEMPLATE
"""

from __future__ import annotations

import asyncio
import json
import sys

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from bench.contenders.commands import obey, say
from bench.message import CROWD, HOLE

BACKLOG = 1024


class Reader(WebSocketHandler):
    """Answers auth and subscribe, and is from then on one of the readers."""

    def initialize(self, readers: set[Reader], states: list[str]) -> None:
        self._readers = readers
        self._states = states

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


async def main(task_count: int, template: str) -> None:
    readers: set[Reader] = set()
    states = [template.replace(HOLE, "1")] * task_count
    app = Application(
        [("/ws", Reader, {"readers": readers, "states": states})], log_function=lambda handler: None
    )
    sockets = bind_sockets(0, "127.0.0.1", backlog=BACKLOG)
    HTTPServer(app).add_sockets(sockets)

    async def publish(seqs: list[int]) -> None:
        for seq in seqs:
            text = template.replace(HOLE, str(seq))
            for reader in tuple(readers):
                try:
                    reader.write_message(text)
                except WebSocketClosedError:
                    readers.discard(reader)

    async def published() -> None:
        await asyncio.sleep(0)

    say(port=sockets[0].getsockname()[1])
    await obey(publish, published)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
