"""A client of Server-Sent Events that keeps every line, also those that a browser passes over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tests.e2e.world import World, token

GUARD_S: Final = 20.0


@dataclass
class Event:
    """One event: its id, and the message that it holds."""

    id: int
    message: dict[str, Any]

    @property
    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = self.message["payload"]
        return payload


@dataclass
class Reader:
    """An answer on its way: the head is there, the body comes."""

    lines: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int
    headers: dict[str, str]
    comments: int = 0
    retry: int | None = None
    heard: list[Event] = field(default_factory=list)

    async def next(self) -> Event | None:
        """The next event; None at the end of the body."""
        id_ = data = None
        while line := await asyncio.wait_for(self.lines.readline(), GUARD_S):
            name, _, value = line.decode().removesuffix("\n").partition(":")
            value = value.removeprefix(" ")
            if line == b"\n" and data is not None:
                self.heard.append(Event(int(id_ or ""), json.loads(data)))
                return self.heard[-1]
            if line.startswith(b":"):
                self.comments += 1
            elif name == "retry":
                self.retry = int(value)
            elif name == "id":
                id_ = value
            elif name == "data":
                data = value
            else:
                assert line == b"\n", line
        return None

    async def hear(self, type_: str, **payload: Any) -> Event:
        """The next event of this type whose payload holds these values."""
        while event := await self.next():
            if event.message["type"] == type_ and payload.items() <= event.payload.items():
                return event
        raise AssertionError(f"the stream has ended without {type_}")

    async def to_the_end(self) -> list[Event]:
        """All that it has told, when it has ended."""
        while await self.next():
            pass
        return self.heard

    async def problem(self) -> dict[str, Any]:
        """The body of an error."""
        length = int(self.headers["content-length"])
        body: dict[str, Any] = json.loads(await asyncio.wait_for(self.lines.readexactly(length), GUARD_S))
        return body


@asynccontextmanager
async def reading(
    w: World,
    path: str,
    *,
    user: str | None = "ada",
    last: int | None = None,
    verb: str = "GET",
    **headers: str,
) -> AsyncIterator[Reader]:
    """Ask for a stream; `last` is the Last-Event-ID. Header names are given with underscores."""
    sent = {"Host": f"localhost:{w.app.settings.port}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    if user is not None:
        sent["Authorization"] = f"Bearer {token(user)}"
    if last is not None:
        sent["Last-Event-ID"] = str(last)
    lines, writer = await asyncio.open_connection("127.0.0.1", w.app.settings.port)
    try:
        head = [f"{verb} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        writer.write("\r\n".join(head).encode())
        answer = (await asyncio.wait_for(lines.readuntil(b"\r\n\r\n"), GUARD_S)).decode("latin-1")
        first, *fields = answer.split("\r\n")[:-2]
        found = dict(line.lower().split(": ", 1) for line in fields)
        yield Reader(lines, writer, int(first.split()[1]), found)
    finally:
        writer.close()
