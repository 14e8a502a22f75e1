"""So many jobs at the provider at once; who waits in line is told so, and has a turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.backends.jobs import Dialect
from tests.e2e.world import StartWorld, World, a_world


def jobs_at_once(w: World) -> int:
    """How many jobs are at the provider and not done."""
    return sum(not w.provider.jobs.has_ended(job) for job in w.provider.jobs.all.values())


@pytest.mark.gen_test(timeout=120)
async def test_a_line_of_two_users(worlds: StartWorld) -> None:
    """At most two jobs at once, turns by user, and places in REST and in the push behind a subscribe."""
    async with worlds(Dialect(looks=None), SORA_MAX_IN_FLIGHT="2") as w:
        adas = [await w.create(f"ada {number}") for number in range(6)]
        bobs = await w.create("bob", user="bob")
        places = [(await w.task(video_id))["queuePosition"] for video_id in adas]
        assert places == [None, None, 1, 3, 4, 5]
        task = await w.task(bobs, user="bob")
        assert (task["queuePosition"], task["currentStep"], task["status"]) == (2, "submitting", "QUEUED")
        assert task["message"] == "Waiting in the queue..."
        listed = json.loads((await w.request("GET", "/api/videos")).body)["items"]
        assert [item["queuePosition"] for item in listed] == places[::-1]

        line = await w.line("bob")
        await line.say("subscribe_task", {"videoId": bobs})
        push = (await line.hear_until("taskProgress"))["payload"]
        assert (push["queuePosition"], push["message"]) == (2, "Waiting in the queue...")
        assert jobs_at_once(w) <= 2

        most = 0
        w.provider.jobs.dialect.looks = 2
        while (await line.hear())["type"] != "taskCompleted":
            most = max(most, jobs_at_once(w))
        assert "queuePosition" not in line.heard[-2]["payload"]
        ada = await w.line("ada")
        for video_id in adas:
            assert (await ada.follow(video_id))[-1]["type"] == "taskCompleted"
            most = max(most, jobs_at_once(w))
        assert most <= 2
        order = [job.order["prompt"] for job in w.provider.jobs.all.values()]
        # Behind the two that had places, and called behind ada's first in line: both may leave at once.
        assert order.index("bob") in (2, 3)


@pytest.mark.gen_test(timeout=120)
async def test_the_line_outlives_a_restart(tmp_path: Path, database_url: str) -> None:
    """Who waited goes on waiting, in turn; who was cancelled meanwhile is passed over."""
    settings: dict[str, Any] = {"SORA_MAX_IN_FLIGHT": "1", "DATABASE_URL": database_url}
    async with a_world(tmp_path / "state", Dialect(looks=None), **settings) as w:
        first, *waiting = [await w.create(f"cat {number}") for number in range(4)]
        assert (await w.request("POST", f"/api/videos/{waiting[0]}/cancel")).code == 202
        jobs = w.provider.jobs
        await w.provider.until(lambda: len(jobs.all) == 1)
    async with a_world(tmp_path / "state", Dialect(looks=None), **settings) as w:
        assert [(await w.task(video_id))["queuePosition"] for video_id in (first, *waiting)] == [
            None,
            None,
            1,
            2,
        ]
        assert (await w.request("DELETE", f"/api/videos/{first}")).code == 204
        line = await w.line("ada")
        await line.say("subscribe_room", {"room": "user"})
        started = await line.hear_until("taskProgress", currentStep="rendering")
        assert started["payload"]["videoId"] == waiting[1]
        assert (await w.task(waiting[2]))["queuePosition"] == 1
