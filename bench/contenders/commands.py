"""How a contender in Python is driven: by lines on its stdin, each answered by a line of JSON.

    publish COUNT TOGETHER INTERVAL_US   {"published": COUNT}, when the last has been handed over
    probe                                {"probing": 1}; measure the turns of the loop from now on
    held                                 {"held_us": …}, the longest turn since `probe`, measured no longer
    collect                              {"held_us": …} of a full garbage collection
    lines                                {"lines": …}, how many are open
    leave                                {"held_us": …}, the longest turn while everybody was told to go

`publish` makes so many changes, TOGETHER of them in one turn of the loop, the groups INTERVAL_US
apart. With an interval of 0 a group follows when the one before has left.

A change's seq is the microsecond at which it was due: a loop that is held up does not come to publish
in time, and that delay is part of what its readers wait for.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence


class Contender(ABC):
    """A server that is driven."""

    @abstractmethod
    def publish(self, seqs: Sequence[int]) -> None:
        """A change for each of these, in this turn of the loop."""

    @abstractmethod
    async def published(self) -> None:
        """Returns when all that was published has been handed to the sockets."""

    @abstractmethod
    def lines(self) -> int:
        """How many are open."""

    @abstractmethod
    async def leave(self) -> None:
        """Tell everybody to go."""


class Turns:
    """How long the turns of the loop are, measured by one callback in each of them."""

    def __init__(self) -> None:
        self._longest_ns = 0
        self._last_ns = 0
        self._handle: asyncio.Handle | None = None

    def measure(self) -> None:
        self._longest_ns = 0
        self._last_ns = time.monotonic_ns()
        self._again()

    def longest_us(self) -> int:
        """Since `measure`, which ends hereby."""
        if self._handle is not None:
            self._handle.cancel()
        return self._longest_ns // 1000

    def _turn(self) -> None:
        now = time.monotonic_ns()
        self._longest_ns = max(self._longest_ns, now - self._last_ns)
        self._last_ns = now
        self._again()

    def _again(self) -> None:
        self._handle = asyncio.get_running_loop().call_soon(self._turn)


def say(**what: int) -> None:
    print(json.dumps(what), flush=True)


async def obey(contender: Contender) -> None:
    """Do what the lines say until they end."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    publisher, turns = _Publisher(contender), Turns()
    publishing: asyncio.Task[None] | None = None
    while line := await lines.readline():
        match line.decode().split():
            case ["publish", *numbers]:
                count, together, interval_us = map(int, numbers)
                publishing = asyncio.create_task(publisher.run(count, together, interval_us))
            case ["probe"]:
                turns.measure()
                say(probing=1)
            case ["held"]:
                say(held_us=turns.longest_us())
            case ["collect"]:
                say(held_us=_collected_us())
            case ["lines"]:
                say(lines=contender.lines())
            case ["leave"]:
                turns.measure()
                await contender.leave()
                say(held_us=turns.longest_us())
            case words:
                raise ValueError(f"an unknown command: {words}")
    if publishing is not None:
        publishing.cancel()


class _Publisher:
    """Makes changes when they are due."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._last_seq = 0

    async def run(self, count: int, together: int, interval_us: int) -> None:
        begin = _now_us()
        for group in range(count // together):
            due = begin + group * interval_us if interval_us else _now_us()
            if (wait := due - _now_us()) > 0:
                await asyncio.sleep(wait / 1e6)
            first = max(self._last_seq + 1, due)
            self._last_seq = first + together - 1
            self._contender.publish(range(first, first + together))
            if not interval_us:
                await self._contender.published()
        say(published=count)


def _collected_us() -> int:
    begin = time.monotonic_ns()
    gc.collect()
    return (time.monotonic_ns() - begin) // 1000


def _now_us() -> int:
    return time.monotonic_ns() // 1000
