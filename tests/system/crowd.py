"""A site's visitors while its instances are restarted, in a process of their own.

    python -m tests.system.crowd PORT JOURNAL LINES

Its lines come back as the browser client's do, and creates leave all the time, with an Idempotency-Key and
without. It says "there" when every line is open, and "back" again for each line of input, when nobody is away
any more. When the input ends it waits until every task has ended and tells as JSON what was seen.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.history.clients import ENDED, GUARD_S, Clients
from tests.history.journal import Journal
from tests.history.run import SECRET

FIRST_WAIT_S: Final = 1.0  # as in sora_ws/web/sora-ws.js
CREATE_EVERY_S: Final = 0.25
CREATOR: Final = "carl"


@dataclass
class Seen:
    """What became of lines and creates; times are seconds of the monotonic clock."""

    came_back: list[float] = field(default_factory=list)
    away_s: list[float] = field(default_factory=list)
    left_by: Counter[str] = field(default_factory=Counter)  # the close code
    refused: Counter[str] = field(default_factory=Counter)  # handshakes
    creates: Counter[str] = field(default_factory=Counter)  # answers, by status
    slowest_create_s: float = 0.0


class Crowd:
    """`lines` visitors with a line each, and one who creates."""

    def __init__(self, port: int, lines: int, journal: Journal) -> None:
        self._address = f"127.0.0.1:{port}"
        self._lines = lines
        self._journal = journal
        self._open = 0
        self._changed = asyncio.Event()
        self._tasks: list[str] = []
        self.seen = Seen()

    async def all_there(self) -> None:
        while self._open < self._lines:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), GUARD_S)
            except TimeoutError:
                raise AssertionError(f"{self._open} of {self._lines} are there: {self.seen}") from None

    async def visit(self, number: int) -> None:
        """One line, for ever."""
        left_at, tries = 0.0, 0
        while True:
            try:
                async with connect(f"ws://{self._address}/ws", compression=None) as socket:
                    await self._enter(socket, f"visitor{number}")
                    if left_at:
                        self.seen.came_back.append(time.monotonic())
                        self.seen.away_s.append(time.monotonic() - left_at)
                    tries = 0
                    await self._stay(socket)
                left_at = time.monotonic()
                self.seen.left_by[str(socket.close_code)] += 1
            except InvalidStatus as error:
                self.seen.refused[str(error.response.status_code)] += 1
            except (OSError, ConnectionClosed, TimeoutError) as error:
                self.seen.refused[type(error).__name__] += 1
            await asyncio.sleep(random.uniform(0, FIRST_WAIT_S * 2**tries))
            tries += 1

    async def _enter(self, socket: ClientConnection, user: str) -> None:
        for type_, payload in (("auth", {"token": token_of(user)}), ("subscribe_room", {"room": "user"})):
            await socket.send(json.dumps({"type": type_, "payload": payload}))
        said = ""
        while said != "subscribeSuccess":
            message = json.loads(await asyncio.wait_for(socket.recv(), GUARD_S))
            said = message["type"]
            assert said in ("authSuccess", "heartbeat", "subscribeSuccess"), message

    async def _stay(self, socket: ClientConnection) -> None:
        self._count(1)
        try:
            async for _ in socket:
                pass
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        self._open += more
        self._changed.set()

    async def create(self) -> None:
        """A task without an Idempotency-Key."""
        prompt, began = uuid.uuid4().hex, time.monotonic()
        self._journal.write("asked", user=CREATOR, prompt=prompt, callback=False)
        answer = await self._ask("POST", "/api/videos", json.dumps({"prompt": prompt}))
        took_s = time.monotonic() - began
        task = json.loads(answer.body)["videoId"] if answer.code == 202 else None
        facts = {"status": answer.code, "took_s": took_s, "videoId": task}
        self._journal.write("answered", user=CREATOR, prompt=prompt, **facts)
        self.seen.creates[str(answer.code)] += 1
        self.seen.slowest_create_s = max(self.seen.slowest_create_s, took_s)
        if task is not None:
            self._tasks.append(task)

    async def see_the_ends(self) -> None:
        """Of the tasks without a key; the others are seen by who made them."""
        for task in self._tasks:
            deadline = time.monotonic() + GUARD_S
            lives = True
            while lives:
                assert time.monotonic() < deadline, f"{task} never ended"
                asked_at = time.monotonic()
                shown = json.loads((await self._ask("GET", f"/api/videos/{task}")).body)
                self._journal.write("found", user=CREATOR, asked_at=asked_at, task=shown)
                lives = shown["status"] not in ENDED
                await asyncio.sleep(0.1 * lives)

    async def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {token_of(CREATOR)}", "Content-Type": "application/json"}
        request = HTTPRequest(f"http://{self._address}{path}", method, headers, body, request_timeout=GUARD_S)
        return await AsyncHTTPClient().fetch(request, raise_error=False)


def token_of(user: str) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + 3600}, SECRET, "HS256")


async def main(port: int, path: Path, lines: int) -> None:
    journal = Journal(path)
    crowd, clients = Crowd(port, lines, journal), Clients([f"127.0.0.1:{port}"], SECRET, journal)
    clients.start()
    visits = [asyncio.create_task(crowd.visit(number)) for number in range(lines)]
    await crowd.all_there()
    print("there", flush=True)
    over = asyncio.Event()
    creating = asyncio.create_task(create_until(over, crowd, clients))
    while await asyncio.to_thread(sys.stdin.readline):
        await crowd.all_there()
        print("back", flush=True)
    over.set()
    await creating
    await asyncio.to_thread(clients.settle)
    clients.stop()
    await crowd.see_the_ends()
    for visit in visits:
        visit.cancel()
    keyed = Counter(str(status) for _, status, _ in clients.answers)
    print(json.dumps(vars(crowd.seen) | {"keyed": keyed}), flush=True)


async def create_until(over: asyncio.Event, crowd: Crowd, clients: Clients) -> None:
    async with asyncio.TaskGroup() as under_way:
        while not over.is_set():
            under_way.create_task(crowd.create())
            clients.begin(1)
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), CREATE_EVERY_S)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
