"""A simulated job: all that it is stands in its id, and what it does follows from the clock.

So a job outlives the process that made it, and no id that was not made here is a job.
"""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import StrEnum
from hashlib import blake2b
from typing import Final

import msgspec

PREFIX: Final = "video_sim_"
ID_MAX: Final = 500
PROMPT_MAX: Final = 100  # characters that an id has room for
PROMPT_BYTES_MAX: Final = 270
MODEL_MAX: Final = 40
MODEL_BYTES_MAX: Final = 40
CHECK_BYTES: Final = 6
QUEUED_PART: Final = 0.1  # of a job's time, before the work begins
FAILING_PART: Final = 0.6  # of a job's time, after which one fails that is to fail
SLOWNESS: Final = 5

FAIL: Final = "[fail]"
BLOCKED: Final = "[blocked]"
SLOW: Final = "[slow]"
_MARKS = re.compile(r"\s*\[(?:fail|blocked|slow)\]", re.IGNORECASE)


class Phase(StrEnum):
    """A job's status, in the words of the format."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


class SimulatedJob(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What was asked for, and when. `created_at` and `lasts` are ms, `seconds` the film's length."""

    created_at: int
    lasts: int
    fails: bool
    seconds: int
    width: int
    height: int
    model: str
    prompt: str
    nonce: int

    @classmethod
    def new(
        cls, prompt: str, model: str, seconds: int, size: tuple[int, int], *, lasts: int, now: int
    ) -> SimulatedJob:
        """A job that takes `lasts` ms from `now` on, or as the marks in its prompt say."""
        return cls(
            created_at=now,
            lasts=lasts * SLOWNESS if is_marked(prompt, SLOW) else lasts,
            fails=is_marked(prompt, FAIL),
            seconds=seconds,
            width=size[0],
            height=size[1],
            model=_cut(model, MODEL_MAX, MODEL_BYTES_MAX),
            prompt=_cut(prompt, PROMPT_MAX, PROMPT_BYTES_MAX),
            nonce=secrets.randbits(32),
        )

    @classmethod
    def of(cls, job_id: str) -> SimulatedJob | None:
        """The job of this id; None where it is not one."""
        if not job_id.startswith(PREFIX) or len(job_id) > ID_MAX:
            return None
        try:
            raw = urlsafe_b64decode(_padded(job_id.removeprefix(PREFIX)))
            job = msgspec.msgpack.decode(raw[CHECK_BYTES:], type=cls)
        except (ValueError, msgspec.DecodeError):
            return None
        return job if job.id == job_id else None

    @property
    def id(self) -> str:
        body = msgspec.msgpack.encode(self)
        check = blake2b(body, digest_size=CHECK_BYTES).digest()
        return PREFIX + urlsafe_b64encode(check + body).decode().rstrip("=")

    @property
    def words(self) -> str:
        """The prompt without its marks: what the film shows."""
        return _MARKS.sub("", self.prompt).strip()

    @property
    def ends_at(self) -> int:
        return self.created_at + round(self.lasts * (FAILING_PART if self.fails else 1))

    def phase(self, now: int) -> Phase:
        if now >= self.ends_at:
            return Phase.FAILED if self.fails else Phase.COMPLETED
        return Phase.QUEUED if self._part(now) < QUEUED_PART else Phase.IN_PROGRESS

    def progress(self, now: int) -> int:
        """0–100, and 100 only for a film that is there."""
        match self.phase(now):
            case Phase.QUEUED:
                return 0
            case Phase.COMPLETED:
                return 100
            case _:
                return min(99, int(100 * self._part(min(now, self.ends_at))))

    def _part(self, now: int) -> float:
        return (now - self.created_at) / self.lasts if self.lasts else 1.0


def is_marked(prompt: str, mark: str) -> bool:
    """Whether the prompt asks for a special end."""
    return mark in prompt.lower()


def _cut(text: str, letters: int, size: int) -> str:
    """The text, or where it is longer than so many letters and bytes, its beginning and an ellipsis."""
    if len(text) <= letters and len(text.encode()) <= size:
        return text
    room = size - len("…".encode())
    return text[: letters - 1].encode()[:room].decode(errors="ignore") + "…"


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
