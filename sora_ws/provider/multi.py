"""libcurl's transfers on the event loop (CURLMOPT_SOCKETFUNCTION), and no more than a look needs.

Tornado's client sets twice as many options a request, and asks for seven times of it afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pycurl


class TransferError(Exception):
    """The transfer ended without a whole answer. The text is libcurl's."""


class Closed(Exception):
    """The transfers were closed; `was_under_way` is whether this one had begun."""

    def __init__(self, *, was_under_way: bool) -> None:
        super().__init__("the client was closed")
        self.was_under_way = was_under_way


class Transfers:
    """At most `at_once` transfers at a time, on connections that are kept. Belongs to one loop."""

    def __init__(self, at_once: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._places = asyncio.Semaphore(at_once)
        self._idle: list[pycurl.Curl] = []
        self._ends: dict[pycurl.Curl, asyncio.Future[None]] = {}
        self._watched: dict[int, int] = {}
        self._timer: asyncio.Handle | None = None
        self._is_closed = False
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    async def perform(self, prepare: Callable[[pycurl.Curl], None]) -> int:
        """The status of the answer to the request that `prepare` sets on a fresh handle.

        Who gives up ends the transfer. Raises TransferError, Closed, and what `prepare` raises.
        """
        async with self._places:
            if self._is_closed:
                raise Closed(was_under_way=False)
            curl = self._idle.pop() if self._idle else pycurl.Curl()
            try:
                prepare(curl)
                await self._end(curl)
                return int(curl.getinfo(pycurl.RESPONSE_CODE))
            finally:
                if self._ends.pop(curl, None) is not None:
                    self._multi.remove_handle(curl)
                curl.reset()
                self._idle.append(curl)

    def close(self) -> None:
        """Let go of every connection; what is under way ends at once. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        while self._ends:
            curl, end = self._ends.popitem()
            self._multi.remove_handle(curl)
            if not end.done():
                end.set_exception(Closed(was_under_way=True))
        self._multi.close()
        self._set_timer(-1)
        for fd in list(self._watched):
            self._watch(pycurl.POLL_REMOVE, fd, None, None)

    def _end(self, curl: pycurl.Curl) -> asyncio.Future[None]:
        end = self._ends[curl] = self._loop.create_future()
        self._multi.add_handle(curl)
        return end

    def _watch(self, event: int, fd: int, _multi: object, _data: object) -> None:
        """What libcurl wants to hear of a socket, from now on.

        Told anew each time: it may have closed one without a word, whose number another has now.
        """
        was = self._watched.pop(fd, 0)
        if was & pycurl.POLL_IN:
            self._loop.remove_reader(fd)
        if was & pycurl.POLL_OUT:
            self._loop.remove_writer(fd)
        if event == pycurl.POLL_REMOVE:
            return
        self._watched[fd] = event
        if event & pycurl.POLL_IN:
            self._loop.add_reader(fd, self._go_on, fd, pycurl.CSELECT_IN)
        if event & pycurl.POLL_OUT:
            self._loop.add_writer(fd, self._go_on, fd, pycurl.CSELECT_OUT)

    def _set_timer(self, wait_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if wait_ms < 0 else self._loop.call_later(wait_ms / 1000, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        self._go_on(pycurl.SOCKET_TIMEOUT, 0)
        if self._timer is None and not self._is_closed:
            # The loop may be early by less than a ms, and libcurl says the same time only once.
            self._set_timer(self._multi.timeout())

    def _go_on(self, fd: int, events: int) -> None:
        if self._is_closed:
            return
        self._multi.socket_action(fd, events)
        more = 1
        while more:
            more, answered, failed = self._multi.info_read()
            for curl in answered:
                self._ended(curl, None)
            for curl, _code, text in failed:
                self._ended(curl, TransferError(text))

    def _ended(self, curl: pycurl.Curl, error: TransferError | None) -> None:
        end = self._ends.pop(curl)
        self._multi.remove_handle(curl)
        if end.done():  # whoever waited has just given up
            return
        if error is None:
            end.set_result(None)
        else:
            end.set_exception(error)
