"""What backends send, and what it means for us: every row of every dialect as one table each."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from tornado.httputil import HTTPHeaders

from sora_ws.provider import (
    Job,
    ListedJob,
    Missing,
    NoList,
    OutcomeUnknown,
    ProviderError,
    Refused,
    Unavailable,
)
from sora_ws.provider.answers import Answer, retry_after_s
from sora_ws.provider.dialects import WORDS, AnswerReader, progress_of
from sora_ws.provider.failures import BLOCKED_CODES
from sora_ws.task import Event, FailureCode, Observation
from tests.provider import samples
from tests.provider.looks import ACCEPTED, CDN, ERRORS_OF_LOOKS, LOOKS, NOTHING, failed, finished, job

BASE = "https://api.example.com/v1"
KEY = "sk-0123456789abcdef"
NOW = 1_795_508_600.0


def answer(status: int, body: object, headers: dict[str, str] | None = None) -> Answer:
    """An answer as it came: bytes stay, everything else becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, HTTPHeaders(headers or {}), content)


def reader() -> AnswerReader:
    return AnswerReader(BASE, KEY)


def listed(created_at: int | None) -> ListedJob:
    return ListedJob(Job("video_1", Observation(Event.ACCEPTED)), "a cat", "m", "8", None, created_at)


@pytest.mark.parametrize(
    ("status", "body", "meaning"), [row[1:] for row in LOOKS], ids=[row[0] for row in LOOKS]
)
def test_a_look_is_understood(status: int, body: object, meaning: Observation) -> None:
    """Whatever the dialect, a look tells the job's state, progress, failure and urls."""
    assert reader().seen(answer(status, body), NOW) == meaning


UNDER_WAY = {
    Event.ACCEPTED: "queued pending submitted not_start notstarted created starting preparing preprocessing"
    " in_queue throttled suspended waiting unknown",
    Event.STARTED: "in_progress processing running generating rendering started active",
    Event.FINISHED: "completed complete succeeded success done finished ready",
    Event.FAILED: "failed failure fail error rejected blocked expired deleted not_found",
    Event.CANCELLED: "cancelled canceled aborted",
}


@pytest.mark.parametrize(
    ("word", "event"), [(word, event) for event, words in UNDER_WAY.items() for word in words.split()]
)
def test_a_status_word_is_known(word: str, event: Event) -> None:
    """Every word that some backend uses for a status is one of ours."""
    assert reader().seen(answer(200, job(status=word.upper())), NOW).event is event
    assert len(WORDS) == 1 + sum(len(words.split()) for words in UNDER_WAY.values())


