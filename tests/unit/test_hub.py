"""Who hears what: the door for newer states, one write a tick, and no gap at subscribe."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_ws.push import frames
from sora_ws.push.connection import BATCHES
from sora_ws.push.hub import Hub, task_topic, team_topic, user_topic
from sora_ws.task import Event, Failure, FailureCode, Observation, Order, Task
from tests.unit.lines import open_line, presenter


def running(progress: int, *, user: str = "ada", team: str | None = None) -> Task:
    task = Task.new(user, Order("a cat", "sora-2"), 1000, team=team)
    return task.accept("job", Observation(Event.STARTED, progress=progress), 2000)


def further(task: Task, progress: int) -> Task:
    return task.observe(Observation(Event.STARTED, progress=progress), task.seq + 10)


async def flushed() -> None:
    """The turn of the loop in which the hub's flush ran."""
    await asyncio.sleep(0)


def new_hub() -> Hub:
    return Hub(presenter(), lambda: 5000)


@pytest.mark.gen_test
async def test_only_those_who_listen_hear() -> None:
    """A task's subscribers, its owner's room and its team's; nobody else, and nobody twice."""
    hub, task = new_hub(), running(10, team="film")
    lines = {topic: open_line() for topic in ("task", "user", "team", "other", "all")}
    hub.subscribe(lines["task"][0], task_topic(task.id))
    hub.subscribe(lines["user"][0], user_topic("ada"))
    hub.subscribe(lines["team"][0], team_topic("film"))
    hub.subscribe(lines["other"][0], task_topic("video_other"))
    for topic in (task_topic(task.id), user_topic("ada"), team_topic("film")):
        hub.subscribe(lines["all"][0], topic)
    hub.publish(task)
    await flushed()
    heard = {name: len(wire.messages()) for name, (_, wire, _) in lines.items()}
    assert heard == {"task": 1, "user": 1, "team": 1, "other": 0, "all": 1}


@pytest.mark.gen_test
async def test_an_older_state_stops_at_the_door() -> None:
    """Equal or lower seq is no news, whatever order saves and publishes come in."""
    hub, task = new_hub(), running(10)
    connection, wire, _ = open_line()
    hub.subscribe(connection, task_topic(task.id))
    newer = further(task, 50)
    hub.publish(newer)
    hub.publish(task)
    await flushed()
    hub.publish(newer)
    await flushed()
    assert [message["payload"]["progress"] for message in wire.messages()] == [50]


@pytest.mark.gen_test
async def test_changes_of_one_tick_leave_in_one_write() -> None:
    """Of each task the newest, each as its own message, in one write."""
    hub = new_hub()
    connection, wire, _ = open_line()
    hub.subscribe(connection, user_topic("ada"))
    tasks = [running(10) for _ in range(5)]
    for task in tasks:
        hub.publish(task)
        hub.publish(further(task, 20))
    await flushed()
    assert wire.writes == 1
    messages = wire.messages()
    assert [message["payload"]["videoId"] for message in messages] == [task.id for task in tasks]
    assert {message["payload"]["progress"] for message in messages} == {20}
    assert all("id" not in message and message["timestamp"] == 5000 for message in messages)


@pytest.mark.gen_test
async def test_a_batch_for_those_who_asked() -> None:
    """One taskBatch with the same types and payloads as the single messages."""
    hub = new_hub()
    plain, plain_wire, _ = open_line()
    batch, batch_wire, _ = open_line()
    batch.kind = BATCHES
    for connection in (plain, batch):
        hub.subscribe(connection, user_topic("ada"))
    for _ in range(3):
        hub.publish(running(10))
    await flushed()
    (message,) = batch_wire.messages()
    assert message["type"] == "taskBatch"
    singles = [{"type": m["type"], "payload": m["payload"]} for m in plain_wire.messages()]
    assert message["payload"]["updates"] == singles


@pytest.mark.gen_test
async def test_a_stalled_line_gets_only_the_newest() -> None:
    """What it missed in between is not kept."""
    hub, task = new_hub(), running(10)
    connection, wire, _ = open_line()
    hub.subscribe(connection, task_topic(task.id))
    wire.stalls = True
    for progress in (20, 30, 40, 50):
        task = further(task, progress)
        hub.publish(task)
        await flushed()
    wire.stalls = False
    connection.writable()
    assert [message["payload"]["progress"] for message in wire.messages()] == [50]


