"""One history, staged: a server process, its provider, its users, and what the checker says of it all."""

from __future__ import annotations

import http.client
import itertools
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.history.checker import Violation, judge
from tests.history.clients import Clients
from tests.history.journal import Journal, doubles, read
from tests.history.namespaces import Machine
from tests.ports import free_port
from tests.server import Server

SECRET: Final = "a secret of tests, of more than 32 bytes"
CHECKOUT: Final = Path(__file__).parents[2]
GUARD_S: Final = 60.0
PROBE_EVERY_S: Final = 0.02
QUICK: Final = {
    "SORA_POLL_INTERVAL": "300",
    "SORA_POLL_MIN_INTERVAL": "100",
    "MAX_TASKS_PER_USER": "100000",
    "DRAIN_SECONDS": "0",
    "JWT_SECRET": SECRET,
}


@dataclass
class Run:
    """The servers may be killed, hurt and started again; then `verdict`."""

    folder: Path
    servers: Sequence[Server]
    clients: Clients

    @property
    def server(self) -> Server:
        """The only one, or the first."""
        return self.servers[0]

    def until_dead(self) -> int:
        """Returns when the server has died by itself: its exit status."""
        status = self._process.wait(GUARD_S)
        self.server.kill()
        return status

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @property
    def _process(self) -> subprocess.Popen[str]:
        assert self.server.process is not None
        return self.server.process

    def verdict(self) -> list[Violation]:
        """What was broken, when all has settled and everybody has left."""
        self.clients.settle()
        return self.so_far()

    def so_far(self) -> list[Violation]:
        """The same, of a history that is over, settled or not."""
        self.clients.stop()
        journals = (read(self.folder / name) for name in ("clients", "provider"))
        places = float(self.server.settings.get("SORA_MAX_IN_FLIGHT", "inf"))
        logs = itertools.chain(*(doubles(server.log) for server in self.servers))
        history = [*itertools.chain(*journals), *logs]
        return judge(history, places, time.time() - time.monotonic())


@contextmanager
def a_run(
    folder: Path,
    settings: Mapping[str, str] | None = None,
    *,
    reset_every: int = 0,
    started: bool = True,
    callbacks: bool = False,
    machines: Sequence[Machine] = (Machine(),),
    here: str = "127.0.0.1",
) -> Iterator[Run]:
    """A history of its own, over SQLite where no DATABASE_URL is among the settings.

    A server on each of the machines, from where this one is reached at `here`.

    `reset_every`: of the provider's creates, how many make a job and break off. `callbacks`: creates ask
    for one, unless `begin` is told otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        port = free_port()
        command = [sys.executable, "-m", "tests.history.provider", here, str(port), str(folder / "provider")]
        provider = stack.enter_context(
            subprocess.Popen([*command, str(reset_every)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(provider.kill)
        assert provider.stdout is not None
        assert provider.stdout.readline() == "ready\n"
        provided = {"SORA_API_BASE_URL": f"http://{here}:{port}/v1", "CALLBACK_ALLOW": f"{here}/32"}
        operated = QUICK | provided | dict(settings or {})
        servers = [
            Server(folder / f"state{number or ''}", operated.copy(), machine.address, machine.enter)
            for number, machine in enumerate(machines)
        ]
        for server in servers:
            server.state.mkdir()
            (server.state / "signed-in-before").touch()  # its users have tokens, and nobody reads a password
            stack.callback(server.kill)
        journal = Journal(folder / "clients")
        stack.callback(journal.close)
        url = f"http://{here}:{port}/called-back" if callbacks else None
        clients = Clients([server.address for server in servers], SECRET, journal, url)
        stack.callback(clients.stop)
        if started:
            for server in servers:
                server.start()
            clients.start()
        yield Run(folder, servers, clients)


class Lag:
    """How long a server takes for an answer that needs nothing but its loop."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._probe, daemon=True)
        self.took_ms: list[float] = []

    def __enter__(self) -> Lag:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(GUARD_S)

    @property
    def worst_ms(self) -> float:
        return max(self.took_ms, default=0.0)

    @property
    def usual_ms(self) -> float:
        return statistics.median(self.took_ms)

    def _probe(self) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=GUARD_S)
        while not self._over.wait(PROBE_EVERY_S):
            began = time.monotonic()
            try:
                line.request("GET", "/healthz")
                line.getresponse().read()
            except (OSError, http.client.HTTPException):
                line.close()
            else:
                self.took_ms.append((time.monotonic() - began) * 1000)


def until(holds: Callable[[], bool], guard_s: float = GUARD_S) -> float:
    """Returns when it holds: the seconds that it took. Looked at often, as nothing tells of it."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + guard_s, "it never came to hold"
        time.sleep(0.02)
    return time.monotonic() - began


def is_ready(server: Server) -> bool:
    """Whether the server takes new work."""
    with suppress(OSError):
        return server.request("GET", "/readyz").status == 200
    return False
