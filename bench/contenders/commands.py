"""How a contender in Python is driven: what it publishes when, by lines on its stdin."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

Publish = Callable[[list[int]], Awaitable[None]]
"""Publishes a change for each of these seqs in one turn of the loop."""


def say(**what: int) -> None:
    print(json.dumps(what), flush=True)


async def obey(publish: Publish, published: Callable[[], Awaitable[None]]) -> None:
    """Do what the lines say until they end.

    A line is "COUNT TOGETHER INTERVAL_US": so many changes, so many of them in one turn of the
    loop, the groups so far apart. With an interval of 0 a group follows when the one before has
    left, which `published` waits for.
    """
    seqs = _seqs()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        count, together, interval_us = map(int, line.split())
        begin = time.monotonic()
        for group in range(count // together):
            wait = begin + group * interval_us / 1e6 - time.monotonic()
            if interval_us and wait > 0:
                await asyncio.sleep(wait)
            await publish([next(seqs) for _ in range(together)])
            if not interval_us:
                await published()
        say(published=count)


def _seqs() -> Iterator[int]:
    """The microsecond of each change, rising."""
    last = 0
    while True:
        last = max(last + 1, time.monotonic_ns() // 1000)
        yield last