@pytest.mark.gen_test
async def test_who_left_hears_nothing() -> None:
    """Unsubscribed, or closed with a change of this tick under way."""
    hub, task = new_hub(), running(10)
    left, left_wire, _ = open_line()
    closed, closed_wire, _ = open_line()
    for connection in (left, closed):
        hub.subscribe(connection, task_topic(task.id))
    hub.unsubscribe(left, task_topic(task.id))
    hub.publish(task)
    hub.drop(closed)
    closed.close(1001)
    await flushed()
    assert left_wire.messages() == []
    assert closed_wire.messages() == []
    assert hub.subscriptions == 0


@pytest.mark.gen_test
async def test_no_change_falls_between_the_read_and_the_subscription() -> None:
    """What is published while the store is read is seen by who follows, also past the door."""
    hub, task = new_hub(), running(10)
    with hub.following(task_topic(task.id)) as first, hub.following(task_topic(task.id)) as second:
        hub.publish(further(task, 50))
        hub.publish(task)
        assert first[task.id].progress == 50
        assert second[task.id].progress == 50
    with hub.following(task_topic(task.id)) as later:
        assert dict(later) == {}


@pytest.mark.gen_test
async def test_who_comes_in_the_tick_of_a_change_is_told_once() -> None:
    """The state behind its subscribe has the change in it; the flush does not say it again."""
    hub, task = new_hub(), running(10)
    connection, wire, _ = open_line()
    hub.publish(task)
    hub.subscribe(connection, task_topic(task.id))
    hub.show(connection, [task])
    await flushed()
    assert len(wire.messages()) == 1


@pytest.mark.gen_test
async def test_what_a_state_comes_behind_is_in_the_same_write() -> None:
    """Also where there is no state; of a full socket it waits first, and is not replaced with the state."""
    hub, task = new_hub(), running(10)
    reply = frames.frame(frames.Opcode.TEXT, b'{"type": "subscribeSuccess"}')
    for tasks in ([task, running(20)], [task], []):
        connection, wire, _ = open_line()
        hub.show(connection, tasks, behind=reply)
        assert wire.writes == 1
        types = [message["type"] for message in wire.messages()]
        assert types == ["subscribeSuccess", *["taskProgress"] * len(tasks)]
    wire.stalls = True
    hub.subscribe(connection, task_topic(task.id))
    connection.send(reply)
    hub.show(connection, [task], behind=reply)
    hub.publish(further(task, 50))
    await flushed()
    wire.stalls = False
    connection.writable()
    told = wire.messages()
    assert [message["type"] for message in told] == ["subscribeSuccess", "subscribeSuccess", "taskProgress"]
    assert told[-1]["payload"]["progress"] == 50


@pytest.mark.gen_test
async def test_a_state_that_is_read_before_it_is_published() -> None:
    """Saved, and then read by who subscribes, it is news to the others, and to nobody twice."""
    hub, task = new_hub(), running(10)
    (other, other_wire, _), (comer, comer_wire, _) = open_line(), open_line()
    newer = further(task, 50)
    hub.publish(task)
    await flushed()
    for connection in (other, comer):
        hub.subscribe(connection, task_topic(task.id))
    hub.show(comer, [newer])
    hub.publish(newer)  # now its writer comes to it
    await flushed()
    for wire in (other_wire, comer_wire):
        assert [message["payload"]["progress"] for message in wire.messages()] == [50]


@pytest.mark.gen_test
async def test_the_newest_state_of_what_several_watch() -> None:
    """Kept while there are two, while the task lives, and as new as what was told."""
    hub, task = new_hub(), running(10)
    first, second = open_line()[0], open_line()[0]
    hub.subscribe(first, task_topic(task.id))
    hub.show(first, [task])
    assert hub.newest(task.id) is None
    hub.subscribe(second, task_topic(task.id))
    hub.show(second, [task])
    assert hub.newest(task.id) is task
    newer = further(task, 50)
    hub.publish(newer)
    assert hub.newest(task.id) is newer
    hub.unsubscribe(first, task_topic(task.id))
    assert hub.newest(task.id) is None
    hub.subscribe(first, task_topic(task.id))
    hub.show(first, [newer])
    failure = Failure(FailureCode.GENERATION_FAILED, None, retryable=True)
    hub.publish(newer.fail(failure, newer.seq + 10))
    assert hub.newest(task.id) is None


