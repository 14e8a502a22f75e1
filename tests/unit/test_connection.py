"""One line: order, conflation, limits and the close."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from sora_ws.push.connection import EVENTS_A_TURN, Connection
from sora_ws.push.messages import CloseCode
from tests.unit.lines import Ear, open_line


def from_client(opcode: Opcode, data: bytes) -> bytes:
    return Frame(opcode, data).serialize(mask=True)


async def bring(connection: Connection, data: bytes) -> None:
    """Bytes from the client, as a transport brings them."""
    handling = connection.receive(data)
    if handling is not None:
        await handling


def text_frame(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


def texts(frames: list[Frame]) -> list[str]:
    return [bytes(frame.data).decode() for frame in frames if frame.opcode is Opcode.TEXT]


def close_code(frames: list[Frame]) -> int:
    assert frames[-1].opcode is Opcode.CLOSE
    return int(Close.parse(bytes(frames[-1].data)).code)


@pytest.mark.gen_test
async def test_messages_are_handled_in_order() -> None:
    """The second is not begun before the first is done, however slow that is."""
    release = asyncio.Event()
    done: list[str] = []

    class Slow(Ear):
        def on_text(self, connection: Connection, text: str) -> asyncio.Task[None]:
            async def handle() -> None:
                if text == "first":
                    await release.wait()
                done.append(text)

            return asyncio.ensure_future(handle())

    connection, _, _ = open_line(ear=Slow())
    data = from_client(Opcode.TEXT, b"first") + from_client(Opcode.TEXT, b"second")
    receiving = asyncio.ensure_future(bring(connection, data))
    await asyncio.sleep(0)
    assert connection.busy
    assert done == []
    release.set()
    await receiving
    assert done == ["first", "second"]
    assert not connection.busy


@pytest.mark.gen_test
async def test_a_ping_is_answered_with_its_own_data() -> None:
    """RFC 6455 section 5.5.3."""
    connection, wire, _ = open_line()
    await bring(connection, from_client(Opcode.PING, b"abc"))
    (pong,) = wire.take()
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"abc")


@given(data=st.binary(max_size=125), pieces=st.lists(st.integers(1, 20), max_size=8))
def test_pongs_are_passed_over(data: bytes, pieces: list[int]) -> None:
    """However they come, alone or between the fragments of a message, and nothing is left of them."""
    pong = from_client(Opcode.PONG, data)
    first = Frame(Opcode.TEXT, b"one, ", fin=False).serialize(mask=True)
    rest = Frame(Opcode.CONT, b"two").serialize(mask=True)
    sent = pong + first + pong + rest + pong
    connection, _, ear = open_line()
    asyncio.run(bring(connection, pong))
    for size in pieces:
        asyncio.run(bring(connection, sent[:size]))
        sent = sent[size:]
    asyncio.run(bring(connection, sent))
    assert ear.texts == ["one, two"]
    assert connection._parser is None


@pytest.mark.gen_test
@pytest.mark.parametrize("opcode", [Opcode.PONG, Opcode.CONT])
async def test_a_flood_of_small_frames_holds_nobody_up(opcode: Opcode) -> None:
    """The loop has its turn between so many of them, fragments of one message too; it is no work of ours."""
    connection, _, ear = open_line()
    begun = Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True)
    flood = Frame(opcode, b"", fin=opcode is Opcode.PONG).serialize(mask=True) * EVENTS_A_TURN
    handling = connection.receive(begun + flood * 3 + from_client(Opcode.CONT, b"end"))
    assert handling is not None
    reading, turns = asyncio.ensure_future(handling), 0
    while not reading.done():
        assert not connection.busy
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 3
    assert ear.texts == ["end"]


def test_what_waits_is_conflated() -> None:
    """A newer state takes the older one's place, at the end; replies are never replaced."""
    connection, wire, _ = open_line()
    wire.stalls = True
    connection.send(text_frame("a1"), key="a")
    connection.send(text_frame("reply 1"))
    connection.send(text_frame("b1"), key="b")
    connection.send(text_frame("reply 2"))
    connection.send(text_frame("a2"), key="a")
    assert connection.stalled_since is not None
    assert wire.waits
    wire.stalls = False
    connection.writable()
    assert texts(wire.take()) == ["reply 1", "b1", "reply 2", "a2"]
    assert wire.writes == 1
    assert connection.stalled_since is None


def test_a_begun_frame_is_finished_first() -> None:
    """Before newer states of its own task, before a pong and before the close."""
    connection, wire, _ = open_line()
    wire.takes = 5
    connection.send(text_frame("a long first state"), key="a")
    wire.takes = None
    connection.send(text_frame("newer"), key="a")
    asyncio.run(bring(connection, from_client(Opcode.PING, b"p")))
    connection.close(CloseCode.GOING_AWAY)
    assert len(wire.sent) == 5
    connection.writable()
    frames = wire.take()
    assert texts(frames) == ["a long first state", "newer"]
    assert [frame.opcode for frame in frames][2:] == [Opcode.PONG, Opcode.CLOSE]


