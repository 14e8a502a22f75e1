"""Lines over real sockets, by each way to feed them: what the kernel and Tornado have to do with it."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application
from websockets.frames import Close, Frame, Opcode

from sora_ws.push import frames
from sora_ws.push.connection import Connection, Transport
from sora_ws.push.handler import Protocol, PushHandler
from sora_ws.push.hub import Hub
from sora_ws.push.lines import Lines
from sora_ws.push.messages import CloseCode
from sora_ws.push.selfcheck import HANDSHAKE, bare_sockets
from sora_ws.push.sockets import Sockets, SocketTransport
from sora_ws.settings import Settings
from tests.certificates import certify
from tests.unit.lines import frames_in, presenter

GUARD_S = 20.0
BUFFER_BYTES = 8_192  # of the kernel, on either side
UNREAD_MAX = 10_000_000
TRANSPORTS = pytest.mark.parametrize("over", ["fast", "stream"])


class EchoLines(Lines):
    """Says what it is told; "wait" once `gate` is open."""

    def __init__(self) -> None:
        settings, _ = Settings.load({"STATE_DIR": "/nowhere", "MAX_SEND_BUFFER_BYTES": str(UNREAD_MAX)})
        super().__init__(settings, Hub(presenter(), lambda: 0), asyncio.get_running_loop().time, lambda: 0)
        self.handle = self._handle
        self.gate = asyncio.Event()
        self.handled: list[str] = []
        self.newest: Connection | None = None
        self.came = asyncio.Event()

    def adopt(self, transport: Transport, address: str, kind: int = 0) -> Connection:
        self.newest = super().adopt(transport, address, kind)
        self.came.set()
        return self.newest

    def _handle(self, connection: Connection, text: str) -> Awaitable[None] | None:
        self.handled.append(text)
        if text == "wait":
            return self._wait_for_gate()
        connection.send_text(text.encode())
        return None

    async def _wait_for_gate(self) -> None:
        await self.gate.wait()


class Client:
    """A raw socket that has done its handshake."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.unread = b""

    async def send(self, *texts: str, behind: bytes = b"") -> None:
        data = b"".join(Frame(Opcode.TEXT, text.encode()).serialize(mask=True) for text in texts)
        await asyncio.get_running_loop().sock_sendall(self.sock, behind + data)

    async def receive(self) -> bytes:
        """Some bytes, none at the end of the line."""
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 65_536), GUARD_S)

    async def until(self, size: int) -> bytes:
        """So many bytes."""
        while len(self.unread) < size:
            self.unread += (data := await self.receive())
            assert data
        found, self.unread = self.unread[:size], self.unread[size:]
        return found

    async def to_the_end(self) -> list[Frame]:
        while data := await self.receive():
            self.unread += data
        return frames_in(self.unread)

    async def shaken(self, *texts: str) -> None:
        """Through the handshake, with messages in the same bytes."""
        await self.send(*texts, behind=HANDSHAKE)
        await self.head()

    async def head(self) -> None:
        """The answer to the handshake."""
        while b"\r\n\r\n" not in self.unread:
            self.unread += await self.receive()
        head, _, self.unread = self.unread.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")


