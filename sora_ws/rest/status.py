"""How the server is: figures for users, health for those who run it."""

from __future__ import annotations

from hmac import compare_digest
from typing import Final

from sora_ws.auth import TokenInvalid
from sora_ws.metrics import CONTENT_TYPE
from sora_ws.peers import is_loopback
from sora_ws.rest.base import ApiHandler, Handler
from sora_ws.rest.problem import Problem

RETRY_AFTER_S: Final = "5"


class StatsHandler(ApiHandler):
    """`/api/stats`."""

    async def get(self) -> None:
        """What the `stats` message holds."""
        self.reply(await self.context.stats())


class HealthHandler(Handler):
    """`/healthz`: the loop runs."""

    def get(self) -> None:
        """Always 200."""
        self.reply({"status": "ok"})


class ReadyHandler(ApiHandler):
    """`/readyz`: new work may be sent here."""

    async def admit(self) -> None:
        """Open to all: a load balancer and a monitor have no token."""

    async def get(self) -> None:
        """200, or 503 with the reason.

        A provider in trouble is told, and no reason: tasks are taken all the same, and wait for it.
        """
        reason = await self.context.readiness()
        if reason is not None:
            raise Problem(503, reason, headers={"Retry-After": RETRY_AFTER_S})
        trouble = self.context.provider_trouble()
        self.reply({"status": "ready"} | ({} if trouble is None else {"provider": trouble}))


class MetricsHandler(ApiHandler):
    """`/metrics`: figures for a monitor."""

    async def admit(self) -> None:
        """For who knows METRICS_TOKEN; where none is set, for this machine. Raises Problem."""
        token = self.context.settings.metrics_token
        if token is None:
            if not is_loopback(self.address):
                raise Problem(403, "Only this machine may read the metrics, or who knows METRICS_TOKEN.")
        elif not compare_digest(self._token().encode(), token.reveal().encode()):
            raise TokenInvalid

    async def get(self) -> None:
        """All figures, in Prometheus' text format."""
        page = await self.context.metrics()
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(page)


class WaitingHandler(Handler):
    """Everything that needs the database, as long as it has not been there yet."""

    async def admit(self) -> None:
        """Raises Problem 503."""
        if self.request.method != "OPTIONS":
            raise Problem(503, "The server waits for its database.", headers={"Retry-After": RETRY_AFTER_S})


class NothingHandler(Handler):
    """Every address that leads nowhere."""

    async def admit(self) -> None:
        """Raises Problem 404."""
        raise Problem(404, "There is nothing at this address.")
