"""The client's calls over real sockets, to a backend of every dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path

import pytest

from sora_ws.provider import Missing, OutcomeUnknown, Refused, Unavailable
from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.task import Event, FailureCode, Observation, Order
from tests.backends.dialects import DialectServer
from tests.backends.jobs import Dialect
from tests.provider.conftest import MakeClient

KEY = "sk-0123456789abcdef"
CAT = Order("a cat 猫", "sora-2", seconds=8, size="1280x720")
PICTURE = b"\x89PNG\r\n\x1a\n--" + bytes(range(256))


async def watched(client: OpenAIVideos, job_id: str, looks: int = 3) -> list[Observation]:
    """What so many looks show, one after the other."""
    return [await client.look(job_id) for _ in range(looks)]


@pytest.mark.gen_test(timeout=30)
async def test_a_job_from_create_to_done(backend: DialectServer, client_of: MakeClient) -> None:
    """A create sends the order's fields as a form, and looks follow the job to its end."""
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    assert job.seen == Observation(Event.ACCEPTED, 0)
    assert backend.jobs.all[job.id].order == {
        "prompt": "a cat 猫",
        "model": "sora-2",
        "seconds": "8",
        "size": "1280x720",
    }
    seen = await watched(client, job.id)
    assert [(look.event, look.progress) for look in seen] == [
        (Event.STARTED, 33),
        (Event.STARTED, 66),
        (Event.FINISHED, 99),
    ]


@pytest.mark.gen_test(timeout=30)
async def test_only_what_is_set_is_sent(backend: DialectServer, client_of: MakeClient) -> None:
    """A field without a value isn't sent at all, so that the backend's own default holds."""
    job = await client_of(backend.base_url).create(Order("a cat", ""), None)
    assert backend.jobs.all[job.id].order == {"prompt": "a cat"}


@pytest.mark.gen_test(timeout=30)
async def test_the_key_is_sent(backend: DialectServer, client_of: MakeClient) -> None:
    """Where there is a key each call has it, and without one none has."""
    backend.jobs.dialect = Dialect(key=KEY)
    await client_of(f"{backend.base_url}/", KEY).check()
    assert backend.requests[-1].headers["Authorization"] == f"Bearer {KEY}"
    with pytest.raises(Unavailable) as caught:
        await client_of(backend.base_url).check()
    assert caught.value.is_configuration
    assert "Authorization" not in backend.requests[-1].headers


@pytest.mark.gen_test(timeout=30)
async def test_the_input_image_is_a_file_part(backend: DialectServer, client_of: MakeClient) -> None:
    """The reference arrives byte by byte, with its media type."""
    order = Order("a cat", "sora-2", reference_type="image/png")
    job = await client_of(backend.base_url).create(order, PICTURE)
    assert backend.jobs.all[job.id].order["input_reference"] == PICTURE
    head = b'name="input_reference"; filename="input_reference.png"\r\nContent-Type: image/png\r\n'
    assert head in backend.requests[-1].body


@pytest.mark.gen_test(timeout=30)
async def test_json_where_a_form_is_refused(backend: DialectServer, client_of: MakeClient) -> None:
    """A backend that takes no form gets JSON, and is not asked with a form again."""
    backend.jobs.dialect = Dialect(creates="json")
    client = client_of(backend.base_url)
    order = Order("a cat", "sora-2", seconds=8, reference_type="image/png")
    jobs = [await client.create(order, PICTURE) for _ in range(2)]
    assert [backend.jobs.all[job.id].order["input_reference"] for job in jobs] == [PICTURE, PICTURE]
    kinds = [request.headers["Content-Type"].partition(";")[0] for request in backend.requests]
    assert kinds == ["multipart/form-data", "application/json", "application/json"]
    assert json.loads(backend.requests[-1].body)["seconds"] == "8"


