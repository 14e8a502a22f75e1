"""Two servers on one MongoDB, one provider and one Redis: what one saves, the clients of the other hear."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.backends.jobs import Dialect
from tests.e2e.world import GUARD_S, Line, World, a_world, logged, token
from tests.eventsource.reader import reading
from tests.mongod import Mongod
from tests.redisd import Redisd, redis, start_redis

__all__ = ["redis", "start_redis"]

TEAM = "cats {and} 猫"
ENDS = ("taskCompleted", "taskFailed")
NEVER = Dialect(looks=None)


class Pair(NamedTuple):
    """`a` looks after the tasks; `b` has clients alone."""

    a: World
    b: World


StartPair = Callable[..., AbstractAsyncContextManager[Pair]]


@pytest.fixture
def pair(tmp_path: Path, mongod: Mongod) -> StartPair:
    """`async with pair(redis.url, dialect, SETTING="value") as (a, b):`"""
    database = mongod.url(f"e2e_{uuid.uuid4().hex[:8]}")

    @asynccontextmanager
    async def start(redis_url: str, dialect: Dialect, **settings: str) -> AsyncIterator[Pair]:
        shared = {"DATABASE_URL": database, "MEDIA_STORE": "gridfs", "REDIS_URL": redis_url}
        common: dict[str, Any] = shared | settings
        async with AsyncExitStack() as stack:
            a = await stack.enter_async_context(a_world(tmp_path / "a", dialect, **common))
            provider = a.app.settings.sora_api_base_url
            assert provider is not None
            b = await stack.enter_async_context(a_world(tmp_path / "b", SORA_API_BASE_URL=provider, **common))
            assert b.app.parts is not None
            await b.app.parts._poller.stop(GUARD_S)
            yield Pair(a, b)

    return start


def told(line: Line, video_id: str) -> list[dict[str, Any]]:
    """The pushes of the task that the line has heard."""
    return [m for m in line.heard if m["type"].startswith("task") and m["payload"]["videoId"] == video_id]


def assert_rising(pushes: list[dict[str, Any]]) -> None:
    seqs = [push["payload"]["seq"] for push in pushes]
    assert seqs == sorted(set(seqs))
    assert pushes[-1]["type"] in ENDS


async def subscribed(line: Line, room: str | None = None, **payload: Any) -> None:
    what = {"room": room} if room else payload
    await line.say("subscribe_room" if room else "subscribe_task", what)
    await line.hear_until("subscribeSuccess")


@pytest.mark.gen_test(timeout=60)
async def test_a_push_reaches_the_clients_of_the_other(pair: StartPair, redis: Redisd) -> None:
    """Of a task and of a room, each state once and in order, to the end; the same at both."""
    async with pair(redis.url, Dialect(looks=10)) as (a, b):
        player, page, at_home = await b.line("ada"), await b.line("ada"), await a.line("ada")
        await subscribed(page, "user")
        video_id = await a.create()
        await subscribed(player, videoId=video_id)
        await subscribed(at_home, videoId=video_id)
        for line in (player, page, at_home):
            await line.hear_until(*ENDS, videoId=video_id)
            await line.silence()
            assert_rising(told(line, video_id))
        seqs = {push["payload"]["seq"] for push in told(page, video_id)}
        assert {push["payload"]["seq"] for push in told(at_home, video_id)[1:]} <= seqs
        assert (await b.request("GET", "/readyz", user=None)).code == 200
        figures = (await b.request("GET", "/metrics", user=None)).body.decode()
        found = dict(line.rsplit(" ", 1) for line in figures.splitlines() if not line.startswith("#"))
        assert found["sora_ws_redis_up"] == "1.0"
        assert float(found["sora_ws_relayed_in_total"]) > 0
        assert {
            "sora_ws_relayed_out_total",
            "sora_ws_relay_dropped_total",
            "sora_ws_relay_read_total",
        } <= set(found)


@pytest.mark.gen_test(timeout=60)
async def test_a_team_hears_its_tasks_at_every_server(pair: StartPair, redis: Redisd) -> None:
    """The room of a team is one over all of them, and who is in none of it hears nothing."""
    async with pair(redis.url, NEVER) as (a, b):
        member, stranger = await b.line(), await b.line("eve")
        await member.auth("bob", teams=[TEAM])
        await subscribed(member, f"team:{TEAM}")
        await subscribed(stranger, "user")
        order, owner = {"prompt": "a cat", "team": TEAM}, f"Bearer {token('ada', teams=[TEAM])}"
        answer = await a.request("POST", "/api/videos", order, user=None, Authorization=owner)
        assert answer.code == 202
        await member.hear_until("taskProgress")
        await stranger.silence()


@pytest.mark.gen_test(timeout=60)
async def test_a_dead_redis_costs_no_push_at_home(
    pair: StartPair, start_redis: Callable[..., Redisd]
) -> None:
    """At home all goes on; the others hear from the database, some seconds later, and then as before."""
    server = start_redis()
    async with pair(server.url, NEVER) as (a, b):
        away, back = logged("sora_ws.bus.redis", "is away"), logged("sora_ws.bus.redis", "is back")
        page = await b.line("ada")
        await subscribed(page, "user")
        server.kill()
        await asyncio.wait_for(away.wait(), GUARD_S)
        at_home, far = await a.line("ada"), await b.line("ada")
        first = await a.create()
        await subscribed(at_home, videoId=first)
        await subscribed(far, videoId=first)
        await a.request("POST", f"/api/videos/{first}/cancel")
        for line in (at_home, far, page):
            await line.hear_until("taskFailed", videoId=first)
            assert_rising(told(line, first))
        assert (await b.request("GET", "/readyz", user=None)).code == 200
        server.start()
        await asyncio.wait_for(back.wait(), GUARD_S)
        second = await a.create()
        await page.hear_until("taskProgress", videoId=second)


@pytest.mark.gen_test(timeout=60)
async def test_who_comes_back_for_events_while_redis_is_dead(
    pair: StartPair, start_redis: Callable[..., Redisd]
) -> None:
    """With Last-Event-ID the store is read twice; what the other saves behind that is heard all the same."""
    server = start_redis()
    async with pair(server.url, NEVER) as (a, b):
        away = logged("sora_ws.bus.redis", "is away")
        server.kill()
        await asyncio.wait_for(away.wait(), GUARD_S)
        video_id = await a.create()
        async with reading(b, "/api/events", last=1) as page:
            await page.hear("taskProgress", videoId=video_id)
            await a.request("POST", f"/api/videos/{video_id}/cancel")
            await page.hear("taskFailed", videoId=video_id)


@pytest.mark.gen_test(timeout=60)
async def test_what_ended_while_redis_hung_is_told(
    pair: StartPair, start_redis: Callable[..., Redisd]
) -> None:
    """A Redis that takes and gives nothing is noticed, and what came of the tasks is read."""
    server = start_redis()
    async with pair(server.url, NEVER) as (a, b):
        player, page = await b.line("ada"), await b.line("ada")
        video_id = await a.create()
        await subscribed(player, videoId=video_id)
        await subscribed(page, "user")
        server.pause()
        answer = await a.request("POST", f"/api/videos/{video_id}/cancel")
        assert answer.code == 202
        for line in (player, page):
            await line.hear_until("taskFailed", videoId=video_id)
            await line.silence()
            assert_rising(told(line, video_id))
        server.resume()


@pytest.mark.gen_test(timeout=60)
async def test_a_wrong_password_is_told_once_and_never_shown(
    pair: StartPair, start_redis: Callable[..., Redisd], caplog: pytest.LogCaptureFixture
) -> None:
    """Everything is served by the database alone, and the log says why without the password."""
    server = start_redis(password="the right one")
    with caplog.at_level(logging.INFO):
        async with pair(f"redis://:not-this@127.0.0.1:{server.port}", NEVER) as (a, b):
            page = await b.line("ada")
            await subscribed(page, "user")
            video_id = await a.create()
            await page.hear_until("taskProgress", videoId=video_id)
    lines = [record.getMessage() for record in caplog.records if "Redis" in record.getMessage()]
    assert len(lines) == 2, lines  # one of each server
    assert all("WRONGPASS" in line for line in lines)
    assert "not-this" not in caplog.text


@pytest.mark.gen_test(timeout=60)
async def test_a_stop_hands_over(pair: StartPair, redis: Redisd) -> None:
    """Who comes is refused, so that Nginx asks the other; what comes on a line that was kept is done."""
    async with pair(redis.url, NEVER, DRAIN_SECONDS="30") as (a, b):
        page = await a.line("ada")
        reader, writer = await asyncio.open_connection("127.0.0.1", a.app.settings.port)
        stopping = asyncio.create_task(a.app.stop())
        assert await page.closed() == 1001
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", a.app.settings.port)
        body = b'{"prompt": "a cat"}'
        writer.write(
            b"POST /api/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b" % (token().encode(), len(body), body)
        )
        head, _, task = (await asyncio.wait_for(reader.read(), GUARD_S)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 202 ")
        assert b"Connection: close" in head
        await asyncio.wait_for(stopping, GUARD_S)
        assert (await b.task(json.loads(task)["videoId"]))["prompt"] == "a cat"
        writer.close()
