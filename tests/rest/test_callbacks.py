"""What REST says of callbacks, and who may ask for one again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sora_ws.callbacks import Callback, Delivery
from tests.rest.server import RestServer

URL = "https://app.example.com/told?token=hidden"


async def ended(rest: RestServer, *, team: str | None = None) -> str:
    """The id of an ended task with a callback."""
    task = rest.new(team=team)
    task = task.cancel(task.seq + 1)
    callback = Callback(URL, "app.example.com").due(task.seq).begun(task.seq).delivered(task.seq + 9)
    return (await rest.keep(replace(task, callback=callback))).id


@pytest.mark.gen_test
async def test_a_task_with_a_callback(rest: RestServer) -> None:
    """It waits for the end; whoever sees the task sees the host, and nothing that may be a secret."""
    answer = await rest.call("POST", "/api/videos", {"prompt": "a cat", "callbackUrl": URL})
    assert answer.status == 202
    assert answer.json["callback"] == {
        "host": "app.example.com",
        "state": "waiting",
        "attempts": 0,
        "lastAttemptAt": None,
        "nextAttemptAt": None,
        "deliveredAt": None,
        "error": None,
    }
    assert b"hidden" not in answer.body
    found = await rest.store.find(answer.json["videoId"])
    assert found is not None
    assert found.callback == Callback(URL, "app.example.com")
    assert (await rest.call("POST", "/api/videos", {"prompt": "a cat"})).json["callback"] is None


@pytest.mark.gen_test
async def test_a_form_has_it_too(rest: RestServer) -> None:
    """As a text field."""
    fields = {"prompt": "x", "callbackUrl": URL}
    parts = (
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    form = "".join([*parts, "--b--\r\n"])
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await rest.call("POST", "/api/videos", form.encode(), headers=headers)
    assert answer.json["callback"]["host"] == "app.example.com"


@pytest.mark.gen_test
async def test_another_callback_is_another_request(rest: RestServer) -> None:
    """One idempotency key stands for one address."""
    headers = {"Idempotency-Key": "k"}
    body = {"prompt": "a cat", "callbackUrl": URL}
    first = await rest.call("POST", "/api/videos", body, headers=headers)
    assert (await rest.call("POST", "/api/videos", body, headers=headers)).json == first.json
    body["callbackUrl"] = "https://other.example.com/"
    assert (await rest.call("POST", "/api/videos", body, headers=headers)).status == 422


@pytest.mark.gen_test
async def test_sent_again(rest: RestServer) -> None:
    """Due at once; when it was delivered before is still told."""
    video_id = await ended(rest)
    answer = await rest.call("POST", f"/api/videos/{video_id}/callback")
    assert answer.status == 202
    callback = answer.json["callback"]
    assert (callback["state"], callback["attempts"], callback["deliveredAt"] > 0) == ("pending", 0, True)
    [due] = await rest.store.due_callbacks(rest.clock(), 10)
    assert due.id == video_id
    assert due.callback is not None
    assert due.callback.state is Delivery.PENDING
    assert due.seq == answer.json["seq"]


@pytest.mark.gen_test
async def test_nothing_to_send_again(rest: RestServer) -> None:
    """A task that lives, or that nobody is to be told of: 409, and why."""
    live = await rest.call("POST", "/api/videos", {"prompt": "a cat", "callbackUrl": URL})
    task = rest.new()
    untold = await rest.keep(task.cancel(task.seq + 1))
    for video_id, why in ((live.json["videoId"], "has not ended"), (untold.id, "without a callbackUrl")):
        answer = await rest.call("POST", f"/api/videos/{video_id}/callback")
        assert answer.status == 409
        assert why in answer.json["detail"]


@pytest.mark.gen_test
async def test_only_the_owner_may(rest: RestServer) -> None:
    """A member of the team gets 403, everybody else 404."""
    path = f"/api/videos/{await ended(rest, team='red')}/callback"
    assert (await rest.call("POST", path, user="bob", teams=("red",))).status == 403
    assert (await rest.call("POST", path, user="eve")).status == 404
    assert (await rest.call("POST", path, user=None)).status == 401


@pytest.mark.gen_test
async def test_a_retry_is_told_to_the_same_address(rest: RestServer) -> None:
    """From the beginning."""
    answer = await rest.call("POST", f"/api/videos/{await ended(rest)}/retry")
    found = await rest.store.find(answer.json["videoId"])
    assert found is not None
    assert found.callback == Callback(URL, "app.example.com")
