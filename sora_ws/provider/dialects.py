"""What the answers of all the backends mean for us: their words, their shapes, their errors. Pure."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from sora_ws.provider import (
    Job,
    ListedJob,
    Missing,
    NoList,
    OutcomeUnknown,
    ProviderError,
    Refused,
    Unavailable,
    failures,
)
from sora_ws.provider.answers import (
    JOB_IDS,
    Answer,
    JsonObject,
    ListPage,
    Reason,
    job_within,
    list_page,
    look_after_ms,
    object_of,
    reason_of,
    retry_after_s,
)
from sora_ws.task import PROGRESS_MAX_LIVE, Event, Failure, FailureCode, Observation

log = logging.getLogger(__name__)

_WORDS_OF: Final[Mapping[Event, str]] = {
    Event.ACCEPTED: (
        "queued pending submitted not_start notstarted created starting preparing preprocessing"
        " in_queue throttled suspended waiting unknown"
    ),
    Event.STARTED: "in_progress processing running generating rendering started active",
    Event.FINISHED: "completed complete succeeded success done finished ready",
    Event.FAILED: "failed failure fail error rejected blocked expired deleted not_found",
    Event.CANCELLED: "cancelled canceled aborted",
}
WORDS: Final[Mapping[str, Event]] = MappingProxyType(
    {"": Event.ACCEPTED, **{word: event for event, words in _WORDS_OF.items() for word in words.split()}}
)
LOST_WORDS: Final = frozenset({"expired", "deleted", "not_found"})
NO_LIST: Final = frozenset({400, 404, 405, 410, 422, 501})
NOT_OF_ONE_JOB: Final = frozenset({401, 402, 403, 408, 425})
NOT_THERE: Final = ("task_not_exist", "not_exist", "not exist", "not_found", "not found")
UNKNOWN_WORDS_MAX: Final = 100
TIME_IN_MS: Final = 100_000_000_000  # as seconds, that would be in the year 5138
TIME_MAX: Final = 253_402_300_800_000  # the year 10000

# Where backends put the address of the video, the likeliest first.
URL_PLACES: Final[tuple[tuple[str | int, ...], ...]] = (
    ("url",),
    ("urls", 0),
    ("video_url",),
    ("result_url",),
    ("video", "url"),
    ("videos", 0, "url"),
    ("output", "url"),
    ("outputs", "video_url"),
    ("metadata", "url"),
    ("unsigned_urls", 0),
    ("data", 0, "url"),
)
URL_SAFE: Final = "%/:=&?~#+!$,;'@()*[]"
DATA_URL: Final = "data:video/mp4;base64,"


class AnswerReader:
    """Reads the answers of one backend at `base_url`; what it hands on is free of `key`."""

    def __init__(self, base_url: str, key: str | None) -> None:
        self._base_url = base_url
        self._key = key
        self._unknown_words: set[str] = set()

    def created(self, answer: Answer, now: float) -> Job:
        """The job of a create. `now` in s since the epoch.

        Raises Refused, Unavailable where it is safe to ask again, OutcomeUnknown where it isn't.
        """
        if not answer.is_success:
            raise self._create_error(answer, now)
        body = object_of(answer.body)
        if body is None:
            raise OutcomeUnknown(f"HTTP {answer.status} without a JSON object")
        job_id = _job_id(body)
        if job_id is None:
            fields = [name[:40] for name in sorted(body)[:20]]
            log.warning(
                "a create was answered without an id: %s", fields, extra={"action": "create_without_id"}
            )
            raise Refused(self._without_id(body))
        return Job(job_id, self._observation(body, answer, now))

    def seen(self, answer: Answer, now: float) -> Observation:
        """What a look showed. `now` in s since the epoch. Raises Unavailable or Missing."""
        body = object_of(answer.body)
        job = body if answer.is_success else job_within(body)
        if job is not None:
            return self._observation(job, answer, now)
        reason = reason_of(body)
        if answer.status in (404, 410) or (answer.status == 400 and _is_not_there(reason)):
            raise Missing(self.said(answer, reason), retry_after_s=retry_after_s(answer.headers, now))
        raise self.unavailable(answer, now)

    def listed(self, answer: Answer, now: float) -> tuple[list[ListedJob], ListPage]:
        """The jobs on a page of the list. `now` in s since the epoch. Raises NoList or Unavailable."""
        if answer.status in NO_LIST:
            raise NoList(self.said(answer))
        if not answer.is_success:
            raise self.unavailable(answer, now)
        page = list_page(answer.body)
        if page is None:
            raise NoList(f"HTTP {answer.status} without a list")
        found = (self._listed_job(job, answer, now) for job in page.jobs)
        return [job for job in found if job is not None], page

    def unavailable(self, answer: Answer, now: float) -> Unavailable:
        """The error for an answer that tells nothing of the job. `now` in s since the epoch."""
        reason = reason_of(object_of(answer.body))
        wait_s = retry_after_s(answer.headers, now)
        asks_for_time = wait_s is not None and (answer.status >= 500 or answer.status in NOT_OF_ONE_JOB)
        return Unavailable(
            self.said(answer, reason),
            retry_after_s=wait_s,
            holds_all=answer.status == 429 or asks_for_time,
            is_configuration=answer.is_redirect
            or answer.status in (401, 402, 403)
            or (answer.status == 400 and failures.needs_operator(reason)),
        )

    def said(self, answer: Answer, reason: Reason | None = None) -> str:
        """An answer in a sentence for the log."""
        reason = reason or reason_of(object_of(answer.body))
        said = failures.cleaned(reason.message, self._key)
        if answer.is_redirect:
            said = f"redirected to {self.cleaned(answer.headers.get('location', ''))}"
        return f"HTTP {answer.status}: {said}" if said else f"HTTP {answer.status}"

    def wants_other_encoding(self, answer: Answer) -> bool:
        """Whether a create may do better as JSON than as a form, or the other way round."""
        return failures.is_about_encoding(answer.status, reason_of(object_of(answer.body)))

    def cleaned(self, text: str) -> str:
        """A sentence for the log, without the key."""
        return failures.cleaned(text, self._key) or "no reason given"

    def _create_error(self, answer: Answer, now: float) -> ProviderError:
        reason = reason_of(object_of(answer.body))
        status = answer.status
        if status == 429 and failures.needs_operator(reason):
            return Refused(failures.of_refusal(status, reason, self._key))
        is_locked_out = status in (401, 403) and not failures.is_blocked(reason)
        if answer.is_redirect or is_locked_out or status in (425, 429, 503):
            return self.unavailable(answer, now)
        if status == 408 or not 400 <= status < 500:
            return OutcomeUnknown(self.said(answer, reason), retry_after_s=retry_after_s(answer.headers, now))
        failure = failures.of_refusal(status, reason, self._key)
        if status in (404, 410):  # most likely the address is wrong, or was closed
            where = self.cleaned(f"{self._base_url}/videos")
            failure = replace(failure, details=f"{failure.details} ({where})")
        return Refused(failure)

    def _without_id(self, body: JsonObject) -> Failure:
        reason = reason_of(body)
        said = failures.cleaned(reason.message, self._key)
        failure = failures.of_refusal(200, reason, self._key)
        return replace(failure, details=f"answer without id: {said}" if said else "answer without id")

    def _listed_job(self, job: JsonObject, answer: Answer, now: float) -> ListedJob | None:
        job_id = _job_id(job)
        if job_id is None:
            return None
        texts = {name: _word(job.get(name)) for name in ("prompt", "model", "seconds", "size")}
        made = Job(job_id, self._observation(job, answer, now))
        return ListedJob(made, created_at=_time_ms(job.get("created_at")), **texts)

    def _observation(self, job: JsonObject, answer: Answer, now: float) -> Observation:
        event, failure = self._outcome(job)
        return Observation(
            event=event,
            progress=progress_of(job.get("progress")),
            failure=failure,
            urls=tuple(urls_of(job, self._base_url)),
            look_after_ms=look_after_ms(answer.headers),
            retry_after_ms=round(1000 * (retry_after_s(answer.headers, now) or 0)),
        )

    def _outcome(self, job: JsonObject) -> tuple[Event | None, Failure | None]:
        word = job.get("status")
        if not isinstance(word, str):
            return self._outcome_without_status(job)
        word = word.strip().lower().replace("-", "_").replace(" ", "_")
        event = WORDS.get(word)
        if event is None:
            self._warn_once(word)
            return None, None
        if word in LOST_WORDS:
            # What expired may still load for a while: then it is no loss.
            still_there = word == "expired" and any(urls_of(job, self._base_url))
            return Event.FINISHED if still_there else Event.FAILED, self._lost(job, word)
        if event is Event.FINISHED and _has_error(job):
            event = Event.FAILED
        return event, self._failure(event, job)

    def _outcome_without_status(self, job: JsonObject) -> tuple[Event | None, Failure | None]:
        if _has_error(job):
            return Event.FAILED, self._failure(Event.FAILED, job)
        return (Event.FINISHED if any(urls_of(job, self._base_url)) else None), None

    def _failure(self, event: Event, job: JsonObject) -> Failure | None:
        if event is Event.FAILED:
            return failures.of_job(reason_of(job), self._key)
        if event is Event.CANCELLED:
            details = failures.cleaned(reason_of(job).message, self._key)
            return Failure(FailureCode.CANCELLED, details, retryable=True)
        return None

    def _lost(self, job: JsonObject, word: str) -> Failure:
        return failures.lost(failures.cleaned(reason_of(job).message, self._key) or word)

    def _warn_once(self, word: str) -> None:
        if word in self._unknown_words or len(self._unknown_words) >= UNKNOWN_WORDS_MAX:
            return
        self._unknown_words.add(word)
        log.warning(
            "the provider's status is not known here: %r", word[:60], extra={"action": "unknown_status"}
        )


def progress_of(value: object) -> int | None:
    """0–99 out of whatever stands for a progress; None where it tells none."""
    if isinstance(value, str):
        value = _number(value.strip().removesuffix("%").rstrip())
    elif isinstance(value, float) and 0 < value < 1:
        value *= 100
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return int(max(0, min(value, PROGRESS_MAX_LIVE)))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def urls_of(job: JsonObject, base_url: str) -> Iterator[str]:
    """Where the video may be had, whole and each once; relative ones are the base URL's."""
    found: set[str] = set()
    for place in URL_PLACES:
        url = _url(_at(job, place), base_url) if place[0] in job else None
        if url is not None and url not in found:
            found.add(url)
            yield url


