"""How REDIS_URL names a Redis: one server, one that Sentinels watch over, or a Cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self
from urllib.parse import unquote

FORMS: Final = (
    "redis://HOST[:PORT], redis+sentinel://HOST:PORT,HOST:PORT/MASTER or "
    "redis+cluster://HOST:PORT,HOST:PORT; "
    "rediss for TLS, USER:PASSWORD@ in front, special characters percent-encoded"
)
PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_URL: Final = re.compile(
    r"(?P<scheme>rediss?)(?:\+(?P<kind>sentinel|cluster))?://"
    r"(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    r"(?P<hosts>[^@/?#]+)(?:/(?P<path>[^?#]*))?"
)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::([0-9]{1,5}))?")


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """`hosts` are Sentinels where there is a `master`, some nodes where it is a Cluster, else the server.

    The number of a database may stand in the URL and says nothing: channels belong to none.
    """

    hosts: tuple[Address, ...]
    is_cluster: bool = False
    master: str | None = None
    tls: bool = False
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, whose text says what to write, and nothing of what was written."""
        found = _URL.fullmatch(text)
        if found is None:
            raise ValueError(FORMS)
        kind, (first, _, second) = found["kind"], (found["path"] or "").partition("/")
        database = second if kind == "sentinel" else first
        hosts = _hosts(found["hosts"], SENTINEL_PORT if kind == "sentinel" else PORT)
        is_whole = bool(first) if kind == "sentinel" else not second
        if not is_whole or not re.fullmatch("[0-9]*", database) or (kind is None and len(hosts) > 1):
            raise ValueError(FORMS)
        return cls(
            hosts,
            is_cluster=kind == "cluster",
            master=unquote(first) if kind == "sentinel" else None,
            tls=found["scheme"] == "rediss",
            user=unquote(found["user"] or "") or None,
            password=None if found["password"] is None else unquote(found["password"]),
        )

    def __str__(self) -> str:
        """Without the password."""
        kind = "+sentinel" if self.master else "+cluster" if self.is_cluster else ""
        hosts = ",".join(map(str, self.hosts))
        return f"redis{'s' if self.tls else ''}{kind}://{hosts}{f'/{self.master}' if self.master else ''}"


def _hosts(text: str, default_port: int) -> tuple[Address, ...]:
    hosts = []
    for each in text.split(","):
        found = _HOST.fullmatch(each)
        if found is None or not 0 < int(found[2] or default_port) < 2**16:
            raise ValueError(FORMS)
        hosts.append(Address(found[1].strip("[]"), int(found[2] or default_port)))
    return tuple(hosts)
