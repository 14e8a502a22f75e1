"""POST /api/videos: what is taken, what is refused, and how."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from sora_ws.rest.orders import read_create
from sora_ws.rest.problem import Problem
from tests.rest.server import PNG, RestServer

DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
JSON = HTTPHeaders({"Content-Type": "application/json"})


def form(*parts: tuple[str, bytes, str | None], boundary: str = "xyz") -> tuple[bytes, dict[str, str]]:
    """A multipart body of (name, value, file name), and its headers."""
    body = b""
    for name, value, filename in parts:
        told = f'; filename="{filename}"' if filename is not None else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'
        body += head.encode() + value + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), {
        "Content-Type": f"multipart/form-data; boundary={boundary}"
    }


@pytest.mark.gen_test
async def test_task_is_accepted(rest: RestServer) -> None:
    """A good request is answered by 202, where the task is, and the task with every field."""
    body = {"prompt": "a cat", "seconds": 8, "size": "1280x720", "team": "red", "model": "veo-3", "extra": 1}
    answer = await rest.call("POST", "/api/videos", body, teams=("red",))
    assert answer.status == 202
    task = answer.json
    assert answer.headers["Location"] == f"/api/videos/{task['videoId']}"
    assert answer.headers["Content-Type"] == "application/json"
    assert task == {
        "videoId": task["videoId"],
        "status": "QUEUED",
        "progress": 0,
        "progressSource": "provider",
        "currentStep": "submitting",
        "totalSteps": 4,
        "message": "Submitting the task...",
        "estimatedTimeRemaining": None,
        "queuePosition": None,
        "prompt": "a cat",
        "model": "veo-3",
        "seconds": 8,
        "size": "1280x720",
        "team": "red",
        "userId": "ann",
        "createdAt": task["createdAt"],
        "startedAt": None,
        "finishedAt": None,
        "result": None,
        "metrics": None,
        "error": None,
        "callback": None,
        "simulated": True,
        "seq": task["createdAt"],
    }
    assert await rest.store.find(task["videoId"]) is not None


@pytest.mark.gen_test
async def test_prompt_alone_is_enough(rest: RestServer) -> None:
    """What isn't asked for is null, and the model is the setting's."""
    answer = await rest.call("POST", "/api/videos", {"prompt": "a cat", "seconds": None, "team": None})
    assert answer.status == 202
    assert (answer.json["model"], answer.json["seconds"], answer.json["size"]) == ("sora-2", None, None)


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no prompt": ({}, ["prompt"]),
    "prompt null": ({"prompt": None}, ["prompt"]),
    "prompt empty": ({"prompt": ""}, ["prompt"]),
    "prompt blank": ({"prompt": " \n\u3000"}, ["prompt"]),
    "prompt too long": ({"prompt": "x" * 32_001}, ["prompt"]),
    "prompt with NUL": ({"prompt": "a\0b"}, ["prompt"]),
    "prompt a number": ({"prompt": 5}, ["prompt"]),
    "prompt a query": ({"prompt": {"$ne": None}}, ["prompt"]),
    "seconds 0": ({"prompt": "x", "seconds": 0}, ["seconds"]),
    "seconds 121": ({"prompt": "x", "seconds": 121}, ["seconds"]),
    "seconds negative": ({"prompt": "x", "seconds": -1}, ["seconds"]),
    "seconds broken": ({"prompt": "x", "seconds": 4.5}, ["seconds"]),
    "seconds text": ({"prompt": "x", "seconds": "8"}, ["seconds"]),
    "seconds true": ({"prompt": "x", "seconds": True}, ["seconds"]),
    "seconds beyond 63 bits": ({"prompt": "x", "seconds": 2**63}, ["seconds"]),
    "seconds beyond 64 bits": ({"prompt": "x", "seconds": 2**70}, ["seconds"]),
    "size a word": ({"prompt": "x", "size": "big"}, ["size"]),
    "size too small": ({"prompt": "x", "size": "63x720"}, ["size"]),
    "size too large": ({"prompt": "x", "size": "1280x4097"}, ["size"]),
    "size with a new line": ({"prompt": "x", "size": "1280x720\n"}, ["size"]),
    "size in other digits": ({"prompt": "x", "size": "１２８０x720"}, ["size"]),
    "model empty": ({"prompt": "x", "model": ""}, ["model"]),
    "model with a new line": ({"prompt": "x", "model": "sora\n"}, ["model"]),
    "model too long": ({"prompt": "x", "model": "m" * 129}, ["model"]),
    "team a list": ({"prompt": "x", "team": ["red"]}, ["team"]),
    "image elsewhere": ({"prompt": "x", "inputReference": "http://127.0.0.1/a.png"}, ["inputReference"]),
    "image in a file": ({"prompt": "x", "inputReference": "file:///etc/passwd"}, ["inputReference"]),
    "image no base64": ({"prompt": "x", "inputReference": "data:image/png;base64,%%"}, ["inputReference"]),
    "image not in base64": ({"prompt": "x", "inputReference": "data:image/png,abc"}, ["inputReference"]),
    "image empty": ({"prompt": "x", "inputReference": "data:image/png;base64,"}, ["inputReference"]),
    "image is a script": (
        {"prompt": "x", "inputReference": "data:image/svg+xml;base64,PHN2Zz4="},
        ["inputReference"],
    ),
    "callback to a file": ({"prompt": "x", "callbackUrl": "file:///etc/passwd"}, ["callbackUrl"]),
    "callback inside": ({"prompt": "x", "callbackUrl": "http://127.0.0.1/"}, ["callbackUrl"]),
    "callback to a cloud's metadata": (
        {"prompt": "x", "callbackUrl": "http://169.254.169.254/"},
        ["callbackUrl"],
    ),
    "callback inside, as a number": ({"prompt": "x", "callbackUrl": "http://2130706433/"}, ["callbackUrl"]),
    "callback with a password": ({"prompt": "x", "callbackUrl": "https://a:b@example.com/"}, ["callbackUrl"]),
    "all at once": (
        {"seconds": 0, "size": "x", "callbackUrl": "x"},
        ["prompt", "seconds", "size", "callbackUrl"],
    ),
}


@pytest.mark.parametrize(("body", "fields"), WRONG.values(), ids=WRONG.keys())
@pytest.mark.gen_test
async def test_wrong_fields_are_all_named(rest: RestServer, body: dict[str, Any], fields: list[str]) -> None:
    """422 names every wrong field and says what to write instead; nothing is kept."""
    answer = await rest.call("POST", "/api/videos", body)
    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == fields
    assert all(error["message"] for error in answer.json["errors"])
    assert await rest.store.count_live() == 0


NO_JSON = {
    "nothing closed": b"{",
    "no object": b"[]",
    "a string": b'"x"',
    "nested": b'{"prompt":' + b"[" * 60_000,
    "NaN": b'{"prompt":"x","seconds":NaN}',
    "Infinity": b'{"prompt":"x","seconds":-Infinity}',
    "5000 digits": b'{"prompt":"x","seconds":' + b"9" * 5000 + b"}",
    "equal keys": b'{"prompt":"x","prompt":"y"}',
    "equal keys inside": b'{"prompt":"x","a":[{"b":1,"b":2}]}',
    "byte order mark": b'\xef\xbb\xbf{"prompt":"x"}',
    "wrong UTF-8": b'{"prompt":"\xff"}',
    "UTF-16": '{"prompt":"x"}'.encode("utf-16"),
    "half a character": b'{"prompt":"\\ud800"}',
    "half a character as a key": b'{"prompt":"x","\\udfff":1}',
    "half a character in upper case": b'{"prompt":"\\uD83D"}',
    "two documents": b'{"prompt":"x"}{"prompt":"y"}',
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
@pytest.mark.gen_test
async def test_what_is_no_json_is_a_bad_request(rest: RestServer, body: bytes) -> None:
    """A body that readers could differ about ends with 400, never with 500."""
    answer = await rest.call("POST", "/api/videos", body, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.gen_test
async def test_whole_characters_by_escapes_are_fine(rest: RestServer) -> None:
    """A pair of escapes is one character."""
    body = b'{"prompt":"\\ud83d\\ude00 \\u732b"}'
    answer = await rest.call("POST", "/api/videos", body, headers={"Content-Type": "application/json"})
    assert answer.status == 202
    assert answer.json["prompt"] == "😀 猫"


@pytest.mark.gen_test
async def test_other_content_types_are_refused(rest: RestServer) -> None:
    """415 for what is neither JSON nor a form; a body without a type is read as JSON."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        answer = await rest.call("POST", "/api/videos", b"prompt=x", headers={"Content-Type": kind})
        assert answer.status == 415
    untyped = await rest.send_raw(
        f"POST /api/videos HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {rest.token()}\r\n"
        'Content-Length: 14\r\n\r\n{"prompt":"x"}'.encode()
    )
    assert untyped.startswith(b"HTTP/1.1 202")


