"""What the handlers work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sora_ws.auth import Accounts, Tokens
from sora_ws.media import MediaStore
from sora_ws.media.links import Links
from sora_ws.push.messages import Presenter, Stats
from sora_ws.rest.throttle import LoginThrottle
from sora_ws.service import VideoService
from sora_ws.settings import Settings
from sora_ws.webhooks import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class RestContext:
    """The parts of the server that REST speaks for.

    `clock` tells ms since the epoch. `stats` may raise StoreUnavailable. `readiness` tells why
    no new work should be sent here, None where nothing stands against it; `provider_trouble` what
    is wrong with the provider, None while it answers. `webhooks` is None where none are taken.
    `metrics` are all figures as text.
    """

    settings: Settings
    tokens: Tokens
    accounts: Accounts
    service: VideoService
    presenter: Presenter
    links: Links
    media: MediaStore
    clock: Callable[[], int]
    stats: Callable[[], Awaitable[Stats]]
    readiness: Callable[[], Awaitable[str | None]]
    provider_trouble: Callable[[], str | None]
    webhooks: Webhooks | None
    metrics: Callable[[], Awaitable[bytes]]
    login_throttle: LoginThrottle = field(default_factory=LoginThrottle)
