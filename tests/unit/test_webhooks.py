"""What is remembered of the provider's messages."""

from __future__ import annotations

import pytest

from sora_ws import webhooks
from sora_ws.settings import Secret
from sora_ws.signatures import Signer, Verifier, new_secret
from sora_ws.webhooks import Webhooks

BODY = b'{"type": "video.completed", "data": {"id": "job"}}'


@pytest.mark.gen_test
async def test_the_oldest_message_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come, no more are remembered; one that was forgotten is looked after again."""
    monkeypatch.setattr(webhooks, "REMEMBERED", 2)
    secrets = [Secret(new_secret())]
    looked_at: list[str] = []

    async def look_now(job_id: str) -> None:
        looked_at.append(job_id)

    taking = Webhooks(Verifier(secrets), look_now)
    for message_id in ("first", "second", "third", "second", "third", "first"):
        await taking.take(Signer(secrets).headers(message_id, BODY), BODY)
    assert taking.outcomes == {"taken": 4, "known": 2}
    assert looked_at == ["job"] * 4
