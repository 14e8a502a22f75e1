"""What is this instance's part where several share a database: the tasks that it claims, and one role.

The database decides who has what, and by its own clock. The time here only limits for how long its word is
trusted: from when it was asked for, and a little less than it says, so that who was paused for longer
finds out before it does anything more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final

from tornado.ioloop import PeriodicCallback

from sora_ws.store import ClaimStore, StoreError

log = logging.getLogger(__name__)

MARGIN: Final = 0.9  # of a lease is trusted: clocks differ in pace, and what is decided takes a moment
RENEWALS: Final = 4  # in a lease, so that three may fail
AT_WORK: Final = "at work: "  # and its name: a role that each instance has
TERM_MS: Final = 5_000
STAND_EVERY_MS: Final = 1_000


class Claims:
    """Keeps claimed what is in hand. `lease_ms` is how long the store gives a task to who claims it.

    `tell_due` tells every instance, this one too, of a task that is due ahead of its time.
    """

    def __init__(
        self,
        store: ClaimStore,
        lease_ms: int,
        tell_due: Callable[[str], None],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._name = store.claimant.name
        self._tell_due = tell_due
        self._lease_ms = lease_ms
        self._lease_s = lease_ms / 1000
        self._steady = steady
        self._in_hand: Callable[[], Collection[str]] = tuple
        self._sure_until = steady() + MARGIN * self._lease_s
        self._beat = PeriodicCallback(self._renew, lease_ms / RENEWALS)

    def start(self, in_hand: Callable[[], Collection[str]]) -> None:
        """Renew, from now on, what is `in_hand`."""
        self._in_hand = in_hand
        self._beat.start()

    async def stop(self) -> None:
        """Give up everything, so that others need not wait for the end of our leases."""
        self._beat.stop()
        with suppress(StoreError):  # then they do wait
            await self._store.release()

    def are_sure(self) -> bool:
        """Whether everything in hand is still ours."""
        return self._steady() < self._sure_until

    def begin_anew(self) -> None:
        """Nothing is in hand any more."""
        self._sure_until = self._steady() + MARGIN * self._lease_s

    def is_long(self, ms: int) -> bool:
        """Whether what was in hand when it began may be another's after so long, if we were paused."""
        return ms > self._lease_ms / RENEWALS

    async def hasten(self, task_id: str, now: int) -> None:
        """The task is due now, whoever has it. Raises StoreError."""
        await self._store.hasten(task_id, now)
        self._tell_due(task_id)

    async def are_creates_under_way(self, prompt: str) -> bool:
        """Whether any instance is in the middle of a create with this prompt. Raises StoreError."""
        return await self._store.are_creates_under_way(prompt)

    async def adopt(self, job_id: str, task_id: str) -> bool:
        """Give the job to the task, unless another one was given it at any instance. Raises StoreError."""
        return await self._store.adopt(job_id, task_id)

    async def at_work(self) -> Sequence[str]:
        """The names of the instances that have renewed lately. Raises StoreError."""
        return [role.removeprefix(AT_WORK) for role in await self._store.led() if role.startswith(AT_WORK)]

    async def _renew(self) -> None:
        began = self._steady()
        with suppress(StoreError):  # the poller says that the store is away
            if in_hand := self._in_hand():
                await self._store.renew([*in_hand])
            self._sure_until = began + MARGIN * self._lease_s
            await self._store.lead(AT_WORK + self._name, self._lease_ms)


class Role:
    """Something that one instance does for all."""

    def __init__(self, store: ClaimStore, name: str, steady: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._name = name
        self._on_taken: Callable[[], None] = lambda: None
        self._steady = steady
        self._ours_until = 0.0
        self._beat = PeriodicCallback(self._stand, STAND_EVERY_MS)

    async def start(self, on_taken: Callable[[], None]) -> None:
        """Try to have it, from now on; `on_taken` is told when it is ours. Raises StoreError."""
        self._on_taken = on_taken
        await self._ask()
        self._beat.start()

    def stop(self) -> None:
        self._beat.stop()
        self._ours_until = 0.0

    def is_ours(self) -> bool:
        """Whether it is ours at this moment, whatever has held us up."""
        return self._steady() < self._ours_until

    async def _stand(self) -> None:
        with suppress(StoreError):  # it ends by itself
            await self._ask()

    async def _ask(self) -> None:
        began, had_it = self._steady(), self.is_ours()
        has_it = await self._store.lead(self._name, TERM_MS)
        self._ours_until = began + MARGIN * TERM_MS / 1000 if has_it else 0.0
        if has_it and not had_it:
            log.info("this instance has the role %r", self._name, extra={"action": "role_taken"})
            self._on_taken()
