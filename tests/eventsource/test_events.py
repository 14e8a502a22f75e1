"""Both calls from outside, to the letter, with a client that sees every line."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence

import pytest

from sora_ws.auth import Accounts
from sora_ws.backing import make_store
from sora_ws.push.reads import StateReads
from sora_ws.task import Task
from tests.backends.jobs import Dialect
from tests.e2e.world import GUARD_S, StartWorld, World, token
from tests.eventsource.reader import reading

pytestmark = pytest.mark.parametrize("transport", ["fast", "stream"])

RUNNING = Dialect(looks=None)
UNKNOWN = f"video_{'0' * 32}"
OURS = "http://localhost:5173"


def events_of(video_id: str) -> str:
    return f"/api/videos/{video_id}/events"


async def cancel(w: World, video_id: str) -> None:
    assert (await w.request("POST", f"/api/videos/{video_id}/cancel")).code == 202


async def listeners(w: World) -> int:
    """How many lines the server has."""
    answer = await w.request("GET", "/api/stats")
    count: int = json.loads(answer.body)["connectedClients"]
    return count


async def until_listeners(w: World, count: int) -> None:
    """What a client does reaches the server a little later."""
    while await listeners(w) != count:
        pass


@pytest.mark.gen_test(timeout=60)
async def test_a_task_from_its_state_to_its_end(world: StartWorld) -> None:
    """What WebSockets are pushed, with the seq as id; behind the end the body ends too."""
    async with world(Dialect(looks=4)) as w:
        line = await w.line("ada")
        await line.ask("subscribe_room", {"room": "user"})
        video_id = await w.create()
        async with reading(w, events_of(video_id)) as reader:
            assert reader.status == 200
            assert reader.headers["content-type"] == "text/event-stream"
            assert reader.headers["x-accel-buffering"] == "no"
            assert reader.headers["cache-control"] == "no-store"
            events = await reader.to_the_end()
        assert reader.retry == 3000
        await line.hear_until("taskCompleted")
        pushed = {m["payload"]["seq"]: m for m in line.heard if m["type"].startswith("task")}
        assert [event.id for event in events] == sorted({event.id for event in events})
        for event in events:
            assert event.id == event.payload["seq"]
            assert set(event.message) == {"type", "timestamp", "payload"}
            assert event.payload == pushed[event.id]["payload"] or event is events[0]
        assert events[-1].message["type"] == "taskCompleted"


@pytest.mark.gen_test(timeout=60)
async def test_an_end_is_told_once(world: StartWorld) -> None:
    """To who comes afterwards, or comes back from before it; whoever has heard it gets 204."""
    async with world(RUNNING) as w:
        video_id = await w.create()
        async with reading(w, events_of(video_id)) as reader:
            first = await reader.next()
            await cancel(w, video_id)
            last = (await reader.to_the_end())[-1]
        assert first is not None
        for seq in (None, first.id):
            async with reading(w, events_of(video_id), last=seq) as reader:
                assert [event.id for event in await reader.to_the_end()] == [last.id]
        async with reading(w, events_of(video_id), last=last.id) as reader:
            assert reader.status == 204
        for nonsense in ("", "x", "-1", "9" * 40):
            async with reading(w, events_of(video_id), Last_Event_ID=nonsense) as reader:
                assert reader.status == 200


@pytest.mark.gen_test(timeout=60)
async def test_all_of_mine(world: StartWorld) -> None:
    """The live ones, those to come, nobody else's; it goes on behind an end."""
    async with world(RUNNING) as w:
        mine, _ = await w.create("mine"), await w.create("eve's", user="eve")
        async with reading(w, "/api/events") as reader:
            assert (await reader.hear("taskProgress")).payload["videoId"] == mine
            later = await w.create("later")
            await reader.hear("taskProgress", videoId=later)
            await cancel(w, mine)
            await reader.hear("taskFailed", videoId=mine)
            await cancel(w, later)
            await reader.hear("taskFailed", videoId=later)
        assert {event.payload["videoId"] for event in reader.heard} == {mine, later}


