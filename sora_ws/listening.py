"""The sockets that the server listens on, and how many connections they may bring."""

from __future__ import annotations

import logging
import resource
import socket
from ipaddress import ip_address
from typing import Final

from tornado.netutil import bind_sockets

from sora_ws import systemd
from sora_ws.settings import MAX_CONNECTIONS_DEFAULT, Settings, WrongSetting

log = logging.getLogger(__name__)

NAME: Final = "http"
BACKLOG: Final = 4096
"""As Linux bounds it (`somaxconn`). Who finds it full tries again after 1, 3, 7, 15 s: 8000 at once were
all in after 30 s with 1024, after 12 to 14 with this."""
SEND_BUFFER_BYTES: Final = 65_536
"""Connections inherit it. On its default the kernel hoards 12,000 stale pushes of a client
that doesn't read; with this it is some 400, and fan-out is as fast."""
FILES_BESIDE_CONNECTIONS: Final = 256


def open_sockets(settings: Settings) -> list[socket.socket]:
    """The sockets of HOST and PORT; one that systemd kept over a restart wins. Raises WrongSetting."""
    kept = [sock for socks in systemd.inherited_sockets().values() for sock in socks]
    sockets = kept or _bind(settings.host, settings.port)
    for sock in sockets:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        systemd.store_socket(NAME, sock)
    return sockets


def is_beyond_loopback(host: str) -> bool:
    """Whether others than this machine can reach it."""
    if host == "localhost":
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True


def raise_open_files(connections_max: int) -> int:
    """Raise the soft limit of open files; returns how many connections fit below it.

    Warns where they are fewer than somebody has asked for, or than half of the default.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_max + FILES_BESIDE_CONNECTIONS
    if soft < wanted:
        soft = min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    fits = soft - FILES_BESIDE_CONNECTIONS
    if fits < connections_max:
        is_default = connections_max == MAX_CONNECTIONS_DEFAULT
        log.log(
            logging.INFO if is_default and fits * 2 >= connections_max else logging.WARNING,
            "MAX_CONNECTIONS is %d, but only %d files may be open: %d connections are let in",
            connections_max,
            soft,
            fits,
        )
    return max(1, min(connections_max, fits))


def _bind(host: str, port: int) -> list[socket.socket]:
    try:
        return bind_sockets(port, host or None, backlog=BACKLOG)
    except socket.gaierror as error:
        raise WrongSetting(
            f"HOST is {host!r}, which is no address of this machine: {error.strerror}"
        ) from None
    except OSError as error:
        raise WrongSetting(
            f"PORT {port} on {host} can't be listened on: {error.strerror}; stop what uses it, or set PORT"
        ) from None
