"""The services behind a server that its settings name, and the secrets that are kept in its database."""

from __future__ import annotations

import base64
import secrets
import socket
from collections.abc import Sequence

from sora_ws.provider import VideoProvider
from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.settings import Secret, Settings, WrongSetting
from sora_ws.signatures import new_secret
from sora_ws.store import Claimant, KeyStore, Store
from sora_ws.store.mongo import MongoStore
from sora_ws.store.sqlite import SqliteStore


def make_store(settings: Settings) -> Store:
    """The database that the settings name, not opened yet. Raises WrongSetting."""
    path = settings.sqlite_path
    if path is not None:
        return SqliteStore(path)
    try:
        return MongoStore(settings.database_url or "", claimant=claimant(settings))
    except ValueError:  # its text holds the address, and that the password
        raise WrongSetting("DATABASE_URL can't be read: write mongodb://HOST/NAME") from None


def claimant(settings: Settings) -> Claimant | None:
    """Who this instance is among others, None where it is alone; the same behind a restart."""
    if settings.redis_url is None:
        return None
    port = settings.port or secrets.token_hex(4)  # of a free one nobody knows the number yet
    name = f"{socket.gethostname()}:{settings.host}:{port}"
    return Claimant(name, lease_ms=2 * settings.sora_poll_interval)


def make_provider(settings: Settings) -> VideoProvider:
    """The videos API that the settings name. Raises WrongSetting where they name none."""
    if settings.sora_api_base_url is None:
        raise WrongSetting("SORA_API_BASE_URL is not set: the built-in simulator makes the videos")
    return OpenAIVideos(settings.sora_api_base_url, settings.sora_api_key)


async def callback_secrets(store: KeyStore, settings: Settings) -> Sequence[Secret]:
    """What callbacks are signed with: CALLBACK_SECRET, or one that is made once. Raises StoreError."""
    return settings.callback_secret or (Secret(await store.keep("callbacks", new_secret())),)


async def relay_prefix(store: KeyStore, settings: Settings) -> str:
    """By its name for people; another database of that name, or a copy of this one, is told apart."""
    made = await store.keep("relay", secrets.token_hex(4))
    return f"sora-ws:{settings.database_name}:{made}"


async def links_key(store: KeyStore) -> bytes:
    """What links to videos are signed with, made once. Raises StoreError."""
    return base64.b64decode(await store.keep("links", base64.b64encode(secrets.token_bytes(32)).decode()))
