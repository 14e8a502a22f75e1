"""Real Redis servers for tests, by Debian's redis-server: one, one behind Sentinels, or a Cluster.

A conftest gets the fixtures by importing them from here.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.ports import free_port
from tests.services import missing

GUARD_S: Final = 30.0
SLOTS: Final = 16_384
MASTER: Final = "sora"
NODE_TIMEOUT_MS: Final = 1_000


class Redisd:
    """A server, which can be started, killed, stopped in its tracks and asked."""

    def __init__(self, folder: Path, *arguments: str, password: str | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.password = password
        self._arguments = [*arguments, *(("--requirepass", password) if password else ())]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the server that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it answers."""
        self.folder.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [*self._command(), "--port", str(self.port), "--bind", "127.0.0.1", *self._arguments],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )
        until(lambda: self.ask("PING") in ("PONG", "LOADING"))

    def _command(self) -> list[str]:
        """What starts it, but for its port."""
        return ["redis-server", "--save", "", "--appendonly", "no", "--dir", str(self.folder)]

    def kill(self) -> None:
        """No last word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def pause(self) -> None:
        """It hangs: its port takes connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def ask(self, *command: str) -> str:
        """What redis-cli prints; an error is among it."""
        secret = ["-a", self.password, "--no-auth-warning"] if self.password else []
        cli = ["redis-cli", "-p", str(self.port), *secret, *command]
        return subprocess.run(
            cli, capture_output=True, text=True, timeout=GUARD_S, check=False
        ).stdout.strip()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Sentinel(Redisd):
    """One that watches over a master and its replica, and is enough to decide."""

    def __init__(self, folder: Path, master: Redisd) -> None:
        super().__init__(folder)
        self._master = master

    def _command(self) -> list[str]:
        conf = self.folder / "sentinel.conf"
        conf.write_text(
            f"sentinel monitor {MASTER} 127.0.0.1 {self._master.port} 1\n"
            f"sentinel down-after-milliseconds {MASTER} {NODE_TIMEOUT_MS}\n"
            f"sentinel failover-timeout {MASTER} 3000\n"
        )
        return ["redis-server", str(conf), "--sentinel"]


class Watched:
    """A master, its replica, and a Sentinel."""

    def __init__(self, folder: Path) -> None:
        self.master = Redisd(folder / "master")
        self.replica = Redisd(folder / "replica", "--replicaof", "127.0.0.1", str(self.master.port))
        self.sentinel = Sentinel(folder / "sentinel", self.master)
        self.servers = [self.master, self.replica, self.sentinel]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.sentinel.address}/{MASTER}"

    def start(self) -> None:
        """Returns when the Sentinel knows both."""
        for server in self.servers:
            server.start()
        until(lambda: str(self.replica.port) in self.sentinel.ask("SENTINEL", "REPLICAS", MASTER))


class Cluster:
    """Three masters, each with a third of the slots."""

    def __init__(self, folder: Path) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
        self.servers = [Redisd(folder / str(n), *options) for n in range(3)]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(server.address for server in self.servers)}"

    def start(self) -> None:
        """Returns when they are one."""
        for server in self.servers:
            server.start()
        nodes = [server.address for server in self.servers]
        self.servers[0].ask("--cluster", "create", *nodes, "--cluster-yes")
        until(lambda: all("cluster_state:ok" in server.ask("CLUSTER", "INFO") for server in self.servers))

    def owner(self, slot: int) -> Redisd:
        return next(server for server in self.servers if slot in _slots_of(server))

    def move(self, slot: int, to: Redisd) -> None:
        """Give one slot, which has no keys, to another node."""
        new_owner = to.ask("CLUSTER", "MYID")
        owner = self.owner(slot)
        for server in (to, owner, *self.servers):
            server.ask("CLUSTER", "SETSLOT", str(slot), "NODE", new_owner)


def _slots_of(server: Redisd) -> frozenset[int]:
    """By the node's own word."""
    me = next(line for line in server.ask("CLUSTER", "NODES").splitlines() if "myself" in line)
    ranges = [part.split("-") for part in me.split()[8:] if "[" not in part]
    return frozenset(slot for ends in ranges for slot in range(int(ends[0]), int(ends[-1]) + 1))


def until(is_so: Callable[[], bool]) -> None:
    """Ask again until it is so: a server's own steps tell nobody when they are done."""
    end = time.monotonic() + GUARD_S
    while not is_so():
        assert time.monotonic() < end, "it never came to be so"
        time.sleep(0.02)


@contextmanager
def running(kind: type[Watched] | type[Cluster] | Callable[[Path], Redisd]) -> Iterator[object]:
    """Servers of this kind, started; they are gone afterwards."""
    if shutil.which("redis-server") is None:
        missing("no redis-server: Debian's package of that name is not installed")
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        servers = kind(Path(folder))
        try:
            servers.start()
            yield servers
        finally:
            for server in getattr(servers, "servers", [servers]):
                server.kill()


@pytest.fixture(scope="session")
def redis() -> Iterator[Redisd]:
    """One server for all tests that leave it running; take channels of your own."""
    with running(Redisd) as server:
        assert isinstance(server, Redisd)
        yield server


@pytest.fixture
def start_redis() -> Iterator[Callable[..., Redisd]]:
    """Starts servers that a test may treat as it likes: `start_redis(password="…")`."""
    with ExitStack() as servers:

        def start(password: str | None = None) -> Redisd:
            server = servers.enter_context(running(lambda folder: Redisd(folder, password=password)))
            assert isinstance(server, Redisd)
            return server

        yield start