@pytest.mark.gen_test(timeout=60)
async def test_what_ended_meanwhile(world: StartWorld) -> None:
    """With Last-Event-ID those that ended behind it come too, over a restart; without it none.

    What ended shortly before it comes again.
    """
    async with world(RUNNING) as w:
        before, meanwhile, alive = [await w.create(name) for name in ("a", "b", "c")]
        async with reading(w, "/api/events") as reader:
            await cancel(w, before)
            last = (await reader.hear("taskFailed", videoId=before)).id
        await cancel(w, meanwhile)
    async with world(RUNNING) as w:
        for seq, expected in ((last, {before, meanwhile, alive}), (None, {alive})):
            async with reading(w, "/api/events", last=seq) as reader:
                for _ in expected:
                    await reader.next()
                assert {event.payload["videoId"] for event in reader.heard} == expected


@pytest.mark.gen_test(timeout=60)
async def test_beats_are_comments(world: StartWorld) -> None:
    """So that proxies see life; who only listens is never taken for dead."""
    async with world(RUNNING, WS_HEARTBEAT_INTERVAL="100") as w:
        video_id = await w.create()
        async with reading(w, events_of(video_id)) as reader:
            while reader.comments < 5:
                line = await asyncio.wait_for(reader.lines.readline(), GUARD_S)
                assert line, "the stream has ended"
                reader.comments += line.startswith(b":")
            await cancel(w, video_id)
            await reader.hear("taskFailed")


@pytest.mark.gen_test(timeout=60)
async def test_who_may_not(world: StartWorld) -> None:
    """401 without a token; 404 in the same words for an unknown task and for somebody else's."""
    async with world(RUNNING) as w:
        video_id = await w.create(user="eve")
        for path in ("/api/events", events_of(video_id)):
            for asked, user in ((path, None), (f"{path}?access_token=x", None)):
                async with reading(w, asked, user=user, Origin=OURS) as reader:
                    assert reader.status == 401
                    assert reader.headers["www-authenticate"] == "bearer"
                    assert reader.headers["access-control-allow-origin"] == OURS
        problems = []
        for unseen in (video_id, UNKNOWN):
            async with reading(w, events_of(unseen), Origin=OURS) as reader:
                assert reader.status == 404
                assert reader.headers["access-control-allow-origin"] == OURS
                problems.append(json.dumps(await reader.problem()).replace(unseen, "ID"))
        assert problems[0] == problems[1]


@pytest.mark.gen_test(timeout=60)
async def test_a_token_in_the_address(world: StartWorld) -> None:
    """An EventSource can't send headers."""
    async with world(RUNNING) as w:
        video_id = await w.create()
        path = f"{events_of(video_id)}?access_token={token('ada')}"
        async with reading(w, path, user=None, Origin=OURS) as reader:
            assert reader.status == 200
            assert reader.headers["access-control-allow-origin"] == OURS
            await reader.hear("taskProgress", videoId=video_id)


@pytest.mark.gen_test(timeout=60)
async def test_a_head_is_only_a_head(world: StartWorld) -> None:
    """The line stays as it was, for the next request."""
    async with world() as w:
        async with reading(w, "/api/events", verb="HEAD") as reader:
            assert reader.headers["content-type"] == "text/event-stream"
        assert await listeners(w) == 0


@pytest.mark.gen_test(timeout=60)
async def test_streams_count_as_lines(world: StartWorld) -> None:
    """They have the limits of WebSockets, and who leaves is forgotten."""
    async with world(RUNNING, MAX_CONNECTIONS="2", MAX_CONNECTIONS_PER_USER="1") as w:
        async with reading(w, "/api/events") as first:
            assert first.retry is None
            async with reading(w, "/api/events") as second:
                assert (second.status, second.headers["retry-after"]) == (429, "1")
            await w.line("bob")
            async with reading(w, "/api/events", user="eve") as third:
                assert third.status == 503
            assert await listeners(w) == 2
        await until_listeners(w, 1)