@pytest.mark.gen_test(timeout=30)
async def test_a_form_again_where_json_is_refused(backend: DialectServer, client_of: MakeClient) -> None:
    """A backend that changes its mind is followed the other way round too."""
    backend.jobs.dialect = Dialect(creates="json")
    client = client_of(backend.base_url)
    await client.create(CAT, None)
    backend.jobs.dialect = Dialect(creates="form")
    await client.create(CAT, None)
    await client.create(CAT, None)
    kinds = [request.headers["Content-Type"].partition("/")[0] for request in backend.requests]
    assert kinds == ["multipart", "application", "application", "multipart", "multipart"]


@pytest.mark.gen_test(timeout=30)
async def test_blocked_content_is_asked_once(backend: DialectServer, client_of: MakeClient) -> None:
    """A refusal of the content is final, and no reason to try another encoding."""
    with pytest.raises(Refused) as caught:
        await client_of(backend.base_url).create(Order("[blocked] a cat", "sora-2"), None)
    assert caught.value.failure.code is FailureCode.MODERATION_BLOCKED
    assert len(backend.requests) == 1


@pytest.mark.gen_test(timeout=30)
async def test_nothing_listens(dead_port: int, client_of: MakeClient) -> None:
    """Where the connection is refused nothing has happened there, also for a create."""
    client = client_of(f"http://127.0.0.1:{dead_port}/v1")
    for call in (client.create(CAT, None), client.look("video_1"), client.delete("video_1"), client.check()):
        with pytest.raises(Unavailable):
            await call


@pytest.mark.gen_test(timeout=30)
async def test_no_such_host(client_of: MakeClient) -> None:
    """A name that leads nowhere is the same."""
    with pytest.raises(Unavailable):
        await client_of("http://nowhere.invalid/v1").create(CAT, None)


@pytest.mark.gen_test(timeout=30)
async def test_a_create_that_is_broken_off(backend: DialectServer, client_of: MakeClient) -> None:
    """A reset after the request left is an unknown outcome, and the request isn't sent twice."""
    client = client_of(backend.base_url)
    await client.check()  # leaves a kept connection, on which libcurl would send again
    backend.jobs.dialect = Dialect(creates="reset")
    with pytest.raises(OutcomeUnknown):
        await client.create(CAT, None)
    assert [request.method for request in backend.requests] == ["GET", "POST"]


@pytest.mark.gen_test(timeout=30)
async def test_a_create_that_is_never_answered(backend: DialectServer, client_of: MakeClient) -> None:
    """A create has a deadline; whether a job came of it nobody can tell."""
    backend.jobs.dialect = Dialect(creates="silent")
    with pytest.raises(OutcomeUnknown):
        await client_of(backend.base_url, create_timeout_s=1).create(CAT, None)


@pytest.mark.gen_test(timeout=30)
async def test_an_id_with_everything_in_it(backend: DialectServer, client_of: MakeClient) -> None:
    """An id of 300 characters with + / = is kept letter by letter and finds its job again."""
    backend.jobs.dialect = Dialect(job_id="long")
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    assert len(job.id) > 300
    assert {"+", "/", "="} < set(job.id)
    assert (await client.look(job.id)).event is Event.STARTED
    assert await client.delete(job.id)
    assert backend.jobs.all == {}


@pytest.mark.gen_test(timeout=30)
async def test_an_id_that_changes(backend: DialectServer, client_of: MakeClient) -> None:
    """What later answers call a job doesn't matter: an observation holds no id."""
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    backend.jobs.dialect = Dialect(job_id="changing")
    assert [look.event for look in await watched(client, job.id)][-1] is Event.FINISHED


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize(
    ("progress", "shown"),
    [("number", [25, 50]), ("missing", [None, None]), ("percent", [25, 50]), ("zero", [0, 0])],
)
async def test_progress_in_every_dress(
    backend: DialectServer, client_of: MakeClient, progress: str, shown: list[int | None]
) -> None:
    """Progress comes as a number, as text, as nothing, or as 0 until the end."""
    backend.jobs.dialect = Dialect(progress=progress, looks=4)  # type: ignore[arg-type]
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    assert [look.progress for look in await watched(client, job.id, 2)] == shown


