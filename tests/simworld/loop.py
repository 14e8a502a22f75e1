"""An event loop whose time stands still while something is to be done, and jumps when nothing is."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from asyncio.events import Handle, TimerHandle
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from heapq import heappop, heappush
from typing import Any, Final

from tornado.ioloop import PeriodicCallback

LIFE: Final[ContextVar[str]] = ContextVar("life", default="")
"""Which life of the server a piece of work belongs to; none is the world around it."""


class _NoSelector(selectors.BaseSelector):
    """No file is ever ready."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """`delay_s` is how long a piece of work for another thread takes; it is done here, all at once.

    What the base class does a dozen thousand times a seed is done here without all that it does for
    real files, threads and debuggers.
    """

    _ready: deque[Handle]
    _stopping: bool

    def __init__(self) -> None:
        self.delay_s: Callable[[], float] = lambda: 0.0
        super().__init__(_NoSelector())
        self.lost: list[asyncio.Task[Any]] = []
        self._now = 0.0
        self._timers: list[tuple[float, int, TimerHandle]] = []  # the number keeps the order among equals
        self._numbers = itertools.count()
        self.set_task_factory(self._make_task)

    def _make_task(self, loop: Any, work: Any, context: Context | None = None) -> asyncio.Task[Any]:
        life = LIFE.get() if context is None else context.get(LIFE, "")
        return asyncio.Task(work, loop=loop, name=life, context=context)

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> TimerHandle:
        timer = TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """One turn: the time passes if there is nothing else to do, and then all is done that is due."""
        ready, timers = self._ready, self._timers
        if not ready and not self._stopping:
            while timers[0][2].cancelled():
                heappop(timers)
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

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

    def kill(self, life: str) -> None:
        """kill -9: nothing that belongs to this life happens any more. Its tasks are kept, unfinished."""
        for task in asyncio.all_tasks(self):
            if task.get_name() == life:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                self.lost.append(task)
        handles: list[Any] = [*self._ready, *(timer for _, _, timer in self._timers)]
        for handle in handles:
            if handle._context.get(LIFE, "") == life:
                handle.cancel()


class Beat(PeriodicCallback):
    """Tornado's, without a task and a deadline of the IOLoop for what is done at once."""

    _work: asyncio.Future[None]

    def _run(self) -> None:  # type: ignore[override]
        if not self.is_running():
            return
        work = None
        try:
            work = self.callback()
        finally:
            if work is None:
                self._schedule_next()
        if work is not None:
            self._work = asyncio.ensure_future(work)
            self._work.add_done_callback(lambda _: self._schedule_next())

    def _schedule_next(self) -> None:
        if self.is_running():
            loop = asyncio.get_running_loop()
            self._update_next(loop.time())
            self._timeout = loop.call_at(self._next_timeout, self._run)
