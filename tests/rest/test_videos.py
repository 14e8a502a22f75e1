"""`/api/videos` beyond create: list, get, cancel, retry, delete, and who may what."""

from __future__ import annotations

from typing import Any

import pytest

from sora_ws.task import Event, Failure, FailureCode, Observation, Task
from tests.rest.server import PNG, Answer, RestServer


async def failed(rest: RestServer, user: str = "ann", **order: Any) -> Task:
    """A stored task that its provider refused."""
    task = rest.new(user, **order)
    failure = Failure(FailureCode.MODERATION_BLOCKED, "not this", retryable=False)
    return await rest.keep(task.fail(failure, task.created_at + 1_000))


@pytest.mark.gen_test
async def test_completed_task_has_its_result(rest: RestServer) -> None:
    """A completed task shows links, figures and times."""
    task = await rest.completed()
    answer = await rest.call("GET", f"/api/videos/{task.id}")
    assert answer.status == 200
    shown = answer.json
    assert (shown["status"], shown["progress"], shown["currentStep"]) == ("COMPLETED", 100, "archiving")
    assert shown["result"] == {
        "videoUrl": rest.links.video(task.id),
        "thumbnailUrl": rest.links.thumbnail(task.id),
        "duration": 4.0,
        "fileSize": 4,
        "resolution": "1280x720",
    }
    assert shown["metrics"] == {"totalTime": 9, "queueTime": 2, "processTime": 7}
    assert (shown["error"], shown["finishedAt"]) == (None, task.finished_at)


@pytest.mark.gen_test
async def test_failed_task_has_its_error(rest: RestServer) -> None:
    """A failed task shows why, for people and for programs."""
    task = await failed(rest)
    shown = (await rest.call("GET", f"/api/videos/{task.id}")).json
    assert shown["status"] == "FAILED"
    assert shown["error"] == {
        "code": "MODERATION_BLOCKED",
        "message": "Video generation failed",
        "details": "not this",
        "retryable": False,
    }


@pytest.mark.gen_test
async def test_unchanged_task_is_not_sent_again(rest: RestServer) -> None:
    """With the ETag of what a client holds it gets 304 and no body, until there is something new."""
    task = await rest.keep(rest.new())
    path = f"/api/videos/{task.id}"
    etag = (await rest.call("GET", path)).headers["ETag"]
    for held in (etag, f'W/{etag}, "x"', "*"):
        same = await rest.call("GET", path, headers={"If-None-Match": held})
        assert (same.status, same.body) == (304, b"")
    await rest.store.save(task.accept("job-1", Observation(Event.STARTED), task.seq + 1), task.seq)
    changed = await rest.call("GET", path, headers={"If-None-Match": etag})
    assert changed.status == 200
    assert changed.headers["ETag"] != etag


