"""How new connections come in, in a storm of them and when no file may be opened any more."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tornado.iostream import IOStream
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from websockets.sync.client import connect

from sora_ws import accepting
from sora_ws.accepting import AT_ONCE, Acceptor, Server
from tests.conftest import StartServer
from tests.server import Server as Process

STORM = 5 * AT_ONCE
STARVED_S = 2.0
GUARD_S = 20.0
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Counting(Server):
    """Counts who came in."""

    came = 0

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        self.came += 1
        super().handle_stream(stream, address)


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("hello")


class Slow(RequestHandler):
    """Takes longer than a head may."""

    async def get(self) -> None:
        await asyncio.sleep(3 * accepting.IDLE_S)
        self.write("slow")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket that listens and doesn't block."""
    sock, _ = bind_unused_port()
    with closing(sock):
        yield sock


async def answer_of(client: socket.socket) -> bytes:
    """What comes for a request on this line."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, REQUEST)
    return await asyncio.wait_for(loop.sock_recv(client, 4096), GUARD_S)


@pytest.mark.gen_test(timeout=30)
async def test_a_storm_comes_in_a_few_a_turn(listening: socket.socket) -> None:
    """Others have their turn after every few of a crowd, and all of it comes in."""
    server = Counting(Application([("/", Hello)]))
    with ExitStack() as clients:
        for _ in range(STORM):
            clients.enter_context(socket.create_connection(listening.getsockname()))
        acceptor = Acceptor(server, [listening])
        acceptor.start()
        steps = []
        while server.came < STORM:
            before = server.came
            await asyncio.sleep(0)
            steps.append(server.came - before)
        acceptor.stop()
    assert max(steps) == AT_ONCE
    await server.close_all_connections()


@pytest.mark.gen_test(timeout=30)
async def test_after_the_stop_nobody_comes_in(listening: socket.socket) -> None:
    """New connections are refused, and the one that came before is answered still."""
    address = listening.getsockname()
    server = Counting(Application([("/", Hello)]))
    acceptor = Acceptor(server, [listening])
    acceptor.start()
    with socket.create_connection(address) as client:
        client.setblocking(False)
        assert (await answer_of(client)).endswith(b"hello")
        acceptor.stop()
        acceptor.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        assert (await answer_of(client)).endswith(b"hello")
    await server.close_all_connections()


@pytest.mark.gen_test(timeout=30)
async def test_who_has_come_is_handed_over_to_nobody(listening: socket.socket) -> None:
    """All who wait are answered; who comes later is refused, though systemd has a copy of the socket."""
    address, copy = listening.getsockname(), listening.dup()
    server = Counting(Application([("/", Hello)]))
    acceptor = Acceptor(server, [listening])
    with closing(copy), ExitStack() as clients:
        waiting = [clients.enter_context(socket.create_connection(address)) for _ in range(STORM)]
        acceptor.hand_over()
        acceptor.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        for client in waiting:
            client.setblocking(False)
            assert (await answer_of(client)).endswith(b"hello")
    await server.close_all_connections()


@pytest.mark.gen_test(timeout=30)
async def test_connections_that_are_parted_with(listening: socket.socket) -> None:
    """They are open until their next answer, which says that it is the last, and each end is told."""
    gone: asyncio.Queue[object] = asyncio.Queue()
    server = Counting(Application([("/", Hello)]))
    server.gone = gone.put_nowait
    acceptor = Acceptor(server, [listening])
    acceptor.start()
    with socket.create_connection(listening.getsockname()) as client:
        client.setblocking(False)
        assert b"Connection: close" not in await answer_of(client)
        (connection,) = server.part()
        acceptor.hand_over()
        assert gone.empty()
        assert b"Connection: close" in await answer_of(client)
        assert await asyncio.wait_for(gone.get(), GUARD_S) is connection


@pytest.mark.parametrize("begun", [b"", REQUEST[:-2]])
@pytest.mark.gen_test(timeout=30)
async def test_who_sends_no_head_is_dropped(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    """Nothing or a part of one, as the first or as a later one; a request that takes long is answered."""
    monkeypatch.setattr(accepting, "IDLE_S", 0.1)
    server = Counting(Application([("/", Slow)]))
    acceptor = Acceptor(server, [listening])
    acceptor.start()
    loop = asyncio.get_running_loop()
    for served in range(2):
        with socket.create_connection(listening.getsockname()) as client:
            client.setblocking(False)
            for _ in range(served):
                assert (await answer_of(client)).endswith(b"slow")
            await loop.sock_sendall(client, begun)
            assert await asyncio.wait_for(loop.sock_recv(client, 4096), GUARD_S) == b""
    acceptor.stop()
    await server.close_all_connections()


def cpu_seconds(process: int) -> float:
    """What the process has used of a core."""
    ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def take_all_files(server: Process, spare: int) -> None:
    """Let the server open no more than `spare` files on top of those it has."""
    assert server.process is not None
    process = server.process.pid
    most = len(list(Path(f"/proc/{process}/fd").iterdir())) + spare
    resource.prlimit(process, resource.RLIMIT_NOFILE, (most, most))


def test_without_a_file_descriptor_left(start_server: StartServer) -> None:
    """The server neither spins nor floods its log, lines go on, and it recovers by itself."""
    server = start_server()
    assert server.process is not None
    with connect(server.ws_url) as line, ExitStack() as crowd:
        take_all_files(server, spare=4)
        for _ in range(40):
            crowd.enter_context(socket.create_connection(("localhost", server.port)))
        deadline = time.monotonic() + GUARD_S
        while "new connections have to wait" not in server.log:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        logged, used, began = len(server.log), cpu_seconds(server.process.pid), time.monotonic()
        assert line.ping().wait(GUARD_S)
        time.sleep(STARVED_S)  # the time over which is measured
        assert line.ping().wait(GUARD_S)
        spent = cpu_seconds(server.process.pid) - used
        assert spent < (time.monotonic() - began) / 3
        assert len(server.log) - logged < 2_000
        assert server.log.count("new connections have to wait") == 1
        crowd.close()
        assert server.request("GET", "/readyz").status == 200