@pytest.mark.gen_test(timeout=30)
async def test_words_of_another_backend(backend: DialectServer, client_of: MakeClient) -> None:
    """Another backend's words for its status lead the same way."""
    backend.jobs.dialect = Dialect(words=("NOT_START", "Running", "SUCCESS", "FAILURE"))
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    events = [job.seen.event, *(look.event for look in await watched(client, job.id))]
    assert events == [Event.ACCEPTED, Event.STARTED, Event.STARTED, Event.FINISHED]


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("failure", ["job", "string", "http 500", "within a message"])
async def test_a_failure_in_every_dress(backend: DialectServer, client_of: MakeClient, failure: str) -> None:
    """A failed job is one also where it comes as HTTP 500, or inside another error's message."""
    backend.jobs.dialect = Dialect(failure=failure, looks=1)  # type: ignore[arg-type]
    client = client_of(backend.base_url)
    job = await client.create(Order("[fail] a cat", "sora-2"), None)
    seen = await client.look(job.id)
    assert seen.event is Event.FAILED
    assert seen.failure is not None
    assert (seen.failure.code, seen.failure.details) == (
        FailureCode.GENERATION_FAILED,
        "CUDA out of memory",
    )


@pytest.mark.gen_test(timeout=30)
async def test_a_job_that_never_ends(backend: DialectServer, client_of: MakeClient) -> None:
    """However often it is looked at, a job that runs is only running."""
    backend.jobs.dialect = Dialect(looks=None)
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    seen = await watched(client, job.id, 150)
    assert {look.event for look in seen} == {Event.STARTED}
    assert seen[-1].progress == 99


@pytest.mark.gen_test(timeout=30)
async def test_a_job_that_is_lost_by_turns(backend: DialectServer, client_of: MakeClient) -> None:
    """404 is only "missing": the next look may well find the job."""
    backend.jobs.dialect = Dialect(loses_every_other_look=True)
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    with pytest.raises(Missing):
        await client.look(job.id)
    assert (await client.look(job.id)).event is Event.STARTED


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after-ms": "7500"}, 7.5),
        ({"llm_provider-retry-after": "7"}, 7),
        ({}, None),
    ],
)
async def test_a_rate_limit(
    backend: DialectServer, client_of: MakeClient, headers: dict[str, str], wait: float | None
) -> None:
    """429 holds every task back, for as long as whichever header says."""
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    backend.jobs.dialect = Dialect(limit=headers)
    with pytest.raises(Unavailable) as caught:
        await client.look(job.id)
    assert caught.value.holds_all
    assert caught.value.retry_after_s == wait


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("name", ["openai-poll-after-ms", "llm_provider-openai-poll-after-ms"])
async def test_advice_on_the_next_look(backend: DialectServer, client_of: MakeClient, name: str) -> None:
    """When to look again is handed on, also where a proxy renamed the header."""
    backend.jobs.dialect = Dialect(advice={name: "5000"})
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    assert (await client.look(job.id)).look_after_ms == 5000


@pytest.mark.gen_test(timeout=30)
async def test_an_answer_byte_by_byte(backend: DialectServer, client_of: MakeClient) -> None:
    """A look has a deadline for the whole of its answer, however steadily that drips in."""
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    backend.jobs.dialect = Dialect(drips="looks")
    with pytest.raises(Unavailable):
        await client_of(backend.base_url, call_timeout_s=0.5).look(job.id)
    backend.jobs.dialect = Dialect()
    assert (await client.look(job.id)).event is Event.STARTED


