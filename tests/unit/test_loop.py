"""The event loop that a server runs on."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sora_ws.loop import EVENTS_A_TURN, calm_garbage_collector, new_loop

CROWD = 3 * EVENTS_A_TURN


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = new_loop()
    yield made
    made.close()


def test_a_crowd_is_heard_a_few_a_turn(loop: asyncio.AbstractEventLoop) -> None:
    """However many are ready, others have their turn between them, and everybody's comes."""
    heard: list[int] = []
    turns: list[int] = []

    def hear(number: int, sock: socket.socket) -> None:
        heard.append(number)
        sock.recv(1)

    async def listen(sockets: list[socket.socket]) -> None:
        for number, sock in enumerate(sockets):
            loop.add_reader(sock, hear, number, sock)
        async with asyncio.timeout(20):
            while len(heard) < CROWD:
                before = len(heard)
                await asyncio.sleep(0)
                turns.append(len(heard) - before)
        for sock in sockets:
            loop.remove_reader(sock)

    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(CROWD)]
        for pair in pairs:
            for sock in pair:
                stack.enter_context(sock)
        for _, theirs in pairs:
            theirs.send(b"x")
        loop.run_until_complete(listen([ours for ours, _ in pairs]))
    assert sorted(heard) == list(range(CROWD))
    assert max(turns) <= EVENTS_A_TURN


def test_waits_end_in_time(loop: asyncio.AbstractEventLoop) -> None:
    """Timers, threads and writers wake it as they wake any other."""

    async def wait() -> bytes:
        await asyncio.sleep(0.001)
        await asyncio.to_thread(int)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for sock in (ours, theirs):
                sock.setblocking(False)
            await loop.sock_sendall(ours, b"x" * 1_000)
            return await loop.sock_recv(theirs, 1_000)

    assert loop.run_until_complete(asyncio.wait_for(wait(), 20)) == b"x" * 1_000


def test_what_is_there_at_the_start_is_not_collected_again() -> None:
    """It is taken out of the collector's sight, and full collections become rare."""
    before = gc.get_threshold()
    try:
        calm_garbage_collector()
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
