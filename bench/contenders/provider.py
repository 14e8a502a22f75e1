"""A videos API whose jobs all move on at once, when it is told to: `python -m bench.contenders.provider`.

It prints {"port": …}. A look at a job is answered when the job has news since the last look at it, so
that whoever asks again and again hears of a change at once; without news it is answered before a client
would give it up. The line `step` moves every job on by one per
cent, and is answered by {"stepped_us": …}, when that was, CLOCK_MONOTONIC; the line `waiting` by how
many looks wait for news.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Final

from bench.contenders.commands import say

HEAD_END: Final = b"\r\n\r\n"
PATIENCE_S: Final = 20.0
ANSWER: Final = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}"


class Jobs:
    """How far they are, how far each was when it was last looked at, and who waits for news."""

    def __init__(self) -> None:
        self.progress = 1
        self._shown: list[int] = []
        self._waiting: list[tuple[Caller, int]] = []

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def create(self, caller: Caller) -> None:
        self._shown.append(self.progress)
        caller.answer(self._view(len(self._shown) - 1))

    def look(self, caller: Caller, number: int) -> None:
        """Answered now if there is news, else with the next step, or when the patience is over."""
        if self._shown[number] < self.progress:
            self._show(caller, number)
            return
        self._waiting.append((caller, number))
        asyncio.get_running_loop().call_later(PATIENCE_S, self._no_news, caller, number, self.progress)

    def step(self) -> None:
        self.progress += 1
        waiting, self._waiting = self._waiting, []
        for caller, number in waiting:
            self._show(caller, number)

    def _no_news(self, caller: Caller, number: int, progress: int) -> None:
        if progress == self.progress:
            self._waiting.remove((caller, number))
            self._show(caller, number)

    def _show(self, caller: Caller, number: int) -> None:
        self._shown[number] = self.progress
        caller.answer(self._view(number))

    def _view(self, number: int) -> str:
        job = {"id": f"job-{number}", "object": "video", "status": "in_progress", "progress": self.progress}
        return json.dumps(job)


class Caller(asyncio.Protocol):
    """One connection, kept alive: a request at a time, as HTTP/1.1 clients send them."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        head, end, body = self._bytes.partition(HEAD_END)
        if not end or len(body) < _length(head):
            return
        self._bytes = body[_length(head) :]
        method, path, *_ = head.decode("latin-1").split(" ", 2)
        if method == "POST":
            self._jobs.create(self)
        else:
            self._jobs.look(self, int(path.rpartition("job-")[2]))

    def answer(self, body: str) -> None:
        self._transport.write(ANSWER.format(len(body), body).encode())


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def main() -> None:
    jobs = Jobs()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Caller(jobs), "127.0.0.1", 0)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    say(port=server.sockets[0].getsockname()[1])
    while line := await lines.readline():
        if line == b"waiting\n":
            say(waiting=jobs.waiting)
            continue
        stepped_us = time.monotonic_ns() // 1000
        jobs.step()
        say(stepped_us=stepped_us)


if __name__ == "__main__":
    asyncio.run(main())
