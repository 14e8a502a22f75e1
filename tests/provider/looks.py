"""The table of looks: what backends answer to a GET of a job, and what it means for us."""

from __future__ import annotations

import json
from typing import Any

from sora_ws.provider import Missing, ProviderError, Unavailable
from sora_ws.task import Event, Failure, FailureCode, Observation
from tests.provider import samples

CDN = "https://cdn.example.com"

ACCEPTED, STARTED = Observation(Event.ACCEPTED), Observation(Event.STARTED)
NOTHING = Observation(None)


def job(**fields: object) -> dict[str, object]:
    return {"id": "video_1", "object": "video", **fields}


def failed(code: FailureCode, details: str | None, *, retryable: bool, **more: Any) -> Observation:
    return Observation(Event.FAILED, failure=Failure(code, details, retryable=retryable), **more)


def generation_failed(details: str | None, **more: Any) -> Observation:
    return failed(FailureCode.GENERATION_FAILED, details, retryable=True, **more)


def lost(details: str) -> Observation:
    return failed(FailureCode.PROVIDER_LOST_TASK, details, retryable=True)


def finished(*urls: str, **more: Any) -> Observation:
    return Observation(Event.FINISHED, urls=urls, **more)


LOOKS: list[tuple[str, int, object, Observation]] = [
    # What was seen running, or stands in the vendor's documentation.
    ("openai running", 200, samples.OPENAI_RUNNING, Observation(Event.STARTED, 33)),
    (
        "openai blocked",
        200,
        samples.OPENAI_BLOCKED,
        failed(
            FailureCode.MODERATION_BLOCKED,
            "Your request was blocked by our moderation system.",
            retryable=False,
        ),
    ),
    ("litellm running, other id", 200, samples.LITELLM_RUNNING, Observation(Event.STARTED, 33)),
    ("litellm over veo, progress null", 200, samples.LITELLM_VEO_RUNNING, STARTED),
    ("vllm done", 200, samples.VLLM_DONE, finished(progress=99)),
    ("vllm failed as 500", 500, samples.VLLM_FAILED, generation_failed("CUDA out of memory", progress=0)),
    (
        "vllm rejected as 400",
        400,
        samples.VLLM_REJECTED,
        failed(FailureCode.PROVIDER_REJECTED, "num_frames must be positive", retryable=False, progress=0),
    ),
    (
        "vllm failed, through litellm",
        500,
        samples.LITELLM_VLLM_FAILED,
        generation_failed("CUDA out of memory", progress=0),
    ),
    ("sglang failed, no code", 200, samples.SGLANG_FAILED, generation_failed("Worker died", progress=41)),
    ("new-api done", 200, samples.NEW_API_DONE, finished(f"{CDN}/video.mp4", progress=99)),
    ("new-api, other shape", 200, samples.NEW_API_OTHER_SHAPE, finished(progress=99)),
    ("new-api, wrapped", 200, samples.NEW_API_WRAPPED, finished(progress=99)),
    ("openrouter pending", 200, samples.OPENROUTER_CREATED, ACCEPTED),
    (
        "openrouter done",
        200,
        samples.OPENROUTER_DONE,
        finished(
            f"{CDN}/signed?sig=1",
            "https://openrouter.ai/api/v1/videos/gen-vid-1795508556-abcdefghij0123456789/content?index=0",
        ),
    ),
    (
        "openrouter failed, error a string",
        200,
        samples.OPENROUTER_FAILED,
        failed(FailureCode.MODERATION_BLOCKED, "content policy", retryable=False),
    ),
    ("together done", 200, samples.TOGETHER_DONE, finished(f"{CDN}/t.mp4")),
    ("xai done", 200, samples.XAI_DONE, finished(f"{CDN}/x.mp4", progress=99)),
    (
        "xai failed, code beside error",
        200,
        samples.XAI_FAILED,
        failed(FailureCode.MODERATION_BLOCKED, "content policy", retryable=False, progress=0),
    ),
    ("aimock", 200, samples.AIMOCK_CREATED, STARTED),
    ("aimock done", 200, samples.AIMOCK_DONE, finished("http://127.0.0.1:9/x.mp4")),
    ("failed as 500, no id", 500, {"status": "failed", "error": {"message": "x"}}, generation_failed("x")),
    # Wrappings.
    ("data around the job", 200, {"data": job(status="running")}, STARTED),
    ("list of one", 200, [job(status="running")], STARTED),
    ("data with a list of one", 200, {"data": [job(status="running")]}, STARTED),
    ("a status around a status", 200, {"status": "success", "data": job(status="running")}, STARTED),
    ("a number around a status", 200, {"status": 200, "data": job(status="running")}, STARTED),
    ("the job's own data stays", 200, job(status="running", data={"status": "done"}), STARTED),
    ("404, yet the body is a job", 404, job(status="running"), STARTED),
    # Status words, however they are written.
    ("upper case", 200, job(status="IN_PROGRESS"), STARTED),
    ("a hyphen", 200, job(status="In-Progress"), STARTED),
    ("a space", 200, job(status=" in progress "), STARTED),
    ("empty", 200, job(status=""), ACCEPTED),
    ("no status, an error", 200, job(error={"message": "boom"}), generation_failed("boom")),
    ("no status, a url", 200, job(url=f"{CDN}/a.mp4"), finished(f"{CDN}/a.mp4")),
    ("no status, nothing", 200, job(), NOTHING),
    ("an empty object", 200, {}, NOTHING),
    ("status of a wrong type", 200, job(status=7), NOTHING),
    ("completed with an error", 200, job(status="completed", error="boom"), generation_failed("boom")),
    ("completed with an empty error", 200, job(status="completed", error={"code": None}), finished()),
    (
        "cancelled",
        200,
        job(status="cancelled"),
        Observation(Event.CANCELLED, failure=Failure(FailureCode.CANCELLED, None, retryable=True)),
    ),
    ("expired", 200, job(status="expired"), lost("expired")),
    ("deleted", 200, job(status="deleted"), lost("deleted")),
    ("not_found", 200, job(status="not_found", message="no such job"), lost("no such job")),
    (
        "expired with a url",
        200,
        job(status="expired", url=f"{CDN}/a.mp4"),
        finished(f"{CDN}/a.mp4", failure=Failure(FailureCode.PROVIDER_LOST_TASK, "expired", retryable=True)),
    ),
    # Where a failure's reason stands.
    ("failed without an error", 200, job(status="failed"), generation_failed(None)),
    ("failed, error null", 200, job(status="failed", error=None), generation_failed(None)),
    ("failed, error a string", 200, job(status="failed", error="boom"), generation_failed("boom")),
    ("failed, fail_reason", 200, job(status="FAILURE", fail_reason="boom"), generation_failed("boom")),
    ("failed, message", 200, job(status="failed", error={}, message="boom"), generation_failed("boom")),
    ("failed, detail", 200, job(status="failed", detail="boom"), generation_failed("boom")),
    (
        "failed, the first that says something",
        200,
        job(status="failed", error={"message": ""}, fail_reason="first", message="second"),
        generation_failed("first"),
    ),
    (
        "failed, code an int",
        200,
        job(status="failed", error={"code": 422, "message": "bad size"}),
        failed(FailureCode.PROVIDER_REJECTED, "bad size", retryable=False),
    ),
    (
        "failed, code null",
        200,
        job(status="failed", error={"code": None, "message": "boom"}),
        generation_failed("boom"),
    ),
    (
        "failed, internal_error",
        200,
        job(status="failed", error={"code": "internal_error", "message": "oops"}),
        generation_failed("oops"),
    ),
    (
        "failed, blocked upstream",
        200,
        job(status="failed", error={"message": 'up: {"error":{"code":"output_moderation","message":"no"}}'}),
        failed(FailureCode.MODERATION_BLOCKED, "no", retryable=False),
    ),
    (
        "failed, azure's failure_reason",
        200,
        job(status="failed", failure_reason="input_moderation"),
        failed(FailureCode.MODERATION_BLOCKED, "input_moderation", retryable=False),
    ),
    (
        "a prompt that speaks of copyright blocks nothing",
        500,
        {
            "error": {
                "message": "up - "
                + json.dumps(job(status="failed", prompt="copyright", error={"code": 500, "message": "CUDA"}))
            }
        },
        generation_failed("CUDA"),
    ),
    # What is told, and means nothing.
    ("unknown status", 200, job(status="dreaming", progress=7), Observation(None, 7)),
    ("100, still running", 200, job(status="in_progress", progress=100), Observation(Event.STARTED, 99)),
    ("0 while running", 200, job(status="in_progress", progress=0), Observation(Event.STARTED, 0)),
    (
        "odd times, seconds, size and model; fields nobody knows",
        200,
        job(
            status="running",
            created_at=None,
            completed_at=0,
            expires_at=253402300799,
            seconds=8,
            size="",
            model="another",
            novelty={"a": [1]},
        ),
        STARTED,
    ),
    (
        "only a local file",
        200,
        job(status="completed", file_path="/srv/a.mp4", file_name="a.mp4"),
        finished(),
    ),
]

