"""What stands in an HTTP answer, whoever wrote it: its JSON object, its reasons, its wishes. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

JOB_IDS: Final = ("id", "task_id", "request_id", "video_id")
JOB_MARKS: Final = (*JOB_IDS, "object", "progress", "created_at")
SENTENCE_MAX: Final = 10_000
WAIT_MAX_S: Final = 86_400.0  # whoever asks for more than a day made a mistake
RETRY_AFTER: Final = ("retry-after", "llm_provider-retry-after")
RETRY_AFTER_MS: Final = ("retry-after-ms", "llm_provider-retry-after-ms")
POLL_ADVICE: Final = ("openai-poll-after-ms", "llm_provider-openai-poll-after-ms")

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer over HTTP; `headers` are found by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_redirect(self) -> bool:
        return self.status in (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was refused or failed: codes in lower case, best first, and a sentence or ""."""

    codes: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a list of jobs; `has_more` is None where the page does not say."""

    jobs: tuple[JsonObject, ...]
    has_more: bool | None


def list_page(body: bytes) -> ListPage | None:
    """The page of a list in `body`; None for everything else."""
    value = _value(body)
    jobs = value.get("data") if isinstance(value, dict) else None
    if not isinstance(jobs, list):
        return None
    has_more = value.get("has_more")
    return ListPage(
        tuple(job for job in jobs if isinstance(job, dict)), has_more if isinstance(has_more, bool) else None
    )


def object_of(body: bytes) -> JsonObject | None:
    """The JSON object in `body`, out of one wrapping around it; None for everything else."""
    return _unwrapped(_value(body))


def _value(body: bytes) -> Any:
    """What `body` says as JSON, None for everything else.

    msgspec takes 0.6 µs where json takes 3.4; json reads more: NaN, UTF-16, half of a surrogate pair.
    """
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _unwrapped(value: object) -> JsonObject | None:
    if isinstance(value, list):
        return value[0] if len(value) == 1 and isinstance(value[0], dict) else None
    if not isinstance(value, dict):
        return None
    if any(mark in value for mark in JOB_IDS):
        return value
    inner = value.get("data")
    if isinstance(inner, list) and len(inner) == 1:
        inner = inner[0]
    if not isinstance(inner, dict) or not inner or value.get("error"):
        return value
    is_around = not isinstance(value.get("status"), str) or isinstance(inner.get("status"), str)
    return inner if is_around else value


def job_within(body: JsonObject | None) -> JsonObject | None:
    """The job in the body of an HTTP error: the body itself, or the JSON in its error's message."""
    if body is None:
        return None
    if _is_job(body):
        return body
    inner = embedded(_sentence(body))
    return inner if inner is not None and _is_job(inner) else None


def _is_job(body: JsonObject) -> bool:
    """Not every "status" is a job's: gateways write {"status": "error"} and {"status": 502}."""
    status = body.get("status")
    if not isinstance(status, str):
        return body.get("object") == "video"
    if any(mark in body for mark in JOB_MARKS):
        return True
    return status.lower() == "failed" and isinstance(body.get("error"), dict)


def embedded(text: str) -> JsonObject | None:
    """The JSON object that begins at the first brace of a sentence."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        value, _end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def reason_of(body: JsonObject | None) -> Reason:
    """What an error, or a failed job, gives as its reason; the upstream's own where it is inside."""
    if body is None:
        return Reason()
    codes = tuple(_codes(body))
    sentence = _sentence(body)
    inner = embedded(sentence)
    if inner is None:
        return Reason(codes, sentence[:SENTENCE_MAX])
    cause = _sentence(inner) or sentence
    return Reason((*_codes(inner), *codes), cause[:SENTENCE_MAX])


def _codes(body: JsonObject) -> Iterator[str]:
    error = body.get("error")
    holders = [(error, "code"), (error, "type"), (body, "code"), (body, "failure_reason")]
    for holder, name in holders:
        code = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(code, str | int) and not isinstance(code, bool) and code != "":
            yield str(code).lower()


def _sentence(body: JsonObject) -> str:
    error = body.get("error")
    candidates = [
        error.get("message") if isinstance(error, dict) else error,
        *(body.get(name) for name in ("fail_reason", "message", "detail", "failure_reason")),
    ]
    for candidate in candidates:
        if text := _text(candidate):
            return text
    return ""


def _text(value: object) -> str:
    """A string as it is; of a list of complaints (FastAPI) each one with its place."""
    if isinstance(value, str):
        return value.strip()
    if not isinstance(value, list):
        return ""
    complaints = [item for item in value if isinstance(item, dict) and isinstance(item.get("msg"), str)]
    return "; ".join(f"{_place(item.get('loc'))}{item['msg']}" for item in complaints)


def _place(loc: object) -> str:
    return f"{'.'.join(str(part) for part in loc)}: " if isinstance(loc, list) and loc else ""


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """How long to wait, in s: the largest of what the headers ask for. `now` in s since the epoch."""
    waits = (_seconds_or_date(headers[name], now) for name in RETRY_AFTER if name in headers)
    waits_ms = (_scaled(headers[name], 0.001) for name in RETRY_AFTER_MS if name in headers)
    return _largest((*waits, *waits_ms))


def look_after_ms(headers: Mapping[str, str]) -> int | None:
    """How long to leave a healthy job alone, in ms, where the provider says it."""
    advice = _largest(_scaled(headers[name], 0.001) for name in POLL_ADVICE if name in headers)
    return None if advice is None else round(advice * 1000)


def _largest(waits: Iterable[float | None]) -> float | None:
    return max((min(wait, WAIT_MAX_S) for wait in waits if wait is not None), default=None)


def _seconds_or_date(text: str, now: float) -> float | None:
    # One header of a gateway and one of what stands behind it come as a list.
    seconds = _largest(_scaled(part, 1) for part in text.split(","))
    if seconds is not None:
        return seconds
    date = _date(text)
    return None if date is None else max(0.0, date - now)


def date_ms(headers: Mapping[str, str]) -> int | None:
    """The server's own time, in ms since the epoch, where it says it (RFC 9110, 6.6.1)."""
    date = _date(headers.get("date", ""))
    return None if date is None else int(date * 1000)


def _date(text: str) -> float | None:
    """A date of HTTP's in s since the epoch."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # asctime's form; all of them are UTC (RFC 9110, 5.6.7)
        date = date.replace(tzinfo=UTC)
    return date.timestamp()


def _scaled(text: str, factor: float) -> float | None:
    try:
        number = float(text) * factor
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
