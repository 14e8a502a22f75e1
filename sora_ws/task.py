"""The domain: what a task is, and every way in which it may change.

Two rules hold this file together. All that changes a task's state stands here, and nothing
here knows where the news came from: no I/O, no clock, no JSON. Values go in (an observation,
a time), a new `Task` comes out.

The machine is the table `TRANSITIONS`. The diagram in ``docs/`` is drawn from it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from sora_ws.callbacks import Callback

TOTAL_STEPS: Final = 4
NEVER: Final = 2**53  # a time that does not come
PROGRESS_MAX_LIVE: Final = 99  # 100 belongs to a video that can be played


class State(StrEnum):
    """Where a task stands. The first four are its steps, in order; the last three are ends."""

    SUBMITTING = "submitting"
    QUEUED = "queued"
    RENDERING = "rendering"
    ARCHIVING = "archiving"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Status(StrEnum):
    """The coarser word that clients see."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Event(StrEnum):
    """What may happen to a task."""

    ACCEPTED = "accepted"  # the provider has it, and has not begun
    STARTED = "started"  # the provider works on it
    FINISHED = "finished"  # the provider says the video is there
    ARCHIVED = "archived"  # the video is here
    FAILED = "failed"
    CANCELLED = "cancelled"


STATUS: Final[Mapping[State, Status]] = MappingProxyType(
    {
        State.SUBMITTING: Status.QUEUED,
        State.QUEUED: Status.QUEUED,
        State.RENDERING: Status.PROCESSING,
        State.ARCHIVING: Status.PROCESSING,
        State.COMPLETED: Status.COMPLETED,
        State.FAILED: Status.FAILED,
        State.CANCELLED: Status.CANCELLED,
    }
)

LIVE: Final = (State.SUBMITTING, State.QUEUED, State.RENDERING, State.ARCHIVING)

AT_PROVIDER: Final = (State.SUBMITTING, State.QUEUED, State.RENDERING)

TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (State.SUBMITTING, Event.ACCEPTED): State.QUEUED,
        (State.SUBMITTING, Event.STARTED): State.RENDERING,
        (State.SUBMITTING, Event.FINISHED): State.ARCHIVING,
        (State.SUBMITTING, Event.FAILED): State.FAILED,
        (State.SUBMITTING, Event.CANCELLED): State.CANCELLED,
        (State.QUEUED, Event.ACCEPTED): State.QUEUED,
        (State.QUEUED, Event.STARTED): State.RENDERING,
        (State.QUEUED, Event.FINISHED): State.ARCHIVING,
        (State.QUEUED, Event.FAILED): State.FAILED,
        (State.QUEUED, Event.CANCELLED): State.CANCELLED,
        # A provider that says "queued" again is no way back.
        (State.RENDERING, Event.ACCEPTED): State.RENDERING,
        (State.RENDERING, Event.STARTED): State.RENDERING,
        (State.RENDERING, Event.FINISHED): State.ARCHIVING,
        (State.RENDERING, Event.FAILED): State.FAILED,
        (State.RENDERING, Event.CANCELLED): State.CANCELLED,
        (State.ARCHIVING, Event.ACCEPTED): State.ARCHIVING,
        (State.ARCHIVING, Event.STARTED): State.ARCHIVING,
        (State.ARCHIVING, Event.FINISHED): State.ARCHIVING,
        (State.ARCHIVING, Event.ARCHIVED): State.COMPLETED,
        # "Completed" is not a promise: some providers take it back.
        (State.ARCHIVING, Event.FAILED): State.FAILED,
        (State.ARCHIVING, Event.CANCELLED): State.CANCELLED,
    }
)


class FailureCode(StrEnum):
    """Why a task ended without a video."""

    GENERATION_FAILED = "GENERATION_FAILED"
    MODERATION_BLOCKED = "MODERATION_BLOCKED"
    PROVIDER_REJECTED = "PROVIDER_REJECTED"
    PROVIDER_LOST_TASK = "PROVIDER_LOST_TASK"
    CANCELLED = "CANCELLED"


class ProgressSource(StrEnum):
    """Who says how far a task is."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"


class ImpossibleTransition(Exception):
    """An event that the table does not know for this state."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a task that is {state} can't be {event}")
        self.state = state
        self.event = event


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason of an end: `details` is the provider's or our sentence for people, or None."""

    code: FailureCode
    details: str | None
    retryable: bool


