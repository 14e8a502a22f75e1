"""The whole server in front of backends that nobody here wrote: LiteLLM's proxy, and aimock."""

from __future__ import annotations

import io
from typing import Any, Final

import av
import pytest

from sora_ws.attendant import Patience
from tests.backends import Backend
from tests.backends.aimock import BUSY_S
from tests.e2e.world import StartWorld, World

SMALL: Final = {"seconds": 1, "size": "320x180"}
IMPATIENT: Final = Patience(archive_ms=500)


def settings_for(backend: Backend) -> dict[str, str]:
    """What an operator sets to use this backend."""
    return {"SORA_API_BASE_URL": backend.base_url, "SORA_API_KEY": backend.key}


async def pushed(w: World, prompt: str, **order: Any) -> list[dict[str, Any]]:
    """What a subscriber of a new task hears, up to and with its end."""
    line = await w.line("ada")
    return await line.follow(await w.create(prompt, **order))


async def assert_plays(w: World, completed: dict[str, Any]) -> None:
    """The archived file is the film that its result describes."""
    result = completed["payload"]["result"]
    content = (await w.request("GET", result["videoUrl"], user=None)).body
    assert len(content) == result["fileSize"]
    with av.open(io.BytesIO(content), "r") as container:
        frames = list(container.decode(video=0))
        assert f"{frames[0].width}x{frames[0].height}" == result["resolution"]
        assert container.duration == pytest.approx(result["duration"] * av.time_base)


@pytest.mark.gen_test(timeout=120)
async def test_a_video_through_litellm(world: StartWorld, litellm_backend: Backend) -> None:
    """From a prompt over rising progress to a playable file, although each look answers under another id."""
    async with world(**settings_for(litellm_backend)) as w:
        *progress, completed = await pushed(w, "a lighthouse 灯塔 [slow]", **SMALL)
        assert completed["type"] == "taskCompleted"
        assert completed["payload"]["result"]["resolution"] == SMALL["size"]
        percents = [push["payload"]["progress"] for push in progress]
        assert percents == sorted(percents)
        assert any(0 < percent < 100 for percent in percents)
        steps = list(dict.fromkeys(push["payload"]["currentStep"] for push in progress))
        assert steps == [step for step in ("submitting", "queued", "rendering", "archiving") if step in steps]
        await assert_plays(w, completed)
        assert (await w.task(completed["payload"]["videoId"]))["progressSource"] == "provider"


@pytest.mark.parametrize(
    ("model", "prompt", "code", "details"),
    [
        ("sora-2", "a cat [fail]", "GENERATION_FAILED", "overloaded"),
        ("sora-2", "a cat [blocked]", "MODERATION_BLOCKED", "blocked by our moderation system"),
        ("omni", "a cat [fail]", "GENERATION_FAILED", "CUDA out of memory"),
        ("none-such", "a cat", "PROVIDER_REJECTED", "Invalid model name"),
    ],
)
@pytest.mark.gen_test(timeout=120)
async def test_a_failure_through_litellm(
    world: StartWorld, litellm_backend: Backend, *, model: str, prompt: str, code: str, details: str
) -> None:
    """A failed job, a refused prompt, an upstream's 500 with a job in it: each ends as what it is."""
    async with world(**settings_for(litellm_backend)) as w:
        failed = (await pushed(w, prompt, model=model, **SMALL))[-1]
        error = failed["payload"]["error"]
        assert (error["code"], error["retryable"]) == (code, code == "GENERATION_FAILED")
        assert details in error["details"]
        assert "litellm" not in error["details"]


@pytest.mark.gen_test(timeout=120)
async def test_litellms_completed_without_content(world: StartWorld, litellm_backend: Backend) -> None:
    """Veo's refusal, "completed" there for ever with a content call of 500, fails after its grace."""
    async with world(patience=IMPATIENT, **settings_for(litellm_backend)) as w:
        *progress, failed = await pushed(w, "refused", model="veo")
        assert progress[-1]["payload"]["currentStep"] == "archiving"
        error = failed["payload"]["error"]
        assert (error["code"], error["retryable"]) == ("GENERATION_FAILED", True)
        assert "No response data" in error["details"]


@pytest.mark.gen_test(timeout=120)
async def test_cancel_where_litellm_cant(world: StartWorld, litellm_backend: Backend) -> None:
    """The proxy has no way to stop a job: the task ends here, and says that the job may go on there."""
    async with world(**settings_for(litellm_backend)) as w:
        video_id = await w.create("a cat [slow]", **SMALL)
        line = await w.line("ada")
        await line.say("subscribe_task", {"videoId": video_id})
        await line.hear_until("taskProgress", currentStep="rendering")
        assert (await w.request("POST", f"/api/videos/{video_id}/cancel")).code == 202
        error = (await line.hear_until("taskFailed"))["payload"]["error"]
        assert error["code"] == "CANCELLED"
        assert "may still finish" in error["details"]


@pytest.mark.gen_test(timeout=60)
async def test_a_video_by_aimocks_url(world: StartWorld, aimock_backend: Backend) -> None:
    """Without a content call the video is fetched from where the job's `url` leads."""
    async with world(**settings_for(aimock_backend)) as w:
        completed = (await pushed(w, "done"))[-1]
        assert completed["type"] == "taskCompleted"
        await assert_plays(w, completed)


@pytest.mark.gen_test(timeout=60)
async def test_a_url_of_aimock_that_leads_nowhere(world: StartWorld, aimock_backend: Backend) -> None:
    """A job that is "completed" with a dead url fails after its grace, and says so."""
    async with world(patience=IMPATIENT, **settings_for(aimock_backend)) as w:
        *progress, failed = await pushed(w, "nowhere")
        assert progress[-1]["payload"]["currentStep"] == "archiving"
        error = failed["payload"]["error"]
        assert (error["code"], error["retryable"]) == ("GENERATION_FAILED", True)
        assert "does not hand it out" in error["details"]


@pytest.mark.gen_test(timeout=60)
async def test_aimocks_limit_only_delays(world: StartWorld, aimock_backend: Backend) -> None:
    """A create that meets 429 leaves again after Retry-After, not before, and the task completes."""
    async with world(**settings_for(aimock_backend)) as w:
        completed = (await pushed(w, "busy"))[-1]
        assert completed["type"] == "taskCompleted"
        task = await w.task(completed["payload"]["videoId"])
        assert task["startedAt"] - task["createdAt"] >= BUSY_S * 1000
