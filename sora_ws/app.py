"""The life of one server: it starts, waits for its store, serves, takes leave, and closes what was built.

The port is open before the store has answered; until then it says 503.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from tornado.ioloop import IOLoop, PeriodicCallback

from sora_ws import failpoint, systemd
from sora_ws.accepting import Acceptor, Server
from sora_ws.backing import make_store
from sora_ws.composition import Composition, application
from sora_ws.listening import open_sockets, raise_open_files
from sora_ws.media import MediaAway
from sora_ws.rest import UnderWay, waiting_routes
from sora_ws.settings import Settings, WrongSetting
from sora_ws.store import NewerFormat, Store, StoreError

log = logging.getLogger(__name__)

STORE_RETRY_S: Final = 1.0
DOOR_WAIT_S: Final = 4.0  # a start beside others at work took more than 2 s
CLOSE_S: Final = 1.5  # for what a stop has to do besides taking leave
LET_GO_S: Final = 0.25
HEADER_BYTES_MAX: Final = 16_384


class App:
    """One server, from start to stop. Both may be called once.

    `composition` makes its `parts`, which are None until the store has answered.
    """

    def __init__(self, settings: Settings, *, composition: Callable[..., Composition] = Composition) -> None:
        self.settings = settings
        self.parts: Composition | None = None
        self._composition = composition
        self._stack = AsyncExitStack()
        self._server: Server | None = None
        self._composing: asyncio.Task[None] | None = None
        self._requests = UnderWay()
        self._stop_accepting: Callable[[], None] = lambda: None
        self._is_stopping = False

    @property
    def first_password(self) -> str | None:
        """Of the admin, where this start has made one."""
        return self.parts.first_password if self.parts is not None else None

    async def start(self) -> None:
        """Listen; without a store after DOOR_WAIT_S, answer 503 until it is there. Raises WrongSetting."""
        use_steady_time(IOLoop.current())
        store = make_store(self.settings)
        _make_folder("STATE_DIR", self.settings.state_dir)
        if self.settings.sqlite_path is not None:
            _make_folder("DATABASE_URL", self.settings.sqlite_path.parent)
        sockets = open_sockets(self.settings)
        self.settings = dataclasses.replace(
            self.settings,
            port=sockets[0].getsockname()[1],
            max_connections=raise_open_files(self.settings.max_connections),
        )
        self._server = server = Server(
            application(waiting_routes(self.settings), self._requests),
            max_header_size=HEADER_BYTES_MAX,
        )
        server.gone = self._requests.end
        acceptor = Acceptor(server, sockets)
        has_others = self.settings.redis_url is not None
        self._stop_accepting = partial(self._hand_over, acceptor, server) if has_others else acceptor.stop
        self._keep_watchdog_fed()
        self._composing = asyncio.create_task(self._compose(store))
        # Who comes meanwhile waits in the sockets' backlog, so that a restart answers nobody by a 503.
        await asyncio.wait((self._composing,), timeout=DOOR_WAIT_S)
        acceptor.start()

    async def ready(self) -> None:
        """Returns when the store has answered and everything is served. Raises NewerFormat."""
        if self._composing is not None:
            await asyncio.shield(self._composing)

    async def stop(self) -> None:
        """Take leave within DRAIN_SECONDS; what is under way ends or goes on after the next start.

        Whatever hangs is left behind: this returns before DRAIN_SECONDS + 2.
        """
        if self._is_stopping:
            return
        self._is_stopping = True
        leaving = asyncio.create_task(self._leave(self.settings.drain_seconds))
        _, late = await asyncio.wait((leaving,), timeout=self.settings.drain_seconds + CLOSE_S)
        if late:
            log.warning("something hangs and is left behind", extra={"action": "stop_hangs"})
            leaving.cancel()  # each part that is yet to be closed still has its turn
            await asyncio.wait((leaving,), timeout=LET_GO_S)
        else:
            leaving.result()

    async def _leave(self, seconds: float) -> None:
        """Everybody is given these seconds at once, then every part is closed."""
        self._stop_accepting()
        failpoint.reach("leaving")
        leaving: list[Awaitable[object]] = [self._requests.ended(seconds)]
        if self._composing is not None:
            self._composing.cancel()
            leaving.append(asyncio.wait((self._composing,)))
        if self.parts is not None:
            leaving += [leave(seconds) for leave in self.parts.leaving]
        try:
            await asyncio.gather(*leaving)
        finally:
            await self._stack.aclose()

    def _hand_over(self, acceptor: Acceptor, server: Server) -> None:
        """Refuse who comes, as other instances are there for them, and wait for whom a proxy keeps a line.

        An idle one that we closed could be one on which a create is just being sent.
        """
        acceptor.hand_over()
        for connection in server.part():
            self._requests.begin(connection)

    async def _compose(self, store: Store) -> None:
        """When the store is there, build everything and serve it. Raises NewerFormat."""
        first_password = None
        while (parts := await self._built(store)) is None:
            # Of a start that was given up, this alone must not be lost.
            first_password = self.first_password or first_password
            self.parts = None
            await asyncio.sleep(STORE_RETRY_S)
            store = make_store(self.settings)
        parts.first_password = parts.first_password or first_password
        if self._server is not None:
            self._server.request_callback = await parts.application()

    async def _built(self, store: Store) -> Composition | None:
        """The parts; None where the store went away and all is closed again. Raises NewerFormat."""
        stack = await self._stack.enter_async_context(AsyncExitStack())
        stack.push_async_callback(store.close)
        await _open(store)
        failpoint.reach("store_opened")
        self.parts = parts = self._composition(
            self.settings, store, stack, self._requests, lambda: self._readiness(store)
        )
        try:
            await parts.build()
        except NewerFormat:
            raise
        except (StoreError, MediaAway) as error:  # the one database, where it has the videos too
            log.warning("the database went away during the start: %s", error, extra={"action": "store_away"})
            await asyncio.gather(*(leave(0) for leave in parts.leaving))
            await stack.aclose()
            return None
        return parts

    async def _readiness(self, store: Store) -> str | None:
        """Why no new work should be sent here, None where nothing stands against it."""
        if self._is_stopping:
            return "the server stops"
        try:
            await store.ping()
        except StoreError:
            return "the database is away"
        return None

    def _keep_watchdog_fed(self) -> None:
        """From the loop itself: a loop that hangs must not look alive."""
        interval = systemd.watchdog_interval()
        if interval is not None:
            feeding = PeriodicCallback(lambda: systemd.notify("WATCHDOG=1"), interval * 1000)
            feeding.start()
            self._stack.callback(feeding.stop)


def use_steady_time(loop: IOLoop) -> None:
    """Give the IOLoop the monotonic clock.

    PeriodicCallback counts in `IOLoop.time`, which is wall time: set back by an hour, every
    beat and every look would stand still for that hour. Before anything is scheduled.
    """
    loop.time = asyncio.get_running_loop().time  # type: ignore[method-assign]


def _make_folder(setting: str, folder: Path) -> None:
    """Raises WrongSetting."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WrongSetting(f"{setting}: the folder {folder} can't be made: {error.strerror}") from None


async def _open(store: Store) -> None:
    """Wait until the store is there. Raises NewerFormat."""
    told = False
    while True:
        try:
            await store.open()
        except NewerFormat:
            raise
        except StoreError as error:
            if not told:
                log.warning("waiting for the database: %s", error, extra={"action": "store_away"})
            told = True
            await asyncio.sleep(STORE_RETRY_S)
        else:
            return