class Door:
    def __init__(self, lines: EchoLines, address: tuple[str, int]) -> None:
        self.lines = lines
        self.address = address

    async def open(self, *texts: str) -> tuple[Client, Connection]:
        """A client, and the line that it has here."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        client = Client(sock)
        self.lines.came.clear()
        await client.shaken(*texts)
        await asyncio.wait_for(self.lines.came.wait(), GUARD_S)
        assert self.lines.newest is not None
        return client, self.lines.newest


@asynccontextmanager
async def door(over: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Door]:
    lines = EchoLines()
    sockets = Sockets() if over == "fast" else None
    server = HTTPServer(application(lines, sockets), ssl_options=tls)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        listening.setblocking(False)
        server.add_socket(listening)
        try:
            yield Door(lines, listening.getsockname())
        finally:
            lines.stop()
            if sockets is not None:
                await sockets.close()
            server.stop()
            await server.close_all_connections()


def application(lines: Lines, sockets: Sockets | None) -> Application:
    settings, _ = Settings.load({"STATE_DIR": "/nowhere"})
    return Application([("/ws", PushHandler, {"lines": lines, "sockets": sockets, "settings": settings})])


def close_code(frame: Frame) -> int:
    assert frame.opcode is Opcode.CLOSE
    return int(Close.parse(bytes(frame.data)).code)


@TRANSPORTS
@pytest.mark.gen_test(timeout=60)
async def test_what_comes_behind_the_handshake_in_the_same_bytes(over: str) -> None:
    """It is read, and answered behind the 101."""
    async with door(over) as d:
        client, line = await d.open("first", "second")
        line.close(CloseCode.GOING_AWAY)
        with client.sock:
            told = await client.to_the_end()
        assert [bytes(frame.data) for frame in told[:2]] == [b"first", b"second"]


@pytest.mark.gen_test(timeout=60)
async def test_the_handshake_leaves_first() -> None:
    """Of a socket that is full when the upgrade is answered: what is said behind it waits behind the 101."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    ahead = 0
    with suppress(BlockingIOError):
        while True:
            ahead += ours.send(b"x" * 1000)
    lines, sockets, client = EchoLines(), Sockets(), Client(theirs)
    with theirs:
        HTTPServer(application(lines, sockets)).handle_stream(IOStream(ours), ("127.0.0.1", 0))
        await client.send("first", behind=HANDSHAKE)
        while not lines.handled:  # noqa: ASYNC110 -- it is heard in a later turn
            await asyncio.sleep(0)
        assert await client.until(ahead) == b"x" * ahead
        await client.head()
        assert frames_in(await client.until(7)) == [Frame(Opcode.TEXT, b"first")]
    lines.stop()
    await sockets.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_few_sockets_are_read_in_a_turn() -> None:
    """Of many that have spoken at once; others are heard between, and each has its turn."""
    async with door("fast") as d:
        clients = [(await d.open())[0] for _ in range(24)]
        for client in clients:
            client.sock.send(Frame(Opcode.TEXT, b"x").serialize(mask=True))
        served = [0]
        while served[-1] < len(clients):
            await asyncio.sleep(0)
            served.append(len(d.lines.handled))
        assert max(after - before for before, after in pairwise(served)) <= 8
        for client in clients:
            client.sock.close()


@TRANSPORTS
@pytest.mark.gen_test(timeout=60)
async def test_nothing_is_read_while_a_message_is_handled(over: str) -> None:
    """What comes meanwhile waits in the kernel, and is handled behind it."""
    async with door(over) as d:
        (client, line), (other, _) = await d.open("wait"), await d.open()
        with client.sock, other.sock:
            await client.send("behind")
            for _ in range(5):  # by then it has long been there
                await other.send("x")
                await other.until(3)
            assert d.lines.handled == ["wait", *"xxxxx"]
            assert line.busy
            d.lines.gate.set()
            assert frames_in(await client.until(8)) == [Frame(Opcode.TEXT, b"behind")]


@TRANSPORTS
@pytest.mark.gen_test(timeout=60)
async def test_what_has_come_and_is_not_read_is_seen(over: str) -> None:
    """So that who has spoken is not taken for silent by a server that is late; the end of a line too."""
    async with door(over) as d:
        client, line = await d.open("first")
        transport = line._transport
        with client.sock:
            await client.until(7)
            assert not transport.has_unread
            client.sock.send(Frame(Opcode.TEXT, b"x").serialize(mask=True))
            assert transport.has_unread
            await client.until(3)
            assert not transport.has_unread
        assert transport.has_unread


@TRANSPORTS
@pytest.mark.gen_test(timeout=60)
async def test_a_socket_that_fills_again_and_again(over: str) -> None:
    """Each time it goes on when the client has read, and every byte comes once and in order."""
    async with door(over) as d:
        client, line = await d.open()
        with client.sock:
            for number in range(3):
                sent = 0
                while line.stalled_since is None:
                    line.send_text(b"%07d" % sent)
                    sent += 1
                size = 200_000  # more than both sides of the kernel hold, so it fills while it is emptied
                line.send_text(b"%d" % number * size)
                line.send_text(b"end")
                expected = b"".join(frames.frame(frames.Opcode.TEXT, b"%07d" % n) for n in range(sent))
                assert await client.until(len(expected)) == expected
                assert (await client.until(10 + size))[10:] == b"%d" % number * size
                assert frames_in(await client.until(5)) == [Frame(Opcode.TEXT, b"end")]
                while line.stalled_since is not None:  # noqa: ASYNC110 -- it is told in the next turn
                    await asyncio.sleep(0)
                if isinstance(line._transport, SocketTransport):  # else the loop would spin from now on
                    assert line._transport._mask == select.EPOLLIN


