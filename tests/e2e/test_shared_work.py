"""Several servers on one MongoDB, one provider and one Redis keep together what one promises."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sora_ws.auth import Accounts
from sora_ws.backing import make_store
from tests.backends.jobs import Dialect
from tests.e2e.test_webhooks import SELDOM, send_word
from tests.e2e.world import GUARD_S, World, a_world, logged
from tests.mongod import Mongod
from tests.redisd import Redisd, redis

__all__ = ["redis"]

NEVER = Dialect(looks=None)
AN_HOUR = {"SORA_POLL_INTERVAL": "3600000", "SORA_POLL_MIN_INTERVAL": "3600000"}

StartWorlds = Callable[..., AbstractAsyncContextManager[list[World]]]


@pytest.fixture
def servers(tmp_path: Path, mongod: Mongod, redis: Redisd) -> StartWorlds:
    """`async with servers(3, dialect, SETTING="value") as worlds:`, all on the provider of the first."""
    database = mongod.url(f"e2e_{uuid.uuid4().hex[:8]}")

    @asynccontextmanager
    async def start(count: int, dialect: Dialect, **settings: str) -> AsyncIterator[list[World]]:
        common: dict[str, Any] = {
            "DATABASE_URL": database,
            "REDIS_URL": redis.url,
            "MEDIA_STORE": "gridfs",
        } | settings
        async with AsyncExitStack() as stack:
            worlds: list[World] = []
            for number in range(count):
                if worlds:
                    common["SORA_API_BASE_URL"] = worlds[0].provider.base_url
                folder = tmp_path / str(number)
                worlds.append(await stack.enter_async_context(a_world(folder, dialect, **common)))
            yield worlds

    return start


def looks(w: World) -> Counter[str]:
    """How often each job was looked at."""
    seen = (request.path.rpartition("/")[2] for request in w.provider.requests if request.method == "GET")
    return Counter(name for name in seen if name in w.provider.jobs.all)


async def until(holds: Callable[[], bool]) -> None:
    """Returns when it does; asked at each turn of the loop, as nothing tells of it."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0)


@pytest.mark.gen_test(timeout=60)
async def test_each_task_is_looked_at_by_one(servers: StartWorlds) -> None:
    """Whoever accepted it: of three servers, one submits it, and one looks at it."""
    async with servers(3, NEVER, SORA_POLL_INTERVAL="1500", SORA_POLL_MIN_INTERVAL="1500") as worlds:
        provider = worlds[0].provider
        ids = [await world.create(f"cat {number}") for number, world in enumerate(worlds * 4)]
        await provider.until(lambda: len(looks(worlds[0])) == len(ids))
        assert len(provider.jobs.all) == len(ids)
        assert set(looks(worlds[0]).values()) == {1}


@pytest.mark.gen_test(timeout=60)
async def test_what_a_stopped_server_had_is_free_at_once(servers: StartWorlds) -> None:
    """The others need not wait for the end of its leases, which are two hours here."""
    async with servers(2, NEVER, **SELDOM) as (a, b):
        line = await b.line("ada")
        await line.say("subscribe_task", {"videoId": await b.create()})
        await line.hear_until("taskProgress", currentStep="queued")
        await b.app.stop()
        [job_id] = a.provider.jobs.all
        assert await send_word(a, job_id, "msg_1") == 204
        await a.provider.until(lambda: looks(a).total() == 1)


@pytest.mark.gen_test(timeout=60)
async def test_places_are_given_out_once(servers: StartWorlds) -> None:
    """SORA_MAX_IN_FLIGHT is that of all servers, and a place that is free is found at once by each."""
    dialect = Dialect(looks=None, deletes=False)  # so that all jobs there ever were are there
    async with servers(3, dialect, SORA_MAX_IN_FLIGHT="2", **AN_HOUR) as worlds:
        jobs = worlds[0].provider.jobs.all
        users = ["ada", "bob", "eve"] * 3
        made = zip(worlds * 3, users, strict=True)
        ids = await asyncio.gather(*(w.create(user=user, prompt=user) for w, user in made))
        owners = dict(zip(ids, users, strict=True))

        async def at_provider(w: World) -> list[str]:
            shown = [await w.task(video_id, user=user) for video_id, user in owners.items()]
            return [task["videoId"] for task in shown if task["currentStep"] == "queued"]

        for number in range(2, 10):
            w = worlds[number % 3]
            await until(lambda number=number: len(jobs) == number)  # type: ignore[misc]
            while len(there := await at_provider(w)) < min(2, len(owners)):
                pass  # its answer is not stored yet
            assert len(there) == min(2, len(owners))
            path = f"/api/videos/{there[0]}/cancel"
            assert (await w.request("POST", path, user=owners.pop(there[0]))).code == 202
        assert max(Counter(job.order["prompt"] for job in list(jobs.values())[:6]).values()) <= 3


