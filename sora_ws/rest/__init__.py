"""HTTP: handlers by resource, and the table of their addresses.

Knows how things are asked for and shown, and nothing of how they are done or kept.
"""

from __future__ import annotations

from typing import Any

from sora_ws.push.sse import EventStreams
from sora_ws.rest.access_log import log_request
from sora_ws.rest.context import RestContext
from sora_ws.rest.events import EventsHandler, TaskEventsHandler
from sora_ws.rest.login import LoginHandler, RefreshHandler
from sora_ws.rest.media import MediaHandler
from sora_ws.rest.page import AssetHandler, load_assets
from sora_ws.rest.status import (
    HealthHandler,
    MetricsHandler,
    NothingHandler,
    ReadyHandler,
    StatsHandler,
    WaitingHandler,
)
from sora_ws.rest.under_way import UnderWay
from sora_ws.rest.videos import CallbackHandler, CancelHandler, RetryHandler, VideoHandler, VideosHandler
from sora_ws.rest.webhooks import WebhookHandler
from sora_ws.settings import Settings

__all__ = ["RestContext", "UnderWay", "event_routes", "log_request", "routes", "waiting_routes"]

Route = tuple[str, type[Any], dict[str, Any]]


def routes(context: RestContext) -> list[Route]:
    """The addresses of a server whose parts are all there. The last of them takes what is left."""
    mine = {"context": context}
    return [
        (r"/api/auth/login", LoginHandler, mine),
        (r"/api/auth/refresh", RefreshHandler, mine),
        (r"/api/videos", VideosHandler, mine),
        (r"/api/videos/([^/]+)", VideoHandler, mine),
        (r"/api/videos/([^/]+)/cancel", CancelHandler, mine),
        (r"/api/videos/([^/]+)/retry", RetryHandler, mine),
        (r"/api/videos/([^/]+)/callback", CallbackHandler, mine),
        (r"/api/stats", StatsHandler, mine),
        (r"/media/([^/]+\.(?:mp4|jpg))", MediaHandler, mine),
        (r"/webhooks/sora", WebhookHandler, mine),
        (r"/readyz", ReadyHandler, mine),
        (r"/metrics", MetricsHandler, mine),
        *_open_routes(context.settings),
        (r".*", NothingHandler, {"settings": context.settings}),
    ]


def event_routes(context: RestContext, streams: EventStreams) -> list[Route]:
    """The addresses of what stays open; to be put before the others."""
    mine = {"context": context, "streams": streams}
    return [
        (r"/api/events", EventsHandler, mine),
        (r"/api/videos/([^/]+)/events", TaskEventsHandler, mine),
    ]


def waiting_routes(settings: Settings) -> list[Route]:
    """The addresses of a server that waits for its database: the page, and 503 for the rest."""
    return [*_open_routes(settings), (r".*", WaitingHandler, {"settings": settings})]


def _open_routes(settings: Settings) -> list[Route]:
    page = {"settings": settings, "assets": load_assets()}
    return [
        (r"/healthz", HealthHandler, {"settings": settings}),
        (r"/", AssetHandler, {**page, "path": "index.html"}),
        (r"/sora-ws\.js", AssetHandler, {**page, "path": "sora-ws.js"}),
        (r"/static/(.+)", AssetHandler, page),
    ]
