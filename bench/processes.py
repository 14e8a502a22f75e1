"""The processes of a measurement: a contender on one core, its readers on another."""

from __future__ import annotations

import json
import os
import resource
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Final

from bench import tools
from bench.message import CROWD, TEAM, subscribe_task, template
from sora_ws.auth import Tokens
from sora_ws.settings import Secret

ANSWER_GUARD_S: Final = 120.0
SECRET: Final = "only for the bench, and for nobody else"
CALM: Final = 32
DAY_MS: Final = 86_400_000
CONTENDERS: Final = ("fast", "stream", "tornado", "node", "limit")
CHECKOUT: Final = Path(__file__).parents[1]


class Broken(Exception):
    """A process died, or did not answer in time."""


@dataclass
class Process:
    """A child that is told things line by line, and answers with one JSON object a line."""

    command: list[str]
    core: int
    env: Mapping[str, str] = field(default_factory=dict)
    nice: int = 0

    def __post_init__(self) -> None:
        self._child = subprocess.Popen(
            ["taskset", "-c", str(self.core), "nice", "-n", str(self.nice), *self.command],
            cwd=CHECKOUT,
            env={**os.environ, **self.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._unread = b""

    def tell(self, *words: object) -> None:
        assert self._child.stdin
        self._child.stdin.write(" ".join(map(str, words)).encode() + b"\n")

    def answer(self, guard_s: float = ANSWER_GUARD_S) -> dict[str, Any]:
        """The next line. Raises Broken."""
        assert self._child.stdout
        end = time.monotonic() + guard_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise Broken(f"no answer from {self.command[:3]} in {guard_s:.0f} s")
                data = os.read(self._child.stdout.fileno(), 1 << 20)
                if not data:
                    raise Broken(f"{self.command[:3]} ended with {self._child.wait()}")
                self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self._child.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()

    @property
    def cpu_s(self) -> float:
        """All threads, user and system, to the nanosecond: the clock of that process."""
        return time.clock_gettime(~self._child.pid << 3 | 2)

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe:
                pipe.close()


@dataclass
class Contender(Process):
    """A server under measurement."""

    port: int = 0

    def publish(self, count: int, *, together: int = 1, interval_us: int = 0) -> None:
        """Start to; `answer` says when all has been handed to the sockets."""
        self.tell(count, together, interval_us)


class Bench:
    """The cores, the tokens, and all processes. Raises Missing."""

    def __init__(self, folder: Path, readers_max: int) -> None:
        if not shutil.which("taskset"):
            raise tools.Missing("taskset is not installed")
        cores = sorted(os.sched_getaffinity(0))
        self._server_core, self._load_core = cores[0], cores[-1]
        self._folder = folder
        self._running: list[Process] = []
        self._tokens = folder / "tokens"
        self._tokens.write_text("\n".join(_tokens(readers_max)), encoding="ascii")

    def contender(self, name: str, tasks: int = 1) -> Contender:
        """A fresh process of it, listening."""
        command, env = self._command(name, tasks)
        contender = Contender(command, self._server_core, env)
        self._running.append(contender)
        contender.port = contender.answer()["port"]
        return contender

    def readers(
        self,
        contender: Contender,
        count: int,
        *,
        subscribe: str = "",
        tasks: int = 1,
        window: int = CALM,
        nice: int = 0,
    ) -> Readers:
        """Start to connect so many; `window` of them are on their way at a time."""
        program = str(tools.compiled(tools.BENCH / "load.c"))
        arguments = [
            contender.port,
            count,
            window,
            2 + tasks,
            self._tokens,
            subscribe or subscribe_task(TEAM),
        ]
        readers = Readers([program, *map(str, arguments)], self._load_core, nice=nice, count=count)
        self._running.append(readers)
        return readers

    def end(self, process: Process) -> None:
        self._running.remove(process)
        process.stop()

    def end_all(self) -> None:
        for process in tuple(self._running):
            self.end(process)

    def _command(self, name: str, tasks: int) -> tuple[list[str], dict[str, str]]:
        if name in ("fast", "stream"):
            return [sys.executable, "-m", "bench.contenders.sora", str(tasks)], self._settings(name)
        arguments = [str(tasks), template()]
        if name == "tornado":
            return [sys.executable, "-m", "bench.contenders.tornado_plain", *arguments], {}
        folder = tools.BENCH / "contenders"
        if name == "node":
            return ["node", str(folder / "node.cjs"), str(tools.node_modules()), *arguments], {}
        return [str(tools.compiled(folder / "limit.c")), *arguments], {}

    def _settings(self, transport: str) -> dict[str, str]:
        return {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "STATE_DIR": mkdtemp(dir=self._folder),
            "JWT_SECRET": SECRET,
            "WS_TRANSPORT": transport,
            "SORA_API_BASE_URL": "http://127.0.0.1:9/v1",  # nobody asks it
            "MAX_CONNECTIONS": "20000",
            "MAX_CONNECTIONS_PER_ADDRESS": "20000",
            "LANG": "C.UTF-8",
            "LOG_LEVEL": "error",
        }


@dataclass
class Readers(Process):
    """Browsers that subscribe to everything of the team, and count."""

    count: int = 0

    def ready(self) -> dict[str, Any]:
        """When all are in: {"started_us", "ready_us", "lost_lines", "refused"}."""
        return self.answer()

    def expect(self, changes: int, seconds: float) -> None:
        """Count from now on, until everybody has had so many or the time is over."""
        self.tell(changes, seconds)
        self.answer()

    def counted(self) -> dict[str, Any]:
        """What came of it; {"changes": [[seq, arrivals, µs from seq to the last arrival], …]}."""
        return self.answer()


@contextmanager
def bench(readers_max: int) -> Iterator[Bench]:
    """A bench whose processes and files are gone afterwards."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with TemporaryDirectory() as folder:
        made = Bench(Path(folder), readers_max)
        try:
            yield made
        finally:
            made.end_all()


def _tokens(count: int) -> Iterator[str]:
    """One for each browser, because each is somebody else."""
    tokens = Tokens(DAY_MS, Secret(SECRET))
    for number in range(count):
        yield tokens.issue(f"user-{number}", f"Reader {number}", [TEAM, CROWD])[0]
