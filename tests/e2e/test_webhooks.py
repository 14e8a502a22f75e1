"""The provider's word makes a look, and the look alone decides."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Final

import pytest
from standardwebhooks import Webhook

from tests.backends.jobs import Dialect
from tests.e2e.world import StartWorld, World

SECRET: Final = "whsec_dGhlIHByb3ZpZGVyJ3Mgb3duIHNlY3JldA=="
SELDOM: Final = {
    "SORA_WEBHOOK_SECRET": SECRET,
    "SORA_POLL_INTERVAL": "3600000",
    "SORA_POLL_MIN_INTERVAL": "3600000",
}


async def send_word(w: World, job_id: str, id_: str) -> int:
    """Says that the job is completed, whatever it is; the status of the answer."""
    event = {"id": "evt_1", "type": "video.completed", "data": {"id": job_id}}
    at = datetime.fromtimestamp(int(time.time()), UTC)
    signature = Webhook(SECRET).sign(id_, at, json.dumps(event))
    answer = await w.request(
        "POST",
        "/webhooks/sora",
        event,
        user=None,
        webhook_id=id_,
        webhook_timestamp=str(int(at.timestamp())),
        webhook_signature=signature,
    )
    return answer.code


def looks(w: World) -> int:
    return sum(request.method == "GET" and "/content" not in request.path for request in w.provider.requests)


@pytest.mark.gen_test(timeout=60)
async def test_word_makes_a_look(worlds: StartWorld) -> None:
    """The end is there hours before the next look; word that isn't true, or of others' jobs, ends nothing."""
    async with worlds(Dialect(looks=2), **SELDOM) as w:
        line = await w.line("ada")
        video_id = await w.create()
        await line.say("subscribe_task", {"videoId": video_id})
        await line.hear_until("taskProgress", currentStep="queued")
        [job_id] = w.provider.jobs.all
        assert await send_word(w, "job_of_others", "msg_1") == 204
        assert looks(w) == 0
        assert await send_word(w, job_id, "msg_2") == 204
        await line.hear_until("taskProgress", currentStep="rendering")
        assert await asyncio.gather(*(send_word(w, job_id, "msg_3") for _ in range(100))) == [204] * 100
        await line.hear_until("taskCompleted")
        assert looks(w) == 2
        ended = await w.task(video_id)
        figures = (await w.request("GET", "/metrics", user=None)).body.decode()
        assert 'sora_ws_webhooks_total{outcome="known"} 99.0' in figures
        assert await send_word(w, job_id, "msg_4") == 204
        await line.silence()
        assert await w.task(video_id) == ended
        assert looks(w) == 2
