"""A mapping in, one frozen `Settings` out; every wrong value named.

Each setting is one field: its type, its default, how its text is read and what it is for.
`conf/sora-ws.env`, the settings page and their test are held against these definitions.
"""

from __future__ import annotations

import base64
import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

from sora_ws.bus.redis_url import RedisUrl

Network = IPv4Network | IPv6Network
Language = Literal["zh", "en"]

SECRET_BYTES_MIN: Final = 32  # RFC 7518 section 3.2: an HS256 key is at least as long as its hash
WEBHOOK_SECRET_BYTES: Final = range(24, 65)  # Standard Webhooks
METRICS_TOKEN_MIN: Final = 16


class WrongSetting(Exception):
    """A setting that can't be used; the text is one line that names it and says what to write."""


class Secret:
    """A string that does not show itself in logs, errors and reprs."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", text) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(" or ".join(words))
        return text.lower()

    return read


def _switch(text: str) -> bool:
    if text.lower() not in ("on", "off"):
        raise ValueError("on or off")
    return text.lower() == "on"


def _plain(text: str) -> str:
    return text


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _parts_of(url: str) -> SplitResult | None:
    """None where it is no address at all."""
    try:
        parts = urlsplit(url)
        _ = parts.port if parts.scheme in ("http", "https") else None  # read, because it is checked only then
    except ValueError:
        return None
    return parts


def _http_url(text: str) -> str:
    parts = _parts_of(text)
    schemes = ("http", "https")
    if parts is None or parts.scheme not in schemes or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("an address like https://api.example.com/v1")
    return text.rstrip("/")


def _database_url(text: str) -> str:
    parts = _parts_of(text)
    if parts is None or parts.scheme not in ("sqlite", "mongodb", "mongodb+srv") or not parts.path.strip("/"):
        raise ValueError("mongodb://HOST/NAME or sqlite:///PATH")
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(item.strip().rstrip("/").lower() for item in text.split(",") if item.strip())
    for origin in origins:
        if not re.fullmatch(r"https?://[^/?#@\s]+", origin):
            raise ValueError("origins like https://app.example.com, comma-separated")
    return origins


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(item.strip(), strict=False) for item in text.split(",") if item.strip())
    except ValueError:
        raise ValueError("addresses or networks like 10.0.0.0/8, comma-separated") from None


def _jwt_secret(text: str) -> Secret:
    if len(text.encode()) < SECRET_BYTES_MIN:
        raise ValueError(f"at least {SECRET_BYTES_MIN} bytes, e.g. from `openssl rand -hex 32`")
    return Secret(text)


def _api_key(text: str) -> Secret:
    if not text.isascii() or not text.isprintable():
        raise ValueError("one line of printable ASCII characters")  # it goes into a header
    return Secret(text)


def _webhook_secrets(text: str) -> tuple[Secret, ...]:
    secrets = tuple(Secret(item.strip()) for item in text.split(",") if item.strip())
    for secret in secrets:
        try:
            size = len(base64.b64decode(secret.reveal().removeprefix("whsec_"), validate=True))
        except ValueError:
            size = 0
        if size not in WEBHOOK_SECRET_BYTES:
            raise ValueError(
                "whsec_ and 24 to 64 bytes in base64; several, comma-separated, while one changes"
            )
    return secrets


def _metrics_token(text: str) -> Secret:
    if len(text) < METRICS_TOKEN_MIN:
        raise ValueError(f"at least {METRICS_TOKEN_MIN} characters")
    return _api_key(text)


def _setting(read: Callable[[str], Any], default: Any, about: str, shown: str | None = None) -> Any:
    """A setting's field; `shown` is the default as a person writes it, where it differs."""
    return field(default=default, metadata={"read": read, "about": about, "shown": shown})


