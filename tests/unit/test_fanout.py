"""One write a reader, a slice a turn, and nothing out of order between slices."""

from __future__ import annotations

import asyncio

import pytest

from sora_ws.push import hub as hub_module
from sora_ws.push.connection import Connection
from sora_ws.push.fanout import Push, deliveries_of
from sora_ws.push.hub import Hub, task_topic, user_topic
from sora_ws.task import Event, Observation, Order, Task
from tests.unit.lines import Wire, open_line, presenter


def running(progress: int = 10) -> Task:
    task = Task.new("ada", Order("a cat", "sora-2"), 1000)
    return task.accept("job", Observation(Event.STARTED, progress=progress), 2000)


def further(task: Task, progress: int) -> Task:
    return task.observe(Observation(Event.STARTED, progress=progress), task.seq + 10)


def audience(hub: Hub, topic: str, size: int) -> list[tuple[Connection, Wire]]:
    lines = []
    for _ in range(size):
        connection, wire, _ = open_line()
        hub.subscribe(connection, topic)
        lines.append((connection, wire))
    return lines


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a round takes many turns."""
    monkeypatch.setattr(hub_module, "SLICE", 10)


async def turn() -> None:
    await asyncio.sleep(0)


def progress_of(wire: Wire) -> list[int]:
    return [message["payload"]["progress"] for message in wire.messages()]


@pytest.mark.gen_test
async def test_a_long_round_gives_the_loop_back() -> None:
    """A slice in each turn, everybody in the end, and each once."""
    hub, task = Hub(presenter(), lambda: 5000), running()
    lines = audience(hub, task_topic(task.id), 35)
    hub.publish(task)
    served = []
    for _ in range(4):
        await turn()
        served.append(sum(wire.writes for _, wire in lines))
    assert served == [10, 20, 30, 35]
    assert hub.pushes_sent == 35


@pytest.mark.gen_test
async def test_a_newer_state_waits_for_the_round_before() -> None:
    """Nobody is told a newer state first and the older one after it."""
    hub, task = Hub(presenter(), lambda: 5000), running(10)
    lines = audience(hub, task_topic(task.id), 35)
    hub.publish(task)
    await turn()
    hub.publish(further(task, 20))
    hub.publish(further(further(task, 20), 30))
    for _ in range(12):
        await turn()
    assert [progress_of(wire) for _, wire in lines] == [[10, 30]] * 35


@pytest.mark.gen_test
async def test_what_is_asked_for_in_the_middle_of_a_round() -> None:
    """Who subscribes again, leaves or closes meanwhile gets its turn first, then the answer, then no more."""
    hub, task = Hub(presenter(), lambda: 5000), running(10)
    lines = audience(hub, task_topic(task.id), 35)
    hub.publish(task)
    await turn()
    (again, again_wire), (left, left_wire), (closed, closed_wire) = [
        line for line in lines if line[1].writes == 0
    ][:3]
    newer = further(task, 20)
    hub.show(again, [newer])
    hub.unsubscribe(left, task_topic(task.id))
    assert left_wire.writes == 1
    closed.close(1001)
    hub.drop(closed)
    for _ in range(12):
        await turn()
    assert progress_of(again_wire) == [10, 20]
    assert progress_of(left_wire) == [10]
    assert progress_of(closed_wire) == []
    others = [wire for _, wire in lines if wire not in (again_wire, left_wire, closed_wire)]
    assert all(progress_of(wire) == [10, 20] for wire in others)


@pytest.mark.gen_test
async def test_one_reader_that_breaks_stops_no_other() -> None:
    """A reset is the end of that connection alone, a full or half-full socket waits, the rest is served."""
    hub, task = Hub(presenter(), lambda: 5000), running(10)
    lines = audience(hub, task_topic(task.id), 9)
    broken, full, cut = lines[2], lines[4], lines[6]

    def reset(data: object) -> int:
        raise ConnectionResetError

    broken[0].put = reset
    full[1].stalls = True
    cut[1].takes = 7
    hub.publish(task)
    await turn()
    assert not broken[0].is_open
    assert broken[1].aborted
    full[1].stalls, cut[1].takes = False, None
    full[0].writable()
    cut[0].writable()
    assert all(progress_of(wire) == [10] for connection, wire in lines if connection is not broken[0])


@pytest.mark.gen_test
async def test_many_tasks_with_the_same_readers_are_joined_once() -> None:
    """And readers of some of them get theirs in one write too."""
    hub = Hub(presenter(), lambda: 5000)
    tasks = [running() for _ in range(8)]
    everything = audience(hub, user_topic("ada"), 3)
    some = audience(hub, task_topic(tasks[3].id), 1)
    hub.subscribe(some[0][0], task_topic(tasks[5].id))
    for task in tasks:
        hub.publish(task)
    await turn()
    assert [(wire.writes, len(wire.messages())) for _, wire in everything] == [(1, 8)] * 3
    assert [(wire.writes, len(wire.messages())) for _, wire in some] == [(1, 2)]


def test_readers_alike_share_one_delivery() -> None:
    """However the changes come in."""
    first, second = open_line()[0], open_line()[0]
    pushes = [Push(running(), presenter(), 0) for _ in range(4)]
    same = deliveries_of([(push, {first, second}) for push in pushes])
    assert [(list(d.pushes), d.readers) for d in same] == [(pushes, {first, second})]
    apart = deliveries_of([(pushes[0], {first}), (pushes[1], {second}), (pushes[2], {first, second})])
    assert {frozenset(d.readers): len(d.pushes) for d in apart} == {
        frozenset({first}): 2,
        frozenset({second}): 2,
    }