@given(takes=st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_however_little_the_socket_takes(takes: list[int]) -> None:
    """Every frame leaves whole, in order, whatever the socket takes at a time."""
    connection, wire, _ = open_line()
    sent = []
    for number, size in enumerate(takes):
        wire.takes, wire.stalls = max(1, size), size == 0
        sent.append(f"message number {number}")
        if connection.stalled_since is not None:
            connection.writable()
        connection.send(text_frame(sent[-1]))
    wire.takes, wire.stalls = None, False
    connection.writable()
    assert texts(wire.take()) == sent


def test_many_unread_pings_are_one_pong() -> None:
    """A flood of pings that nobody reads the answers of costs one waiting pong."""
    connection, wire, _ = open_line(send_bytes_max=1000)
    wire.stalls = True
    connection.send(text_frame("stuck"))

    async def flood() -> None:
        for _ in range(1000):
            await bring(connection, from_client(Opcode.PING, b"x" * 100))

    asyncio.run(flood())
    assert connection.is_open


def test_over_its_limit_a_slow_line_is_closed() -> None:
    """4413, at once out of whatever it listened to, and what waited is let go."""
    connection, wire, ear = open_line(send_bytes_max=1000)
    wire.stalls = True
    connection.send(text_frame("begun"))
    for number in range(20):
        connection.send(text_frame("x" * 100), key=str(number))
    assert connection.close_code == CloseCode.STUCK
    assert ear.closing == [connection]
    wire.take()
    wire.stalls = False
    connection.writable()
    assert close_code(wire.take()) == CloseCode.STUCK


def test_nothing_follows_the_close_frame() -> None:
    """What was sent before goes out before it, what comes later nowhere, and then the line is finished."""
    connection, wire, ear = open_line()
    wire.stalls = True
    connection.send(text_frame("begun"))
    connection.send(text_frame("last word"))
    connection.close(CloseCode.GOING_AWAY, "bye")
    connection.send(text_frame("too late"))
    connection.close(CloseCode.STUCK)
    assert not wire.finished
    wire.stalls = False
    connection.writable()
    frames = wire.take()
    assert texts(frames) == ["begun", "last word"]
    assert close_code(frames) == CloseCode.GOING_AWAY
    assert wire.finished
    assert ear.closing == [connection]


@pytest.mark.gen_test
async def test_a_close_is_echoed() -> None:
    """RFC 6455 section 5.5.1: with the peer's own code, and nothing behind it is read."""
    connection, wire, ear = open_line()
    data = from_client(Opcode.CLOSE, Close(3001, "x").serialize()) + from_client(Opcode.TEXT, b"late")
    await bring(connection, data)
    await bring(connection, from_client(Opcode.TEXT, b"later"))
    assert close_code(wire.take()) == 3001
    assert wire.finished
    assert ear.texts == []


@pytest.mark.gen_test
async def test_after_a_broken_frame_nothing_is_read() -> None:
    """No road leads back into normal code."""
    connection, wire, ear = open_line()
    await bring(connection, b"\x81\x02hi")
    await bring(connection, from_client(Opcode.TEXT, b"late"))
    assert close_code(wire.take()) == CloseCode.PROTOCOL_ERROR
    assert ear.texts == []


def test_a_lost_line_is_told_once() -> None:
    """Whatever ends it, and however often."""
    connection, wire, ear = open_line()
    connection.lost()
    connection.abort()
    connection.close(CloseCode.GOING_AWAY)
    assert ear.closing == [connection]
    assert wire.aborted
    assert wire.take() == []


@pytest.mark.gen_test
async def test_what_was_queued_dies_with_the_line() -> None:
    """A line that is gone while a message waits handles none of those behind it."""
    release = asyncio.Event()
    begun: list[str] = []

    class Slow(Ear):
        def on_text(self, connection: Connection, text: str) -> asyncio.Task[object]:  # type: ignore[override]
            begun.append(text)
            return asyncio.ensure_future(release.wait())

    connection, _, _ = open_line(ear=Slow())
    data = from_client(Opcode.TEXT, b"first") + from_client(Opcode.TEXT, b"second")
    receiving = asyncio.ensure_future(bring(connection, data))
    await asyncio.sleep(0)
    connection.abort()
    release.set()
    await receiving
    assert begun == ["first"]


def test_a_full_socket_is_asked_again_when_it_can_take_more() -> None:
    """Never in a loop: not by what is sent meanwhile either."""
    connection, wire, _ = open_line()
    wire.stalls = True
    for number in range(10):
        connection.send(text_frame(str(number)))
    assert wire.attempts == 1
    wire.stalls = False
    connection.writable()
    connection.send(text_frame("10"))
    assert wire.attempts == wire.writes + 1
    assert texts(wire.take()) == [str(number) for number in range(11)]


def test_what_is_begun_is_not_copied() -> None:
    """Thousands of full sockets may have begun the same joined frames."""
    frame = text_frame("x" * 1000)
    lines = [open_line()[0] for _ in range(3)]
    for sent, connection in enumerate(lines, start=1):
        outbox = connection.stall(frame, sent)
        rest = outbox.next()
        assert rest is not None
        assert rest.obj is frame
        assert len(rest) == len(frame) - sent
