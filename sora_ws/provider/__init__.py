"""The port to whoever makes the videos. Its adapters stand in the files beside this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sora_ws.task import Failure, Observation, Order


@dataclass(frozen=True, slots=True)
class Job:
    """What a create brought: the provider's id for the job, kept for ever, and its first state."""

    id: str
    seen: Observation


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job as the provider's list shows it; None where the list does not say.

    `created_at` in ms since the epoch.
    """

    job: Job
    prompt: str | None = None
    model: str | None = None
    seconds: str | None = None
    size: str | None = None
    created_at: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The provider's newest jobs; `is_whole` where none that was asked for is left out.

    `now` is the provider's own time when it began to list them, in ms since the epoch.
    """

    jobs: tuple[ListedJob, ...]
    is_whole: bool
    now: int


class ProviderError(Exception):
    """What went wrong with a call; its text is for the log and for `details`, free of keys.

    `retry_after_s` is how long the provider asks to be left alone, None where it does not say.
    """

    def __init__(self, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unavailable(ProviderError):
    """Not the task's fault, and nothing has happened there: try again later.

    `holds_all` is true where a wish to be left alone holds for every task: a 429, or a server in
    trouble that asks for time. `is_configuration` is true where an operator has to act first (401, 403).
    """

    def __init__(
        self,
        detail: str,
        *,
        retry_after_s: float | None = None,
        holds_all: bool = False,
        is_configuration: bool = False,
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.holds_all = holds_all
        self.is_configuration = is_configuration


class Refused(ProviderError):
    """The provider will not make this video."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.details or failure.code)
        self.failure = failure


class OutcomeUnknown(ProviderError):
    """A create left, and nobody can tell whether a job came of it. A wish to be left alone holds for all."""


class Missing(ProviderError):
    """The provider does not know the job — perhaps only this time."""


class NoList(ProviderError):
    """The provider does not list its jobs."""


class NoContent(ProviderError):
    """The job is finished, and what came was no video, or too much of it, or nothing."""


class VideoProvider(Protocol):
    """A service that turns an order into a video, in its own time.

    Every call has a deadline of its own. Whatever the service answers ends as a value or as
    one of the errors above, never as anything else.
    """

    async def create(self, order: Order, reference: bytes | None) -> Job:
        """Ask for a video; `reference` is the input image of `order.reference_type`.

        Raises Unavailable, Refused, or OutcomeUnknown.
        """
        ...

    async def recent(self, age: int) -> Listing:
        """The jobs that are at most so old, in ms by the provider's clock, and perhaps older ones.

        Raises NoList or Unavailable.
        """
        ...

    async def look(self, job_id: str) -> Observation:
        """What the job is doing now. Raises Unavailable or Missing."""
        ...

    async def download(self, job_id: str, urls: Sequence[str], target: Path, max_bytes: int) -> None:
        """Stream the finished video into the file `target`, overwriting it.

        `urls` are the observation's, tried in order where the content call leads nowhere.
        Raises Unavailable, NoContent, or OSError where the file can't be written.
        """
        ...

    async def delete(self, job_id: str) -> bool:
        """Stop and forget the job; False where the provider can't. Raises Unavailable."""
        ...

    async def check(self) -> None:
        """One cheap call that needs the address and the key right. Raises ProviderError."""
        ...

    async def close(self) -> None:
        """Let go of every connection. May be called twice."""
        ...
