"""systemd's notify protocol, against a datagram socket as systemd holds it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sora_ws import systemd

SHOW_INHERITED = """
from sora_ws import systemd
kept = systemd.inherited_sockets()
assert systemd.inherited_sockets() == {}
for name, sockets in kept.items():
    print(name, *(f"{s.getsockname()[1]}/{s.get_inheritable()}" for s in sockets))
"""


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The end of the notify socket that systemd reads."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield receiver


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening TCP socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_notify_sends_its_lines_as_one_datagram(manager: socket.socket) -> None:
    """All lines of one call arrive together, so that systemd applies them at once."""
    systemd.notify("READY=1", "STATUS=Serving")
    assert manager.recv(4096) == b"READY=1\nSTATUS=Serving"


def test_notify_reaches_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """An @ in front of the path stands for the NUL of Linux's abstract names."""
    name = f"sora-ws-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        receiver.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        systemd.notify("WATCHDOG=1")
        assert receiver.recv(4096) == b"WATCHDOG=1"


def test_stored_socket_outlives_its_owner(manager: socket.socket, listener: socket.socket) -> None:
    """systemd receives the very socket, under its name, and it takes connections after ours is closed."""
    address = listener.getsockname()
    systemd.store_socket("http", listener)
    text, fds, _, _ = socket.recv_fds(manager, 4096, 1)
    assert text == b"FDSTORE=1\nFDNAME=http"
    listener.close()
    with socket.socket(fileno=fds[0]) as kept, socket.create_connection(address, timeout=10):
        assert kept.getsockname() == address


def test_nothing_happens_without_systemd(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    """Started by hand, the calls neither fail nor return anything."""
    for name in ("NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    systemd.notify("READY=1")
    systemd.store_socket("http", listener)
    assert systemd.inherited_sockets() == {}
    assert systemd.watchdog_interval() is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [("http:http", ["http {0}/False {1}/False"]), ("http:admin", ["http {0}/False", "admin {1}/False"])],
)
def test_inherited_sockets_come_by_name(tmp_path: Path, names: str, expected: list[str]) -> None:
    """What systemd hands over is found once, by name, and is not passed on to subprocesses."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        lines = run_with_inherited([first, second], names, tmp_path / "out")
        ports = [s.getsockname()[1] for s in (first, second)]
    assert lines == [line.format(*ports) for line in expected]


def run_with_inherited(sockets: list[socket.socket], names: str, out: Path) -> list[str]:
    """Run SHOW_INHERITED as systemd would, with the sockets from file descriptor 3 on; its lines."""
    spare = [os.dup2(s.fileno(), 100 + index) for index, s in enumerate(sockets)]
    actions = [(os.POSIX_SPAWN_DUP2, fd, 3 + index) for index, fd in enumerate(spare)]
    # The shell keeps its process id through exec, so that LISTEN_PID is the right one.
    script = 'LISTEN_PID=$$ exec "$0" -c "$1" >"$2"'
    command = ["sh", "-c", script, sys.executable, SHOW_INHERITED, str(out)]
    environ = os.environ | {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names}
    child = os.posix_spawn("/bin/sh", command, environ, file_actions=actions)
    for fd in spare:
        os.close(fd)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return out.read_text().splitlines()


def test_sockets_of_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that only inherited the variables takes no file descriptor for a socket of its own."""
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert systemd.inherited_sockets() == {}


def test_watchdog_is_fed_twice_in_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of WATCHDOG_USEC, in seconds, and only for the process it is meant for."""
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert systemd.watchdog_interval() == 1.5
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    assert systemd.watchdog_interval() is None