MAX_CONNECTIONS_DEFAULT: Final = 20_000
LOOPBACK_NETWORKS: Final = (ip_network("127.0.0.1"), ip_network("::1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator can set. Field `ws_auth_timeout` is the setting WS_AUTH_TIMEOUT."""

    host: str = _setting(_plain, "localhost", "Address to listen on")
    port: int = _setting(_whole(0, 65535), 3001, "Port to listen on; 0 takes a free one")

    ws_heartbeat_interval: int = _setting(_whole(100, 3_600_000), 30_000, "ms between two heartbeats")
    ws_auth_timeout: int = _setting(_whole(100, 3_600_000), 10_000, "ms a new connection has for its auth")
    ws_compression: bool = _setting(_switch, False, "on offers permessage-deflate", "off")

    ws_transport: Literal["fast", "stream"] | None = _setting(
        _one_of("fast", "stream"),
        None,
        "How open lines are served: fast or stream",
        "by a self check at start",
    )

    database_url: str | None = _setting(
        _database_url, None, "mongodb://HOST/NAME or sqlite:///PATH", "a SQLite file in STATE_DIR"
    )
    redis_url: RedisUrl | None = _setting(
        RedisUrl.parse,
        None,
        "redis://HOST, for several instances on one MongoDB and one provider",
        "none: one instance",
    )
    sora_api_base_url: str | None = _setting(
        _http_url, None, "The videos API, up to and with its /v1", "the built-in simulator"
    )
    sora_api_key: Secret | None = _setting(_api_key, None, "Its key, sent as a bearer token", "none")
    sora_model: str = _setting(_plain, "sora-2", "The model where a request names none")
    sora_poll_interval: int = _setting(
        _whole(100, 3_600_000), 30_000, "ms; the longest wait between two looks at a healthy task"
    )
    sora_poll_min_interval: int = _setting(_whole(50, 3_600_000), 2_000, "ms; the shortest such wait")
    sora_max_in_flight: int = _setting(
        _whole(1, 100_000), 100, "Jobs at the provider at once; further tasks wait, fairly between users"
    )
    sora_simulator_seconds: int = _setting(_whole(0, 86_400), 20, "How long the simulator takes for a video")

    sora_webhook_secret: tuple[Secret, ...] = _setting(
        _webhook_secrets, (), "What the provider signs its webhooks with", "none"
    )

    callback_secret: tuple[Secret, ...] = _setting(
        _webhook_secrets, (), "What callbacks are signed with", "made once, kept in the database"
    )
    callback_allow: tuple[Network, ...] = _setting(
        _networks, (), "Networks that callbacks may reach besides public addresses", "none"
    )

    jwt_secret: Secret | None = _setting(
        _jwt_secret, None, "Key of HS256 tokens, at least 32 bytes", "made once, kept in the database"
    )
    jwt_expires_in: int = _setting(
        _whole(1_000, 315_360_000_000), 86_400_000, "ms a token from a login lives"
    )

    allowed_origins: tuple[str, ...] | None = _setting(
        _origins, None, "Browser origins for WebSocket and CORS", "the page's own hostname, any port"
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        _networks, LOOPBACK_NETWORKS, "Proxies whose X-Real-IP and X-Forwarded-For count", "127.0.0.1,::1"
    )
    public_url: str | None = _setting(
        _http_url, None, "The front of the links to videos", "http://localhost:PORT"
    )
    state_dir: Path = _setting(
        _path, None, "Folder of the database file and the videos", "$STATE_DIRECTORY or the XDG state folder"
    )

    media_store: Literal["files", "gridfs"] = _setting(
        _one_of("files", "gridfs"), "files", "Where videos are kept: files in STATE_DIR, or gridfs in MongoDB"
    )
    media_max_age: int | None = _setting(
        _whole(1, 315_360_000_000), None, "s a finished video is kept; its task stays", "for ever"
    )
    media_max_bytes: int | None = _setting(
        _whole(1, 2**60), None, "Bytes of all kept videos; the oldest make room", "no limit"
    )

    message_language: Language = _setting(
        _one_of("zh", "en"), None, "Language of the messages to people: zh or en", "by LC_ALL or LANG"
    )
    log_format: Literal["text", "json"] | None = _setting(
        _one_of("text", "json"), None, "text or json", "text on a terminal, else json"
    )
    metrics_token: Secret | None = _setting(
        _metrics_token,
        None,
        "Who sends it as a bearer token may read /metrics",
        "none: only this machine may",
    )
    log_level: str = _setting(
        _one_of("debug", "info", "warning", "error"), "info", "debug, info, warning or error"
    )
    drain_seconds: int = _setting(_whole(0, 3_600), 5, "How long a stop takes its leave")

    max_connections: int = _setting(_whole(1, 1_000_000), MAX_CONNECTIONS_DEFAULT, "Open connections in all")
    max_connections_per_user: int = _setting(_whole(1, 1_000_000), 100, "Open connections of one user")
    max_connections_per_address: int = _setting(
        _whole(1, 1_000_000), 1_000, "Connections of one address that are not yet authenticated"
    )
    max_subscriptions: int = _setting(_whole(1, 100_000), 1_000, "Subscriptions of one connection")
    max_messages_per_second: int = _setting(
        _whole(1, 100_000), 50, "Messages a second from one connection, after a first burst"
    )
    max_message_bytes: int = _setting(_whole(1_024, 16_777_216), 65_536, "One WebSocket message")
    max_send_buffer_bytes: int = _setting(
        _whole(65_536, 1_073_741_824), 1_048_576, "Unread bytes of one connection"
    )
    max_body_bytes: int = _setting(_whole(65_536, 1_073_741_824), 10_485_760, "The body of a create")
    max_tasks_per_user: int = _setting(_whole(1, 1_000_000), 100, "Live tasks of one user")

    @property
    def simulates(self) -> bool:
        """No provider is named, so the built-in simulator makes the videos."""
        return self.sora_api_base_url is None

    @property
    def sqlite_path(self) -> Path | None:
        """The database file, or None where the database is MongoDB."""
        if self.database_url is None:
            return self.state_dir / "sora-ws.sqlite3"
        parts = urlsplit(self.database_url)
        return Path("/", parts.path.lstrip("/")) if parts.scheme == "sqlite" else None

    @property
    def database_name(self) -> str:
        """The name of the database on its server; of a file, that of the file."""
        if self.sqlite_path is not None:
            return self.sqlite_path.name
        return urlsplit(self.database_url or "").path.strip("/")

    @property
    def url(self) -> str:
        """Where people find it: PUBLIC_URL, or by its port on this machine."""
        return self.public_url or f"http://localhost:{self.port}"

    @property
    def first_password_file(self) -> Path:
        """Where a service, which has no terminal, leaves the first password."""
        return self.state_dir / "password"

    @classmethod
    def load(
        cls, environ: Mapping[str, str] | None = None, file: Path | None = None
    ) -> tuple[Settings, list[str]]:
        """The settings of `environ` (the process's own by default) over those of `file`.

        Returns them with a list of warnings, one line each. Raises WrongSetting.
        """
        environ = os.environ if environ is None else environ
        in_file = read_env_file(file) if file else {}
        known = {name for f in fields(cls) for name in (setting_name(f), f"{setting_name(f)}_FILE")}
        warnings = [_unknown(name, known, file) for name in in_file if name not in known]
        # systemd's EnvironmentFile= leaves comments behind a value on, so both sources are read alike.
        texts = in_file | {name: without_comment(value) for name, value in environ.items() if name in known}
        values: dict[str, Any] = {}
        for f in fields(cls):
            text = _text_of(setting_name(f), texts)
            if text is not None:
                values[f.name] = _read(f, text)
        values.setdefault("state_dir", default_state_dir(environ))
        values.setdefault("message_language", default_language(environ))
        settings = cls(**values)
        settings._check_that_instances_share()
        if settings.sora_poll_min_interval > settings.sora_poll_interval:
            raise WrongSetting(
                f"SORA_POLL_MIN_INTERVAL is {settings.sora_poll_min_interval}, "
                f"more than SORA_POLL_INTERVAL, {settings.sora_poll_interval}: make it at most that"
            )
        if settings.media_store == "gridfs" and settings.sqlite_path is not None:
            raise WrongSetting(
                "MEDIA_STORE is gridfs, which takes MongoDB: set DATABASE_URL to mongodb://HOST/NAME"
            )
        return settings, warnings

    def _check_that_instances_share(self) -> None:
        """Several instances have everything in common. Raises WrongSetting."""
        if self.redis_url is None:
            return
        if self.sqlite_path is not None:
            raise WrongSetting(
                "REDIS_URL is for instances that share a database: set DATABASE_URL to mongodb://HOST/NAME"
            )
        if self.simulates:
            raise WrongSetting(
                "REDIS_URL is for instances that share a provider: "
                "set SORA_API_BASE_URL, e.g. to that of one `sora-ws simulate`"
            )
        if self.media_store == "files":
            raise WrongSetting(
                "REDIS_URL is for instances that share their videos: set MEDIA_STORE to gridfs"
            )


def setting_name(f: Field[Any]) -> str:
    """The name by which people know the field."""
    return f.name.upper()


def shown_default(f: Field[Any]) -> str:
    """The field's default as a person writes it."""
    shown = f.metadata["shown"]
    return str(shown if shown is not None else f.default)


def _read(f: Field[Any], text: str) -> Any:
    name = setting_name(f)
    try:
        return f.metadata["read"](text)
    except ValueError as error:
        is_secret = "Secret" in str(f.type) or "@" in text or f.name == "redis_url"
        raise WrongSetting(f"{name}{'' if is_secret else f' is {text[:80]!r}'}: write {error}") from None


def _text_of(name: str, texts: Mapping[str, str]) -> str | None:
    """The setting's text, from NAME or from the file that NAME_FILE names; None where it is unset."""
    if path := texts.get(f"{name}_FILE"):
        if texts.get(name):
            raise WrongSetting(f"{name} and {name}_FILE are both set: keep one")
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WrongSetting(f"{name}_FILE names {path}, which can't be read: {error}") from None
    return texts.get(name) or None


def read_env_file(path: Path) -> dict[str, str]:
    """The KEY=value lines of a file. Raises WrongSetting for a line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSetting(f"the settings file {path} can't be read: {error}") from None
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        stripped = line.strip().removeprefix("export ").lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name.strip()):
            raise WrongSetting(f"{path}, line {number}: write KEY=value")
        texts[name.strip()] = without_comment(value)
    return texts


def without_comment(value: str) -> str:
    """The value without quotes around it, and without a trailing ` # comment` unless it is quoted."""
    value = value.strip()
    quoted = re.match(r"""(["'])(.*?)\1\s*(?:#.*)?$""", value)
    if quoted:
        return quoted[2]
    return re.split(r"(?:^|\s)#", value, maxsplit=1)[0].strip()


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Where systemd says, else the XDG state folder."""
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    base = environ.get("XDG_STATE_HOME")
    home = Path(base) if base else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return home / "sora-ws"


def default_language(environ: Mapping[str, str]) -> Language:
    """zh where the locale is a Chinese one."""
    locale = environ.get("LC_ALL") or environ.get("LANG") or ""
    return "zh" if locale.lower().startswith("zh") else "en"


def _unknown(name: str, known: Iterable[str], file: Path | None) -> str:
    like = difflib.get_close_matches(name.upper(), list(known), n=1)
    hint = f"; did you mean {like[0]}?" if like else ""
    return f"{file}: there is no setting {name}{hint}"
