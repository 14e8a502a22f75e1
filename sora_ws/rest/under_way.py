"""Which requests are being answered, so that a stop can wait for them."""

from __future__ import annotations

import asyncio


class UnderWay:
    """A count that can be waited for to become nothing."""

    def __init__(self) -> None:
        self._requests: set[object] = set()
        self._none = asyncio.Event()
        self._none.set()

    def begin(self, request: object) -> None:
        self._requests.add(request)
        self._none.clear()

    def end(self, request: object) -> None:
        """Ending twice is ending once."""
        self._requests.discard(request)
        if not self._requests:
            self._none.set()

    async def ended(self, timeout_s: float) -> bool:
        """Whether all have ended within this time."""
        try:
            await asyncio.wait_for(self._none.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
