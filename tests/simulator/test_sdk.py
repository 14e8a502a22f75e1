"""The official SDK of the format takes the simulator for the real thing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from tests.services import missing
from tests.simulator.client import Client

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")


def the_sdk() -> Any:
    """The openai package."""
    try:
        return import_module("openai")
    except ImportError:
        missing("the openai package is not installed")


@pytest.mark.gen_test(timeout=60)
async def test_the_sdk_makes_a_video(client: Client) -> None:
    """Create with an image, look, download, list and delete, all by the SDK."""
    openai = the_sdk()
    async with openai.AsyncOpenAI(base_url=client.base, api_key="any", max_retries=0) as sdk:
        job = await sdk.videos.create(
            prompt="a cat", seconds="4", size="1280x720", input_reference=("a.png", b"\x89PNG", "image/png")
        )
        seen = await sdk.videos.retrieve(job.id)
        assert (seen.status, seen.progress, seen.seconds, seen.size) == ("completed", 100, "4", "1280x720")
        content = await sdk.videos.download_content(job.id)
        assert (await content.aread())[4:8] == b"ftyp"
        assert [listed.id async for listed in sdk.videos.list()] == [job.id]
        assert (await sdk.videos.delete(job.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await sdk.videos.retrieve(job.id)


@pytest.mark.gen_test(timeout=60)
async def test_the_sdk_understands_the_errors(client: Client) -> None:
    """Moderation is a bad request with its code; a failed job has its error."""
    openai = the_sdk()
    async with openai.AsyncOpenAI(base_url=client.base, api_key="any", max_retries=0) as sdk:
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.videos.create(prompt="a cat [blocked]")
        assert refused.value.code == "moderation_blocked"
        job = await sdk.videos.create_and_poll(prompt="a cat [fail]")
        assert job.status == "failed"
        assert job.error
        assert job.error.code == "model_overloaded"