@pytest.mark.gen_test
async def test_nobody_sets_what_is_ours(rest: RestServer) -> None:
    """Status, owner, progress and id in a request are passed over."""
    body = {"prompt": "x", "status": "COMPLETED", "userId": "bob", "user_id": {"$ne": None}}
    answer = await rest.call("POST", "/api/videos", body | {"progress": 100, "videoId": "v", "$where": "1"})
    assert answer.status == 202
    assert (answer.json["status"], answer.json["userId"], answer.json["progress"]) == ("QUEUED", "ann", 0)


@pytest.mark.gen_test
async def test_team_has_to_be_mine(rest: RestServer) -> None:
    """A team that is not in the token is 403."""
    answer = await rest.call("POST", "/api/videos", {"prompt": "x", "team": "blue"}, teams=("red",))
    assert answer.status == 403


@pytest.mark.gen_test
async def test_image_is_kept(rest: RestServer) -> None:
    """An image in a data: URL is in the archive before the answer, its type by its own bytes."""
    lying = DATA_URL.replace("png", "jpeg", 1)
    video_id = await rest.create(inputReference=lying)
    assert await rest.media.reference(video_id) == PNG
    task = await rest.store.find(video_id)
    assert task is not None
    assert task.order.reference_type == "image/png"


@pytest.mark.gen_test
async def test_form_is_the_same_as_json(rest: RestServer) -> None:
    """A multipart form with a file creates what the JSON would; its empty fields are absent."""
    body, headers = form(
        ("prompt", "猫".encode(), None),
        ("seconds", b"8", None),
        ("size", b"1280x720", None),
        ("team", b"", None),
        ("inputReference", PNG, "cat.png"),
    )
    answer = await rest.call("POST", "/api/videos", body, headers=headers)
    assert answer.status == 202
    assert (answer.json["prompt"], answer.json["seconds"], answer.json["team"]) == ("猫", 8, None)
    assert await rest.media.reference(answer.json["videoId"]) == PNG


