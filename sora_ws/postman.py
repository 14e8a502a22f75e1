"""Tells ends to the addresses that asked for it: what is due in the store, a few at a time.

Intent before act: an attempt is stored as begun before it leaves, so that two instances don't
make the same one, and one that dies with its process is made again. A receiver may hear an end
more than once, and knows it by its `webhook-id`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final

from tornado.ioloop import PeriodicCallback

from sora_ws import failpoint
from sora_ws.callbacks import Callback, Delivery, message_id
from sora_ws.delivery import AT_ONCE, NotDelivered, Sender
from sora_ws.signatures import Signer
from sora_ws.store import Stale, StoreError, TaskStore
from sora_ws.task import Task

log = logging.getLogger(__name__)

ASK_EVERY_MS: Final = 1_000
AT_ONCE_TO_A_HOST: Final = 4  # a receiver that hangs holds no more than these up
AT_ONCE_OF_A_USER: Final = 32  # who has a domain has any number of hosts


OUTCOMES: Final = {
    Delivery.DELIVERED: "delivered",
    Delivery.PENDING: "failed",
    Delivery.FAILED: "given up",
}


class Postman:
    """Sends each due callback; `letter` makes an ended task into the message's body.

    `outcomes` counts the attempts by what became of them.
    """

    def __init__(
        self,
        store: TaskStore,
        sender: Sender,
        signer: Signer,
        letter: Callable[[Task], bytes],
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._sender = sender
        self._signer = signer
        self._letter = letter
        self._now = clock
        self.outcomes: Counter[str] = Counter()
        self._beat = PeriodicCallback(self.nudge, ASK_EVERY_MS)
        self._hosts: Counter[str] = Counter()  # of the attempts under way
        self._users: Counter[str] = Counter()
        self._running: set[asyncio.Task[None]] = set()
        self._is_wanted = False
        self._is_asking = False

    @property
    def under_way(self) -> int:
        """Attempts that wait for an answer."""
        return self._hosts.total()

    def start(self) -> None:
        """Begin with whatever the store holds."""
        self._beat.start()

    async def stop(self, grace_s: float) -> None:
        """Begin nothing more; what is under way may end within `grace_s`, or is done again later."""
        self._beat.stop()
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=grace_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def nudge(self) -> None:
        """Something may have become due, or there may be room for it."""
        self._is_wanted = True
        if not self._is_asking and self._beat.is_running():
            self._start(self._ask())

    async def _ask(self) -> None:
        self._is_asking = True
        try:
            with suppress(StoreError):  # the poller says when the store is away
                while self._is_wanted and self._beat.is_running():
                    self._is_wanted = False
                    await self._begin_due()
        finally:
            self._is_asking = False

    async def _begin_due(self) -> None:
        """Begin what is due, as far as there is room. Raises StoreError."""
        while (room := AT_ONCE - self.under_way) > 0:
            hosts = [host for host, count in self._hosts.items() if count >= AT_ONCE_TO_A_HOST]
            users = [user for user, count in self._users.items() if count >= AT_ONCE_OF_A_USER]
            due = await self._store.due_callbacks(self._now(), room, but_not_to=hosts, but_not_of=users)
            for task in due:
                await self._begin(task)
            if len(due) < room:
                return

    async def _begin(self, task: Task) -> None:
        callback = task.callback
        if callback is None or not self._has_room(task.user_id, callback.host):
            return
        begun = callback.begun(self._now())
        try:
            await self._store.save_callback(task.id, begun, callback.revision)
        except Stale:  # another instance has it, or the task is gone
            return
        self._hosts[begun.host] += 1
        self._users[task.user_id] += 1
        self._start(self._attempt(task, begun))

    def _has_room(self, user: str, host: str) -> bool:
        return self._hosts[host] < AT_ONCE_TO_A_HOST and self._users[user] < AT_ONCE_OF_A_USER

    async def _attempt(self, task: Task, begun: Callback) -> None:
        try:
            after = await self._sent(task, begun)
        finally:
            self._hosts -= Counter((begun.host,))
            self._users -= Counter((task.user_id,))
            self.nudge()
        self.outcomes[OUTCOMES[after.state]] += 1
        log.info(
            "callback of task %s to %s, attempt %d: %s",
            task.id,
            begun.host,
            begun.attempts,
            after.error or "delivered",
            extra={"action": "callback", "task": task.id, "state": after.state},
        )
        await self._save(task, after, begun.revision)

    async def _sent(self, task: Task, begun: Callback) -> Callback:
        body = self._letter(task)
        headers = self._signer.headers(message_id(task.id), body)
        failpoint.reach("callback_marked")
        try:
            await self._sender.send(begun.url, headers, body)
        except NotDelivered as error:
            return begun.failed(str(error), self._now(), random.random())  # noqa: S311 -- jitter
        failpoint.reach("callback_taken")
        return begun.delivered(self._now())

    async def _save(self, task: Task, after: Callback, over_revision: int) -> None:
        try:
            await self._store.save_callback(task.id, after, over_revision)
        except Stale:
            pass  # asked for again meanwhile, and so due again; or the task is gone
        except StoreError as error:
            # It is due again when its lease ends, as if this process had died.
            log.warning("what became of the callback of task %s was not stored: %s", task.id, error)

    def _start(self, work: Coroutine[object, None, None]) -> None:
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._ended)

    def _ended(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        if not running.cancelled() and (error := running.exception()) is not None:
            log.error("a callback ended by a fault of ours", exc_info=error, extra={"action": "fault"})
