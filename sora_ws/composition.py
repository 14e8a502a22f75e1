"""The composition: what is built from what. The only file that knows every part.

What is built is started, and closed at the end in the reverse order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, cast

from tornado.ioloop import PeriodicCallback
from tornado.web import Application

from sora_ws.admission import Admission
from sora_ws.attendant import PATIENCE, Attendant, Patience
from sora_ws.auth import Accounts, Tokens, jwt_key
from sora_ws.backing import callback_secrets, links_key, make_provider, relay_prefix
from sora_ws.bus.redis import RedisBus
from sora_ws.clock import Clock
from sora_ws.cluster import Cluster
from sora_ws.delivery import Sender
from sora_ws.media import MediaStore
from sora_ws.media.files import FileMedia
from sora_ws.media.gridfs import GridFsMedia
from sora_ws.media.links import Links
from sora_ws.media.scratch import Scratch
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
    REDIS_UP,
    RELAY_DROPPED,
    RELAY_READ,
    RELAYED_IN,
    RELAYED_OUT,
    SLOW,
    SUBSCRIPTIONS,
    WAITING,
    WEBHOOKS,
    Metrics,
)
from sora_ws.poller import Poller
from sora_ws.postman import Postman
from sora_ws.provider.limiter import BREAK_MAX_S, LimitedVideos, Limiter
from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.provider.simulator import Simulator
from sora_ws.push.commands import Commands
from sora_ws.push.handler import PushHandler
from sora_ws.push.hub import Hub
from sora_ws.push.lines import Lines
from sora_ws.push.messages import ClusterStats, Presenter, Stats
from sora_ws.push.reads import StateReads
from sora_ws.push.relay import Relay
from sora_ws.push.selfcheck import bare_sockets
from sora_ws.push.sse import EventStreams
from sora_ws.rest import RestContext, UnderWay, event_routes, log_request, routes
from sora_ws.rest.throttle import LoginThrottle
from sora_ws.rest.views import letter
from sora_ws.retention import Limits, Retention
from sora_ws.rhythm import Rhythm
from sora_ws.service import VideoService
from sora_ws.settings import Settings
from sora_ws.signatures import Signer, Verifier
from sora_ws.store import Store, StoreError
from sora_ws.store.mongo import MongoStore
from sora_ws.task import Task
from sora_ws.webhooks import Webhooks
from sora_ws.writer import TaskWriter

if TYPE_CHECKING:
    from sora_ws.push.sockets import Sockets

log = logging.getLogger(__name__)

DISABLED_EVERY_MS: Final = 500  # so that a user who is shut out is so within a second
TIDY_EVERY_MS: Final = 60_000


class Composition:
    """Every part of one server on an open store, built by `build`.

    `stack` closes them, behind `leaving`: what has to be told that the server stops, and for how many
    seconds it may still be at work. `requests` are those that are being answered; `readiness` tells why no
    new work should be sent here, None where nothing stands against it.
    """

    hub: Hub
    lines: Lines
    service: VideoService
    _poller: Poller
    _postman: Postman
    _reads: StateReads
    _context: RestContext

    def __init__(
        self,
        settings: Settings,
        store: Store,
        stack: AsyncExitStack,
        requests: UnderWay,
        readiness: Callable[[], Awaitable[str | None]],
        *,
        patience: Patience = PATIENCE,
    ) -> None:
        self.first_password: str | None = None
        self.leaving: list[Callable[[float], Awaitable[object]]] = []
        self._settings = settings
        self._store = store
        self._stack = stack
        self._requests = requests
        self._readiness = readiness
        self._patience = patience
        self._cluster: Cluster | None = None
        self._clock = Clock()
        self._rhythm = Rhythm(settings.sora_poll_min_interval, settings.sora_poll_interval)
        self._metrics = Metrics()

    async def build(self) -> None:
        """Build and start everything. Raises StoreError, MediaAway."""
        settings, store = self._settings, self._store
        self._metrics.time_store(store)
        self._metrics.start()
        self._stack.callback(self._metrics.stop)
        tokens = Tokens(settings.jwt_expires_in, await jwt_key(store, settings))
        accounts = Accounts(store)
        self.first_password = await accounts.ensure_admin()
        links = Links(await links_key(store), settings.url)
        presenter = Presenter(settings.message_language, links, self._rhythm)
        self.hub = hub = Hub(presenter, self._clock)
        relay = await self._relay()
        media = self._media()
        await media.prepare()
        memory = Memory(store, self._rhythm.experience)
        await memory.start()
        self._stack.push_async_callback(memory.stop)
        self._keep_room(media)
        await self._bring_forward()

        provider = await self._provider()
        postman = await self._callbacks(presenter)
        service, admission = await self._tasks(media, provider, postman, relay)
        self._reads = reads = StateReads(hub, store, admission.placed)
        self._stack.push_async_callback(reads.close)
        stats = self._push(service, tokens)
        self._tell_figures(provider)
        await self._watch_for_disabled(tokens)
        self._context = RestContext(
            settings=settings,
            tokens=tokens,
            accounts=accounts,
            service=service,
            presenter=presenter,
            links=links,
            media=media,
            stats=stats,
            clock=self._clock,
            readiness=self._readiness,
            provider_trouble=lambda: provider.trouble,
            webhooks=self._webhooks(),
            metrics=lambda: self._metrics.page(store),
            login_throttle=LoginThrottle() if self._cluster is None else self._cluster.throttle,
        )

    def _media(self) -> MediaStore:
        """Where the settings want videos to be."""
        folder = self._settings.state_dir / "media"
        if self._settings.media_store == "files":
            return FileMedia(folder)
        scratch = Scratch(folder / "partial")
        self._stack.callback(scratch.close)
        return GridFsMedia(cast(MongoStore, self._store), scratch)  # the settings take no other for it

    async def application(self) -> Application:
        """What serves it all, once it is built."""
        lines, hub, reads, context = self.lines, self.hub, self._reads, self._context

        def serving(sockets: Sockets | None) -> Application:
            door = {"lines": lines, "settings": self._settings, "sockets": sockets}
            streams = EventStreams(lines, hub, reads, sockets)
            handlers = [(r"/ws", PushHandler, door), *event_routes(context, streams), *routes(context)]
            return application(handlers, self._requests)

        sockets = await bare_sockets(self._settings.ws_transport, serving)
        if sockets is not None:
            self._stack.push_async_callback(sockets.close)
        return serving(sockets)

    async def _relay(self) -> Relay | None:
        """The way to the other instances, started; None where this one is alone."""
        settings = self._settings
        if settings.redis_url is None:
            return None
        store = cast(MongoStore, self._store)  # the settings take no other for it
        bus = RedisBus(settings.redis_url)
        relay = Relay(
            self.hub,
            store,
            bus,
            prefix=await relay_prefix(store, settings),
            name=store.claimant.name,
            clock=self._clock,
            read_every_s=settings.sora_poll_min_interval / 1000,
        )
        self.hub.others = relay
        self._cluster = Cluster(store.claimant, store, relay)
        relay.at_work = self._cluster.claims.at_work
        self._stack.callback(self._cluster.stop)
        await relay.start()
        self._stack.push_async_callback(relay.stop)
        self._metrics.tell(REDIS_UP, lambda: bus.is_up)
        self._metrics.tell(RELAYED_OUT, lambda: bus.sent)
        self._metrics.tell(RELAYED_IN, lambda: relay.heard_states)
        self._metrics.tell(RELAY_DROPPED, lambda: bus.dropped)
        self._metrics.tell(RELAY_READ, lambda: relay.reads)
        return relay

    async def _bring_forward(self) -> None:
        """Behind a clock that was set back, tasks and callbacks would wait until their old time."""
        now = self._clock()
        looks = await self._store.bring_forward(now)
        callbacks = await self._store.bring_callbacks_forward(now)
        if looks or callbacks:
            log.warning(
                "the clock was set back: %d tasks and %d callbacks wait from now on",
                looks,
                callbacks,
                extra={"action": "clock_back"},
            )

    async def _tasks(
        self, media: MediaStore, provider: LimitedVideos, postman: Postman, relay: Relay | None
    ) -> tuple[VideoService, Admission]:
        """What looks after tasks, started, and what users do with them."""
        settings, store, cluster = self._settings, self._store, self._cluster

        def publish(task: Task) -> None:
            self.hub.publish(task)  # at home first
            if relay is not None:
                relay.publish(task)
            admission.note(task)
            if task.callback is not None and not task.is_live:
                postman.nudge()

        claims = None if cluster is None else cluster.claims
        writer = TaskWriter(store, self._clock, publish)
        attendant = Attendant(
            store=store,
            writer=writer,
            provider=provider,
            media=media,
            rhythm=self._rhythm,
            clock=self._clock,
            patience=self._patience,
            claims=claims,
        )
        self._poller = poller = Poller(store, attendant, provider, self._clock, claims)
        admission = Admission(
            store=store,
            writer=writer,
            clock=self._clock,
            places=settings.sora_max_in_flight,
            attend=poller.nudge if cluster is None else lambda task: cluster.tell_due(task.id),
            others=None if cluster is None else cluster.line,
        )
        self._stack.callback(admission.stop)
        if cluster is not None:
            cluster.join(poller, provider, self._rhythm.experience)
        self.service = service = VideoService(
            store=store,
            writer=writer,
            media=media,
            clock=self._clock,
            admission=admission,
            attend=poller.nudge,
            stop_job=attendant.stop_job,
            call_back=postman.nudge,
            tasks_per_user_max=settings.max_tasks_per_user,
            simulated=settings.simulates,
            has_others=cluster is not None,
        )
        poller.start()
        self.leaving.append(poller.stop)
        self.leaving.append(self._end_requests)
        await admission.start()
        self._metrics.tell(WAITING, lambda: admission.waiting)
        self._metrics.tell(POSSIBLE_DOUBLES, lambda: attendant.possible_doubles)
        return service, admission

    async def _end_requests(self, seconds: float) -> None:
        """Requests first, since they leave work behind them."""
        steady = asyncio.get_running_loop().time
        end = steady() + seconds
        await self._requests.ended(seconds)
        await self.service.close(max(0.0, end - steady()))

    def _webhooks(self) -> Webhooks | None:
        """What takes the provider's word, None where no secret says who that is."""
        secrets = self._settings.sora_webhook_secret
        if not secrets:
            self._metrics.tell(WEBHOOKS, dict)
            return None
        webhooks = Webhooks(Verifier(secrets), self._poller.look_now)
        self._metrics.tell(WEBHOOKS, lambda: webhooks.outcomes)
        return webhooks

    async def _callbacks(self, presenter: Presenter) -> Postman:
        """What tells ends to the addresses that asked for it, started."""
        signer = Signer(await callback_secrets(self._store, self._settings))
        sender = Sender(self._settings.callback_allow)
        self._stack.callback(sender.close)
        self._postman = postman = Postman(
            self._store, sender, signer, lambda task: letter(task, presenter), self._clock
        )
        postman.start()
        self.leaving.append(postman.stop)
        return postman

    def _push(self, service: VideoService, tokens: Tokens) -> Callable[[], Awaitable[Stats]]:
        """The open lines, started, and where their figures come from."""
        settings, hub = self._settings, self.hub
        steady = asyncio.get_running_loop().time
        lines = Lines(settings, hub, steady, self._clock)

        def counts() -> dict[str, Any]:
            return {
                "connected_clients": lines.connected,
                "authenticated_clients": lines.authenticated,
                "subscriptions": hub.subscriptions,
                "messages_sent": lines.messages_sent,
                "messages_per_second": lines.messages_per_second,
                "slow_consumers": lines.slow,
            }

        def figures() -> ClusterStats:
            return ClusterStats(instances=1, **counts())

        async def stats() -> Stats:
            return Stats(
                **counts(),
                active_tasks=await self._store.count_live(),
                uptime=lines.uptime,
                cluster=None if self._cluster is None else self._cluster.figures(figures()),
            )

        commands = Commands(
            lines=lines,
            hub=hub,
            service=service,
            reads=self._reads,
            tokens=tokens,
            stats=stats,
            time=steady,
            clock=self._clock,
            subscriptions_max=settings.max_subscriptions,
            messages_per_second_max=settings.max_messages_per_second,
        )
        lines.handle = commands.handle
        lines.start()
        self.lines = lines
        self.leaving.append(lines.drain)
        self._stack.callback(lines.stop)
        if self._cluster is not None:
            self._cluster.tell_figures(figures)
        return stats

    async def _provider(self) -> LimitedVideos:
        """The provider that the settings name, or the simulator on a port of its own, and its limiter."""
        settings = self._settings
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

    def _tell_figures(self, provider: LimitedVideos) -> None:
        """What the parts know anyway."""
        tell, limiter = self._metrics.tell, provider.limiter
        lines, postman = self.lines, self._postman
        tell(BREAKER_OPEN, lambda: limiter.is_open)
        tell(HELD, lambda: limiter.held_s)
        tell(NEEDS_OPERATOR, lambda: provider.needs_operator)
        tell(CALLBACKS, lambda: postman.outcomes)
        tell(CALLBACKS_UNDER_WAY, lambda: postman.under_way)
        tell(CONNECTIONS, lambda: lines.connected)
        tell(AUTHENTICATED, lambda: lines.authenticated)
        tell(SLOW, lambda: lines.slow)
        tell(SUBSCRIPTIONS, lambda: self.hub.subscriptions)
        tell(MESSAGES, lambda: lines.messages_sent)
        tell(CONFLATED, lambda: lines.conflated)
        tell(CLOSED, lambda: lines.closed)

    async def _watch_for_disabled(self, tokens: Tokens) -> None:
        """Know who is shut out before anybody is let in; the command line changes it in the store."""

        async def look() -> None:
            fresh = tokens.refresh_disabled(await self._store.disabled_users())
            self.lines.shut_out(fresh)

        async def look_again() -> None:
            with contextlib.suppress(StoreError):  # the poller says when the store is away
                await look()

        await look()
        watch = PeriodicCallback(look_again, DISABLED_EVERY_MS)
        watch.start()
        self._stack.callback(watch.stop)

    def _keep_room(self, media: MediaStore) -> None:
        limits = Limits(self._settings.media_max_age, self._settings.media_max_bytes)
        if limits == Limits(None, None):
            return
        retention = Retention(self._store, media, limits)
        first = asyncio.create_task(retention.tidy(time.time()))
        self._stack.callback(first.cancel)
        # Instances that were started at once come apart, and most find it done.
        tidying = PeriodicCallback(lambda: retention.tidy(time.time()), TIDY_EVERY_MS, jitter=0.5)
        tidying.start()
        self._stack.callback(tidying.stop)


def application(handlers: list[Any], requests: UnderWay) -> Application:
    """These handlers; `requests` knows which of them are at work."""
    return Application(handlers, log_function=log_request, under_way=requests)
