"""All lines together: who is let in, what time does to them, and that nothing is left of one that is gone."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tornado.iostream import IOStream
from websockets.frames import Frame, Opcode

from sora_ws.auth import Identity
from sora_ws.push.connection import LINGER_S, Connection, Transport
from sora_ws.push.hub import Hub, task_topic, user_topic
from sora_ws.push.lines import STALLED_S_MAX, Lines
from sora_ws.push.messages import CloseCode
from sora_ws.push.sockets import Sockets
from sora_ws.push.stream import StreamTransport
from sora_ws.settings import Settings
from sora_ws.task import Viewer
from tests.unit.lines import Wire, presenter

BEAT_S = 30.0


class World:
    """Lines without sockets, whose time a test sets."""

    def __init__(self, **environ: str) -> None:
        self.time = 1000.0
        self.hub = Hub(presenter(), lambda: 0)
        settings, _ = Settings.load({"STATE_DIR": "/nowhere", **environ})
        self.lines = Lines(settings, self.hub, lambda: self.time, lambda: 0)

    def open(self, user: str | None = None, *, lives_s: float = 3600) -> tuple[Connection, Wire]:
        wire = Wire()
        line = self.lines.adopt(wire, "127.0.0.1")
        if user is not None:
            assert self.sign_in(line, user, lives_s)
        return line, wire

    def sign_in(self, line: Connection, user: str, lives_s: float = 3600) -> bool:
        ends = int((time.time() + lives_s) * 1000)
        return self.lines.authenticate(line, Identity(Viewer(user), user, ends))

    def pass_by(self, seconds: float) -> None:
        """So much time, with a sweep every half second and at its end."""
        for _ in range(int(seconds * 2)):
            self.stand_still(0.5)
        self.stand_still(seconds % 0.5)

    def stand_still(self, seconds: float) -> None:
        """So much time, with a sweep at its end alone."""
        self.time += seconds
        self.lines._timers.sweep()


def codes(lines: list[Connection]) -> list[int | None]:
    return [line.close_code for line in lines]


def over_socket(ours: socket.socket, sockets: Sockets) -> Transport:
    return sockets.adopt(ours)


def over_stream(ours: socket.socket, sockets: Sockets) -> Transport:
    return StreamTransport(IOStream(ours))


@pytest.mark.gen_test
async def test_a_stranger_has_so_long() -> None:
    """Who has not said who it is by then is closed; who is about to has its turn."""
    world = World()
    (silent, _), (busy, _), (known, _) = world.open(), world.open(), world.open("ada")
    busy.busy = True
    world.pass_by(9.9)
    assert codes([silent, busy, known]) == [None, None, None]
    world.pass_by(0.3)
    assert codes([silent, busy, known]) == [CloseCode.AUTH_TIMEOUT, None, None]
    busy.busy = False
    world.pass_by(2)
    assert busy.close_code == CloseCode.AUTH_TIMEOUT


@pytest.mark.gen_test
async def test_one_beat_an_interval_in_one_write() -> None:
    """A heartbeat and a ping, to each line in its own part of the interval."""
    world = World()
    lines = [world.open(f"user {number}") for number in range(20)]
    beats: dict[int, int] = {}
    for tick in range(int(BEAT_S * 10) + 2):
        world.pass_by(0.1)
        for number, (line, wire) in enumerate(lines):
            line.heard_at = world.time
            if wire.writes:
                beats[number] = tick
                assert wire.writes == 1
                heartbeat, ping = wire.take()
                assert json.loads(bytes(heartbeat.data))["type"] == "heartbeat"
                assert ping.opcode is Opcode.PING
                wire.writes = 0
    assert len(beats) == 20
    assert len(set(beats.values())) > 10


@pytest.mark.gen_test
async def test_close_codes_are_counted() -> None:
    """By themselves where they are ours or RFC 6455's; what else clients think of is one figure."""
    world = World()
    for code in (None, 1000, CloseCode.TOO_MUCH, 3000, 4000, 4999):
        world.open()[0].close(code)
    assert world.lines.closed == {"1005": 1, "1000": 1, "4429": 1, "other": 3}