@pytest.mark.gen_test(timeout=30)
async def test_deleting(backend: DialectServer, client_of: MakeClient) -> None:
    """True where the job is gone by it; False where the backend can't, or doesn't know it."""
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    backend.jobs.dialect = Dialect(deletes=False)
    assert not await client.delete(job.id)
    backend.jobs.dialect = Dialect()
    assert await client.delete(job.id)
    assert not await client.delete(job.id)


@pytest.mark.gen_test(timeout=30)
async def test_check_needs_no_list(backend: DialectServer, client_of: MakeClient) -> None:
    """A backend without a list is there all the same."""
    client = client_of(backend.base_url)
    await client.check()
    backend.jobs.dialect = Dialect(lists="no route")
    await client.check()


@pytest.mark.gen_test(timeout=30)
async def test_a_redirect_is_a_wrong_address(backend: DialectServer, client_of: MakeClient) -> None:
    """A call is never redirected, key and all; the operator learns where the address led."""
    origin = backend.base_url.removesuffix("/v1")
    client = client_of(f"{origin}/old", KEY)
    for call in (client.check(), client.look("video_1"), client.create(CAT, None)):
        with pytest.raises(Unavailable, match=r"redirected to .*/v1") as caught:
            await call
        assert caught.value.is_configuration
    assert {request.path.split("/")[1] for request in backend.requests} == {"old"}


@pytest.mark.gen_test(timeout=30)
async def test_close_twice(backend: DialectServer, client_of: MakeClient) -> None:
    """A closed client may be closed again, and answers no call."""
    client = client_of(backend.base_url)
    await client.check()
    await client.close()
    await client.close()
    with pytest.raises(Unavailable):
        await client.look("video_1")


@pytest.mark.gen_test(timeout=30)
async def test_close_in_the_middle(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """Calls that are under way when the client is closed end at once, as ones without an answer."""
    client = client_of(backend.base_url)
    job = await client.create(CAT, None)
    await watched(client, job.id)
    backend.jobs.dialect = Dialect(creates="silent", drips="looks", content="endless")
    calls: list[Awaitable[object]] = [
        client.create(CAT, None),
        client.look(job.id),
        client.download(job.id, [], tmp_path / "video.mp4", 10**12),
    ]
    ended = asyncio.gather(*calls, return_exceptions=True)
    await backend.under_way.wait()
    await client.close()
    assert [type(error) for error in await ended] == [OutcomeUnknown, Unavailable, Unavailable]


@pytest.mark.gen_test(timeout=30)
async def test_a_proxy_of_the_environment(
    backend: DialectServer, client_of: MakeClient, monkeypatch: pytest.MonkeyPatch, dead_port: int
) -> None:
    """The environment's proxy is used as everywhere, but never to reach this machine itself."""
    monkeypatch.setenv("http_proxy", backend.base_url.removesuffix("/v1"))
    await client_of("http://nowhere.invalid/v1").check()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    await client_of(backend.base_url).check()
    monkeypatch.setenv("http_proxy", backend.base_url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "nowhere.invalid")
    with pytest.raises(Unavailable):
        await client_of("http://nowhere.invalid/v1").check()


@pytest.mark.gen_test(timeout=60)
async def test_no_connection_is_left(backend: DialectServer, client_of: MakeClient, tmp_path: Path) -> None:
    """Deadlines, resets and bodies that are broken off leave no connection behind."""
    job = await client_of(backend.base_url).create(CAT, None)
    await watched(client_of(backend.base_url), job.id)
    before = open_files()
    client = client_of(backend.base_url, call_timeout_s=0.2)
    for dialect in (Dialect(drips="looks"), Dialect(content="reset"), Dialect(content="endless")):
        backend.jobs.dialect = dialect
        calls: list[Awaitable[object]] = [client.look(job.id) for _ in range(50)]
        calls += [client.download(job.id, [], tmp_path / str(number), 100_000) for number in range(30)]
        await asyncio.gather(*calls, return_exceptions=True)
    await client.close()
    await backend.stop()
    assert open_files() <= before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
