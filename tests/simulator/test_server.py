"""The simulator as a client sees it, through a real socket."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tornado.simple_httpclient import HTTPStreamClosedError

from sora_ws.provider.simulated_job import SimulatedJob
from sora_ws.provider.simulated_order import SimulatedOrder
from sora_ws.provider.simulator import REMEMBERED_MAX, Simulator
from tests.simulator.client import Client, body_of


@pytest.mark.gen_test
async def test_a_job_has_the_shape_of_the_format(slow_client: Client) -> None:
    """A create answers with every field of the format, and says that it is a simulator's."""
    answer = await slow_client.create(prompt="a cat", model="m", seconds="8", size="720x1280")
    job = body_of(answer)
    assert answer.code == 200
    assert answer.headers["Server"] == "sora-ws-simulator"
    assert job.pop("id").startswith("video_sim_")
    assert isinstance(job.pop("created_at"), int)
    assert job == {
        "object": "video",
        "model": "m",
        "status": "queued",
        "progress": 0,
        "completed_at": None,
        "expires_at": None,
        "prompt": "a cat",
        "seconds": "8",
        "size": "720x1280",
        "remixed_from_video_id": None,
        "error": None,
        "simulated": True,
    }


@pytest.mark.gen_test
async def test_multipart_with_text_fields_alone_is_taken(slow_client: Client) -> None:
    """What LiteLLM forwards: a form without any file; what is not named has its default."""
    job = body_of(await slow_client.create_by_form(prompt="一只猫", unknown="x"))
    assert (job["prompt"], job["model"], job["seconds"], job["size"]) == ("一只猫", "sora-2", "4", "1280x720")


@pytest.mark.gen_test
async def test_multipart_with_an_image_is_taken(slow_client: Client) -> None:
    """An input_reference comes as a file part beside the text fields."""
    answer = await slow_client.create_by_form(prompt="a cat", seconds="12", input_reference=b"\x89PNG")
    assert (answer.code, body_of(answer)["seconds"]) == (200, "12")


@pytest.mark.gen_test
async def test_seconds_may_be_a_number(slow_client: Client) -> None:
    """JSON may hold the seconds as a number; the answer has them as a string."""
    assert body_of(await slow_client.create(prompt="a cat", seconds=8))["seconds"] == "8"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({}, "prompt", "invalid_value"),
        ({"prompt": " \n"}, "prompt", "invalid_value"),
        ({"prompt": "x" * 32_001}, "prompt", "invalid_value"),
        ({"prompt": "x", "seconds": "0"}, "seconds", "invalid_value"),
        ({"prompt": "x", "seconds": "121"}, "seconds", "invalid_value"),
        ({"prompt": "x", "seconds": "8.0"}, "seconds", "invalid_value"),
        ({"prompt": "x", "size": "1280*720"}, "size", "invalid_value"),
        ({"prompt": "x", "size": "8x8"}, "size", "invalid_value"),
        ({"prompt": "x", "size": "4097x720"}, "size", "invalid_value"),
        ({"prompt": "x [Blocked]"}, None, "moderation_blocked"),
        ({"prompt": 5}, None, None),
        ({"prompt": "x", "seconds": True}, None, None),
    ],
)
@pytest.mark.gen_test
async def test_a_wrong_create_is_refused(
    slow_client: Client, fields: dict[str, Any], param: str | None, code: str | None
) -> None:
    """What can't be a video is 400 in the format's own shape, and makes no job."""
    answer = await slow_client.create(**fields)
    error = body_of(answer)["error"]
    assert answer.code == 400
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert error["message"]
    assert body_of(await slow_client.get("/videos"))["data"] == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"[" * 100_000, b'{"prompt": "\\ud800"}', b'{"prompt": "\xff"}', b"null"]
)
@pytest.mark.gen_test
async def test_a_body_that_is_no_json_object_is_refused(slow_client: Client, body: bytes) -> None:
    """Broken JSON is 400, however it is broken."""
    answer = await slow_client.call("POST", "/videos", body, Content_Type="application/json")
    assert answer.code == 400
    assert "error" in body_of(answer)