@pytest.mark.gen_test(timeout=60)
async def test_the_limit_of_a_users_tasks_is_that_of_all(servers: StartWorlds) -> None:
    """However many creates come at once, and wherever; who was refused has nothing there."""
    async with servers(3, NEVER, MAX_TASKS_PER_USER="5", **AN_HOUR) as worlds:
        asked = (w.request("POST", "/api/videos", {"prompt": "a cat"}) for w in worlds * 8)
        codes = Counter([answer.code for answer in await asyncio.gather(*asked)])
        assert set(codes) == {202, 429}
        assert codes[202] <= 5
        while codes[202] < 5:  # of a last place both may have been refused
            codes[202] += (await worlds[0].request("POST", "/api/videos", {"prompt": "a cat"})).code == 202
        listed = json.loads((await worlds[1].request("GET", "/api/videos")).body)["items"]
        assert len(listed) == 5


@pytest.mark.gen_test(timeout=60)
async def test_all_leave_the_provider_alone(servers: StartWorlds) -> None:
    """What it asks of one it has asked of all, and who starts meanwhile hears of it."""
    dialect = Dialect(looks=None, limit={"Retry-After": "2"})
    async with servers(2, dialect, SORA_POLL_INTERVAL="100") as (a, b):
        limited = logged("sora_ws.provider.limiter", "HTTP 429")
        await a.create()
        await asyncio.wait_for(limited.wait(), GUARD_S)
        assert b.app.parts is not None
        limiter = b.app.parts._poller._limiter
        await until(lambda: limiter.held_s > 1)
        asked = len(a.provider.requests)
        await b.create()
        await until(lambda: limiter.held_s < 0.5)
        assert len(a.provider.requests) == asked


@pytest.mark.gen_test(timeout=60)
async def test_guesses_at_a_password_are_counted_together(servers: StartWorlds) -> None:
    """Ten from an address, wherever they are tried."""
    async with servers(2, NEVER, **AN_HOUR) as (a, b):
        wrong = {"username": "admin", "password": "wrong"}
        for _ in range(10):
            assert (await a.request("POST", "/api/auth/login", wrong, user=None)).code == 401

        async def refused() -> bool:
            return (await b.request("POST", "/api/auth/login", wrong, user=None)).code == 429

        assert await refused() or await refused()


@pytest.mark.gen_test(timeout=60)
async def test_a_disabled_user_is_shut_out_everywhere(servers: StartWorlds) -> None:
    """Every open line of theirs is closed, wherever it is."""
    async with servers(2, NEVER, **AN_HOUR) as worlds:
        store = make_store(worlds[0].app.settings)
        await store.open()
        accounts = Accounts(store)
        await accounts.add("ada", "a password of hers")
        lines = [await world.line("ada") for world in worlds]
        await accounts.disable("ada")
        assert await asyncio.gather(*(line.closed() for line in lines)) == [4403, 4403]
        await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_figures_of_all_stand_beside_ones_own(servers: StartWorlds) -> None:
    """In `stats` and in REST; of who has left, no more."""
    async with servers(2, NEVER, **AN_HOUR) as (a, b):
        line = await a.line("ada")
        for _ in range(3):
            await b.line("bob")

        async def of_all() -> dict[str, int]:
            stats = json.loads((await a.request("GET", "/api/stats")).body)
            assert stats["connectedClients"] == 1
            cluster: dict[str, int] = stats["cluster"]
            return cluster

        while (await of_all())["connectedClients"] != 4:
            pass
        assert (await of_all())["instances"] == 2
        assert (await line.ask("get_stats"))["payload"]["cluster"]["connectedClients"] == 4


@pytest.mark.gen_test(timeout=60)
async def test_word_reaches_who_has_the_task(servers: StartWorlds) -> None:
    """Whichever server the provider tells, the one that looks after the task looks, and once."""
    async with servers(2, Dialect(looks=2), **SELDOM) as (a, b):
        line = await a.line("ada")
        video_id = await a.create()
        await line.say("subscribe_task", {"videoId": video_id})
        await line.hear_until("taskProgress", currentStep="queued")
        [job_id] = a.provider.jobs.all
        assert await send_word(b, job_id, "msg_1") == 204
        await line.hear_until("taskProgress", currentStep="rendering")
        assert looks(a).total() == 1
        assert await send_word(b, job_id, "msg_2") == 204
        await line.hear_until("taskCompleted")


@pytest.mark.gen_test(timeout=60)
async def test_what_one_learns_all_know(servers: StartWorlds) -> None:
    """How long tasks take is learned from the ends that any of them has seen."""
    async with servers(2, Dialect(looks=1)) as (a, b):
        line = await a.line("ada")
        await line.follow(await a.create())
        assert b.app.parts is not None
        experience = b.app.parts._rhythm.experience
        await until(lambda: experience.get(()) is not None)
