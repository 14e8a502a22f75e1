"""The provider sends word that a job has changed.

Word, and never a state: what becomes of a task is decided by looking. So a message that comes
twice, or of a job that nobody here knows, changes nothing and gets the same answer.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from sora_ws.signatures import Verifier, WrongSignature
from sora_ws.store import StoreError

log = logging.getLogger(__name__)

REMEMBERED: Final = 10_000  # ids of messages; to forget one costs no more than a look


class _Job(msgspec.Struct, frozen=True):
    id: str


class _Event(msgspec.Struct, frozen=True):
    """As much as is read of an event; `type` is for people."""

    data: _Job
    type: str = ""


class Webhooks:
    """Takes the provider's messages; `look_now` gets the id of each job that is told of.

    `outcomes` counts the messages by what became of them.
    """

    def __init__(self, verifier: Verifier, look_now: Callable[[str], Awaitable[None]]) -> None:
        self._verifier = verifier
        self._look_now = look_now
        self._taken: dict[str, None] = {}
        self.outcomes: Counter[str] = Counter()

    async def take(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raises WrongSignature, and StoreError, behind which the message may come again."""
        try:
            message_id = self._verifier.verify(headers, body)
        except WrongSignature:
            self.outcomes["refused"] += 1
            raise
        if message_id in self._taken:
            self.outcomes["known"] += 1
            return
        self.outcomes["taken"] += 1
        self._taken[message_id] = None
        if len(self._taken) > REMEMBERED:
            del self._taken[next(iter(self._taken))]
        try:
            event = msgspec.json.decode(body, type=_Event)
        except msgspec.MsgspecError:
            log.info("a webhook told of no job", extra={"action": "webhook"})
            return
        log.info("the provider sends word of a job: %s", event.type, extra={"action": "webhook"})
        try:
            await self._look_now(event.data.id)
        except StoreError:
            self._taken.pop(message_id, None)
            raise