@pytest.mark.gen_test
async def test_another_content_type_is_refused(slow_client: Client) -> None:
    """A create is a form or JSON."""
    answer = await slow_client.call("POST", "/videos", b"a cat", Content_Type="text/plain")
    assert answer.code == 415


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/videos/video_1", 404),
        ("GET", "/videos/video_sim_abc/content", 404),
        ("DELETE", "/videos/video_1", 404),
        ("GET", "/videos/%2e%2e%2f%2e%2e%2fetc%2fpasswd/content", 404),
        ("GET", "/images", 404),
        ("PUT", "/videos", 405),
        ("GET", "/videos?limit=101", 400),
    ],
)
@pytest.mark.gen_test
async def test_errors_have_one_shape(slow_client: Client, method: str, path: str, status: int) -> None:
    """Every error is JSON in the shape of the format, and says whose it is."""
    answer = await slow_client.call(method, path)
    error = body_of(answer)["error"]
    assert answer.code == status
    assert answer.headers["Server"] == "sora-ws-simulator"
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.gen_test
async def test_a_film_is_not_there_before_its_time(slow_client: Client) -> None:
    """Content of a job that is not completed is 404."""
    job = body_of(await slow_client.create(prompt="a cat"))
    answer = await slow_client.get(f"/videos/{job['id']}/content")
    assert answer.code == 404
    assert "not ready yet" in body_of(answer)["error"]["message"]


@pytest.mark.gen_test(timeout=60)
async def test_a_film_can_be_had_whole_and_in_parts(client: Client) -> None:
    """Content is an MP4; a Range brings its part, HEAD its size, an ETag a 304."""
    job = body_of(await client.create(prompt="a cat", seconds="1", size="320x180"))
    path = f"/videos/{job['id']}/content"
    whole = await client.get(path)
    assert (whole.code, whole.headers["Content-Type"], whole.body[4:8]) == (200, "video/mp4", b"ftyp")
    part = await client.get(path, Range="bytes=4-7")
    assert (part.code, part.body) == (206, b"ftyp")
    assert part.headers["Content-Range"] == f"bytes 4-7/{len(whole.body)}"
    beyond = await client.get(path, Range=f"bytes={len(whole.body)}-")
    assert beyond.code == 416
    head = await client.call("HEAD", path)
    assert (head.headers["Content-Length"], head.body) == (str(len(whole.body)), b"")
    again = await client.get(path, If_None_Match=whole.headers["ETag"])
    assert again.code == 304


@pytest.mark.gen_test(timeout=60)
async def test_a_film_is_drawn_once(client: Client) -> None:
    """Many who ask for a film at once get the same one."""
    job = body_of(await client.create(prompt="a cat", seconds="1", size="320x180"))
    path = f"/videos/{job['id']}/content"
    answers = await asyncio.gather(*(client.get(path) for _ in range(8)))
    assert {answer.code for answer in answers} == {200}
    assert len({answer.headers["Last-Modified"] for answer in answers}) == 1


@pytest.mark.gen_test
async def test_there_are_no_thumbnails(client: Client) -> None:
    """variant=thumbnail is refused."""
    job = body_of(await client.create(prompt="a cat"))
    assert (await client.get(f"/videos/{job['id']}/content?variant=thumbnail")).code == 400


@pytest.mark.parametrize(
    ("language", "message"),
    [("en", "The model is overloaded, please try again later"), ("zh", "模型过载，请稍后重试")],
)
@pytest.mark.gen_test
async def test_a_failed_job_says_why(language: Any, message: str) -> None:
    """A prompt with [fail] ends as failed, with a reason, and without content."""
    simulator = Simulator(0, language)
    client = Client(await simulator.start())
    job = body_of(await client.create(prompt="a cat [fail]"))
    seen = body_of(await client.get(f"/videos/{job['id']}"))
    assert (seen["status"], seen["error"]) == ("failed", {"code": "model_overloaded", "message": message})
    assert (await client.get(f"/videos/{job['id']}/content")).code == 404
    await simulator.stop()


