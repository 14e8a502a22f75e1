"""`/webhooks/sora`: where the provider sends word to."""

from __future__ import annotations

from sora_ws.rest.base import Handler
from sora_ws.rest.context import RestContext
from sora_ws.rest.problem import Problem


class WebhookHandler(Handler):
    """`/webhooks/sora`."""

    def initialize(self, context: RestContext) -> None:  # type: ignore[override]
        super().initialize(context.settings)
        self._webhooks = context.webhooks

    async def post(self) -> None:
        """204, whatever the message was about."""
        if self._webhooks is None:
            raise Problem(404, "Webhooks are not taken here: SORA_WEBHOOK_SECRET is not set.")
        await self._webhooks.take(self.request.headers, self.body)
        self.set_status(204)
