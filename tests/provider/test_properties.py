"""Whatever bytes come back, the client keeps its head."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from sora_ws.provider import ProviderError
from sora_ws.provider.answers import Answer
from sora_ws.provider.dialects import WORDS, AnswerReader
from sora_ws.provider.failures import DETAILS_MAX
from sora_ws.task import Order, State, Task

KEY = "sk-0123456789abcdef"
NAMES = (
    *("id", "task_id", "request_id", "video_id", "object", "type", "created_at", "status", "progress"),
    *("error", "code", "message", "fail_reason", "detail", "failure_reason", "data", "metadata"),
    *("url", "urls", "video_url", "video", "videos", "output", "outputs", "unsigned_urls"),
)
WORDS_OF_BACKENDS = [*WORDS, "Completed", "dreaming", KEY, f"up - {{{KEY}", "http://[::1", "/a", "50%"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(
        [*WORDS, *(word.upper() for word in WORDS), KEY, f"up - {{{KEY}", "http://[::1", "/a", "50%"]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), inner, max_size=6),
    ),
    max_leaves=20,
)
bodies = st.one_of(st.binary(), values.map(lambda value: json.dumps(value).encode()))
statuses = st.sampled_from([200, 202, 204, 302, 400, 401, 404, 408, 410, 422, 429, 451, 500, 502, 503, 599])
headers = st.dictionaries(
    st.sampled_from(["Retry-After", "Retry-After-Ms", "Openai-Poll-After-Ms", "Location"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126)),
)
answers = st.builds(Answer, status=statuses, headers=headers.map(HTTPHeaders), body=bodies)
states = st.sampled_from([State.SUBMITTING, State.QUEUED, State.RENDERING, State.ARCHIVING])


def reader() -> AnswerReader:
    return AnswerReader("http://127.0.0.1:1/v1", KEY)


T = TypeVar("T")


def told(read: Callable[[Answer, float], T], answer: Answer) -> T | None:
    """What was read from the answer, None for an error of the provider's that shows no key."""
    try:
        return read(answer, 1.0)
    except ProviderError as error:
        text = str(error)
    assert KEY not in text
    return None


@given(answers, states, st.integers(min_value=0, max_value=99))
def test_any_answer_to_a_look_is_an_observation_or_an_error(
    answer: Answer, state: State, progress: int
) -> None:
    """No answer raises anything but a provider's error, breaks a task, or shows the key."""
    seen = told(reader().seen, answer)
    if seen is None:
        return
    task = replace(Task.new("u", Order("a cat", "sora-2"), now=1), state=state, progress=progress)
    after = task.observe(seen, now=2)
    assert progress <= after.progress <= 99
    details = after.failure.details if after.failure else None
    assert KEY not in (details or "")
    assert len((details or "").encode()) <= 4 * DETAILS_MAX


@given(answers)
def test_any_answer_to_a_create_is_a_job_or_an_error(answer: Answer) -> None:
    """No answer raises anything but a provider's error, or makes a job without a usable id."""
    job = told(reader().created, answer)
    if job is None:
        return
    assert job.id.encode()
    Task.new("u", Order("a cat", "sora-2"), now=1).accept(job.id, job.seen, now=2)
