"""One limiter for all calls to a provider: its own wishes are kept, and its silence is respected.

`Limiter` decides when a call may leave; it knows no I/O, and gets its time and its chance.
`LimitedVideos` puts every call of a provider under it.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sora_ws.provider import (
    Job,
    Listing,
    Missing,
    NoContent,
    NoList,
    OutcomeUnknown,
    ProviderError,
    Refused,
    Unavailable,
    VideoProvider,
)
from sora_ws.task import Observation, Order

log = logging.getLogger(__name__)

FAILURES_MAX: Final = 5
BREAK_MAX_S: Final = 30.0  # also how late a provider's return may be seen
TELL_EVERY_S: Final = 60.0
OUTCOMES: Final[Mapping[type[ProviderError], str]] = MappingProxyType(
    {
        OutcomeUnknown: "unknown",
        Refused: "refused",
        Missing: "missing",
        NoContent: "no content",
        NoList: "no list",
    }
)


class Kind(Enum):
    """What a call does there. Only calls that change nothing may be sent to see whether it answers."""

    LOOK = "look"
    CHECK = "check"
    CREATE = "create"
    LIST = "list"
    DOWNLOAD = "download"
    DELETE = "delete"


PROBES: Final = (Kind.LOOK, Kind.CHECK)


class Held(Unavailable):
    """The call did not leave: the provider is to be left alone for `retry_after_s`."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("the provider is left alone for now", retry_after_s=wait_s, holds_all=True)


@dataclass(frozen=True, slots=True)
class Call:
    """A call on its way. `era` tells whether the breaker has moved since it left."""

    era: int
    is_probe: bool


