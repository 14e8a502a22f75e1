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
from bench.message import CROWD, TEAM, subscribe_room, subscribe_task, template
from sora_ws.auth import Tokens
from sora_ws.settings import Secret

ANSWER_GUARD_S: Final = 120.0
COUNT_GUARD_S: Final = 60.0
SECRET: Final = "only for the bench, and for nobody else"
POLL_S: Final = 0.1
CALM: Final = 32
DAY_MS: Final = 86_400_000
OURS: Final = ("fast", "stream")
CONTENDERS: Final = ("limit", "node", *OURS, "tornado")
CHECKOUT: Final = Path(__file__).parents[1]


class Broken(Exception):
    """A process died, did not answer in time, or what came was not what had been sent."""


@dataclass
class Process:
    """A child that is told things line by line, and answers with one JSON object a line.

    `core` is one, or a list as taskset has it.
    """

    command: list[str]
    core: int | str
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
        self._answers: list[dict[str, Any]] = []

    def tell(self, *words: object) -> None:
        assert self._child.stdin
        self._child.stdin.write(" ".join(map(str, words)).encode() + b"\n")

    def answer(self, key: str, guard_s: float = ANSWER_GUARD_S) -> dict[str, Any]:
        """The next answer that has the key; others wait for whoever asks for them. Raises Broken."""
        end = time.monotonic() + guard_s
        while not (found := [answer for answer in self._answers if key in answer]):
            self._answers.append(json.loads(self._line(end)))
        self._answers.remove(found[0])
        return found[0]

    def _line(self, end: float) -> bytes:
        assert self._child.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise Broken(f"no answer from {self.command[:3]} in time")
                data = os.read(self._child.stdout.fileno(), 1 << 20)
                if not data:
                    raise Broken(f"{self.command[:3]} ended with {self._child.wait()}")
                self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self._child.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()

    @property
    def cpu_s(self) -> float:
        return cpu_s(self._child.pid)

    @property
    def kernel_s(self) -> float:
        """The kernel's part of `cpu_s`, to a tick of its clock: stime of proc_pid_stat(5)."""
        _, _, fields = Path(f"/proc/{self._child.pid}/stat").read_text(encoding="ascii").rpartition(") ")
        return int(fields.split()[12]) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe:
                pipe.close()


@dataclass
class Contender(Process):
    """A server under measurement; its commands stand in contenders/commands.py."""

    port: int = 0

    def publish(self, count: int, *, together: int = 1, interval_us: int = 0) -> None:
        """Start to; `published` says when all has been handed to the sockets."""
        self.tell("publish", count, together, interval_us)

    def published(self) -> None:
        self.answer("published")

    def wait_for_lines(self, count: int) -> None:
        """Until no more than so many are open. Raises Broken."""
        end = time.monotonic() + ANSWER_GUARD_S
        while self.lines > count:
            if time.monotonic() > end:
                raise Broken(f"{self.command[:3]}: more than {count} lines are open")
            time.sleep(POLL_S)

    def held_ms(self, command: str) -> float:
        """How long it held the loop, as it says itself."""
        self.tell(command)
        held_us: int = self.answer("held_us")["held_us"]
        return held_us / 1000

    @property
    def lines(self) -> int:
        """How many are open."""
        self.tell("lines")
        count: int = self.answer("lines")["lines"]
        return count


@dataclass
class Readers(Process):
    """Browsers that subscribe to something of the team, and count; load.c says how."""

    count: int = 0

    def ready(self) -> dict[str, Any]:
        """When all are in: {"started_us", "ready_us", "lost_lines", "refused"}. Raises Broken."""
        came = self.answer("ready")
        if came["lost_lines"]:
            raise Broken(f"{came['lost_lines']} of {self.count} browsers were dropped while they came")
        return came

    def expect(self, changes: int, seconds: float = COUNT_GUARD_S) -> None:
        """Count from now on, until everybody has had so many or the time is over."""
        self.tell("count", changes, seconds)
        self.answer("counting")

    def counted(self, changes: int) -> Counted:
        """What came of it: each reader had every change once, in order. Raises Broken."""
        told = self.answer("received")
        found = Counted(told["received"], told["bytes"], told["last_us"], told.pop("changes"))
        missing = changes * self.count - found.received
        whole = all(arrivals == self.count for _, arrivals, _ in found.changes)
        if missing or not whole or told["out_of_order"] or told["lost_lines"]:
            raise Broken(f"{self.count} readers: {missing} messages are missing: {told}")
        return found

    def arrivals_us(self) -> list[int]:
        """When each line had its last push, CLOCK_MONOTONIC."""
        self.tell("arrivals")
        times: list[int] = self.answer("arrivals_us")["arrivals_us"]
        return times

    def heard_nothing(self) -> None:
        """What was expected has not come, and nobody was lost. Raises Broken."""
        told = self.answer("received")
        if told["received"] or told["lost_lines"]:
            raise Broken(f"nothing was to come to {self.count} readers: {told}")