@pytest.mark.gen_test
async def test_form_may_hold_a_data_url(rest: RestServer) -> None:
    """Without a file name the field is what it is in JSON."""
    body, headers = form(("prompt", b"x", None), ("inputReference", DATA_URL.encode(), None))
    answer = await rest.call("POST", "/api/videos", body, headers=headers)
    assert answer.status == 202
    assert await rest.media.reference(answer.json["videoId"]) == PNG


@pytest.mark.gen_test
async def test_wrong_forms_are_refused(rest: RestServer) -> None:
    """Forms that are none, or say something twice, are 400; wrong fields are 422."""
    prompt = ("prompt", b"x", None)
    for parts, status in (
        ([("prompt", b"\xff", None)], 400),
        ([prompt, prompt], 400),
        ([prompt, ("inputReference", PNG, "a"), ("inputReference", PNG, "b")], 400),
        ([prompt, ("inputReference", b"text", "a.png")], 422),
        ([prompt, ("seconds", b"eight", None)], 422),
        ([prompt, ("seconds", b"121", None)], 422),
        ([("size", b"64x64", None)], 422),
    ):
        body, headers = form(*parts)
        answer = await rest.call("POST", "/api/videos", body, headers=headers)
        assert answer.status == status, (parts, answer.body)
    for kind in ("multipart/form-data", "multipart/form-data; boundary=other"):
        answer = await rest.call("POST", "/api/videos", form(prompt)[0], headers={"Content-Type": kind})
        assert answer.status == 400


