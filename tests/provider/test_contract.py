"""The contract of the port `VideoProvider`, of every adapter and server that the product has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from sora_ws.provider import Missing, NoContent, Refused, Unavailable, VideoProvider, openai_videos
from sora_ws.provider.downloads import is_video
from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.provider.simulator import Simulator
from sora_ws.task import Event, FailureCode, Observation, Order, State, Task
from tests.backends.dialects import DialectServer
from tests.ports import free_port

SIMULATED_S = 0.3
CAT = Order("a cat 猫", "sora-2", seconds=1, size="128x128")
PICTURE = b"\x89PNG\r\n\x1a\n"
PLENTY = 10_000_000
LOOK_EVERY_S = 0.02

Server = DialectServer | Simulator


@pytest.fixture(params=["dialects", "simulator"])
def server(request: pytest.FixtureRequest) -> Server:
    """A backend that speaks the plain format, not started."""
    return DialectServer() if request.param == "dialects" else Simulator(SIMULATED_S)


@pytest.fixture
def provider(io_loop: IOLoop, server: Server) -> Iterator[VideoProvider]:
    """A client of the started backend."""

    async def start() -> VideoProvider:
        return OpenAIVideos(await server.start(free_port()), None)

    client = io_loop.run_sync(start)
    yield client
    io_loop.run_sync(client.close)
    io_loop.run_sync(server.stop)


def ordered(prompt: str) -> Order:
    return Order(prompt, CAT.model, CAT.seconds, CAT.size)


async def followed(provider: VideoProvider, job_id: str) -> list[Observation]:
    """All looks at a job until it ended, the last one included."""
    seen = [await provider.look(job_id)]
    while seen[-1].event not in (Event.FINISHED, Event.FAILED):
        await asyncio.sleep(LOOK_EVERY_S)
        seen.append(await provider.look(job_id))
    return seen


@pytest.mark.gen_test(timeout=60)
async def test_from_an_order_to_a_video(provider: VideoProvider, tmp_path: Path) -> None:
    """A job goes forwards to its end, as a task can follow it, and then there is a video."""
    job = await provider.create(CAT, None)
    task = Task.new("u", CAT, now=1).accept(job.id, job.seen, now=2)
    for seen in await followed(provider, job.id):
        before, task = task, task.observe(seen, now=3)
        assert task.progress >= before.progress
    assert task.state is State.ARCHIVING
    target = tmp_path / "video.mp4"
    target.write_bytes(b"what was there before")
    await provider.download(job.id, seen.urls, target, PLENTY)
    assert is_video(target.read_bytes())


@pytest.mark.gen_test(timeout=60)
async def test_an_input_image_is_taken(provider: VideoProvider) -> None:
    """An order may come with a picture."""
    order = Order("a cat", "sora-2", reference_type="image/png")
    assert (await provider.create(order, PICTURE)).id


@pytest.mark.gen_test(timeout=60)
async def test_two_orders_are_two_jobs(provider: VideoProvider) -> None:
    """Nobody is idempotent: the same order twice is two jobs."""
    assert (await provider.create(CAT, None)).id != (await provider.create(CAT, None)).id


@pytest.mark.gen_test(timeout=60)
async def test_a_job_that_fails(provider: VideoProvider) -> None:
    """A failed job tells why, and may be tried again."""
    job = await provider.create(ordered("[fail] a cat"), None)
    seen = (await followed(provider, job.id))[-1]
    assert seen.event is Event.FAILED
    assert seen.failure is not None
    assert (seen.failure.code, seen.failure.retryable) == (FailureCode.GENERATION_FAILED, True)
    assert seen.failure.details


@pytest.mark.gen_test(timeout=60)
async def test_an_order_that_is_blocked(provider: VideoProvider) -> None:
    """Content that isn't allowed is refused for good."""
    with pytest.raises(Refused) as caught:
        await provider.create(ordered("[blocked] a cat"), None)
    failure = caught.value.failure
    assert (failure.code, failure.retryable) == (FailureCode.MODERATION_BLOCKED, False)


