"""The service's side of systemd's protocol: readiness, watchdog, and sockets kept over a restart.

Plain datagrams and environment variables, as sd_notify(3) and sd_listen_fds(3) describe them.
Where systemd did not start the process, everything here does nothing and returns nothing.
"""

from __future__ import annotations

import os
import socket
from typing import Final

FIRST_INHERITED_FD: Final = 3  # SD_LISTEN_FDS_START


def notify(*lines: str) -> None:
    """Tell systemd what is so, e.g. `notify("READY=1", "STATUS=Serving")`. Raises OSError."""
    _send("\n".join(lines), fds=[])


def store_socket(name: str, listening: socket.socket) -> None:
    """Let systemd keep a copy of the socket until the service has stopped for good. Raises OSError.

    It must be listening already: systemd drops a socket that polls as hung up, and an unconnected one
    does. Storing what came out of `inherited_sockets` again is harmless.
    """
    _send(f"FDSTORE=1\nFDNAME={name}", fds=[listening.fileno()])


def inherited_sockets() -> dict[str, list[socket.socket]]:
    """The sockets that systemd kept or opened for this process, by name; nothing on a second call."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    kept: dict[str, list[socket.socket]] = {}
    for index in range(count):
        fd = FIRST_INHERITED_FD + index
        os.set_inheritable(fd, False)
        name = names[index] if index < len(names) else ""
        kept.setdefault(name, []).append(socket.socket(fileno=fd))
    return kept


def watchdog_interval() -> float | None:
    """Seconds between two `notify("WATCHDOG=1")`, half of what systemd allows; None without a watchdog."""
    allowed_us = os.environ.get("WATCHDOG_USEC")
    if allowed_us is None or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(allowed_us) / 1_000_000 / 2


def _send(text: str, fds: list[int]) -> None:
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        if fds:
            socket.send_fds(sender, [text.encode()], fds)
        else:
            sender.send(text.encode())