@pytest.mark.gen_test
async def test_same_key_is_the_same_task(rest: RestServer) -> None:
    """A key that comes again with the same request, also as a form, gets the same task."""
    key = {"Idempotency-Key": "k-1"}
    first = await rest.call("POST", "/api/videos", {"prompt": "x", "inputReference": DATA_URL}, headers=key)
    again = await rest.call("POST", "/api/videos", {"inputReference": DATA_URL, "prompt": "x"}, headers=key)
    body, headers = form(("prompt", b"x", None), ("inputReference", PNG, "cat.png"))
    as_form = await rest.call("POST", "/api/videos", body, headers=headers | key)
    assert [answer.status for answer in (first, again, as_form)] == [202, 202, 202]
    assert len({answer.json["videoId"] for answer in (first, again, as_form)}) == 1
    assert again.headers["Location"] == first.headers["Location"]
    others = await rest.call("POST", "/api/videos", {"prompt": "x"}, user="bob", headers=key)
    assert others.json["videoId"] != first.json["videoId"]


@pytest.mark.gen_test
async def test_same_key_for_another_request_is_refused(rest: RestServer) -> None:
    """Each thing that is asked for differently makes the key one that was used: 422."""
    key = {"Idempotency-Key": "k-1"}
    await rest.call("POST", "/api/videos", {"prompt": "x"}, headers=key)
    for other in (
        {"prompt": "y"},
        {"prompt": "x", "seconds": 4},
        {"prompt": "x", "inputReference": DATA_URL},
    ):
        answer = await rest.call("POST", "/api/videos", other, headers=key)
        assert answer.status == 422
        assert answer.json["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.gen_test(timeout=30)
async def test_fifty_at_once_are_one_task(rest: RestServer) -> None:
    """Fifty requests of one key that race make one task, and all get it."""
    key = {"Idempotency-Key": "k-1"}
    answers = await asyncio.gather(
        *(rest.call("POST", "/api/videos", {"prompt": "x"}, headers=key) for _ in range(50))
    )
    assert {answer.status for answer in answers} == {202}
    assert len({answer.json["videoId"] for answer in answers}) == 1
    assert await rest.store.count_live() == 1


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "clé"])
@pytest.mark.gen_test
async def test_keys_are_visible_ascii(rest: RestServer, key: str) -> None:
    """Anything else as a key is 422."""
    answer = await rest.call("POST", "/api/videos", {"prompt": "x"}, headers={"Idempotency-Key": key})
    assert answer.status == 422
    assert answer.json["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.gen_test
async def test_more_live_tasks_than_allowed(rest: RestServer) -> None:
    """Beyond MAX_TASKS_PER_USER a create is 429 and says when to come again; others are free."""
    for _ in range(rest.settings.max_tasks_per_user):
        await rest.keep(rest.new())
    answer = await rest.call("POST", "/api/videos", {"prompt": "x"})
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0
    await rest.create("bob")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["prompt", "model", "seconds", "size", "team", "inputReference", "callbackUrl"])


def read(raw: bytes) -> int:
    """The status that the body leads to, as far as reading it goes."""
    try:
        read_create(raw, JSON)
    except Problem as problem:
        return problem.status
    return 202


@given(st.dictionaries(names | st.text(), values))
def test_any_json_is_taken_or_refused(document: dict[str, Any]) -> None:
    """No JSON document at all makes a create crash."""
    assert read(json.dumps(document).encode()) in {202, 400, 422}


@given(st.binary())
def test_any_bytes_are_taken_or_refused(raw: bytes) -> None:
    """No bytes at all make a create crash."""
    assert read(raw) in {202, 400, 422}


@given(st.integers(-10, 5000), st.integers(-10, 5000))
def test_size_counts_in_pixels(width: int, height: int) -> None:
    """Each side is 64 to 4096, and nothing else."""
    is_good = 64 <= width <= 4096 and 64 <= height <= 4096
    assert (read(json.dumps({"prompt": "x", "size": f"{width}x{height}"}).encode()) == 202) == is_good


@given(st.text(min_size=1, max_size=200))
def test_prompts_are_any_text_that_can_be_seen(prompt: str) -> None:
    """Whatever is not blank and can be stored is a prompt."""
    storable = "\0" not in prompt and not any("\ud800" <= c <= "\udfff" for c in prompt)
    status = read(json.dumps({"prompt": prompt}).encode())
    assert (status == 202) == (storable and bool(prompt.strip()))