def test_an_unknown_status_word_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A word that is not known changes nothing and is warned of once, not at each look."""
    caplog.set_level(logging.WARNING)
    one = reader()
    for word in ("dreaming", "Dreaming", "snoring"):
        assert one.seen(answer(200, job(status=word)), NOW) == NOTHING
    assert [record.args for record in caplog.records] == [("dreaming",), ("snoring",)]


@pytest.mark.parametrize(
    ("told", "meaning"),
    [
        (None, None), (True, None), ([], None), ({}, None), ("abc", None), ("", None),
        (float("nan"), None), ("NaN", None), (float("inf"), 99), (10**400, 99),
        (0, 0), (33, 33), (33.7, 33), (99, 99), (100, 99), (150, 99), (250, 99), (-1, 0), (-5, 0),
        (0.5, 50), (0.004, 0), (1.0, 1), (0.0, 0),
        ("50%", 50), ("50 %", 50), ("50", 50), ("100%", 99), ("-5%", 0),
    ],
)  # fmt: skip
def test_progress_is_a_number_below_100(told: object, meaning: int | None) -> None:
    """Whatever stands for a progress becomes 0–99, or None where it tells nothing."""
    assert progress_of(told) == meaning


URL = f"{CDN}/v.mp4"
OPENAI_ID = "video_68d7512d07848190b3e45da0ecbebcde004da08e1e0678d5"
OPENROUTER_ID = "gen-vid-1795508556-abcdefghij0123456789"


@pytest.mark.parametrize(
    ("fields", "urls"),
    [
        ({"url": URL}, [URL]),
        ({"urls": [URL, "https://x.example/2"]}, [URL]),
        ({"video_url": URL}, [URL]),
        ({"result_url": URL}, [URL]),
        ({"video": {"url": URL}}, [URL]),
        ({"videos": [{"url": URL}]}, [URL]),
        ({"output": {"url": URL}}, [URL]),
        ({"outputs": {"video_url": URL}}, [URL]),
        ({"metadata": {"url": URL}}, [URL]),
        ({"unsigned_urls": [URL]}, [URL]),
        ({"data": [{"url": URL}]}, [URL]),
        ({"unsigned_urls": [f"{CDN}/u"], "url": URL, "video_url": URL}, [URL, f"{CDN}/u"]),
        ({"metadata": {"url": "task failed: no video"}}, []),
        ({"url": "data:video/mp4;base64,AAAA"}, ["data:video/mp4;base64,AAAA"]),
        ({"url": "data:text/html,x"}, []),
        ({"url": "/v1/files/v.mp4"}, ["https://api.example.com/v1/files/v.mp4"]),
        ({"url": "//cdn.example.com/v.mp4"}, [URL]),
        ({"url": f"{CDN}/猫 a.mp4"}, [f"{CDN}/%E7%8C%AB%20a.mp4"]),
        ({"url": "ftp://cdn.example.com/v.mp4"}, []),
        ({"url": "file:///etc/passwd"}, []),
        ({"url": "http://[::1"}, []),
        ({"url": "http://host:port/x"}, []),
        ({"url": "http://"}, []),
        ({"url": "https://x.example/\ud800"}, []),
        ({"urls": [], "video": "none", "videos": {}, "url": 5}, []),
    ],
)
def test_urls_are_found_and_made_whole(fields: dict[str, object], urls: list[str]) -> None:
    """Addresses are taken from where backends put them, the likeliest first, and only usable ones."""
    assert list(reader().seen(answer(200, job(status="completed", **fields)), NOW).urls) == urls


@pytest.mark.parametrize(
    ("status", "body", "error"), [row[1:] for row in ERRORS_OF_LOOKS], ids=[row[0] for row in ERRORS_OF_LOOKS]
)
def test_a_look_that_tells_nothing(status: int, body: object, error: type[ProviderError]) -> None:
    """An answer that is no job's is never the job's failure: it is missing, or not there just now."""
    with pytest.raises(error):
        reader().seen(answer(status, body), NOW)


@pytest.mark.parametrize(
    ("status", "body", "is_configuration", "holds_all"),
    [
        (401, b"", True, False),
        (402, b"", True, False),
        (403, b"", True, False),
        (308, b"", True, False),
        (400, samples.LITELLM_NO_DATABASE, True, False),
        (429, b"", False, True),
        (500, b"", False, False),
        (503, b"", False, False),
    ],
)
def test_who_has_to_act(status: int, body: bytes, is_configuration: bool, holds_all: bool) -> None:
    """A key or an address is the operator's matter; a rate limit holds for every task."""
    with pytest.raises(Unavailable) as caught:
        reader().seen(answer(status, body), NOW)
    assert (caught.value.is_configuration, caught.value.holds_all) == (is_configuration, holds_all)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"Retry-After": formatdate(NOW + 30, usegmt=True)}, 30),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"llm_provider-retry-after": "7"}, 7),
        ({"llm_provider-retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "2", "retry-after-ms": "2500", "llm_provider-retry-after": "9"}, 9),
        ({"retry-after": "7,3"}, 7),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e300"}, 86_400),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], wait: float | None) -> None:
    """Of all the headers that ask for a pause the largest counts, and a day is the most."""
    with pytest.raises(Unavailable) as caught:
        reader().seen(answer(429, b"", headers), NOW)
    assert caught.value.retry_after_s == wait


@pytest.mark.parametrize(
    "date", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_all_forms_of_a_date(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP's three (RFC 9110, 5.6.7) mean the same moment, wherever this machine stands."""
    now = datetime(1994, 11, 6, 8, 49, tzinfo=UTC).timestamp()
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Shanghai")
        time.tzset()
        assert retry_after_s({"retry-after": date}, now) == 37
    time.tzset()


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"openai-poll-after-ms": "5000"}, 5000),
        ({"llm_provider-openai-poll-after-ms": "7000"}, 7000),
        ({"openai-poll-after-ms": "x"}, None),
    ],
)
def test_when_to_look_again(headers: dict[str, str], wait: int | None) -> None:
    """The provider's advice on the next look is handed on."""
    assert reader().seen(answer(200, job(status="queued"), headers), NOW).look_after_ms == wait