@pytest.mark.gen_test(timeout=60)
async def test_a_job_nobody_knows(provider: VideoProvider, tmp_path: Path) -> None:
    """An unknown id is missing, can't be deleted, and has no content."""
    with pytest.raises(Missing):
        await provider.look("video_unknown")
    with pytest.raises(NoContent):
        await provider.download("video_unknown", [], tmp_path / "video.mp4", PLENTY)
    assert not await provider.delete("video_unknown")


@pytest.mark.gen_test(timeout=60)
async def test_no_content_before_the_end(provider: VideoProvider, tmp_path: Path) -> None:
    """A job that still runs has no video, and that is no fault of the connection."""
    job = await provider.create(ordered("[slow] a cat"), None)
    with pytest.raises(NoContent):
        await provider.download(job.id, [], tmp_path / "video.mp4", PLENTY)


@pytest.mark.gen_test(timeout=60)
async def test_a_video_that_is_too_big(provider: VideoProvider, tmp_path: Path) -> None:
    """More bytes than asked for are never written."""
    job = await provider.create(CAT, None)
    await followed(provider, job.id)
    with pytest.raises(NoContent):
        await provider.download(job.id, [], tmp_path / "video.mp4", 100)
    assert (tmp_path / "video.mp4").stat().st_size <= 100


@pytest.mark.gen_test(timeout=60)
async def test_a_deleted_job_is_gone(provider: VideoProvider) -> None:
    """Deleting stops and forgets."""
    job = await provider.create(ordered("[slow] a cat"), None)
    assert await provider.delete(job.id)
    with pytest.raises(Missing):
        await provider.look(job.id)


@pytest.mark.gen_test(timeout=60)
async def test_recent_jobs_are_listed(provider: VideoProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once and with what was ordered, over several pages, and no deleted ones."""
    monkeypatch.setattr(openai_videos, "LIST_LIMIT", 2)
    began = int(time.time()) * 1000  # the format's times are whole seconds
    jobs = [await provider.create(ordered(f"cat {number}"), None) for number in range(6)]
    assert await provider.delete(jobs[0].id)
    listing = await provider.recent(60_000)
    assert listing.is_whole
    assert began <= listing.now <= time.time() * 1000
    assert {job.job.id: job.prompt for job in listing.jobs} == {
        job.id: f"cat {number}" for number, job in enumerate(jobs) if number
    }
    for job in listing.jobs:
        assert (job.model, job.seconds, job.size) == (CAT.model, str(CAT.seconds), CAT.size)
        assert job.created_at is not None
        assert began <= job.created_at <= time.time() * 1000
        assert job.job.seen.event is not None


@pytest.mark.gen_test(timeout=60)
async def test_a_list_is_read_no_longer_than_it_is_asked_for(
    provider: VideoProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says when it stopped before its end."""
    monkeypatch.setattr(openai_videos, "LIST_LIMIT", 1)
    monkeypatch.setattr(openai_videos, "LIST_PAGES_MAX", 2)
    for number in range(3):
        await provider.create(ordered(f"cat {number}"), None)
    listing = await provider.recent(60_000)
    assert (len(listing.jobs), listing.is_whole) == (2, False)


@pytest.mark.gen_test(timeout=60)
async def test_a_server_that_is_away(provider: VideoProvider, server: Server, tmp_path: Path) -> None:
    """Every call says that it is worth another try, and none anything worse."""
    await provider.check()
    job = await provider.create(CAT, None)
    await server.stop()
    calls = (
        provider.create(CAT, None),
        provider.look(job.id),
        provider.recent(0),
        provider.download(job.id, [], tmp_path / "video.mp4", PLENTY),
        provider.delete(job.id),
        provider.check(),
    )
    for call in calls:
        with pytest.raises(Unavailable):
            await call
