"""A provider that answers nonsense, nothing or "later" delays a task and never fails it."""

from __future__ import annotations

import itertools
import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from sora_ws.attendant import Patience
from tests.backends.jobs import Dialect
from tests.e2e.world import StartWorld, World, logged

TROUBLE = {
    "500": (500, '{"error": {"message": "internal error"}}'),
    "502 of a proxy": (502, "<html>Bad Gateway</html>"),
    "503": (503, ""),
    "HTML that says 200": (200, "<html>hello</html>"),
    "nothing": (200, ""),
    "a list": (200, "[]"),
    "a lone number": (200, "7"),
    "cut JSON": (200, '{"id": "video_1", "status": "in_pro'),
}


async def asked_again(w: World, times: int) -> None:
    """The provider was called this often since now."""
    enough = len(w.provider.requests) + times
    await w.provider.until(lambda: len(w.provider.requests) >= enough)


@pytest.mark.parametrize("name", TROUBLE)
@pytest.mark.gen_test(timeout=60)
async def test_trouble_at_looks_only_delays(world: StartWorld, name: str) -> None:
    """Whatever looks are answered for a while, the task goes on where it was and completes."""
    async with world(Dialect(looks=None)) as w:
        video_id = await w.create()
        line = await w.line("ada")
        await line.say("subscribe_task", {"videoId": video_id})
        await line.hear_until("taskProgress", currentStep="rendering")
        w.provider.jobs.dialect.trouble = TROUBLE[name]
        await asked_again(w, 4)
        task = await w.task(video_id)
        assert (task["status"], task["error"]) == ("PROCESSING", None)
        w.provider.jobs.dialect.trouble = None
        w.provider.jobs.dialect.looks = 0
        await line.hear_until("taskCompleted", videoId=video_id)


@pytest.mark.gen_test(timeout=60)
async def test_a_provider_that_is_away_only_delays(worlds: StartWorld) -> None:
    """Nobody listens at its port: created tasks wait, running ones too, and all complete after its return."""
    async with worlds(Dialect(looks=None)) as w:
        running = await w.create("running")
        line = await w.line("ada")
        await line.say("subscribe_room", {"room": "user"})
        await line.hear_until("taskProgress", currentStep="rendering")
        port = int(w.provider.base_url.rsplit(":", 1)[1].split("/")[0])
        await w.provider.stop()
        trouble = logged("sora_ws.provider.limiter", "the provider is in trouble")
        waiting = await w.create("waiting")
        await trouble.wait()
        w.provider.jobs.dialect.looks = 0
        await w.provider.start(port)
        ended = {(await line.hear_until("taskCompleted"))["payload"]["videoId"] for _ in range(2)}
        assert ended == {running, waiting}


HOLDS = {
    "seconds": lambda: {"Retry-After": "2"},
    "a date": lambda: {"Retry-After": formatdate(time.time() + 3, usegmt=True)},  # whole seconds: 2 to 3
    "ms": lambda: {"retry-after-ms": "2000"},
    "seconds, through litellm": lambda: {"llm_provider-retry-after": "2"},
}
HOLD_S = 2.0


@pytest.mark.parametrize("name", HOLDS)
@pytest.mark.gen_test(timeout=60)
async def test_a_limit_holds_back_all_tasks(world: StartWorld, name: str) -> None:
    """After a 429 nothing leaves for the provider before the time it told, of no task, new ones included."""
    async with world(Dialect(looks=None)) as w:
        for prompt in ("one", "two", "three"):
            await w.create(prompt)
        line = await w.line("ada")
        await line.say("subscribe_room", {"room": "user"})
        for _ in range(3):
            await line.hear_until("taskProgress", currentStep="rendering")
        limited = logged("sora_ws.provider.limiter", "HTTP 429")
        w.provider.jobs.dialect.limit = HOLDS[name]()
        await limited.wait()
        w.provider.jobs.dialect.limit = None
        told_at, before = time.monotonic(), len(w.provider.requests)
        await w.create("four")
        await asked_again(w, 5)
        came = [request.at for request in w.provider.requests[before:]]
        under_way = [at for at in came if at < told_at + 0.3]  # what had left before the answer came
        assert all(at >= told_at + HOLD_S - 0.3 for at in came[len(under_way) :])
        assert len(under_way) <= 2  # the other looks


