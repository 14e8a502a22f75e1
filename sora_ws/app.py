"""The composition: builds every part from `Settings`, starts, drains, stops.

The only file that knows all of them. Parts that need the store's keys are built when the store
has answered; until then the port is open and says 503.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.web import Application

from sora_ws import failpoint, systemd
from sora_ws.accepting import Acceptor
from sora_ws.admission import Admission
from sora_ws.attendant import PATIENCE, Attendant, Patience
from sora_ws.auth import Accounts, Tokens, jwt_key
from sora_ws.clock import Clock
from sora_ws.delivery import Sender
from sora_ws.listening import open_sockets, raise_open_files
from sora_ws.media import FileMedia, Links, MediaStore
from sora_ws.memory import Memory
from sora_ws.metrics import (
    AUTHENTICATED,
    BREAKER_OPEN,
    CALLBACKS,
    CALLBACKS_UNDER_WAY,
    CLOSED,
    CONFLATED,
    CONNECTIONS,
    HELD,
    MESSAGES,
    NEEDS_OPERATOR,
    POSSIBLE_DOUBLES,
    SLOW,
    SUBSCRIPTIONS,
    WAITING,
    WEBHOOKS,
    Metrics,
)
from sora_ws.poller import Poller
from sora_ws.postman import Postman
from sora_ws.provider import VideoProvider
from sora_ws.provider.limiter import BREAK_MAX_S, LimitedVideos, Limiter
from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.provider.simulator import Simulator
from sora_ws.push.commands import Commands
from sora_ws.push.handler import PushHandler
from sora_ws.push.hub import Hub
from sora_ws.push.lines import Lines
from sora_ws.push.messages import Presenter, Stats
from sora_ws.push.reads import StateReads
from sora_ws.push.selfcheck import bare_sockets
from sora_ws.push.sse import EventStreams
from sora_ws.rest import RestContext, UnderWay, event_routes, log_request, routes, waiting_routes
from sora_ws.rest.views import letter
from sora_ws.retention import Limits, Retention
from sora_ws.rhythm import Rhythm
from sora_ws.service import VideoService
from sora_ws.settings import Secret, Settings, WrongSetting
from sora_ws.signatures import Signer, Verifier, new_secret
from sora_ws.store import KeyStore, NewerFormat, Store, StoreError
from sora_ws.store.mongo import MongoStore
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Task
from sora_ws.webhooks import Webhooks
from sora_ws.writer import TaskWriter

if TYPE_CHECKING:
    from sora_ws.push.sockets import Sockets

log = logging.getLogger(__name__)

STORE_RETRY_S: Final = 1.0
DOOR_WAIT_S: Final = 2.0
DISABLED_EVERY_MS: Final = 1_000
TIDY_EVERY_MS: Final = 60_000
CLOSE_S: Final = 1.5  # for what a stop has to do besides taking leave
LET_GO_S: Final = 0.25
HEADER_BYTES_MAX: Final = 16_384
IDLE_S: Final = 75.0


def make_store(settings: Settings) -> Store:
    """The database that the settings name, not opened yet. Raises WrongSetting."""
    path = settings.sqlite_path
    if path is not None:
        return SqliteStore(path)
    try:
        return MongoStore(settings.database_url or "")
    except ValueError:  # its text holds the address, and that the password
        raise WrongSetting("DATABASE_URL can't be read: write mongodb://HOST/NAME") from None


def make_provider(settings: Settings) -> VideoProvider:
    """The videos API that the settings name. Raises WrongSetting where they name none."""
    if settings.sora_api_base_url is None:
        raise WrongSetting("SORA_API_BASE_URL is not set: the built-in simulator makes the videos")
    return OpenAIVideos(settings.sora_api_base_url, settings.sora_api_key)


class App:
    """One server, from start to stop. Both may be called once."""

    def __init__(self, settings: Settings, *, patience: Patience = PATIENCE) -> None:
        self.settings = settings
        self.first_password: str | None = None
        self._patience = patience
        self._clock = Clock()
        self._rhythm = Rhythm(settings.sora_poll_min_interval, settings.sora_poll_interval)
        self._metrics = Metrics()
        self._stack = AsyncExitStack()
        self._server: HTTPServer | None = None
        self._lines: Lines | None = None
        self._poller: Poller | None = None
        self._postman: Postman | None = None
        self._service: VideoService | None = None
        self._composing: asyncio.Task[None] | None = None
        self._requests = UnderWay()
        self._stop_accepting: Callable[[], None] = lambda: None
        self._is_stopping = False

    @property
    def url(self) -> str:
        """Where people find it: PUBLIC_URL, or by its port on this machine."""
        return self.settings.public_url or f"http://localhost:{self.settings.port}"

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
        self._server = HTTPServer(
            self._application(waiting_routes(self.settings)),
            idle_connection_timeout=IDLE_S,
            max_header_size=HEADER_BYTES_MAX,
        )
        acceptor = Acceptor(self._server, sockets)
        self._stop_accepting = acceptor.stop
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
        leaving: list[Awaitable[object]] = [self._end_requests(seconds)]
        if self._composing is not None:
            self._composing.cancel()
            leaving.append(asyncio.wait((self._composing,)))
        if self._lines is not None:
            leaving.append(self._lines.drain(seconds))
        if self._poller is not None:
            leaving.append(self._poller.stop(grace_s=seconds))
        if self._postman is not None:
            leaving.append(self._postman.stop(grace_s=seconds))
        try:
            await asyncio.gather(*leaving)
        finally:
            await self._stack.aclose()

    async def _end_requests(self, seconds: float) -> None:
        """Requests first, since they leave work behind them."""
        steady = asyncio.get_running_loop().time
        end = steady() + seconds
        await self._requests.ended(seconds)
        if self._service is not None:
            await self._service.close(max(0.0, end - steady()))

    async def _compose(self, store: Store) -> None:
        """Build everything that needs the store's keys, and serve it."""
        self._stack.push_async_callback(store.close)
        await _open(store)
        failpoint.reach("store_opened")
        self._metrics.time_store(store)
        self._metrics.start()
        self._stack.callback(self._metrics.stop)
        tokens = Tokens(self.settings.jwt_expires_in, await jwt_key(store, self.settings))
        accounts = Accounts(store)
        self.first_password = await accounts.ensure_admin()
        links = Links(await _links_key(store), self.url)
        presenter = Presenter(self.settings.message_language, links, self._rhythm)
        hub = Hub(presenter, self._clock)
        media = FileMedia(self.settings.state_dir / "media")
        await media.sweep()
        memory = Memory(store, self._rhythm.experience)
        await memory.start()
        self._stack.push_async_callback(memory.stop)
        self._keep_room(store, media)
        await self._bring_forward(store)

        provider = await self._provider()
        postman = await self._callbacks(store, presenter)
        service, admission = await self._tasks(store, media, provider, hub, postman)
        reads = StateReads(hub, store, admission.placed)
        self._stack.push_async_callback(reads.close)
        stats = self._push(store, hub, reads, service, tokens)
        self._tell_figures(provider, hub)
        await self._watch_for_disabled(store, tokens)
        context = RestContext(
            settings=self.settings,
            tokens=tokens,
            accounts=accounts,
            service=service,
            presenter=presenter,
            links=links,
            media=media,
            stats=stats,
            clock=self._clock,
            readiness=lambda: self._readiness(store),
            provider_trouble=lambda: provider.trouble,
            webhooks=self._webhooks(),
            metrics=lambda: self._metrics.page(store),
        )
        await self._serve(context, hub, reads)

    async def _bring_forward(self, store: Store) -> None:
        """Behind a clock that was set back, tasks would wait until their old time."""
        brought = await store.bring_forward(self._clock())
        if brought:
            log.warning(
                "the clock was set back: %d tasks wait from now on", brought, extra={"action": "clock_back"}
            )

    async def _tasks(
        self, store: Store, media: MediaStore, provider: LimitedVideos, hub: Hub, postman: Postman
    ) -> tuple[VideoService, Admission]:
        """What looks after tasks, started, and what users do with them."""
        settings = self.settings

        def publish(task: Task) -> None:
            hub.publish(task)
            admission.note(task)
            if task.callback is not None and not task.is_live:
                postman.nudge()

        writer = TaskWriter(store, self._clock, publish)
        attendant = Attendant(
            store=store,
            writer=writer,
            provider=provider,
            media=media,
            rhythm=self._rhythm,
            clock=self._clock,
            patience=self._patience,
        )
        self._poller = Poller(store, attendant, provider, self._clock)
        admission = Admission(
            store=store,
            writer=writer,
            clock=self._clock,
            places=settings.sora_max_in_flight,
            attend=self._poller.nudge,
        )
        self._stack.callback(admission.stop)
        self._service = service = VideoService(
            store=store,
            writer=writer,
            media=media,
            clock=self._clock,
            admission=admission,
            attend=self._poller.nudge,
            stop_job=attendant.stop_job,
            call_back=postman.nudge,
            tasks_per_user_max=settings.max_tasks_per_user,
            simulated=settings.simulates,
        )
        self._poller.start()
        await admission.start()
        self._metrics.tell(WAITING, lambda: admission.waiting)
        self._metrics.tell(POSSIBLE_DOUBLES, lambda: attendant.possible_doubles)
        return service, admission

    def _webhooks(self) -> Webhooks | None:
        """What takes the provider's word, None where no secret says who that is."""
        secrets = self.settings.sora_webhook_secret
        if not secrets or self._poller is None:
            self._metrics.tell(WEBHOOKS, dict)
            return None
        webhooks = Webhooks(Verifier(secrets), self._poller.look_now)
        self._metrics.tell(WEBHOOKS, lambda: webhooks.outcomes)
        return webhooks

    async def _callbacks(self, store: Store, presenter: Presenter) -> Postman:
        """What tells ends to the addresses that asked for it, started."""
        signer = Signer(await callback_secrets(store, self.settings))
        sender = Sender(self.settings.callback_allow)
        self._stack.callback(sender.close)
        self._postman = postman = Postman(
            store, sender, signer, lambda task: letter(task, presenter), self._clock
        )
        postman.start()
        return postman

    def _push(
        self, store: Store, hub: Hub, reads: StateReads, service: VideoService, tokens: Tokens
    ) -> Callable[[], Awaitable[Stats]]:
        """The open lines, started, and where their figures come from."""
        settings = self.settings
        steady = asyncio.get_running_loop().time
        lines = Lines(settings, hub, steady, self._clock)

        async def stats() -> Stats:
            return Stats(
                connected_clients=lines.connected,
                authenticated_clients=lines.authenticated,
                subscriptions=hub.subscriptions,
                active_tasks=await store.count_live(),
                messages_sent=lines.messages_sent,
                messages_per_second=lines.messages_per_second,
                slow_consumers=lines.slow,
                uptime=lines.uptime,
            )

        commands = Commands(
            lines=lines,
            hub=hub,
            service=service,
            reads=reads,
            tokens=tokens,
            stats=stats,
            time=steady,
            clock=self._clock,
            subscriptions_max=settings.max_subscriptions,
            messages_per_second_max=settings.max_messages_per_second,
        )
        lines.handle = commands.handle
        lines.start()
        self._lines = lines
        self._stack.callback(lines.stop)
        return stats

    async def _provider(self) -> LimitedVideos:
        """The provider that the settings name, or the simulator on a port of its own, and its limiter."""
        settings = self.settings
        first_s, longest_s = settings.sora_poll_min_interval / 1000, settings.sora_poll_interval / 1000
        if settings.sora_api_base_url is not None:
            provider = make_provider(settings)
        else:
            simulator = Simulator(settings.sora_simulator_seconds, settings.message_language)
            provider = OpenAIVideos(await simulator.start(), None)
            self._stack.push_async_callback(simulator.stop)
        self._stack.push_async_callback(provider.close)
        return LimitedVideos(
            provider, Limiter(first_s, min(longest_s, BREAK_MAX_S)), self._metrics.count_call
        )

    def _tell_figures(self, provider: LimitedVideos, hub: Hub) -> None:
        """What the parts know anyway."""
        tell, limiter = self._metrics.tell, provider.limiter
        tell(BREAKER_OPEN, lambda: limiter.is_open)
        tell(HELD, lambda: limiter.held_s)
        tell(NEEDS_OPERATOR, lambda: provider.needs_operator)
        if (postman := self._postman) is not None:
            tell(CALLBACKS, lambda: postman.outcomes)
            tell(CALLBACKS_UNDER_WAY, lambda: postman.under_way)
        if (lines := self._lines) is not None:
            tell(CONNECTIONS, lambda: lines.connected)
            tell(AUTHENTICATED, lambda: lines.authenticated)
            tell(SLOW, lambda: lines.slow)
            tell(SUBSCRIPTIONS, lambda: hub.subscriptions)
            tell(MESSAGES, lambda: lines.messages_sent)
            tell(CONFLATED, lambda: lines.conflated)
            tell(CLOSED, lambda: lines.closed)

    async def _serve(self, context: RestContext, hub: Hub, reads: StateReads) -> None:
        lines = self._lines
        if self._server is None or lines is None:
            return

        def application(sockets: Sockets | None) -> Application:
            door = {"lines": lines, "settings": self.settings, "sockets": sockets}
            streams = EventStreams(lines, hub, reads, sockets)
            return self._application(
                [(r"/ws", PushHandler, door), *event_routes(context, streams), *routes(context)]
            )

        sockets = await bare_sockets(self.settings.ws_transport, application)
        if sockets is not None:
            self._stack.push_async_callback(sockets.close)
        self._server.request_callback = application(sockets)

    def _application(self, handlers: list[Any]) -> Application:
        return Application(handlers, log_function=log_request, under_way=self._requests)

    async def _readiness(self, store: Store) -> str | None:
        """Why no new work should be sent here, None where nothing stands against it."""
        if self._is_stopping:
            return "the server stops"
        try:
            await store.ping()
        except StoreError:
            return "the database is away"
        return None

    async def _watch_for_disabled(self, store: Store, tokens: Tokens) -> None:
        """Know who is shut out before anybody is let in; the command line changes it in the store."""

        async def look() -> None:
            fresh = tokens.refresh_disabled(await store.disabled_users())
            if self._lines is not None:
                self._lines.shut_out(fresh)

        async def look_again() -> None:
            with contextlib.suppress(StoreError):  # the poller says when the store is away
                await look()

        await look()
        watch = PeriodicCallback(look_again, DISABLED_EVERY_MS)
        watch.start()
        self._stack.callback(watch.stop)

    def _keep_room(self, store: Store, media: MediaStore) -> None:
        limits = Limits(self.settings.media_max_age, self.settings.media_max_bytes)
        if limits == Limits(None, None):
            return
        retention = Retention(store, media, limits)
        first = asyncio.create_task(retention.tidy(time.time()))
        self._stack.callback(first.cancel)
        tidying = PeriodicCallback(lambda: retention.tidy(time.time()), TIDY_EVERY_MS)
        tidying.start()
        self._stack.callback(tidying.stop)

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


async def callback_secrets(store: KeyStore, settings: Settings) -> Sequence[Secret]:
    """What callbacks are signed with: CALLBACK_SECRET, or one that is made once. Raises StoreError."""
    return settings.callback_secret or (Secret(await store.keep("callbacks", new_secret())),)


async def _links_key(store: Store) -> bytes:
    return base64.b64decode(await store.keep("links", base64.b64encode(secrets.token_bytes(32)).decode()))
