"""Streams of events among the hub's readers: the same states, in the same order, until the end."""

from __future__ import annotations

import json

from sora_ws.push.connection import EVENTS
from sora_ws.push.hub import Hub, task_topic, user_topic
from sora_ws.push.messages import CloseCode
from sora_ws.push.sse import COMMENT, EventStream
from tests.unit.lines import Ear, Wire, open_line, presenter
from tests.unit.test_fanout import further, running


def open_stream(send_bytes_max: int = 1 << 20, task_id: str | None = None) -> tuple[EventStream, Wire, Ear]:
    wire, ear = Wire(), Ear(send_bytes_max)
    return EventStream(wire, ear, "", EVENTS, task_id=task_id), wire, ear


def told(wire: Wire) -> list[tuple[int, int]]:
    """The id and seq of each event written since the last time."""
    found = []
    for text in wire.sent.decode().split("\n\n")[:-1]:
        [(_, id_), (_, data)] = [line.split(": ", 1) for line in text.split("\n")]
        found.append((int(id_), json.loads(data)["payload"]["seq"]))
    wire.sent = b""
    return found


def test_told_as_others_are() -> None:
    """Beside WebSockets it hears each state once; what is no push it doesn't."""
    hub, task = Hub(presenter(), lambda: 5000), running()
    (socket, socket_wire, _), (stream, wire, _) = open_line(), open_stream()
    for line in (socket, stream):
        hub.subscribe(line, user_topic("ada"))
        hub.show(line, [task])
        line.send_text(b"{}")
    assert told(wire) == [(task.seq, task.seq)]
    assert len(socket_wire.messages()) == 2
    stream.receive(b"GET / HTTP/1.1\r\n\r\n")
    stream.beat(b"a frame")
    assert wire.sent == COMMENT


def test_a_slow_one_gets_the_newest_and_the_end() -> None:
    """What waits is the newest state of each task; with the end behind it the body ends."""
    hub, task = Hub(presenter(), lambda: 5000), running()
    stream, wire, ear = open_stream(task_id=task.id)
    hub.subscribe(stream, task_topic(task.id))
    wire.stalls = True
    other = running()
    last = further(task, 50).cancel(9000)
    for state in (task, other, further(task, 30), further(other, 60), last):
        hub.show(stream, [state])
    assert not stream.is_open
    assert ear.closing == [stream]
    assert not wire.finished
    wire.stalls = False
    stream.writable()
    assert [seq for _, seq in told(wire)] == [further(other, 60).seq, last.seq]
    assert wire.finished


def test_another_tasks_end_is_not_its_end() -> None:
    """Of a stream of all tasks neither."""
    task, other = running(), running().cancel(9000)
    for task_id in (task.id, None):
        hub = Hub(presenter(), lambda: 5000)
        stream, _, _ = open_stream(task_id=task_id)
        hub.show(stream, [task, other])
        assert stream.is_open


def test_stuck() -> None:
    """Over the limit it ends with what was begun, and not a byte of a frame behind it."""
    hub = Hub(presenter(), lambda: 5000)
    stream, wire, _ = open_stream(send_bytes_max=1000)
    wire.takes = 10
    hub.show(stream, [running()])
    begun = wire.sent
    wire.stalls = True
    for _ in range(5):
        hub.show(stream, [running()])
    assert stream.close_code == CloseCode.STUCK
    wire.stalls, wire.takes = False, None
    stream.writable()
    assert len(told(wire)) == 1
    assert len(begun) == 10
    assert wire.finished