@pytest.mark.gen_test(timeout=60)
async def test_an_outage_is_probed_by_one_look_at_a_time(world: StartWorld) -> None:
    """After some failures in a row one look at a time leaves, and no create; then all goes on."""
    async with world(Dialect(looks=None), SORA_POLL_MIN_INTERVAL="100") as w:
        running = [await w.create(f"running {number}") for number in range(20)]
        line = await w.line("ada")
        await line.say("subscribe_room", {"room": "user"})
        for _ in running:
            await line.hear_until("taskProgress", currentStep="rendering")
        w.provider.jobs.dialect.trouble = (502, "<html>Bad Gateway</html>")
        await asked_again(w, 20)  # all twenty may have been under way
        waiting = await w.create("waiting")
        before = len(w.provider.requests)
        await asked_again(w, 5)
        probes = w.provider.requests[before + 1 :]
        assert {request.method for request in probes} == {"GET"}
        gaps = [after.at - first.at for first, after in itertools.pairwise(probes)]
        assert min(gaps) >= 0.1
        w.provider.jobs.dialect.trouble = None
        w.provider.jobs.dialect.looks = 0
        ended = {(await line.hear_until("taskCompleted"))["payload"]["videoId"] for _ in range(21)}
        assert ended == {*running, waiting}


@pytest.mark.gen_test(timeout=60)
async def test_creates_alone_outlast_an_outage(world: StartWorld) -> None:
    """500 is no known outcome: the create is not repeated until the provider answers a harmless call."""
    async with world() as w:
        w.provider.jobs.dialect.trouble = (500, "")
        video_id = await w.create()
        await asked_again(w, 6)
        assert sum(request.method == "POST" for request in w.provider.requests) == 1
        assert (await w.task(video_id))["status"] == "QUEUED"
        w.provider.jobs.dialect.trouble = None
        line = await w.line("ada")
        assert (await line.follow(video_id))[-1]["type"] == "taskCompleted"


@pytest.mark.gen_test(timeout=60)
async def test_a_lost_job_ends_honestly(worlds: StartWorld) -> None:
    """Unknown again and again over some time is PROVIDER_LOST_TASK; every other time is not."""
    patience = Patience(lost_looks=5, lost_ms=300)
    async with worlds(Dialect(looks=None), patience=patience) as w:
        video_id = await w.create()
        line = await w.line("ada")
        await line.say("subscribe_task", {"videoId": video_id})
        await line.hear_until("taskProgress", currentStep="rendering")
        w.provider.jobs.all.clear()
        failed = await line.hear_until("taskFailed")
        assert failed["payload"]["error"]["code"] == "PROVIDER_LOST_TASK"
        assert failed["payload"]["error"]["retryable"] is True

        w.provider.jobs.dialect.loses_every_other_look = True
        w.provider.jobs.dialect.looks = 5
        pushes = await line.follow(await w.create("flips"))
        assert pushes[-1]["type"] == "taskCompleted"


@pytest.mark.parametrize("content", ["none", "as json"])
@pytest.mark.gen_test(timeout=60)
async def test_completed_without_content_fails_after_its_grace(world: StartWorld, content: Any) -> None:
    """GENERATION_FAILED, retryable, never stuck in archiving."""
    dialect = Dialect(looks=1, content=content)
    async with world(dialect, patience=Patience(archive_ms=500)) as w:
        line = await w.line("ada")
        pushes = await line.follow(await w.create())
        assert pushes[-2]["payload"]["currentStep"] == "archiving"
        error = pushes[-1]["payload"]["error"]
        assert (error["code"], error["retryable"]) == ("GENERATION_FAILED", True)


@pytest.mark.parametrize("content", ["late", "redirect", "url"])
@pytest.mark.gen_test(timeout=60)
async def test_content_that_takes_a_detour(world: StartWorld, content: Any) -> None:
    """Late, behind a redirect to another port, or only by the job's own url: the video is archived."""
    async with world(Dialect(looks=1, content=content)) as w:
        line = await w.line("ada")
        pushes = await line.follow(await w.create())
        assert pushes[-1]["type"] == "taskCompleted"


@pytest.mark.parametrize("progress", ["missing", "zero", "percent"])
@pytest.mark.gen_test(timeout=60)
async def test_progress_in_every_dialect(world: StartWorld, progress: Any) -> None:
    """Told, told as text, or not at all: it rises, and says whose word it is."""
    async with world(Dialect(looks=None, progress=progress)) as w:
        video_id = await w.create()
        line = await w.line("ada")
        await line.say("subscribe_task", {"videoId": video_id})
        await line.hear_until("taskProgress", currentStep="rendering")
        while (await line.hear())["payload"].get("progress") == 0:
            pass
        source = (await w.task(video_id))["progressSource"]
        assert source == ("provider" if progress == "percent" else "estimated")
        w.provider.jobs.dialect.looks = 0
        await line.hear_until("taskCompleted")


