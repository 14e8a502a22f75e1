"""The client against backends that nobody here wrote: LiteLLM's proxy, and aimock."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from pathlib import Path

import pytest

from sora_ws.provider import Missing, NoContent, Refused, Unavailable
from sora_ws.provider.downloads import is_video
from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.task import Event, FailureCode, Observation, Order
from tests.backends import Backend
from tests.backends.film import film
from tests.provider.conftest import MakeClient

PLENTY = 10_000_000
LOOK_EVERY_S = 0.2


def ordered(prompt: str, model: str = "sora-2") -> Order:
    return Order(prompt, model, seconds=4, size="1280x720")


async def ended(client: OpenAIVideos, job_id: str) -> Observation:
    """The look that shows the job's end."""
    while True:
        seen = await client.look(job_id)
        if seen.event in (Event.FINISHED, Event.FAILED):
            return seen
        await asyncio.sleep(LOOK_EVERY_S)


@pytest.mark.gen_test(timeout=120)
async def test_a_video_through_litellm(
    litellm_backend: Backend, client_of: MakeClient, tmp_path: Path
) -> None:
    """From an order to a file, although each look answers under another id."""
    client = client_of(litellm_backend.base_url, litellm_backend.key)
    await client.check()
    job = await client.create(ordered("a cat 猫"), None)
    seen = await ended(client, job.id)
    assert seen.event is Event.FINISHED
    await client.download(job.id, seen.urls, tmp_path / "video.mp4", PLENTY)
    assert is_video((tmp_path / "video.mp4").read_bytes())
    assert not await client.delete(job.id)


@pytest.mark.gen_test(timeout=120)
async def test_a_picture_through_litellm(litellm_backend: Backend, client_of: MakeClient) -> None:
    """An input image goes through the proxy as a file."""
    order = Order("a cat", "sora-2", reference_type="image/png")
    client = client_of(litellm_backend.base_url, litellm_backend.key)
    assert (await client.create(order, b"\x89PNG\r\n\x1a\n")).id


@pytest.mark.gen_test(timeout=120)
async def test_refusals_through_litellm(litellm_backend: Backend, client_of: MakeClient) -> None:
    """What the upstream says about the content, and the proxy about the model, is understood."""
    client = client_of(litellm_backend.base_url, litellm_backend.key)
    with pytest.raises(Refused) as caught:
        await client.create(ordered("[blocked] a cat"), None)
    assert caught.value.failure.code is FailureCode.MODERATION_BLOCKED
    assert caught.value.failure.details == "Your request was blocked by our moderation system."
    with pytest.raises(Refused) as caught:
        await client.create(ordered("a cat", model="none-such"), None)
    assert caught.value.failure.code is FailureCode.PROVIDER_REJECTED


@pytest.mark.gen_test(timeout=120)
async def test_a_failure_through_litellm(litellm_backend: Backend, client_of: MakeClient) -> None:
    """vLLM-Omni's failed job, which the proxy makes an error of its own, is a failed job."""
    client = client_of(litellm_backend.base_url, litellm_backend.key)
    job = await client.create(ordered("[fail] a cat", model="omni"), None)
    seen = await ended(client, job.id)
    assert seen.failure is not None
    assert (seen.failure.code, seen.failure.details) == (
        FailureCode.GENERATION_FAILED,
        "CUDA out of memory",
    )


@pytest.mark.gen_test(timeout=120)
async def test_a_job_that_litellms_upstream_forgot(litellm_backend: Backend, client_of: MakeClient) -> None:
    """The upstream's 404 comes through as one."""
    inside = "litellm:custom_llm_provider:openai;model_id:sora-2;video_id:video_gone"
    client = client_of(litellm_backend.base_url, litellm_backend.key)
    with pytest.raises(Missing):
        await client.look(f"video_{b64encode(inside.encode()).decode()}")


@pytest.mark.gen_test(timeout=120)
async def test_completed_without_content(
    litellm_backend: Backend, client_of: MakeClient, tmp_path: Path
) -> None:
    """A video that Veo refused is "completed" at the proxy for ever; its content tells the truth."""
    client = client_of(litellm_backend.base_url, litellm_backend.key)
    job = await client.create(ordered("refused", model="veo"), None)
    seen = await ended(client, job.id)
    assert seen.event is Event.FINISHED
    with pytest.raises(NoContent, match="No response data"):
        await client.download(job.id, seen.urls, tmp_path / "video.mp4", PLENTY)


@pytest.mark.gen_test(timeout=60)
async def test_a_video_from_aimock(aimock_backend: Backend, client_of: MakeClient, tmp_path: Path) -> None:
    """A backend without a content call gives the video by its url."""
    client = client_of(aimock_backend.base_url)
    await client.check()
    job = await client.create(ordered("done"), None)
    seen = await client.look(job.id)
    assert (seen.event, seen.progress) == (Event.FINISHED, None)
    await client.download(job.id, seen.urls, tmp_path / "video.mp4", PLENTY)
    assert (tmp_path / "video.mp4").read_bytes() == film()


@pytest.mark.gen_test(timeout=60)
async def test_a_dead_url_from_aimock(aimock_backend: Backend, client_of: MakeClient, tmp_path: Path) -> None:
    """A url that leads nowhere is no content, whatever the status says."""
    client = client_of(aimock_backend.base_url)
    job = await client.create(ordered("nowhere"), None)
    seen = await client.look(job.id)
    assert seen.event is Event.FINISHED
    with pytest.raises(NoContent):
        await client.download(job.id, seen.urls, tmp_path / "video.mp4", PLENTY)


@pytest.mark.gen_test(timeout=60)
async def test_aimock_at_work_and_at_its_limit(aimock_backend: Backend, client_of: MakeClient) -> None:
    """No progress is none, 429 a pause of so many seconds, and a job that is unknown missing."""
    client = client_of(aimock_backend.base_url)
    job = await client.create(ordered("running"), None)
    assert await client.look(job.id) == Observation(Event.STARTED)
    with pytest.raises(Unavailable) as caught:
        await client.create(ordered("limited"), None)
    assert (caught.value.holds_all, caught.value.retry_after_s) == (True, 7)
    with pytest.raises(Missing):
        await client.look("vid_unknown")
