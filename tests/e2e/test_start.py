"""A start whose database goes away in the middle of it."""

from __future__ import annotations

import asyncio
import errno
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from sora_ws.app import App
from sora_ws.composition import Composition
from sora_ws.media import MediaAway
from sora_ws.settings import Settings
from sora_ws.store import StoreUnavailable
from tests.backends.dialects import DialectServer
from tests.backends.jobs import Dialect
from tests.e2e.world import GUARD_S, SECRET, World, logged


class GivenUp(Composition):
    """Everything is built, and the last read of the store fails, by each of these once."""

    failures: ClassVar[list[Exception]] = []

    async def build(self) -> None:
        await super().build()
        if GivenUp.failures:
            raise GivenUp.failures.pop()


@pytest.mark.gen_test(timeout=60)
async def test_a_start_is_begun_again(tmp_path: Path) -> None:
    """Nothing of what was built before is left, the first password is not lost, and all is served."""
    provider = DialectServer(Dialect(looks=None))
    environ = {
        "STATE_DIR": str(tmp_path),
        "PORT": "0",
        "JWT_SECRET": SECRET,
        "SORA_API_BASE_URL": await provider.start(),
        "SORA_POLL_INTERVAL": "3600000",
        "SORA_POLL_MIN_INTERVAL": "3600000",
        "DRAIN_SECONDS": "0",
    }
    GivenUp.failures = [StoreUnavailable("it went away"), MediaAway(errno.EIO, "and so did the videos in it")]
    went_away = logged("sora_ws.app", "went away")
    app = App(Settings.load(environ)[0], composition=GivenUp)
    await app.start()
    await asyncio.wait_for(app.ready(), GUARD_S)
    assert went_away.is_set()
    async with AsyncExitStack() as clients:
        w = World(app, provider, clients)
        line = await w.line("ada")
        await line.say("subscribe_task", {"videoId": await w.create()})
        await line.hear_until("taskProgress", currentStep="queued")
        assert len(provider.jobs.all) == 1
        login = {"username": "admin", "password": app.first_password}
        answer = await w.request("POST", "/api/auth/login", login, user=None)
        assert json.loads(answer.body)["username"] == "admin"
    await app.stop()
    await provider.stop()