@pytest.mark.gen_test
async def test_head_is_get_without_the_body(rest: RestServer) -> None:
    """HEAD has GET's headers."""
    task = await rest.completed()
    path = f"/api/videos/{task.id}"
    got, head = await rest.call("GET", path), await rest.call("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    for name in ("ETag", "Content-Length", "Content-Type"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.gen_test
async def test_strangers_see_nothing(rest: RestServer) -> None:
    """Somebody else's task is answered like one that doesn't exist, whatever is asked."""
    task = await rest.keep(rest.new("ann", team="red"))
    calls = (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry"))
    for method, below in calls:
        answers = [
            await rest.call(method, f"/api/videos/{video_id}{below}", user="bob", teams=("blue",))
            for video_id in (task.id, f"video_{'0' * 32}")
        ]
        assert [answer.status for answer in answers] == [404, 404]
        assert answers[0].body.replace(task.id.encode(), b"") == answers[1].body.replace(
            b"video_" + b"0" * 32, b""
        )
    assert await rest.store.find(task.id) == task


@pytest.mark.parametrize("video_id", ["x", "video_", "%00", "..", "%2e%2e", "a%0d%0ab", "%F0%9F%98%80", "*"])
@pytest.mark.gen_test
async def test_strange_ids_are_not_found(rest: RestServer, video_id: str) -> None:
    """Whatever stands in the place of an id, it is 404."""
    for method, below in (("GET", ""), ("DELETE", ""), ("POST", "/cancel")):
        assert (await rest.call(method, f"/api/videos/{video_id}{below}")).status == 404


@pytest.mark.gen_test
async def test_team_sees_and_the_owner_acts(rest: RestServer) -> None:
    """A member of the task's team may look at it and list it, and nothing more: 403."""
    task = await rest.keep(rest.new("ann", team="red"))
    path = f"/api/videos/{task.id}"
    assert (await rest.call("GET", path, user="bob", teams=("red",))).status == 200
    listed = await rest.call("GET", "/api/videos?team=red", user="bob", teams=("red",))
    assert [item["videoId"] for item in listed.json["items"]] == [task.id]
    for method, below in (("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry")):
        assert (await rest.call(method, path + below, user="bob", teams=("red",))).status == 403


@pytest.mark.gen_test
async def test_cancel_ends_a_live_task_once(rest: RestServer) -> None:
    """Cancelling answers 202 with the ended task; again it is 409, which says why."""
    task = rest.new()
    task = await rest.keep(task.accept("job-1", Observation(Event.STARTED), task.created_at + 1))
    path = f"/api/videos/{task.id}/cancel"
    first = await rest.call("POST", path)
    assert first.status == 202
    assert (first.json["status"], first.json["error"]["code"]) == ("CANCELLED", "CANCELLED")
    again = await rest.call("POST", path)
    assert again.status == 409
    assert "CANCELLED" in again.json["detail"]
    assert rest.stopped_jobs == ["job-1"]


@pytest.mark.gen_test
async def test_retry_is_a_new_task(rest: RestServer) -> None:
    """A retry asks for the same again, with another prompt where one is given; a live one is 409."""
    task = await failed(rest, prompt="a cat", seconds=8, size="1280x720")
    path = f"/api/videos/{task.id}/retry"
    for body, prompt in ((None, "a cat"), ({}, "a cat"), ({"prompt": "a dog"}, "a dog")):
        answer = await rest.call("POST", path, body)
        assert answer.status == 202
        shown = answer.json
        assert shown["videoId"] != task.id
        assert answer.headers["Location"] == f"/api/videos/{shown['videoId']}"
        assert (shown["prompt"], shown["seconds"], shown["size"]) == (prompt, 8, "1280x720")
    live = await rest.call("POST", f"/api/videos/{shown['videoId']}/retry")
    assert live.status == 409


@pytest.mark.gen_test
async def test_retry_keeps_the_image(rest: RestServer) -> None:
    """The input image of the first try is the one of the second."""
    task = await failed(rest, reference_type="image/png")
    await rest.media.save_reference(task.id, PNG)
    answer = await rest.call("POST", f"/api/videos/{task.id}/retry")
    assert await rest.media.reference(answer.json["videoId"]) == PNG


@pytest.mark.parametrize("body", [{"prompt": ""}, {"prompt": 5}, {"prompt": "x" * 32_001}])
@pytest.mark.gen_test
async def test_retry_checks_its_prompt(rest: RestServer, body: dict[str, Any]) -> None:
    """A wrong new prompt is 422."""
    task = await failed(rest)
    answer = await rest.call("POST", f"/api/videos/{task.id}/retry", body)
    assert answer.status == 422
    assert answer.json["errors"][0]["field"] == "prompt"


@pytest.mark.gen_test
async def test_delete_removes_task_and_video(rest: RestServer) -> None:
    """After a delete there is neither task nor video; deleting again is 404."""
    task = await rest.completed()
    gone = await rest.call("DELETE", f"/api/videos/{task.id}")
    assert (gone.status, gone.body) == (204, b"")
    assert (await rest.call("GET", f"/api/videos/{task.id}")).status == 404
    assert (await rest.call("DELETE", f"/api/videos/{task.id}")).status == 404
    link = rest.links.video(task.id).removeprefix(f"http://127.0.0.1:{rest.port}")
    assert (await rest.call("GET", link, user=None)).status == 404


async def pages(rest: RestServer, query: str, **call: Any) -> list[list[str]]:
    """The ids of all pages, one after the other."""
    found, cursor = [], ""
    while True:
        page: Answer = await rest.call("GET", f"/api/videos?{query}{cursor}", **call)
        assert page.status == 200, page.body
        found.append([item["videoId"] for item in page.json["items"]])
        if page.json["nextCursor"] is None:
            return found
        cursor = f"&cursor={page.json['nextCursor']}"


@pytest.mark.gen_test
async def test_pages_hold_each_task_once(rest: RestServer) -> None:
    """Page by page come all my tasks and nobody else's, newest first, and then no cursor."""
    mine = [(await rest.keep(rest.new())).id for _ in range(5)]
    await rest.keep(rest.new("bob"))
    stored = await rest.call("GET", "/api/videos")
    newest_first = [item["videoId"] for item in stored.json["items"]]
    assert sorted(newest_first) == sorted(mine)
    assert stored.json["nextCursor"] is None
    created = [item["createdAt"] for item in stored.json["items"]]
    assert created == sorted(created, reverse=True)
    for limit in (1, 2, 5, 100):
        found = await pages(rest, f"limit={limit}")
        assert [video_id for page in found for video_id in page] == newest_first
        assert all(len(page) == limit for page in found[:-1])


@pytest.mark.gen_test
async def test_usual_page_has_twenty(rest: RestServer) -> None:
    """Without a limit a page holds 20."""
    for _ in range(21):
        await rest.keep(rest.new())
    assert [len(page) for page in await pages(rest, "")] == [20, 1]


@pytest.mark.gen_test
async def test_list_by_status(rest: RestServer) -> None:
    """`status` is the word that clients see, and covers every step behind it."""
    waiting = await rest.keep(rest.new())
    queued = rest.new()
    queued = await rest.keep(queued.accept("job-1", Observation(Event.ACCEPTED), queued.created_at + 1))
    done = await rest.completed()
    for status, expected in (
        ("QUEUED", {waiting.id, queued.id}),
        ("PROCESSING", set()),
        ("COMPLETED", {done.id}),
        ("FAILED", set()),
        ("CANCELLED", set()),
    ):
        found = await pages(rest, f"status={status}&limit=1")
        assert {video_id for page in found for video_id in page} == expected


@pytest.mark.gen_test
async def test_list_of_a_team_has_to_be_mine(rest: RestServer) -> None:
    """Another team's list is 403."""
    answer = await rest.call("GET", "/api/videos?team=blue", teams=("red",))
    assert answer.status == 403


WRONG_QUERIES = [
    ("status=DONE", "status"),
    ("status=queued", "status"),
    ("status=", "status"),
    ("status[$gt]=", "status[$gt]"),
    ("status=QUEUED&status=FAILED", "status"),
    ("limit=0", "limit"),
    ("limit=101", "limit"),
    ("limit=-1", "limit"),
    ("limit=ten", "limit"),
    ("limit=1e1", "limit"),
    ("limit=" + "9" * 5000, "limit"),
    ("limit=%EF%BC%91", "limit"),
    ("cursor=", "cursor"),
    ("cursor=x", "cursor"),
    ("cursor=%F0%9F%98%80", "cursor"),
    ("cursor=__8", "cursor"),
    ("page=2", "page"),
    ("user_id[$ne]=x", "user_id[$ne]"),
]


@pytest.mark.parametrize(("query", "field"), WRONG_QUERIES, ids=[query[:30] for query, _ in WRONG_QUERIES])
@pytest.mark.gen_test
async def test_wrong_filters_are_named(rest: RestServer, query: str, field: str) -> None:
    """A filter that can't be used is 422: passed over, it would show too much."""
    answer = await rest.call("GET", f"/api/videos?{query}")
    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]


@pytest.mark.gen_test
async def test_changed_cursor_is_refused(rest: RestServer) -> None:
    """A cursor with any one character changed, left out or added is 422."""
    for _ in range(2):
        await rest.keep(rest.new())
    cursor = (await rest.call("GET", "/api/videos?limit=1")).json["nextCursor"]
    changed = [cursor[:i] + ("A" if cursor[i] != "A" else "B") + cursor[i + 1 :] for i in range(len(cursor))]
    for wrong in (*changed, cursor[1:], cursor[:-1], cursor + "A", cursor + "="):
        answer = await rest.call("GET", f"/api/videos?cursor={wrong}")
        assert answer.status == 422, wrong


@pytest.mark.gen_test
async def test_stats_hold_the_figures(rest: RestServer) -> None:
    """`/api/stats` is what the `stats` message holds."""
    await rest.keep(rest.new())
    answer = await rest.call("GET", "/api/stats")
    assert answer.json == {
        "connectedClients": 1,
        "authenticatedClients": 1,
        "subscriptions": 2,
        "activeTasks": 1,
        "messagesSent": 3,
        "messagesPerSecond": 0.5,
        "slowConsumers": 0,
        "uptime": 1.5,
    }