def _at(value: object, place: tuple[str | int, ...]) -> object:
    for step in place:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and len(value) > step:
            value = value[step]
        else:
            return None
    return value


def _url(value: object, base_url: str) -> str | None:
    if not isinstance(value, str):
        return None
    if value.startswith(DATA_URL):
        return value
    # Not a failure's sentence, nor a file's name.
    return whole_url(value, f"{base_url}/") if value.startswith(("http://", "https://", "/")) else None


def whole_url(text: str, base_url: str) -> str | None:
    """The http(s) address that `text` means on a page at `base_url`; None where it means none."""
    try:
        url = quote(urljoin(base_url, text.strip()), safe=URL_SAFE)
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, a port that is none, a lone surrogate
        return None
    return url if is_usable else None


def _job_id(body: JsonObject) -> str | None:
    for name in JOB_IDS:
        value = body.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value and value.isprintable():
            return value
    return None


def _word(value: object) -> str | None:
    """A text or a number as the text that an order would have; None for nothing."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_plain = isinstance(value, str | int) and not isinstance(value, bool)
    return (str(value) or None) if is_plain else None


def _time_ms(value: object) -> int | None:
    """A time in ms, from s or ms since the epoch; None where it is neither."""
    number = _number(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < TIME_MAX:
        return None
    return int(number if number > TIME_IN_MS else number * 1000)


def _has_error(job: JsonObject) -> bool:
    error = job.get("error")
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _is_not_there(reason: Reason) -> bool:
    said = " ".join((*reason.codes, reason.message.lower()))
    return any(words in said for words in NOT_THERE)