@pytest.mark.parametrize("status", [200, 500])
def test_a_job_that_asks_for_time(status: int) -> None:
    """With whatever answer the job comes, and when it is not known there."""
    headers = {"Retry-After": "60"}
    assert reader().seen(answer(status, job(status="queued"), headers), NOW).retry_after_ms == 60_000
    with pytest.raises(Missing) as caught:
        reader().seen(answer(404, b"", headers), NOW)
    assert caught.value.retry_after_s == 60


REJECTED, BLOCKED = FailureCode.PROVIDER_REJECTED, FailureCode.MODERATION_BLOCKED

CREATES: list[tuple[str, int, object, str, Observation]] = [
    ("openai", 200, samples.OPENAI_RUNNING, OPENAI_ID, Observation(Event.STARTED, 33)),
    ("litellm", 200, samples.LITELLM_CREATED, samples.LITELLM_ID, Observation(Event.ACCEPTED, 0)),
    ("openrouter, 202", 202, samples.OPENROUTER_CREATED, OPENROUTER_ID, ACCEPTED),
    ("xai, request_id alone", 200, samples.XAI_CREATED, "31e1978f-0c1d-4a61-8c2b-0c9a8d0e7f6b", NOTHING),
    ("new-api's oldest, task_id alone", 200, {"task_id": "task_1"}, "task_1", NOTHING),
    ("video_id alone", 201, {"video_id": "v1"}, "v1", NOTHING),
    ("id before task_id", 200, {"task_id": "b", "id": "a"}, "a", NOTHING),
    ("an empty id, then task_id", 200, {"id": "", "task_id": "b"}, "b", NOTHING),
    ("a number", 200, {"id": 7}, "7", NOTHING),
    ("wrapped", 200, {"code": "success", "data": {"task_id": "t"}}, "t", NOTHING),
    ("500 characters of base64", 200, {"id": "video_" + "a+/=:" * 99}, "video_" + "a+/=:" * 99, NOTHING),
    ("done at once", 200, job(status="completed", url=URL), "video_1", finished(URL)),
]


@pytest.mark.parametrize(
    ("status", "body", "job_id", "seen"), [row[1:] for row in CREATES], ids=[row[0] for row in CREATES]
)
def test_a_create_is_understood(status: int, body: object, job_id: str, seen: Observation) -> None:
    """Every success brings the job's id, letter by letter, and its first state."""
    created = reader().created(answer(status, body), NOW)
    assert (created.id, created.seen) == (job_id, seen)


REFUSALS: list[tuple[str, int, object, FailureCode, str, bool]] = [
    ("no id", 200, {"status": "queued"}, REJECTED, "answer without id", False),
    ("an empty id", 200, {"id": ""}, REJECTED, "answer without id", False),
    ("an id that is none", 200, {"id": "a\x00b"}, REJECTED, "answer without id", False),
    ("no id, but a reason", 200, {"error": "busy"}, REJECTED, "answer without id: busy", False),
    ("blocked", 400, samples.OPENAI_BLOCKED, BLOCKED, "Your request was blocked", False),
    ("blocked, through litellm", 400, samples.LITELLM_BLOCKED, BLOCKED, "Your request was blocked", False),
    ("451", 451, b"", BLOCKED, "HTTP 451", False),
    ("by its words", 403, {"error": {"message": "Flagged: Copyright"}}, BLOCKED, "Flagged", False),
    ("sentinel_block", 400, {"error": {"code": "sentinel_block", "message": "no"}}, BLOCKED, "no", False),
    ("bad model", 400, samples.LITELLM_NO_MODEL, REJECTED, "/videos: Invalid model name", False),
    ("404 names the address", 404, {"detail": "Not Found"}, REJECTED, f"Not Found ({BASE}/videos)", False),
    ("410 names the address", 410, b"", REJECTED, f"HTTP 410 ({BASE}/videos)", False),
    ("405", 405, b"", REJECTED, "HTTP 405", False),
    ("409", 409, b"", REJECTED, "HTTP 409", False),
    ("413", 413, b"<html>", REJECTED, "HTTP 413", False),
    ("415", 415, b"", REJECTED, "HTTP 415", False),
    (
        "422 of fastapi",
        422,
        {"detail": [{"loc": ["body", "size"], "msg": "bad"}, {"loc": [], "msg": "worse"}]},
        REJECTED,
        "body.size: bad; worse",
        False,
    ),
    ("402", 402, {"error": {"code": 402, "message": "no credit"}}, REJECTED, "no credit", True),
    ("no quota", 429, {"code": "insufficient_user_quota", "message": "x"}, REJECTED, "x", True),
    ("billing", 400, {"error": {"code": "billing_hard_limit_reached"}}, REJECTED, "HTTP 400", True),
    ("litellm without a database", 400, samples.LITELLM_NO_DATABASE, REJECTED, "No connected db.", True),
]


