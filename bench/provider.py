"""`python -m bench.provider`: what it costs to look after many live tasks at a steady rhythm.

A real server (poller, SQLite store and all) on one core, a provider over HTTP in a process of its own on
another. Every look finds the job a little further, so that every look is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.processes import Process
from sora_ws.clock import Clock
from sora_ws.store import Store
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Event, Observation, Order, Task, Watch

WARM_S: Final = 10.0
MODES: Final = ("rising", "still")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.provider", description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--interval", type=int, default=30_000, help="ms between two looks at a task")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure")
    parser.add_argument("--answers", choices=MODES, default="rising", help="does a look find anything new?")
    parser.add_argument("--serve", action="store_true", help="be the provider")
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(_Backend(arguments.interval, is_rising=arguments.answers == "rising").serve())
        return 0
    with TemporaryDirectory() as folder:
        print(json.dumps(_measured(Path(folder), arguments)), flush=True)
    return 0


def _measured(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    cores = sorted(os.sched_getaffinity(0))
    backend = Process(serving(arguments.interval, arguments.answers), cores[-1])
    server = None
    try:
        port = backend.answer("port")["port"]
        tasks = live_tasks(arguments.tasks, arguments.interval, Clock()() + 2_000)
        asyncio.run(keep(SqliteStore(folder / "db", deadline=60.0), tasks))
        env = {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "STATE_DIR": str(folder),
            "DATABASE_URL": f"sqlite:///{folder}/db",
            "SORA_API_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "SORA_POLL_INTERVAL": str(arguments.interval),
            "SORA_POLL_MIN_INTERVAL": str(arguments.interval),
            "LOG_LEVEL": "error",
        }
        server = Process([sys.executable, "-m", "sora_ws"], cores[0], env)
        time.sleep(WARM_S)
        before, began, cpu = _looks(backend), time.monotonic(), server.cpu_s
        time.sleep(arguments.seconds)
        looks, took, spent = _looks(backend) - before, time.monotonic() - began, server.cpu_s - cpu
    finally:
        backend.stop()
        if server is not None:
            server.stop()
    return {
        "tasks": arguments.tasks,
        "looks_per_s": round(looks / took, 1),
        "due_per_s": round(1000 * arguments.tasks / arguments.interval, 1),
        "core_percent": round(100 * spent / took, 2),
        "us_per_look": round(1e6 * spent / max(1, looks), 1),
    }


def serving(interval_ms: int, answers: str = "rising") -> list[str]:
    """The command of a provider. The line `looks` is answered by how many there were, at how many jobs, and
    how many came sooner than `interval_ms` behind the one before."""
    options = ["--answers", answers, "--interval", str(interval_ms)]
    return [sys.executable, "-m", "bench.provider", "--serve", *options]


def live_tasks(count: int, interval_ms: int, first_at: int) -> list[Task]:
    """Tasks that the provider has, their looks spread evenly over the interval."""
    tasks = []
    for number in range(count):
        task = Task.new(f"user {number % 500}", Order("a cat " * 20, "sora-2"), first_at)
        task = task.accept(f"video_{number:032x}", Observation(Event.STARTED, progress=1), first_at)
        due = first_at + int(interval_ms * (number / count))
        tasks.append(replace(task, watch=Watch(next_look_at=due)))
    return tasks


async def keep(store: Store, tasks: Sequence[Task]) -> None:
    """Put them into the database, not opened yet."""
    await store.open()
    for start in range(0, len(tasks), 1_000):
        await asyncio.gather(*map(store.insert, tasks[start : start + 1_000]))
    await store.close()


def _looks(backend: Process) -> int:
    backend.tell("looks")
    return int(backend.answer("looks")["looks"])


class _Backend:
    """A videos API of one answer, as cheap as may be: it shares the machine with what is measured."""

    def __init__(self, interval_ms: int, *, is_rising: bool) -> None:
        self._interval_s = (interval_ms - 1) / 1000  # the server's clock has whole ms
        self._is_rising = is_rising
        self._looks = 0
        self._early = 0
        self._seen: dict[bytes, int] = {}
        self._seen_at: dict[bytes, float] = {}

    async def serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            told = {"looks": self._looks, "jobs": len(self._seen), "early": self._early}
            print(json.dumps(told), flush=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._look(head.split(b" ", 2)[1].rpartition(b"/")[2]))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _look(self, job_id: bytes) -> bytes:
        self._looks += 1
        now = time.monotonic()
        self._early += now - self._seen_at.get(job_id, -self._interval_s) < self._interval_s
        self._seen_at[job_id] = now
        seen = self._seen[job_id] = self._seen.get(job_id, 1) + 1
        progress = min(98, seen) if self._is_rising else 1
        body = (
            b'{"id":"%b","object":"video","created_at":1758941485,"status":"in_progress","model":"sora-2",'
            b'"progress":%d,"seconds":"8","size":"1280x720","error":null}' % (job_id, progress)
        )
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        return head + body


if __name__ == "__main__":
    sys.exit(main())
