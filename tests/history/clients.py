"""The users of a history: they create tasks, watch them, come back when they are dropped.

All that they send and hear goes into their journal. They live in a thread of their own, so that
whoever stages the faults may block.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, get_args

import jwt
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.history.journal import Journal

GUARD_S: Final = 120.0  # of whatever somebody waits for
CALL_S: Final = 20.0
TOLD_S: Final = 15.0
AGAIN_S: Final = 0.1
TOKEN_S: Final = 24 * 3600  # whatever hours a clock is stepped by
LATER: Final = frozenset({None, 429, 503, 507})  # answers to a create that is to be sent again
ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})

USERS: Final = ("ada", "bob")

T = TypeVar("T")
Kind = Literal["room", "tasks", "events"]


@dataclass(eq=False)
class Watcher:
    """Watches all of a user's tasks: by the user's room, each by its id, or as an EventSource.

    `owed` are the tasks whose end its open line has yet to be told. To an EventSource its line is one
    over every death of the server: it comes back with its Last-Event-ID.
    """

    user: str
    kind: Kind
    socket: ClientConnection | None = None
    joined_at: float | None = None
    last_event_id: str = ""
    owed: set[str] = field(default_factory=set)


class Clients:
    """Users of one server, or of several that are one to them.

    Whatever is waited for here ends in time, or by an AssertionError.
    """

    def __init__(
        self, addresses: Sequence[str], secret: str, journal: Journal, callback_url: str | None = None
    ) -> None:
        self._addresses = addresses
        exp = int(time.time()) + TOKEN_S
        self._tokens = {user: jwt.encode({"sub": user, "exp": exp}, secret, "HS256") for user in USERS}
        self._journal = journal
        self._callback_url = callback_url
        self._lines = itertools.count(1)
        self._count = itertools.count(1)
        self._live: dict[str, str] = {}  # the owner by task
        self._found: dict[str, int] = {}  # the seq by task
        self.answers: list[tuple[float, int | None, float]] = []  # to creates: when sent, status, seconds
        self.tasks: set[str] = set()  # that were accepted
        self._watchers = [Watcher(user, kind) for user in self._tokens for kind in get_args(Kind)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._running: set[asyncio.Task[Any]] = set()
        self._creating: list[asyncio.Task[Any]] = []
        self._faults: list[BaseException] = []
        self._news = asyncio.Event()

    @property
    def _address(self) -> str:
        """Of any of the servers, as a balancer in front of them would choose."""
        return random.choice(self._addresses)

    # --- for whoever stages the faults ---

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()
        self._wait_for(self._watch_all())

    def create(self, count: int) -> list[str]:
        """Create tasks at once, each sent again until it is accepted; their ids."""
        return self._wait_for(self._create_all(count))

    def begin(self, count: int, *, cancel: bool = False, callbacks: bool = True) -> None:
        """The same, without waiting for it; `settle` does. `cancel`: each again, once it is accepted.

        `callbacks`: where there is an address for them, they are asked for.
        """
        work = self._create_all(count, cancel, callbacks)
        self._loop.call_soon_threadsafe(lambda: self._creating.append(self._go(work)))

    @property
    def accepted(self) -> int:
        """How many tasks."""
        return len(self.tasks)

    @property
    def live(self) -> int:
        """How many of them have not ended, as far as anybody was told."""
        return len(self._live)

    def settle(self) -> None:
        """Returns when every task has ended and all who watch have heard so, or could have long ago."""
        self._wait_for(self._settle())

    def stop(self) -> None:
        """Leave. May be called twice."""
        if self._thread.is_alive():
            self._wait_for(self._leave())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CALL_S)

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, GUARD_S), self._loop).result()

    def _go(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._faults.append(error)

    async def _leave(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    # --- watching ---

    async def _watch_all(self) -> None:
        for watcher in self._watchers:
            self._go(self._follow(watcher) if watcher.kind == "events" else self._watch(watcher))

    async def _watch(self, watcher: Watcher) -> None:
        while True:
            try:
                url = f"ws://{self._address}/ws"
                async with connect(
                    url, open_timeout=CALL_S, close_timeout=CALL_S, compression=None
                ) as socket:
                    await self._listen(watcher, socket)
            except (OSError, WebSocketException):  # nobody there: the server is dead, or dies
                pass
            await asyncio.sleep(random.uniform(0, AGAIN_S))

    async def _listen(self, watcher: Watcher, socket: ClientConnection) -> None:
        """One line, from its `auth` to its end."""
        line, by = f"line {next(self._lines)}", "server"
        await self._say(socket, "auth", token=self._tokens[watcher.user])
        welcome = json.loads(await asyncio.wait_for(socket.recv(), CALL_S))
        assert welcome["type"] == "authSuccess", welcome
        self._journal.write("opened", line=line, user=watcher.user)
        watcher.socket = socket
        try:
            await self._subscribe(watcher, socket)
            async for text in socket:
                message = json.loads(text)
                if message["type"] != "heartbeat":
                    self._journal.write("heard", line=line, message=message)
                    self._note(watcher, message["type"], message["payload"])
        except asyncio.CancelledError:
            by = "client"
            raise
        finally:
            watcher.socket, watcher.joined_at, watcher.owed = None, None, set()
            self._news.set()
            self._journal.write("closed", line=line, by=by)

    async def _follow(self, watcher: Watcher) -> None:
        line = f"events of {watcher.user}"
        self._journal.write("opened", line=line, user=watcher.user)
        try:
            while True:
                with suppress(OSError, asyncio.IncompleteReadError):
                    async for message in self._events(watcher):
                        self._journal.write("heard", line=line, message=message)
                        self._note(watcher, message["type"], message["payload"])
                await asyncio.sleep(random.uniform(0, AGAIN_S))
        finally:
            self._journal.write("closed", line=line, by="client")

    async def _events(self, watcher: Watcher) -> AsyncIterator[dict[str, Any]]:
        """The messages of one stream, behind one that says that it is open."""
        reader, writer = await asyncio.open_connection(*self._address.split(":"))
        try:
            token, last = self._tokens[watcher.user], watcher.last_event_id
            headers = [
                "Host: x",
                f"Authorization: Bearer {token}",
                *([f"Last-Event-ID: {last}"] if last else []),
            ]
            # By 1.0, to which no proxy answers in chunks.
            writer.write("\r\n".join(["GET /api/events HTTP/1.0", *headers, "", ""]).encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in answer.splitlines()[0]:
                return
            yield {"type": "subscribeSuccess", "payload": {"room": "user"}}
            while event := (await reader.readuntil(b"\n\n")).decode():
                fields = dict(line.split(": ", 1) for line in event.splitlines() if line and line[0] != ":")
                if "data" in fields:
                    watcher.last_event_id = fields["id"]
                    yield json.loads(fields["data"])
        finally:
            writer.close()

    async def _subscribe(self, watcher: Watcher, socket: ClientConnection) -> None:
        if watcher.kind == "room":
            await self._say(socket, "subscribe_room", room="user")
            return
        for task in [task for task, owner in self._live.items() if owner == watcher.user]:
            await self._say(socket, "subscribe_task", videoId=task)

    def _note(self, watcher: Watcher, kind: str, payload: dict[str, Any]) -> None:
        match kind:
            case "subscribeSuccess" if "room" in payload:
                watcher.joined_at = watcher.joined_at or time.monotonic()
            case "subscribeSuccess" | "taskProgress":
                watcher.owed.add(payload["videoId"])
            case "taskCompleted" | "taskFailed":
                watcher.owed.discard(payload["videoId"])
                self._live.pop(payload["videoId"], None)
                self._news.set()

    async def _say(self, socket: ClientConnection, kind: str, **payload: str) -> None:
        await socket.send(json.dumps({"type": kind, "payload": payload}))

    # --- creating ---

    async def _create_all(self, count: int, cancel: bool = False, callbacks: bool = True) -> list[str]:
        callback_url = self._callback_url if callbacks else None
        return await asyncio.gather(*(self._create(cancel, callback_url) for _ in range(count)))

    async def _create(self, cancel: bool, callback_url: str | None) -> str:
        number = next(self._count)
        user = [*self._tokens][number % len(self._tokens)]
        prompt = uuid.uuid4().hex
        asked_at = time.monotonic()
        while (task := await self._ask_for(user, prompt, callback_url)) is None:
            assert time.monotonic() < asked_at + GUARD_S, f"nobody accepted {prompt!r}"
            await asyncio.sleep(AGAIN_S)
        self._live[task] = user
        await self._tell_watchers(user, task, asked_at)
        if cancel:
            await self._call(user, "POST", f"/api/videos/{task}/cancel")
        return task

    async def _ask_for(self, user: str, prompt: str, callback_url: str | None) -> str | None:
        """One create; the task's id where it was accepted."""
        order = {"prompt": prompt} | ({"callbackUrl": callback_url} if callback_url else {})
        self._journal.write("asked", user=user, prompt=prompt, callback="callbackUrl" in order)
        began = time.monotonic()
        status, body = await self._call(user, "POST", "/api/videos", order, key=prompt)
        took = time.monotonic() - began
        task: str | None = body["videoId"] if status == 202 else None
        self._journal.write("answered", user=user, prompt=prompt, status=status, took_s=took, videoId=task)
        self.answers.append((began, status, took))
        assert status == 202 or status in LATER, (status, body)
        if task is not None:
            self.tasks.add(task)
        return task

    async def _tell_watchers(self, user: str, task: str, asked_at: float) -> None:
        for watcher in self._watchers:
            if watcher.user != user:
                continue
            if watcher.kind != "tasks":
                if watcher.joined_at is not None and watcher.joined_at < asked_at and task in self._live:
                    watcher.owed.add(task)
            elif watcher.socket is not None:
                with suppress(WebSocketException):  # its line is over; the next one subscribes all that live
                    await self._say(watcher.socket, "subscribe_task", videoId=task)

    # --- the end ---

    async def _settle(self) -> None:
        await asyncio.gather(*self._creating)
        while await self._look_at_all():
            await asyncio.sleep(AGAIN_S)
            if self._faults:
                raise self._faults[0]
        with suppress(TimeoutError):  # the checker says who was not told
            await asyncio.wait_for(self._until_told(), TOLD_S)
        await self._look_at_all()

    async def _until_told(self) -> None:
        while any(watcher.owed for watcher in self._watchers):
            self._news.clear()
            await self._news.wait()

    async def _look_at_all(self) -> bool:
        """Whether one of all tasks lives, or has its end still to tell, or not all could be seen."""
        lives = False
        for user in self._tokens:
            cursor: str | None = ""
            while cursor is not None:
                asked_at = time.monotonic()
                query = f"?limit=100{f'&cursor={cursor}' if cursor else ''}"
                status, page = await self._call(user, "GET", f"/api/videos{query}")
                if status != 200:
                    return True
                for task in page["items"]:
                    if self._found.get(task["videoId"]) != task["seq"]:  # else it was written down already
                        self._found[task["videoId"]] = task["seq"]
                        self._journal.write("found", user=user, asked_at=asked_at, task=task)
                    lives = lives or task["status"] not in ENDED or _waits_for_callback(task)
                cursor = page["nextCursor"]
        return lives

    async def _call(
        self, user: str, method: str, path: str, body: Any = None, key: str | None = None
    ) -> tuple[int | None, Any]:
        """Status and JSON of an answer; None where there was none."""
        headers = {"Authorization": f"Bearer {self._tokens[user]}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        data = None if method == "GET" else json.dumps(body or {})
        request = HTTPRequest(
            f"http://{self._address}{path}",
            method,
            headers,
            data,
            request_timeout=CALL_S,
            connect_timeout=CALL_S,
        )
        client = AsyncHTTPClient(force_instance=True)
        try:
            answer = await client.fetch(request, raise_error=False)
        except (OSError, HTTPClientError):  # it died meanwhile
            return None, None
        finally:
            client.close()
        if answer.code == 502:  # a proxy's word, in HTML: nobody was there
            return None, None
        return answer.code, json.loads(answer.body)


def _waits_for_callback(task: dict[str, Any]) -> bool:
    return task["callback"] is not None and task["callback"]["state"] in ("waiting", "pending")
