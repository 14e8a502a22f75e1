"""`python -m bench.relay`: what a change costs each side, by way and number of tasks, as lines of JSON.

One instance publishes, one wants every change, by the task and by the user's room, and some want as many
other tasks. CPU is the process's own time in µs a change; Redis' too. It needs a redis-server.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.relay.ways import WAYS

TASKS: Final = (1, 100, 10_000)
CHANGES: Final = 20_000
STRANGERS: Final = 3
FAR: Final = 1_000_000  # the first of a stranger's tasks
HZ: Final = os.sysconf("SC_CLK_TCK")


class Instance:
    """A worker process."""

    def __init__(self, way: str, url: str) -> None:
        command = [sys.executable, "-m", "bench.relay.worker", way, url]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self._answer()["is_up"]:
            raise RuntimeError("no way to Redis")

    def ask(self, *words: str | int) -> dict[str, Any]:
        assert self._child.stdin is not None
        print(json.dumps(words), file=self._child.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        self._child.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        answer: dict[str, Any] = json.loads(self._child.stdout.readline())
        return answer


class Redis:
    """A server of the bench's own."""

    def __init__(self, folder: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        quiet = ["--save", "", "--appendonly", "no", "--dir", folder]
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", *quiet]
        self._child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while self._ask("PING") != "PONG":
            time.sleep(0.05)

    def figures(self) -> dict[str, float]:
        """Seconds of CPU, messages and bytes that left, bytes that came."""
        stat = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        stats = dict(line.split(":") for line in self._ask("INFO", "stats").splitlines() if ":" in line)
        return {
            "cpu_s": (int(stat[11]) + int(stat[12])) / HZ,
            "bytes_in": int(stats["total_net_input_bytes"]),
            "bytes_out": int(stats["total_net_output_bytes"]),
        }

    def end(self) -> None:
        self._child.terminate()
        self._child.wait()

    def _ask(self, *words: str) -> str:
        cli = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(cli, capture_output=True, text=True, check=False).stdout.strip()


@contextmanager
def _redis() -> Iterator[Redis]:
    with TemporaryDirectory() as folder:
        server = Redis(folder)
        try:
            yield server
        finally:
            server.end()


def measure(way: str, tasks: int, changes: int) -> dict[str, Any]:
    """One way, at so many tasks."""
    with ExitStack() as stack:
        server = stack.enter_context(_redis())
        publisher, wanting, *strangers = instances = [
            Instance(way, f"redis://127.0.0.1:{server.port}") for _ in range(2 + STRANGERS)
        ]
        for instance in instances:
            stack.callback(instance.end)
        subscribing = wanting.ask("want", 0, tasks)["subscribe_cpu_s"]
        for n, stranger in enumerate(strangers, 1):
            stranger.ask("want", n * FAR, tasks)
        hearers = [wanting, *strangers]
        before, redis_before = [each.ask("figures") for each in hearers], server.figures()
        published = publisher.ask("publish", tasks, changes)
        while (heard := wanting.ask("figures"))["decoded"] < changes:
            time.sleep(0.05)
        after, redis_after = [each.ask("figures") for each in hearers], server.figures()
    spent = [(new["cpu_s"] - old["cpu_s"]) / changes * 1e6 for new, old in zip(after, before, strict=True)]
    redis = {name: (redis_after[name] - redis_before[name]) / changes for name in redis_after}
    return {
        "way": way,
        "tasks": tasks,
        "publisher_us": round(published["cpu_s"] / changes * 1e6, 1),
        "wanting_us": round(spent[0], 1),
        "other_us": round(sum(spent[1:]) / STRANGERS, 2),
        "redis_us": round(redis["cpu_s"] * 1e6, 1),
        "messages_in": published["published"] / changes,
        "messages_out": sum(each["messages"] for each in after) / changes,
        "bytes_in": round(redis["bytes_in"]),
        "bytes_out": round(redis["bytes_out"]),
        "subscribe_us": round(subscribing / tasks * 1e6, 1),
        "decoded": heard["decoded"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.relay", description=__doc__)
    parser.add_argument("--changes", type=int, default=CHANGES)
    parser.add_argument("--tasks", type=int, nargs="+", default=TASKS)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    if shutil.which("redis-server") is None:
        print("bench.relay: redis-server is missing: apt-get install redis-server", file=sys.stderr)
        return 1
    for _ in range(arguments.rounds):
        for tasks in arguments.tasks:
            for way in WAYS:
                print(json.dumps(measure(way, tasks, arguments.changes)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
