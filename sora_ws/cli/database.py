"""The way to the server's own database: by the server's settings and as the server's user."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from sora_ws.auth import AccountError
from sora_ws.backing import make_store
from sora_ws.cli.output import CommandFailed
from sora_ws.cli.owner import become_owner
from sora_ws.settings import Settings
from sora_ws.store import Store, StoreError

INSTALLED_SETTINGS: Final = Path("/etc/sora-ws/sora-ws.env")
INSTALLED_STATE: Final = "/var/lib/sora-ws"  # what StateDirectory= in the unit comes to

T = TypeVar("T")
Work = Callable[[Store, Settings], Awaitable[T]]


def settings_for(config: Path | None) -> tuple[Settings, list[str]]:
    """The server's settings, the environment's over those of the file, and warnings about them.

    Where no file is named, root gets those of the installed service. Raises WrongSetting.
    """
    if config is None and os.geteuid() == 0 and INSTALLED_SETTINGS.exists():
        environ = {"STATE_DIRECTORY": INSTALLED_STATE, **os.environ}
        return Settings.load(environ, INSTALLED_SETTINGS)
    return Settings.load(file=config)


def on_database(config: Path | None, work: Work[T]) -> T:
    """What `work` makes of the open store. Raises CommandFailed, WrongSetting."""
    settings, _ = settings_for(config)
    become_user_of(settings)
    try:
        return asyncio.run(_work(settings, work))
    except (StoreError, AccountError) as error:
        raise CommandFailed(f"{error} ({place_of(settings)})") from error


def become_user_of(settings: Settings) -> None:
    """Leave nothing that the server can't write: become the owner of the database file's folder."""
    if settings.sqlite_path is not None and settings.sqlite_path.parent.exists():
        become_owner(settings.sqlite_path.parent)


def place_of(settings: Settings) -> str:
    """Where the database is, for people: without the login in its address."""
    if settings.sqlite_path is not None:
        return str(settings.sqlite_path)
    parts = urlsplit(settings.database_url or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


async def _work(settings: Settings, work: Work[T]) -> T:
    store = make_store(settings)
    try:
        await store.open()
        return await work(store, settings)
    finally:
        await store.close()