@pytest.mark.gen_test
async def test_a_silent_line_is_closed() -> None:
    """After two intervals without a word, and no later; not while a message of its own is in work."""
    world = World()
    (silent, _), (busy, _) = world.open("ada"), world.open("ada")
    busy.busy = True
    for _ in range(int(BEAT_S * 20) - 1):
        world.pass_by(0.1)
    assert codes([silent, busy]) == [None, None]
    world.pass_by(0.3)
    assert codes([silent, busy]) == [CloseCode.STUCK, None]


@pytest.mark.gen_test
async def test_what_lies_unread_was_said_in_time() -> None:
    """A server that is late itself reads first; who then has not said who it is has had its time."""
    world = World()
    (stranger, stranger_wire), (known, known_wire) = world.open(), world.open("ada")
    stranger_wire.has_unread = known_wire.has_unread = True
    for _ in range(int(BEAT_S * 20) + 3):
        world.pass_by(0.1)
    assert codes([stranger, known]) == [None, None]
    for line in (stranger, known):
        line.receive(Frame(Opcode.PONG, b"").serialize(mask=True))
    world.pass_by(0.2)
    assert codes([stranger, known]) == [CloseCode.AUTH_TIMEOUT, None]


@pytest.mark.gen_test
async def test_who_was_not_asked_is_not_silent() -> None:
    """After a time in which no beat left, because the process stood still, the next one is waited for."""
    world = World()
    line, wire = world.open("ada")
    world.stand_still(10 * BEAT_S)
    assert [message["type"] for message in wire.messages()] == ["heartbeat"]
    world.pass_by(BEAT_S)
    assert line.is_open
    world.pass_by(BEAT_S + 0.3)
    assert line.close_code == CloseCode.STUCK


@pytest.mark.gen_test
async def test_a_line_that_takes_nothing_is_closed() -> None:
    """Some time after the last byte that it took, not after the first that it did not."""
    world = World()
    (stuck, stuck_wire), (slow, slow_wire) = world.open("ada"), world.open("ada")
    for line, wire in ((stuck, stuck_wire), (slow, slow_wire)):
        wire.stalls = True
        line.send_text(b"{}" * 40)
    assert world.lines.slow == 2
    world.pass_by(STALLED_S_MAX - 10)
    slow_wire.stalls, slow_wire.room = False, 1
    slow.writable()
    world.pass_by(10.2)
    assert codes([stuck, slow]) == [CloseCode.STUCK, None]
    world.pass_by(STALLED_S_MAX)
    assert slow.close_code == CloseCode.STUCK


@pytest.mark.gen_test
@pytest.mark.parametrize("over", [over_socket, over_stream])
async def test_who_had_no_chance_to_read_is_not_stuck(
    over: Callable[[socket.socket, Sockets], Transport],
) -> None:
    """Its time counts from when a process that stood still goes on."""
    ours, theirs = socket.socketpair()
    world, sockets = World(), Sockets()
    with ours, theirs:
        line = world.lines.adopt(over(ours, sockets), "127.0.0.1")
        world.sign_in(line, "ada")
        while line.stalled_since is None:
            line.send_text(b"x" * 10_000)
        world.stand_still(STALLED_S_MAX + 1)
        assert line.is_open
        line.heard_at = world.time  # it writes, and does not read
        world.pass_by(STALLED_S_MAX - 1)
        assert line.is_open
        world.pass_by(1.2)
        assert line.close_code == CloseCode.STUCK
        line.abort()
    await sockets.close()


@pytest.mark.gen_test
async def test_a_token_ends() -> None:
    """Said a minute before, once for each token; then the line ends with it."""
    world = World()
    (line, wire), (renewed, _) = world.open("ada", lives_s=30), world.open("ada", lives_s=0.01)
    assert world.sign_in(renewed, "ada", 3600)
    world.pass_by(0.2)
    world.pass_by(0.2)
    assert [message["type"] for message in wire.messages() if message["type"] != "heartbeat"] == [
        "tokenExpiring"
    ]
    assert world.sign_in(line, "ada", 0.0)
    world.pass_by(0.2)
    assert codes([line, renewed]) == [CloseCode.TOKEN_EXPIRED, None]
    assert [message["payload"]["code"] for message in wire.messages()] == ["TOKEN_EXPIRED"]