@TRANSPORTS
@pytest.mark.gen_test(timeout=60)
async def test_what_is_begun_counts_as_unread(over: str) -> None:
    """All that waits leaves as one; behind its beginning there is room for what has left, and no more."""
    async with door(over) as d:
        client, line = await d.open()
        text = b"x" * (100_000 - 10)  # with its head 100,000
        with client.sock:
            for _ in range(UNREAD_MAX // 100_000):
                line.send_text(text)
            await client.until(20 * 100_000)
            sent = 0
            while line.is_open:
                line.send_text(text)
                sent += 1
            assert line.close_code == CloseCode.STUCK
            assert 20 <= sent <= 24
            told = await client.to_the_end()
        assert close_code(told[-1]) == CloseCode.STUCK


@TRANSPORTS
@pytest.mark.gen_test(timeout=60)
async def test_the_close_frame_arrives(over: str) -> None:
    """Behind all that waited, and before the end of the line, though the socket was full."""
    async with door(over) as d:
        client, line = await d.open()
        with client.sock:
            line.send_text(b"x" * 60_000)
            line.send_text(b"y" * 60_000)
            line.close(CloseCode.GOING_AWAY)
            told = await client.to_the_end()
        assert [len(frame.data) for frame in told[:2]] == [60_000, 60_000]
        assert close_code(told[2]) == CloseCode.GOING_AWAY
        assert len(told) == 3


@TRANSPORTS
@pytest.mark.gen_test(timeout=60)
async def test_unread_input_destroys_no_close_frame(over: str) -> None:
    """Who is closed while much of it has not been read is told why, and not reset."""
    async with door(over) as d:
        client, line = await d.open("wait")
        with client.sock:
            await client.send(*["x" * 1000] * 4)
            line.close(CloseCode.MISBEHAVED)
            told = await client.to_the_end()
        assert close_code(told[0]) == CloseCode.MISBEHAVED


@pytest.mark.gen_test(timeout=60)
async def test_on_tls_the_stream_serves_the_line(tmp_path: Path) -> None:
    """What is decrypted lies in Tornado's stream, so its socket is not taken away."""
    async with door("fast", tls=certified(tmp_path)) as d:
        trusting = ssl.create_default_context(cafile=tmp_path / "certificate")
        reader, writer = await asyncio.open_connection(*d.address, ssl=trusting, server_hostname="localhost")
        writer.write(HANDSHAKE + Frame(Opcode.TEXT, b"hello").serialize(mask=True))
        async with asyncio.timeout(GUARD_S):
            await reader.readuntil(b"\r\n\r\n")
            assert frames_in(await reader.readexactly(7)) == [Frame(Opcode.TEXT, b"hello")]
        writer.close()


@pytest.mark.gen_test(timeout=60)
async def test_the_self_check_takes_the_sockets() -> None:
    """With this Tornado they can be handed over, and nothing of its own is left."""
    lines = EchoLines()
    sockets = await bare_sockets(None, lambda sockets: application(lines, sockets))
    assert sockets is not None
    await sockets.close()


@pytest.mark.gen_test(timeout=60)
async def test_the_self_check_sees_another_tornado(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the name that the handover hangs on is another one, its own stream serves the lines."""
    monkeypatch.delattr(Protocol, "_accept_connection")
    lines = EchoLines()
    assert await bare_sockets(None, lambda sockets: application(lines, sockets)) is None


@pytest.mark.gen_test(timeout=60)
async def test_the_self_check_sees_what_is_kept() -> None:
    """A line that answers, with Tornado's stream behind it, is none that was handed over."""
    lines = EchoLines()
    assert await bare_sockets(None, lambda _: application(lines, None)) is None


def certified(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, by a certificate that is made here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certify(folder))
    return context
