"""An event loop whose time stands still while something is to be done, and jumps when nothing is."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from typing import Any, Final
from weakref import WeakKeyDictionary

LIFE: Final[ContextVar[int]] = ContextVar("life", default=0)
"""Which life of the server a piece of work belongs to; 0 is the world around it."""


class _NoSelector(selectors.BaseSelector):
    """No file is ever ready: to wait is to let the time pass."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self.now = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("nothing will ever happen again")
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """`delay_s` is how long a piece of work for another thread takes; it is done here, all at once."""

    def __init__(self) -> None:
        self._clockwork = _NoSelector()
        self.delay_s: Callable[[], float] = lambda: 0.0
        super().__init__(self._clockwork)
        self.lost: list[asyncio.Task[Any]] = []
        self._lives: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self.set_task_factory(self._make_task)

    def _make_task(self, loop: Any, work: Any, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
        self._lives[task] = (context or copy_context()).get(LIFE, 0)
        return task

    def time(self) -> float:
        """Virtual seconds. A step too small for a float would let the time stand still."""
        return self._clockwork.now

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """The work is done whether or not somebody still waits for it, as in a thread."""
        done: asyncio.Future[Any] = self.create_future()
        self.call_later(self.delay_s(), self._work, done, func, args)
        return done

    @staticmethod
    def _work(done: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            result = func(*args)
        except Exception as error:
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(result)

    def kill(self, life: int) -> None:
        """kill -9: nothing that belongs to this life happens any more. Its tasks are kept, unfinished."""
        for task in asyncio.all_tasks(self):
            if self._lives[task] == life:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                self.lost.append(task)
        queues: Any = self
        for handle in [*queues._ready, *queues._scheduled]:
            if handle._context.get(LIFE, 0) == life:
                handle.cancel()