@pytest.mark.gen_test
async def test_who_does_not_answer_our_close_is_dropped() -> None:
    """The socket is not kept for somebody who is gone."""
    world = World()
    line, wire = world.open("ada")
    line.close(CloseCode.GOING_AWAY)
    world.pass_by(LINGER_S - 1)
    assert not wire.aborted
    world.pass_by(1.2)
    assert wire.aborted


@pytest.mark.gen_test
async def test_a_stop_says_goodbye_in_slices() -> None:
    """Not to all in one turn of the loop, and to each in the end."""
    world = World()
    lines = [world.open("ada")[0] for _ in range(20)]
    leaving = asyncio.ensure_future(world.lines.drain(0.5))
    await asyncio.sleep(0)
    assert 0 < codes(lines).count(CloseCode.GOING_AWAY) < 5
    await leaving
    assert codes(lines) == [CloseCode.GOING_AWAY] * 20


@pytest.mark.gen_test
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
async def test_the_lines_of_a_user(order: tuple[int, ...]) -> None:
    """They count up to a limit, whichever goes makes room, and all end when the user is disabled."""
    world = World(MAX_CONNECTIONS_PER_USER="3")
    mine = [world.open("ada")[0] for _ in range(3)]
    other, _ = world.open("bob")
    late, _ = world.open()
    assert not world.sign_in(late, "ada")
    mine[order[0]].abort()
    assert world.sign_in(late, "ada")
    mine[order[1]].abort()
    world.lines.shut_out(["ada", "nobody"])
    assert codes([mine[order[2]], late, other]) == [CloseCode.DISABLED, CloseCode.DISABLED, None]
    assert world.sign_in(world.open()[0], "ada")
    assert world.lines.connected == world.lines.authenticated == 2


@pytest.mark.gen_test
async def test_an_open_line_always_has_a_time() -> None:
    """Else nothing would ever happen to it again, and a stop would pass it over."""
    world = World()
    lines = [world.open(user)[0] for user in (None, "ada", "ada", "bob")]
    for _ in range(400):
        for line in lines:
            line.heard_at = world.time
        world.pass_by(0.1)
        assert set(world.lines._open_lines()) == {line for line in lines if line.is_open}
    world.lines.stop()
    assert world.lines.connected == 0


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def reset(line: Connection) -> None:
    line.abort()


def say_goodbye(line: Connection) -> None:
    line.close(CloseCode.GOING_AWAY)
    line.abort()


def fall_ill(line: Connection) -> None:
    """Full, with something waiting, in the middle of a message."""
    line.receive(Frame(Opcode.TEXT, b"half", fin=False).serialize(mask=True))
    line.stall()
    line.owe(b"\x81\x02{}", "task")
    line.abort()


@pytest.mark.gen_test
@pytest.mark.parametrize("over", [over_socket, over_stream])
@pytest.mark.parametrize("end", [reset, say_goodbye, fall_ill])
async def test_of_a_line_that_is_gone_nothing_is_left(
    over: Callable[[socket.socket, Sockets], Transport],
    end: Callable[[Connection], None],
) -> None:
    """It is freed by the last reference to it: the garbage collector does not see it, and is not asked."""
    ours, theirs = socket.socketpair()
    world, sockets = World(), Sockets()
    with no_collector(), theirs:
        transport = over(ours, sockets)
        left = weakref.ref(ours)
        del ours
        line = world.lines.adopt(transport, "127.0.0.1")
        transport.connection = line  # type: ignore[attr-defined]
        del transport
        world.sign_in(line, "ada")
        for topic in (user_topic("ada"), *map(task_topic, "abcdefghij")):
            world.hub.subscribe(line, topic)
        line.send_text(b"{}")
        end(line)
        await asyncio.sleep(0)
        assert sys.getrefcount(line) == 2  # this name, and the argument
        del line
        assert left() is None
    await sockets.close()