@pytest.mark.gen_test(timeout=60)
async def test_jobs_outlive_the_server(slow_client: Client, client: Client) -> None:
    """A server that never saw a job answers for it: status, prompt and film."""
    job = body_of(await client.create(prompt="猫" * 150, seconds="1", size="320x180"))
    path = f"/videos/{quote(job['id'], safe='')}"
    seen = body_of(await slow_client.get(path))
    assert seen["status"] == "completed"
    assert job["prompt"].startswith(seen["prompt"].removesuffix("…"))
    assert {**seen, "prompt": job["prompt"]} == job
    assert (await slow_client.get(f"{path}/content")).body[4:8] == b"ftyp"


@pytest.mark.gen_test
async def test_the_list_shows_whole_prompts(slow_client: Client) -> None:
    """The list has the jobs of this process, newest first, by which a lost create can be found again."""
    prompts = ["a" * 500, "b", "c"]
    ids = [body_of(await slow_client.create(prompt=prompt))["id"] for prompt in prompts]
    first = body_of(await slow_client.get("/videos?limit=2"))
    assert [job["prompt"] for job in first["data"]] == ["c", "b"]
    assert (first["object"], first["first_id"], first["last_id"], first["has_more"]) == (
        "list",
        ids[2],
        ids[1],
        True,
    )
    rest = body_of(await slow_client.get(f"/videos?after={ids[1]}"))
    assert ([job["prompt"] for job in rest["data"]], rest["has_more"]) == (["a" * 500], False)
    turned = body_of(await slow_client.get("/videos?order=asc"))
    assert [job["id"] for job in turned["data"]] == ids


@pytest.mark.gen_test
async def test_a_deleted_job_is_gone(slow_client: Client) -> None:
    """DELETE stops a job, running or not; afterwards it is unknown."""
    job = body_of(await slow_client.create(prompt="a cat"))
    path = f"/videos/{job['id']}"
    gone = await slow_client.call("DELETE", path)
    assert body_of(gone) == {"id": job["id"], "object": "video.deleted", "deleted": True}
    assert (await slow_client.get(path)).code == 404
    assert body_of(await slow_client.get("/videos"))["data"] == []


@pytest.mark.gen_test
async def test_a_port_that_is_taken_is_an_error(slow_client: Client) -> None:
    """Two simulators can't share a port."""
    port = int(slow_client.base.split(":")[2].split("/")[0])
    with pytest.raises(OSError, match="in use"):
        await Simulator(0).start(port)


def films_in(folder: Path) -> list[Path]:
    """What has been drawn so far."""
    return list(folder.rglob("*.mp4"))


@pytest.mark.gen_test(timeout=60)
async def test_a_stop_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop in the middle of drawing ends the drawing, and leaves no file; a second one does nothing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    simulator = Simulator(0)
    client = Client(await simulator.start())
    job = body_of(await client.create(prompt="a cat", seconds="4", size="2048x2048"))
    asked = asyncio.create_task(client.get(f"/videos/{job['id']}/content"))
    while not films_in(tmp_path):
        await client.get("/videos")
    await simulator.stop()
    await simulator.stop()
    with pytest.raises(HTTPStreamClosedError):
        await asked
    assert films_in(tmp_path) == []


def test_memory_is_bounded() -> None:
    """Only the last jobs are remembered, and the forgotten are still answered for."""
    simulator = Simulator(0)
    jobs = [simulator.create(SimulatedOrder(prompt="x")) for _ in range(REMEMBERED_MAX + 5)]
    assert simulator.listed() == jobs[5:]
    assert simulator.find(jobs[0].id) == SimulatedJob.of(jobs[0].id)
    assert json.dumps(simulator.shown(jobs[0]))
