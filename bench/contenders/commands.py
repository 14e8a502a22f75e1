"""How a contender in Python is driven: what it publishes when, by lines on its stdin."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

Publish = Callable[[list[int]], Awaitable[None]]
"""Publishes a change for each of these seqs in one turn of the loop."""


def say(**what: int) -> None:
    print(json.dumps(what), flush=True)


async def obey(publish: Publish, published: Callable[[], Awaitable[None]]) -> None:
    """Do what the lines say until they end.

    A line is "COUNT TOGETHER INTERVAL_US": so many changes, so many of them in one turn of the
    loop, the groups so far apart. With an interval of 0 a group follows when the one before has
    left, which `published` waits for.

    A change's seq is the microsecond at which it was due: a loop that is held up does not come to
    publish in time, and that delay is part of what its readers wait for.
    """
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    last = 0
    while line := await lines.readline():
        count, together, interval_us = map(int, line.split())
        begin = _now_us()
        for group in range(count // together):
            due = begin + group * interval_us if interval_us else _now_us()
            if (wait := due - _now_us()) > 0:
                await asyncio.sleep(wait / 1e6)
            first = max(last + 1, due)
            last = first + together - 1
            await publish(list(range(first, last + 1)))
            if not interval_us:
                await published()
        say(published=count)


def _now_us() -> int:
    return time.monotonic_ns() // 1000