@dataclass(frozen=True, slots=True)
class Video:
    """An archived video: `duration` in seconds, `size` in bytes, the picture in pixels.

    `expired`: it had to make room, and its files are gone.
    """

    duration: float
    size: int
    width: int
    height: int
    has_thumbnail: bool
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at the provider told.

    `event` is None where the answer says nothing of the state. `progress` is 0–100, or None
    where the provider tells none; `estimated` marks a progress that is our own guess.
    `overdue`: well beyond the usual time. `urls`: where the video may be had besides the
    provider's content call. `look_after_ms`: how long the provider advises not to look at the job;
    `retry_after_ms`: how long it asks not to, 0 where it doesn't.
    """

    event: Event | None
    progress: int | None = None
    failure: Failure | None = None
    urls: tuple[str, ...] = ()
    estimated: bool = False
    overdue: bool = False
    look_after_ms: int | None = None
    retry_after_ms: int = 0

    def __post_init__(self) -> None:
        if self.event is Event.ARCHIVED:
            raise ValueError("no provider can tell that a video is archived here")


@dataclass(frozen=True, slots=True)
class Watch:
    """The poller's memory of a task. It is no part of what clients see and never moves `seq`.

    `planned_at` is when `next_look_at` was set: one in the future tells that the clock was set back.
    `looks` counts those since the state last changed, or for a lost job, `errors` those in a row that
    failed; `looked_at` is when the provider last said anything about the job.
    `sent_at` is when a create last left for the provider, `unknown_sends` how many of them
    had no known outcome. `missing` and `missing_since` count "no such job" answers in a row,
    `no_content_since` is when the provider first had no video for a finished job, moved on by
    the time in which it could not be asked.
    Times in ms since the epoch.
    """

    next_look_at: int
    planned_at: int = 0
    looks: int = 0
    looked_at: int | None = None
    errors: int = 0
    missing: int = 0
    missing_since: int | None = None
    sent_at: int | None = None
    unknown_sends: int = 0
    no_content_since: int | None = None

    def look_after(self, wait: int, now: int, **changes: Any) -> Watch:
        """The next look is due in `wait` ms; `changes` of other fields come in the same copy."""
        return replace(self, next_look_at=now + wait, planned_at=now, **changes)


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for. `reference_type` is the media type of the stored input image, if any."""

    prompt: str
    model: str
    seconds: int | None = None
    size: str | None = None
    reference_type: str | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's own key for a create, and the digest of the body that came with it."""

    key: str
    digest: str


class Viewer(Struct, frozen=True, gc=False):
    """Somebody who wants to see or do something: a user's id, and the teams in their token."""

    user_id: str
    teams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Metrics:
    """Whole seconds; `total` is `queue` + `process`."""

    total: int
    queue: int
    process: int