@pytest.mark.parametrize(
    ("status", "body", "code", "details", "retryable"),
    [row[1:] for row in REFUSALS],
    ids=[row[0] for row in REFUSALS],
)
def test_a_create_is_refused(
    status: int, body: object, code: FailureCode, details: str, retryable: bool
) -> None:
    """A refusal says whether the content, the request or the operator's account was at fault."""
    with pytest.raises(Refused) as caught:
        reader().created(answer(status, body), NOW)
    failure = caught.value.failure
    assert (failure.code, failure.retryable) == (code, retryable)
    assert (failure.details or "").startswith(details)


@pytest.mark.parametrize("status", [301, 307, 425, 429, 503])
def test_a_create_that_may_be_repeated(status: int) -> None:
    """Where nothing can have come of a create it is tried again later."""
    with pytest.raises(Unavailable) as caught:
        reader().created(answer(status, b"", {"Retry-After": "3"}), NOW)
    assert caught.value.retry_after_s == 3


def test_a_create_of_unknown_outcome_that_asks_for_time() -> None:
    """Whatever came of it: the wish is kept."""
    with pytest.raises(OutcomeUnknown) as caught:
        reader().created(answer(500, b"", {"Retry-After": "3"}), NOW)
    assert caught.value.retry_after_s == 3


@pytest.mark.parametrize("status", [401, 403])
def test_a_create_that_waits_for_the_operator(status: int) -> None:
    """A key that is refused is not the task's end."""
    with pytest.raises(Unavailable) as caught:
        reader().created(answer(status, {"error": "Unauthorized"}), NOW)
    assert caught.value.is_configuration


@pytest.mark.parametrize(
    ("status", "holds_all"),
    [(503, True), (500, True), (408, True), (403, True), (409, False), (200, False)],
)
def test_who_is_held_back_by_retry_after(status: int, holds_all: bool) -> None:
    """A server in trouble asks it of everybody; a busy job only for itself."""
    with pytest.raises(Unavailable) as caught:
        reader().seen(answer(status, b"", {"Retry-After": "3"}), NOW)
    assert caught.value.holds_all == holds_all


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (502, b"<html>"),
        (504, b""),
        (408, b""),
        (520, b""),
        (200, b"<html>"),
        (200, b""),
        (202, b"[]"),
    ],
)
def test_a_create_of_unknown_outcome(status: int, body: bytes) -> None:
    """Where a job may have come of a create, that is said."""
    with pytest.raises(OutcomeUnknown):
        reader().created(answer(status, body), NOW)


