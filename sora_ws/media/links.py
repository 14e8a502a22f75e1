"""The links to the archive."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode


class Links:
    """Links to the archive that are their own permission: who has one may see the video."""

    def __init__(self, key: bytes, public_url: str) -> None:
        self._key = key
        self._front = f"{public_url.rstrip('/')}/media"

    def video(self, task_id: str) -> str:
        """The address of the task's video."""
        return self._link(f"{task_id}.mp4")

    def thumbnail(self, task_id: str) -> str:
        """The address of the task's thumbnail."""
        return self._link(f"{task_id}.jpg")

    def holds(self, name: str, signature: str) -> bool:
        """Whether the signature was made here, for this name."""
        return hmac.compare_digest(self._signature(name).encode(), signature.encode())

    def _link(self, name: str) -> str:
        return f"{self._front}/{name}?sig={self._signature(name)}"

    def _signature(self, name: str) -> str:
        return urlsafe_b64encode(hmac.digest(self._key, name.encode(), "sha256")).decode().rstrip("=")