@dataclass(frozen=True)
class Counted:
    """`changes` are (seq, arrivals, µs from seq to the last arrival); `bytes` as they came."""

    received: int
    bytes: int
    last_us: int
    changes: list[tuple[int, int, int]]

    @property
    def first_due_us(self) -> int:
        return min(seq for seq, _, _ in self.changes)

    def delays_ms(self, begin_us: int = 0, end_us: int = 2**63) -> list[float]:
        """From when a change was due, which is between the two, to its last arrival."""
        return [late_us / 1000 for seq, _, late_us in self.changes if begin_us <= seq <= end_us]


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

    def contender(
        self, name: str, tasks: int = 1, *, options: tuple[str, ...] = (), **settings: str
    ) -> Contender:
        """A fresh process of it, listening.

        `options` are "deflate", and "skip" for the limit; `settings` are for sora-ws alone.
        """
        command, env = self._command(name, tasks, options)
        contender = Contender(command, self._server_core, env | settings if env else env)
        self._running.append(contender)
        contender.port = contender.answer("port")["port"]
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
        receive_buffer: int = 0,
    ) -> Readers:
        """Start to connect so many; `window` of them are on their way at a time.

        With a `receive_buffer` they read nothing once they are subscribed.
        """
        subscribe = subscribe or (subscribe_task(TEAM) if tasks == 1 else subscribe_room(TEAM))
        program = tools.compiled(tools.BENCH / "load.c")
        arguments = [contender.port, count, window, 2 + tasks, self._tokens, subscribe, receive_buffer]
        readers = Readers([str(program), *map(str, arguments)], self._load_core, nice=nice, count=count)
        self._running.append(readers)
        return readers

    def served(
        self, name: str, count: int, tasks: int = 1, *, options: tuple[str, ...] = ()
    ) -> tuple[Contender, Readers]:
        """A fresh contender, and all its readers in."""
        contender = self.contender(name, tasks, options=options)
        readers = self.readers(contender, count, tasks=tasks)
        readers.ready()
        return contender, readers

    def provider(self) -> Process:
        """A videos API on the core of the load; contenders/provider.py says how it is driven."""
        command = [sys.executable, "-m", "bench.contenders.provider"]
        provider = Process(command, self._load_core)
        self._running.append(provider)
        return provider

    def end(self, *processes: Process) -> None:
        for process in processes:
            self._running.remove(process)
            process.stop()

    def end_all(self) -> None:
        self.end(*self._running)

    def _command(self, name: str, tasks: int, options: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
        if name in OURS:
            env = self._settings(name) | ({"WS_COMPRESSION": "on"} if "deflate" in options else {})
            return [sys.executable, "-m", "bench.contenders.sora", str(tasks)], env
        arguments = [str(tasks), template(), *options]
        if name == "tornado":
            return [sys.executable, "-m", "bench.contenders.tornado_plain", *arguments], {}
        folder = tools.BENCH / "contenders"
        if name == "node":
            modules = str(tools.node_modules())
            return ["node", "--expose-gc", str(folder / "node.cjs"), modules, *arguments], {}
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


def cpu_s(pid: int) -> float:
    """All threads, user and system, to the nanosecond: the clock of that process."""
    return time.clock_gettime(~pid << 3 | 2)


class Others:
    """What everybody else on this machine takes of its cores, a hypervisor's other guests among them.

    Where it is much, compare within a round and believe no absolute figure.
    """

    def __init__(self) -> None:
        self._begin = time.monotonic(), _all_cpu_s(), _our_cpu_s()

    @property
    def share(self) -> float:
        """0 to 1, since this was made; right when all our processes have ended."""
        now = time.monotonic(), _all_cpu_s(), _our_cpu_s()
        seconds, everybody, ours = (after - before for after, before in zip(now, self._begin, strict=True))
        return max(0.0, everybody - ours) / seconds / (os.cpu_count() or 1)


def _all_cpu_s() -> float:
    """All but idle and waiting for a disk (proc_stat(5))."""
    user, low, system, _idle, _disk, irq, softirq, steal, *_ = (
        int(ticks) for ticks in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    )
    return (user + low + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _our_cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@contextmanager
def bench(readers_max: int) -> Iterator[Bench]:
    """A bench whose processes and files are gone afterwards."""
    raise_open_files()
    with TemporaryDirectory() as folder:
        made = Bench(Path(folder), readers_max)
        try:
            yield made
        finally:
            made.end_all()


def raise_open_files() -> int:
    """How many files each process may open from now on: as many as this user may raise it to."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def token(user: str) -> str:
    """Of a member of both teams."""
    return Tokens(DAY_MS, Secret(SECRET)).issue(user, user.title(), [TEAM, CROWD])[0]


def _tokens(count: int) -> Iterator[str]:
    """One for each browser, because each is somebody else."""
    return (token(f"reader-{number}") for number in range(count))