@pytest.mark.parametrize(
    ("status", "body", "is_wanted"),
    [
        (415, b"", True),
        (400, {"error": {"message": "We could not parse the JSON body of your request."}}, True),
        (422, {"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}, True),
        (400, {"error": {"message": "prompt is required"}}, True),
        (400, {"error": {"message": "Missing required parameter: 'prompt'"}}, True),
        (400, {"error": {"message": "expected multipart/form-data"}}, True),
        (400, {"error": {"message": "Invalid model name"}}, False),
        (400, {"error": {"code": "moderation_blocked", "message": "the body of your request"}}, False),
        (401, {"error": {"message": "no JSON"}}, False),
        (500, {"error": {"message": "no JSON"}}, False),
        (200, {"id": "1", "message": "JSON"}, False),
    ],
)
def test_when_the_other_encoding_is_tried(status: int, body: object, is_wanted: bool) -> None:
    """Only a refusal that speaks of the request's form may be one of its form."""
    assert reader().wants_other_encoding(answer(status, body)) is is_wanted


@pytest.mark.parametrize(
    ("told", "details"),
    [
        (f"Incorrect API key provided: {KEY}.", "Incorrect API key provided: …."),
        ("Incorrect API key provided: sk-up**stream", "Incorrect API key provided: sk-…"),
        ("Authorization: Bearer abcdef.ghi", "Authorization: Bearer …"),
        ("see https://x.example/a?sig=1&k=2#f for it", "see https://x.example/a for it"),
        ("see https://me:pass@x.example/a", "see https://x.example/a"),
        ("litellm.BadRequestError: litellm.APIError: no", "no"),
        ("no\n\nLiteLLM: model group 'a' failed with the error above.", "no"),
        ("one\ntwo\x1b[31m\ttwo\ud800", "one two [31m two"),
        ("x" * 501, "x" * 499 + "…"),
        ("  ", None),
    ],
)
def test_details_are_fit_to_be_shown(told: str, details: str | None) -> None:
    """Secrets, signatures, wrappings and control characters never reach a person's screen."""
    seen = reader().seen(answer(200, job(status="failed", error={"message": told})), NOW)
    assert seen == failed(FailureCode.GENERATION_FAILED, details, retryable=True)


@pytest.mark.parametrize("code", sorted(BLOCKED_CODES))
def test_codes_of_blocked_content(code: str) -> None:
    """Every code for refused content is known, on a failed job and on a create."""
    seen = reader().seen(answer(200, job(status="failed", error={"code": code.upper()})), NOW)
    assert seen == failed(BLOCKED, None, retryable=False)
    with pytest.raises(Refused) as caught:
        reader().created(answer(400, {"error": {"code": code}}), NOW)
    assert caught.value.failure.code is BLOCKED


@pytest.mark.parametrize(
    "words",
    [
        "failed Moderation",
        "against our content policy",
        "by our safety system",
        "sensitive information",
        "sensitive content",
        "Responsible AI practices",
        "raiMediaFilteredCount: 1",
        "prohibited use",
        "copyright",
    ],
)
def test_words_of_blocked_content(words: str) -> None:
    """Where no code says it, a failed job's own words do."""
    seen = reader().seen(answer(200, job(status="failed", error=words)), NOW)
    assert seen == failed(BLOCKED, words, retryable=False)


def test_words_are_weak_evidence() -> None:
    """On a call that went wrong the same words fail no task."""
    with pytest.raises(Unavailable):
        reader().seen(answer(503, {"error": {"message": "the moderation service is away"}}), NOW)
    with pytest.raises(OutcomeUnknown):
        reader().created(answer(500, {"error": {"message": "the moderation service is away"}}), NOW)


LISTED = {"id": "video_1", "status": "queued", "prompt": "a cat", "model": "m", "size": "", "seconds": 8}
LISTS: list[tuple[str, object, ListedJob]] = [
    ("seconds", LISTED | {"created_at": 1_795_508_553}, listed(1_795_508_553_000)),
    ("milliseconds", LISTED | {"created_at": 1_795_508_553_123}, listed(1_795_508_553_123)),
    ("a fraction", LISTED | {"created_at": 1_795_508_553.5}, listed(1_795_508_553_500)),
    ("a text", LISTED | {"created_at": "1795508553"}, listed(1_795_508_553_000)),
    ("zero", LISTED | {"created_at": 0}, listed(None)),
    ("a bool", LISTED | {"created_at": True}, listed(None)),
    ("far away", LISTED | {"created_at": 1e300}, listed(None)),
    ("a date", LISTED | {"created_at": "2026-11-27T00:00:00Z"}, listed(None)),
    ("nothing", LISTED, listed(None)),
]


@pytest.mark.parametrize(("job", "meaning"), [row[1:] for row in LISTS], ids=[row[0] for row in LISTS])
def test_a_listed_job_is_understood(job: object, meaning: ListedJob) -> None:
    """Its order and its time; alone on its page, too."""
    jobs, page = reader().listed(answer(200, {"object": "list", "data": [job, "no job", {}]}), NOW)
    assert (jobs, page.has_more) == ([meaning], None)
    jobs, page = reader().listed(answer(200, {"data": [job], "has_more": False}), NOW)
    assert (jobs, page.has_more) == ([meaning], False)


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_a_provider_without_a_list(status: int) -> None:
    """It says so by its status."""
    with pytest.raises(NoList):
        reader().listed(answer(status, {"error": {"message": "no"}}), NOW)


@pytest.mark.parametrize("body", [b"<html>", [], {"data": {}}, {"id": "video_1"}])
def test_what_is_no_list(body: object) -> None:
    """A page that holds none is as good as no list."""
    with pytest.raises(NoList):
        reader().listed(answer(200, body), NOW)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503])
def test_a_list_in_trouble(status: int) -> None:
    """There may be one, later."""
    with pytest.raises(Unavailable):
        reader().listed(answer(status, b""), NOW)