ERRORS_OF_LOOKS: list[tuple[str, int, object, type[ProviderError]]] = [
    ("404", 404, samples.AIMOCK_UNKNOWN, Missing),
    ("404 through litellm", 404, samples.LITELLM_GONE, Missing),
    ("404 without a body", 404, b"", Missing),
    ("404 of fastapi", 404, {"detail": "Video not found"}, Missing),
    ("410", 410, {"error": {"code": "video_expired", "message": "gone"}}, Missing),
    ("new-api's 400", 400, samples.NEW_API_UNKNOWN, Missing),
    ("400, not found", 400, {"error": {"message": "Video not found"}}, Missing),
    ("400, not exist", 400, {"message": "task does Not Exist"}, Missing),
    ("400, something else", 400, {"error": {"message": "LLM Provider NOT provided"}}, Unavailable),
    ("401", 401, {"error": "Unauthorized"}, Unavailable),
    ("403", 403, b"<html>", Unavailable),
    ("408", 408, b"", Unavailable),
    ("425", 425, b"", Unavailable),
    ("429", 429, samples.LITELLM_LIMITED, Unavailable),
    ("500 in plain text", 500, b"Internal Server Error", Unavailable),
    ("502, a gateway's page", 502, b"<html>Bad gateway</html>", Unavailable),
    ("502, a gateway's JSON", 502, {"status": "error", "message": "upstream timed out"}, Unavailable),
    ("503, a proxy's JSON", 503, {"status": "failed", "message": "no upstream"}, Unavailable),
    ("503, RFC 9457", 503, {"type": "about:blank", "title": "Away", "status": 503}, Unavailable),
    ("504", 504, b"", Unavailable),
    ("307", 307, b"", Unavailable),
    ("200, HTML", 200, b"<!doctype html><title>Sign in</title>", Unavailable),
    ("200, nothing", 200, b"", Unavailable),
    ("200, null", 200, b"null", Unavailable),
    ("200, a number", 200, b"7", Unavailable),
    ("200, a list of two", 200, [job(status="failed"), job(status="failed")], Unavailable),
    ("200, half a JSON", 200, b'{"id":"video_1","status":"comp', Unavailable),
    ("200, not UTF-8", 200, b'{"id":"\xff\xfe"}', Unavailable),
    ("200, too deep", 200, b'{"a":' * 100_000, Unavailable),
    ("204", 204, b"", Unavailable),
]
