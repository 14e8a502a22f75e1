"""Which server the client commands speak to, and who they are there."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from sora_ws.cli.output import CommandFailed
from sora_ws.client.answers import Login
from sora_ws.settings import WrongSetting

DEFAULT_URL: Final = "http://localhost:3001"
SIGN_IN: Final = "run `sora-ws login`, or set SORA_WS_TOKEN"


class KeptLogin(msgspec.Struct, rename="camel"):
    """The token of the last `sora-ws login`, for the one server that gave it; times in ms."""

    url: str
    token: str
    expires_at: int
    username: str


def server_url(environ: Mapping[str, str] = os.environ) -> str:
    """SORA_WS_URL, without a slash at its end. Raises WrongSetting."""
    url = environ.get("SORA_WS_URL") or DEFAULT_URL
    if not _is_address(url):
        raise WrongSetting(f"SORA_WS_URL is {url!r}: write an address like {DEFAULT_URL}")
    return url.rstrip("/")


def token_for(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """SORA_WS_TOKEN, else the kept one, which goes to no other server. Raises CommandFailed."""
    if given := environ.get("SORA_WS_TOKEN", "").strip():
        return given
    kept = _read(token_file(environ))
    if kept is None:
        raise CommandFailed(f"you are not signed in: {SIGN_IN}")
    if kept.url != url:
        raise CommandFailed(f"you are signed in to {kept.url}, not to {url}: {SIGN_IN}")
    if kept.expires_at <= time.time() * 1000:
        raise CommandFailed(f"your sign-in is over: {SIGN_IN}")
    return kept.token


def keep(url: str, login: Login, environ: Mapping[str, str] = os.environ) -> Path:
    """Keep the token for the next commands, in a file of mode 0600; returns its path. Raises OSError."""
    file = token_file(environ)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = KeptLogin(url, login.token, login.expires_at, login.username)
    # A new file, whatever mode the old one has, and whole whenever it is read.
    fresh = file.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(msgspec.json.encode(kept))
    fresh.replace(file)
    return file


def token_file(environ: Mapping[str, str] = os.environ) -> Path:
    """token.json in the XDG folder of settings."""
    base = environ.get("XDG_CONFIG_HOME")
    folder = Path(base) if base else Path(environ.get("HOME") or Path.home()) / ".config"
    return folder / "sora-ws" / "token.json"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0  # reading a port checks it
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and has_host and not parts.query and not parts.fragment


def _read(file: Path) -> KeptLogin | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=KeptLogin)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        raise CommandFailed(f"{file} can't be read: {SIGN_IN}") from None