@pytest.mark.gen_test(timeout=60)
async def test_a_create_without_a_known_outcome(world: StartWorld) -> None:
    """Without a list it is sent again; after three the task fails, and says that jobs may be running."""
    dialect = Dialect(creates="reset", lists="no route")
    async with world(dialect, patience=Patience(settle_ms=0)) as w:
        line = await w.line("ada")
        pushes = await line.follow(await w.create())
        error = pushes[-1]["payload"]["error"]
        assert (error["code"], error["retryable"]) == ("GENERATION_FAILED", True)
        assert "may be running" in error["details"]
        assert len(w.provider.jobs.all) == 3


@pytest.mark.gen_test(timeout=60)
async def test_a_lost_job_is_found_in_the_list(worlds: StartWorld) -> None:
    """Creates without answers, of equal orders too: each task gets a job of its own, and no second one."""
    async with worlds(Dialect(creates="reset"), patience=Patience(settle_ms=0)) as w:
        line = await w.line("ada")
        await line.say("subscribe_room", {"room": "user"})
        ids = {await w.create(prompt) for prompt in ("a cat", "a cat", "a dog")}
        ended = {(await line.hear_until("taskCompleted"))["payload"]["videoId"] for _ in ids}
        assert ended == ids
        assert len(w.provider.jobs.all) == 3


@pytest.mark.gen_test(timeout=60)
async def test_a_key_that_is_refused_is_the_operators_business(world: StartWorld) -> None:
    """401 at looks and creates ends no task and is told by readyz; with the right key all go on."""
    async with world(Dialect(looks=None)) as w:
        running = await w.create()
        line = await w.line("ada")
        await line.say("subscribe_room", {"room": "user"})
        await line.hear_until("taskProgress", currentStep="rendering")
        wanted = logged("sora_ws.provider.limiter", "SORA_API_KEY")
        w.provider.jobs.dialect.key = "another"
        waiting = await w.create()
        await wanted.wait()
        await asked_again(w, 3)
        ready = await w.request("GET", "/readyz", user=None)
        assert (ready.code, json.loads(ready.body)["provider"]) == (
            200,
            "HTTP 401: Incorrect API key provided.",
        )
        assert [(await w.task(task))["status"] for task in (running, waiting)] == ["PROCESSING", "QUEUED"]
        w.provider.jobs.dialect.key = None
        w.provider.jobs.dialect.looks = 0
        ended = {(await line.hear_until("taskCompleted"))["payload"]["videoId"] for _ in range(2)}
        assert ended == {running, waiting}
        assert "provider" not in json.loads((await w.request("GET", "/readyz", user=None)).body)


@pytest.mark.gen_test(timeout=60)
async def test_cancel_while_the_create_is_under_way_leaves_no_job(world: StartWorld) -> None:
    """The job that comes of it is stopped there as soon as it is known."""
    async with world(Dialect(looks=None, creates="held")) as w:
        video_id = await w.create()
        await w.provider.create_is_held.wait()
        assert (await w.request("POST", f"/api/videos/{video_id}/cancel")).code == 202
        w.provider.let_creates_go.set()
        await w.provider.until(lambda: any(request.method == "DELETE" for request in w.provider.requests))
        assert w.provider.jobs.all == {}
        assert (await w.task(video_id))["status"] == "CANCELLED"


@pytest.mark.gen_test(timeout=60)
async def test_a_provider_too_busy_to_cancel_is_told_again(world: StartWorld) -> None:
    """409 at first: the user's cancel is done at once, and the job is stopped when it can be."""
    async with world(Dialect(looks=None)) as w:
        video_id = await w.create()
        line = await w.line("ada")
        await line.say("subscribe_task", {"videoId": video_id})
        await line.hear_until("taskProgress", currentStep="rendering")
        w.provider.jobs.dialect.trouble = (409, '{"error": {"message": "busy"}}')
        assert (await w.request("POST", f"/api/videos/{video_id}/cancel")).code == 202
        await line.hear_until("taskFailed")
        await w.provider.until(lambda: any(request.method == "DELETE" for request in w.provider.requests))
        w.provider.jobs.dialect.trouble = None
        await w.provider.until(lambda: not w.provider.jobs.all)
