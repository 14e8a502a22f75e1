"""Standard Webhooks signatures (https://www.standardwebhooks.com), out and in."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from sora_ws.settings import Secret

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32


class WrongSignature(Exception):
    """The message is not from whom it should be, or not from now; the text says which."""


def new_secret() -> str:
    """A secret as `CALLBACK_SECRET` may be."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


class Signer:
    """Signs with each of the secrets, so that receivers can change from one to the next."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._webhooks = [Webhook(secret.reveal()) for secret in secrets]

    def headers(self, message_id: str, body: bytes) -> dict[str, str]:
        """The three headers of a message that leaves now.

        By the wall clock itself: receivers compare it with theirs, and `Clock` goes on ahead of one that
        was set right.
        """
        now = int(time.time())
        at, text = datetime.fromtimestamp(now, UTC), body.decode()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": " ".join(webhook.sign(message_id, at, text) for webhook in self._webhooks),
        }


class Verifier:
    """Knows what is signed by one of the secrets, at most five minutes ago or ahead."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._webhooks = [Webhook(secret.reveal()) for secret in secrets]

    def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """The message's id. Raises WrongSignature."""
        for webhook in self._webhooks:
            try:
                webhook.verify(body, dict(headers), json_parse=False)
            except (WebhookVerificationError, ValueError) as error:  # ValueError: headers it can't take apart
                trouble = error
            else:
                return headers["webhook-id"]
        text = str(trouble) if isinstance(trouble, WebhookVerificationError) else "Invalid Signature Headers"
        raise WrongSignature(text)