@pytest.mark.gen_test
async def test_few_and_many_topics() -> None:
    """A line hears what it subscribed, however many, and nothing of it is left when it is dropped."""
    hub = new_hub()
    connection, _, _ = open_line()
    names = [task_topic(str(number)) for number in range(20)]
    for count, name in enumerate(names, start=1):
        hub.subscribe(connection, name)
        hub.subscribe(connection, name)
        assert hub.subscriptions == len(connection.topics) == count
    for name in names[::2]:
        hub.unsubscribe(connection, name)
        hub.unsubscribe(connection, name)
    assert [hub.hears(connection, name) for name in names] == [False, True] * 10
    hub.drop(connection)
    assert hub.subscriptions == len(connection.topics) == 0
    assert not any(hub.hears(connection, name) for name in names)


@pytest.mark.gen_test
async def test_a_restored_lower_state_is_shown_to_who_asks() -> None:
    """The state behind subscribeSuccess comes from the store, also with a lower seq."""
    hub, task = new_hub(), running(10)
    connection, wire, _ = open_line()
    hub.publish(further(task, 90))
    hub.subscribe(connection, task_topic(task.id))
    hub.show(connection, [task])
    assert [message["payload"]["progress"] for message in wire.messages()] == [10]


class Elsewhere:
    """The other instances, as far as a hub tells them what is wanted here."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.hears = True

    def listen(self, topic: str) -> None:
        self.said.append(("listen", topic))

    def leave(self, topic: str) -> None:
        self.said.append(("leave", topic))

    def are_heard(self, topic: str) -> bool:
        return self.hears

    async def reach(self, topic: str) -> None: ...


@pytest.mark.gen_test
async def test_others_know_what_is_wanted_here() -> None:
    """From the first who listens or asks until the last has left; who asks may listen right behind it."""
    hub, others = new_hub(), Elsewhere()
    hub.others = others
    (first, _, _), (second, _, _) = open_line(), open_line()
    with hub.following("task:a"), hub.following("task:a"):
        hub.subscribe(first, "task:a")
    await asyncio.sleep(0)
    hub.subscribe(second, "task:a")
    hub.subscribe(second, "task:b")
    hub.drop(first)
    with hub.following("task:b"):
        hub.drop(second)
        assert others.said == [("listen", "task:a"), ("listen", "task:b"), ("leave", "task:a")]
    await asyncio.sleep(0)
    assert others.said[3:] == [("leave", "task:b")]
    with hub.following("task:c"):
        pass
    hub.subscribe(first, "task:c")
    await asyncio.sleep(0)
    assert ("leave", "task:c") not in others.said


@pytest.mark.gen_test
async def test_a_state_of_others_who_are_not_heard_may_be_old() -> None:
    """Then the store is asked, though several listen here."""
    hub, others, task = new_hub(), Elsewhere(), running(10)
    hub.others = others
    for _ in range(2):
        hub.subscribe(open_line()[0], task_topic(task.id))
    hub.publish(task)
    assert hub.newest(task.id) == task
    others.hears = False
    assert hub.newest(task.id) is None


@given(
    orders=st.permutations(range(6)),
    ends=st.booleans(),
    stalls=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_any_order_any_stall_only_rises(orders: list[int], ends: bool, stalls: list[bool]) -> None:
    """A subscriber sees seq and progress rise, the newest state at last, and nothing after the end."""

    async def history() -> None:
        hub = new_hub()
        states = [running(0)]
        for progress in range(10, 60, 10):
            states.append(further(states[-1], progress))
        if ends:
            failure = Failure(FailureCode.GENERATION_FAILED, None, retryable=True)
            states[-1] = replace(states[-1].fail(failure, 9000), seq=states[-1].seq)
        connection, wire, _ = open_line()
        hub.subscribe(connection, task_topic(states[0].id))
        for number, stall in zip(orders, stalls, strict=True):
            wire.stalls = stall
            if connection.stalled_since is not None and not stall:
                connection.writable()
            hub.publish(states[number])
            await flushed()
        wire.stalls = False
        connection.writable()
        payloads = [message["payload"] for message in wire.messages()]
        seqs = [payload["seq"] for payload in payloads]
        assert seqs == sorted(set(seqs))
        assert seqs[-1] == states[-1].seq
        assert [p["status"] for p in payloads].count("failed") == (1 if ends else 0)

    asyncio.run(history())
