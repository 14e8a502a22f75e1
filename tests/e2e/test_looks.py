"""How the server asks its provider: many at once, never too many, and again after a restart."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from sora_ws.poller import LOOKS_MAX
from tests.backends.jobs import Dialect
from tests.e2e.world import Line, StartWorld, World, a_world


@pytest.mark.gen_test(timeout=60)
async def test_looks_under_way_have_a_limit(world: StartWorld) -> None:
    """With a provider that answers byte by byte there are LOOKS_MAX, and the server answers its users."""
    places = {"MAX_TASKS_PER_USER": "200", "SORA_MAX_IN_FLIGHT": "200"}
    async with world(Dialect(looks=None, drips="looks"), **places) as w:
        for number in range(LOOKS_MAX + 20):
            await w.create(f"cat {number}")

        def looks() -> int:
            return sum(request.method == "GET" for request in w.provider.requests)

        await w.provider.until(lambda: looks() >= LOOKS_MAX)
        for _ in range(10):
            assert (await w.request("GET", "/api/videos?limit=1")).code == 200
        assert looks() == LOOKS_MAX


@pytest.mark.gen_test(timeout=60)
async def test_a_task_is_looked_at_by_its_settings(world: StartWorld) -> None:
    """No two looks at a healthy task are nearer than the shortest wait, and none is left out."""
    async with world(Dialect(looks=None), SORA_POLL_MIN_INTERVAL="300", SORA_POLL_INTERVAL="300") as w:
        await w.create()
        await w.provider.until(lambda: len(w.provider.requests) >= 5)
        at = [request.at for request in w.provider.requests if request.method == "GET"]
        assert all(later - earlier >= 0.28 for earlier, later in itertools.pairwise(at))


@pytest.mark.gen_test(timeout=60)
async def test_many_tasks_end_together(worlds: StartWorld) -> None:
    """Thirty tasks of three users, each told to its own user and to nobody else."""
    async with worlds(Dialect(looks=2)) as w:
        users = ("ada", "bob", "eve")
        lines = {user: await w.line(user) for user in users}
        for line in lines.values():
            await line.ask("subscribe_room", {"room": "user"})
        ids = {user: {await w.create(f"{n}", user=user) for n in range(10)} for user in users}
        for user, line in lines.items():
            ended: set[str] = set()
            while ended != ids[user]:
                ended.add((await line.hear_until("taskCompleted"))["payload"]["videoId"])
            assert {m["payload"]["videoId"] for m in line.heard if "seq" in m["payload"]} == ids[user]


@pytest.mark.gen_test(timeout=60)
async def test_a_restart_goes_on_from_the_store(tmp_path: Path, database_url: str) -> None:
    """Another server on the same database looks after the tasks of the first, without a new job."""
    async with a_world(tmp_path / "state", Dialect(looks=None), DATABASE_URL=database_url) as w:
        video_id = await w.create()
        line = await w.line("ada")
        await line.say("subscribe_task", {"videoId": video_id})
        await line.hear_until("taskProgress", currentStep="rendering")
        base_url, jobs = w.provider.base_url, w.provider.jobs
        await w.app.stop()
        jobs.dialect.looks = 0
        state = tmp_path / "state"
        async with a_world(state, DATABASE_URL=database_url, SORA_API_BASE_URL=base_url) as second:
            line = await second.line("ada")
            await line.say("subscribe_task", {"videoId": video_id})
            await line.hear_until("taskCompleted")
            assert len(jobs.all) == 1


@pytest.mark.gen_test(timeout=60)
async def test_a_restart_keeps_a_long_retry_after(tmp_path: Path, database_url: str) -> None:
    """A job that may not be looked at for ten minutes isn't, though the next server tends to others."""
    state = tmp_path / "state"
    async with a_world(state, Dialect(looks=1), DATABASE_URL=database_url, DRAIN_SECONDS="5") as w:
        w.provider.jobs.dialect.limit = {"Retry-After": "600"}
        await w.create()
        await w.provider.until(lambda: any(request.method == "GET" for request in w.provider.requests))
        await w.app.stop()  # when the answer is kept
        asked = len(w.provider.requests)
        w.provider.jobs.dialect.limit = None
        base_url = w.provider.base_url
        async with a_world(state, DATABASE_URL=database_url, SORA_API_BASE_URL=base_url) as second:
            line = await second.line("ada")
            await line.follow(await second.create())
            [create, *later] = w.provider.requests[asked:]
            assert create.method == "POST"
            assert later[0].path not in {request.path for request in w.provider.requests[:asked]}


@pytest.mark.gen_test(timeout=60)
async def test_a_restart_remembers_how_long_tasks_take(tmp_path: Path, database_url: str) -> None:
    """The first task of a new server is estimated by those of the one before it."""
    async with a_world(tmp_path / "state", Dialect(looks=2), DATABASE_URL=database_url) as w:
        line = await w.line("ada")
        before = await estimate_of_a_new_task(w, line)
        await line.follow(await w.create("a teacher"))
        base_url, jobs = w.provider.base_url, w.provider.jobs
        await w.app.stop()
        jobs.dialect.looks = None
        state = tmp_path / "state"
        async with a_world(state, DATABASE_URL=database_url, SORA_API_BASE_URL=base_url) as second:
            after = await estimate_of_a_new_task(second, await second.line("ada"))
    assert before > 60
    assert after < 20


async def estimate_of_a_new_task(w: World, line: Line) -> int:
    """What is said of it when the provider has just taken it, in s."""
    await line.ask("subscribe_room", {"room": "user"})
    video_id = await w.create()
    push = await line.hear_until("taskProgress", videoId=video_id, currentStep="queued")
    remaining: int = push["payload"]["estimatedTimeRemaining"]
    return remaining


@pytest.mark.gen_test(timeout=60)
async def test_compression(world: StartWorld) -> None:
    """Where it is on, a client that offers it reads the same messages in fewer bytes; else none is agreed."""
    async with world(Dialect(looks=4), WS_COMPRESSION="on") as w:
        deflating, plain = await w.line("ada", compression="deflate"), await w.line("ada")
        assert [extension.name for extension in deflating.socket.protocol.extensions] == [
            "permessage-deflate"
        ]
        assert plain.socket.protocol.extensions == []
        for line in (deflating, plain):
            await line.ask("subscribe_room", {"room": "user"})
        video_id = await w.create("compressed")
        ends = [await line.hear_until("taskCompleted", videoId=video_id) for line in (deflating, plain)]
        assert ends[0] == ends[1]
    async with world() as w:
        line = await w.line("ada", compression="deflate")
        assert line.socket.protocol.extensions == []