@dataclass(frozen=True, slots=True)
class Task:
    """One video, from the prompt to its end. Immutable; times in ms since the epoch.

    `seq` is the time of the last change that clients can see, and always more than the one
    before: the store's optimistic lock, and what puts pushes in order everywhere.
    `step` is the last of the four steps that was reached, also after the end. `accepted_at` is when
    the provider took the job, `started_at` when it began to work. `in_line`: it came when every place
    at the provider was taken, and nobody looks at it until it is called; `queue_position` is then its
    place, from 1, as of when it was read, and is not stored.
    """

    id: str
    user_id: str
    order: Order
    created_at: int
    seq: int
    watch: Watch
    team: str | None = None
    state: State = State.SUBMITTING
    step: State = State.SUBMITTING
    progress: int = 0
    progress_source: ProgressSource = ProgressSource.PROVIDER
    overdue: bool = False
    simulated: bool = False
    job_id: str | None = None
    accepted_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    video: Video | None = None
    failure: Failure | None = None
    callback: Callback | None = None
    in_line: bool = False
    idempotency: Idempotency | None = field(default=None, compare=False)
    queue_position: int | None = field(default=None, compare=False)

    @classmethod
    def new(
        cls,
        user_id: str,
        order: Order,
        now: int,
        *,
        team: str | None = None,
        simulated: bool = False,
        callback: Callback | None = None,
        idempotency: Idempotency | None = None,
    ) -> Task:
        """A task that was just asked for, due at once, under an id of 128 random bits."""
        return cls(
            id=f"video_{secrets.token_hex(16)}",
            user_id=user_id,
            order=order,
            created_at=now,
            seq=now,
            watch=Watch(now, planned_at=now),
            team=team,
            simulated=simulated,
            callback=callback,
            idempotency=idempotency,
        )

    @property
    def status(self) -> Status:
        return STATUS[self.state]

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def waits(self) -> bool:
        """It stands in line for a place at the provider."""
        return self.in_line and self.is_live

    @property
    def is_at_provider(self) -> bool:
        """It has a place at the provider: a job there that is not done, or is about to have one."""
        return self.state in AT_PROVIDER and not self.in_line

    @property
    def metrics(self) -> Metrics | None:
        """How long it waited and worked, in whole seconds; None while it lives."""
        if self.finished_at is None:
            return None
        total = max(0, self.finished_at - self.created_at) // 1000
        began = self.finished_at if self.started_at is None else self.started_at
        queue = min(total, max(0, began - self.created_at) // 1000)
        return Metrics(total=total, queue=queue, process=total - queue)

    def wait_in_line(self) -> Task:
        """A new task for which there is no place: it is due when it is called."""
        return replace(self, in_line=True, watch=replace(self.watch, next_look_at=NEVER))

    def called(self, now: int) -> Task:
        """It is its turn, and due at once."""
        watch = Watch(now, planned_at=now)
        return replace(self, in_line=False, queue_position=None, watch=watch, seq=self._seq_after(now))

    def may_be_seen_by(self, viewer: Viewer) -> bool:
        """The owner and the members of the task's team see it; to others it doesn't exist."""
        return viewer.user_id == self.user_id or (self.team is not None and self.team in viewer.teams)

    def observe(self, seen: Observation, now: int) -> Task:
        """The task after a look at the provider; itself where the look told nothing new.

        Never raises, never goes back: an ended task stays as it is, progress does not fall,
        and below 100 stays what cannot be played yet.
        """
        if not self.is_live:
            return self
        if seen.event is Event.FAILED:
            return self.fail(seen.failure or UNEXPLAINED, now)
        if seen.event is Event.CANCELLED:
            return self.cancel(now, details=seen.failure.details if seen.failure else None)
        state = self.state if seen.event is None else self._next(seen.event)
        progress, source = self._progress_after(seen, state)
        overdue = state is State.RENDERING and (self.overdue or seen.overdue)
        if (state, progress, overdue) == (self.state, self.progress, self.overdue):
            return self
        return replace(
            self,
            seq=self._seq_after(now),
            state=state,
            step=state,
            progress=progress,
            progress_source=source,
            overdue=overdue,
            accepted_at=self.accepted_at or now,
            started_at=self._started_at_after(state, now),
        )

    def accept(self, job_id: str, seen: Observation, now: int) -> Task:
        """The provider took the job: its id is kept for ever, whatever later answers call it."""
        state = self._next(Event.ACCEPTED)
        accepted = replace(self, job_id=job_id, state=state, step=state, accepted_at=now)
        return replace(accepted.observe(seen, now), seq=self._seq_after(now))

    def complete(self, video: Video, now: int) -> Task:
        """The video is archived here."""
        return self._ended(Event.ARCHIVED, now, progress=100, video=video)

    def fail(self, failure: Failure, now: int) -> Task:
        """The task ends without a video."""
        return self._ended(Event.FAILED, now, failure=failure, overdue=False)

    def cancel(self, now: int, details: str | None = None) -> Task:
        """Somebody called it off, here or at the provider."""
        failure = Failure(FailureCode.CANCELLED, details, retryable=True)
        return self._ended(Event.CANCELLED, now, failure=failure, overdue=False)

    def _ended(self, event: Event, now: int, **changes: Any) -> Task:
        """The end, and with it the duty to tell it."""
        callback = None if self.callback is None else self.callback.due(now)
        state = self._next(event)
        seq = self._seq_after(now)
        return replace(self, seq=seq, state=state, finished_at=now, callback=callback, **changes)

    def _next(self, event: Event) -> State:
        try:
            return TRANSITIONS[self.state, event]
        except KeyError:
            raise ImpossibleTransition(self.state, event) from None

    def _progress_after(self, seen: Observation, state: State) -> tuple[int, ProgressSource]:
        if state is State.ARCHIVING:
            return PROGRESS_MAX_LIVE, self.progress_source
        if not seen.progress:
            return self.progress, self.progress_source
        source = ProgressSource.ESTIMATED if seen.estimated else ProgressSource.PROVIDER
        return max(self.progress, min(seen.progress, PROGRESS_MAX_LIVE)), source

    def _started_at_after(self, state: State, now: int) -> int | None:
        if self.started_at is not None:
            return self.started_at
        if state is State.RENDERING:
            return now
        # Finished between two looks: the work is counted from when the provider took it.
        return (self.accepted_at or now) if state is State.ARCHIVING else None

    def _seq_after(self, now: int) -> int:
        return max(self.seq + 1, now)


UNEXPLAINED: Final = Failure(FailureCode.GENERATION_FAILED, None, retryable=True)