@pytest.mark.gen_test(timeout=60)
async def test_shut_out(world: StartWorld) -> None:
    """Who is disabled hears no more, and is refused from then on."""
    async with world(RUNNING) as w:
        store = make_store(w.app.settings)
        await store.open()
        await Accounts(store).add("ada", "a long password")
        async with reading(w, "/api/events") as reader:
            await Accounts(store).disable("ada")
            assert await reader.to_the_end() == []
        async with reading(w, "/api/events") as reader:
            assert reader.status == 401
        await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_shut_out_while_the_store_is_asked(world: StartWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is disabled between the check of the token and the answer gets no stream either."""
    asked, answered, read = asyncio.Event(), asyncio.Event(), StateReads.live

    async def late(self: StateReads, *args: str, **kwargs: str) -> Sequence[Task]:
        found = await read(self, *args, **kwargs)
        asked.set()
        await answered.wait()
        return found

    monkeypatch.setattr(StateReads, "live", late)
    async with world(RUNNING) as w:
        store = make_store(w.app.settings)
        await store.open()
        await Accounts(store).add("ada", "a long password")

        async def status() -> int:
            async with reading(w, "/api/events") as reader:
                return reader.status

        asking = asyncio.create_task(status())
        await asyncio.wait_for(asked.wait(), GUARD_S)
        await Accounts(store).disable("ada")
        while (await w.request("GET", "/api/stats")).code == 200:
            pass
        answered.set()
        assert await asking == 401
        await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_what_is_published_while_the_store_is_asked(
    world: StartWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that comes and goes behind the read is not in it, and is told all the same."""
    async with world(RUNNING) as w:

        async def read_too_soon(self: StateReads, *args: str, **kwargs: str) -> Sequence[Task]:
            found = await read(self, *args, **kwargs)
            await cancel(w, await w.create("behind"))
            return found

        read = StateReads.live
        monkeypatch.setattr(StateReads, "live", read_too_soon)
        async with reading(w, "/api/events") as reader:
            await reader.hear("taskFailed")


@pytest.mark.gen_test(timeout=60)
async def test_nothing_waits_for_an_acknowledgement(world: StartWorld, transport: str) -> None:
    """An event leaves at once, though the one before is still on its way (RFC 9293 section 3.7.4)."""
    async with world(RUNNING) as w, reading(w, "/api/events"):
        assert w.app.parts is not None
        [line] = w.app.parts.lines._open_lines()
        sock = line._transport.socket if transport == "fast" else line._transport._stream.socket
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.gen_test(timeout=60)
async def test_a_token_that_ends(world: StartWorld) -> None:
    """The stream ends with it; a new one is refused."""
    async with world(RUNNING) as w:
        path = f"/api/events?access_token={token('ada', lives_s=2)}"
        async with reading(w, path, user=None) as reader:
            assert await reader.to_the_end() == []
        async with reading(w, path, user=None) as reader:
            assert reader.status == 401


@pytest.mark.gen_test(timeout=60)
async def test_a_stop_ends_streams(world: StartWorld) -> None:
    """It doesn't wait for them."""
    async with world(RUNNING, DRAIN_SECONDS="5") as w, reading(w, "/api/events") as reader:
        stopping = asyncio.create_task(w.app.stop())
        assert await reader.to_the_end() == []
        await asyncio.wait_for(stopping, GUARD_S)


@pytest.mark.gen_test(timeout=120)
async def test_who_does_not_read_is_closed(world: StartWorld) -> None:
    """What it owes stays under the setting and its line ends; everybody else goes on."""
    small = {"MAX_SEND_BUFFER_BYTES": "65536", "MAX_TASKS_PER_USER": "1000", "SORA_MAX_IN_FLIGHT": "1"}
    async with world(RUNNING, **small) as w:
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect(("127.0.0.1", w.app.settings.port))
            head = f"GET /api/events?access_token={token('ada')} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            stuck.sendall(head.encode())
            await until_listeners(w, 1)
            while await listeners(w):  # a state of each task is owed, and what the kernel takes is soon full
                await asyncio.gather(*(w.create() for _ in range(20)))
        async with reading(w, "/api/events") as reader:
            await reader.next()