class Limiter:
    """A circuit breaker that also keeps what the provider asks for. Times in s, by a clock that only rises.

    Closed, it lets everything leave. `FAILURES_MAX` failures in a row, or one answer that asks to
    be left alone, open it: nothing leaves until that time is over, or until a wait that doubles from
    `first_s` up to `cap_s`, with full jitter. Then one call leaves to see. A good answer closes the
    breaker; anything else opens it again. A call that left before its last move is not heard, except
    for the time that its answer asks for.
    """

    def __init__(
        self,
        first_s: float,
        cap_s: float,
        *,
        time: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._first_s = first_s
        self._cap_s = max(first_s, cap_s)
        self._time = time
        self._chance = chance
        self._is_open = False
        self._is_probing = False
        self._era = 0
        self._failures = 0
        self._openings = 0  # those that came soon after one another
        self._held_until = float("-inf")
        self._closed_at = float("-inf")
        self._failed_at = float("-inf")

    @property
    def is_open(self) -> bool:
        """The provider is in trouble: nothing leaves, or one call to see."""
        return self._is_open

    @property
    def held_s(self) -> float:
        """For how long nothing at all may leave; 0 where something may."""
        return max(0.0, self._held_until - self._time())

    @property
    def lets_look(self) -> bool:
        return self._refuses(Kind.LOOK) is None

    @property
    def lets_one(self) -> bool:
        """Of the looks that may leave now it is only one, to see."""
        return self._is_open and self.lets_look

    @property
    def trusts(self) -> bool:
        """The provider's last word was a good one. A create leaves only then: it can't be taken back."""
        return not self._is_open and not self._failures and not self.held_s

    @property
    def wants_check(self) -> bool:
        """A good word is missing, and a `check` may fetch it where no look is due."""
        if self.trusts or self._is_probing or self.held_s:
            return False
        return self._time() >= self._failed_at + self._first_s

    def enter(self, kind: Kind) -> Call:
        """A call leaves, and `leave` has to be told when it is over. Raises Held."""
        wait_s = self._refuses(kind)
        if wait_s is not None:
            raise Held(wait_s)
        is_probe = self._is_open or kind is Kind.CHECK
        self._is_probing = self._is_probing or is_probe
        return Call(self._era, is_probe)

    def answered(self, call: Call) -> None:
        """The provider works."""
        if call.era != self._era:
            return
        self._failures = 0
        if self._is_open:
            self._is_open = False
            self._closed_at = self._time()
            self._move()

    def failed(self, call: Call, hold_s: float | None = None) -> None:
        """It does not; `hold_s` is how long it asks to be left alone, None where it doesn't ask."""
        now = self._time()
        if hold_s is not None:
            self._held_until = max(self._held_until, now + hold_s)
        if call.era != self._era and (hold_s is None or self._is_open):
            return
        self._failures += 1
        self._failed_at = now
        if self._is_open or hold_s is not None or self._failures >= FAILURES_MAX:
            self._open(now)

    def hold(self, seconds: float) -> None:
        """Another instance was asked to leave the provider alone: nothing leaves until then, here too."""
        self._held_until = max(self._held_until, self._time() + seconds)

    def leave(self, call: Call) -> None:
        """The call is over, also one that was broken off and tells nothing."""
        if call.is_probe and call.era == self._era:
            self._is_probing = False

    def _refuses(self, kind: Kind) -> float | None:
        """How long such a call has to wait at least, None where it may leave."""
        if held_s := self.held_s:
            return held_s
        return self._first_s if self._is_open and (self._is_probing or kind not in PROBES) else None

    def _open(self, now: float) -> None:
        is_lasting = self._is_open or now - self._closed_at < self._cap_s
        self._openings = self._openings + 1 if is_lasting else 1
        self._is_open = True
        self._failures = 0
        ceiling_s = min(self._first_s * 2.0 ** min(self._openings, 40), self._cap_s)
        self._held_until = max(self._held_until, now + max(self._first_s, ceiling_s * self._chance()))
        self._move()

    def _move(self) -> None:
        self._era += 1
        self._is_probing = False


class LimitedVideos:
    """A `VideoProvider` whose calls leave when its `limiter` lets them.

    `trouble` is what is wrong with the provider, None while it answers; `needs_operator`: it will
    not go by itself, as with a wrong key. `count` is told of every call by its `Kind`,
    and what became of it, `on_held` for how many s the provider asks to be left alone.
    """

    def __init__(
        self,
        provider: VideoProvider,
        limiter: Limiter,
        count: Callable[[str, str], None] = lambda call, outcome: None,
    ) -> None:
        self._provider = provider
        self._count = count
        self._told_at: float | None = None
        self.limiter = limiter
        self.on_held: Callable[[float], None] = lambda seconds: None
        self.trouble: str | None = None
        self.needs_operator = False

    async def create(self, order: Order, reference: bytes | None) -> Job:
        """See `VideoProvider.create`."""
        with self._call(Kind.CREATE):
            return await self._provider.create(order, reference)

    async def recent(self, age: int) -> Listing:
        """See `VideoProvider.recent`."""
        with self._call(Kind.LIST):
            return await self._provider.recent(age)

    async def look(self, job_id: str) -> Observation:
        """See `VideoProvider.look`."""
        with self._call(Kind.LOOK):
            return await self._provider.look(job_id)

    async def download(self, job_id: str, urls: Sequence[str], target: Path, max_bytes: int) -> None:
        """See `VideoProvider.download`."""
        with self._call(Kind.DOWNLOAD):
            await self._provider.download(job_id, urls, target, max_bytes)

    async def delete(self, job_id: str) -> bool:
        """See `VideoProvider.delete`."""
        with self._call(Kind.DELETE):
            return await self._provider.delete(job_id)

    async def check(self) -> None:
        """See `VideoProvider.check`."""
        with self._call(Kind.CHECK):
            await self._provider.check()

    async def close(self) -> None:
        """See `VideoProvider.close`."""
        await self._provider.close()

    @contextmanager
    def _call(self, kind: Kind) -> Iterator[None]:
        try:
            call = self.limiter.enter(kind)
        except Held:
            self._count(kind.value, "held")
            raise
        outcome = "broken off"
        try:
            yield
            outcome = "answered"
            self._answered(call)
        except (Unavailable, OutcomeUnknown) as error:
            outcome = _outcome(error)
            self._failed(call, error)
            raise
        except ProviderError as error:
            outcome = _outcome(error)
            self._answered(call)
            raise
        finally:
            self.limiter.leave(call)
            self._count(kind.value, outcome)

    def _answered(self, call: Call) -> None:
        self.limiter.answered(call)
        if self.limiter.is_open:
            return
        if self.trouble is not None and self._told_at is not None:
            log.info("the provider answers again", extra={"action": "provider_recovered"})
            self._told_at = None
        self.trouble = None
        self.needs_operator = False

    def _failed(self, call: Call, error: Unavailable | OutcomeUnknown) -> None:
        hold_s, for_operator = error.retry_after_s, False
        if isinstance(error, Unavailable):
            hold_s = (error.retry_after_s or 0.0) if error.holds_all else None
            for_operator = error.is_configuration
        self.limiter.failed(call, hold_s)
        if hold_s:
            self.on_held(hold_s)
        self._tell(error, for_operator=for_operator)
        self.trouble = str(error)
        self.needs_operator = for_operator

    def _tell(self, error: ProviderError, *, for_operator: bool) -> None:
        """Log what is new, and what lasts once a minute."""
        now = time.monotonic()
        is_new = self._told_at is None or (for_operator and not self.needs_operator)
        if not is_new and now < (self._told_at or 0.0) + TELL_EVERY_S:
            return
        self._told_at = now
        if for_operator:
            log.error(
                "the provider wants an operator; tasks wait until SORA_API_BASE_URL, SORA_API_KEY and the "
                "account there are right: %s",
                error,
                extra={"action": "provider_needs_operator"},
            )
        else:
            log.warning("the provider is in trouble: %s", error, extra={"action": "provider_trouble"})


def _outcome(error: ProviderError) -> str:
    """What became of a call, as a word."""
    if isinstance(error, Unavailable):
        return "operator" if error.is_configuration else "limited" if error.holds_all else "unavailable"
    return OUTCOMES[type(error)]
