"""`python -m bench.capacity.measure WHAT`: the plan in small, a line of JSON for each of its phases.

Each browser watches the room of its own user, who has one live task; each look finds news. CPU is in µs a
second of each kind of process, memory in bytes. It needs what bench.instances needs.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from pymongo import UpdateOne

from bench.instances.driving import since
from bench.instances.machines import DATABASE, Machines, machines
from bench.instances.spent import Spent
from bench.processes import token
from bench.provider import live_tasks, serving
from sora_ws.clock import Clock
from sora_ws.task import Task

HOUR_MS: Final = 3_600_000
BROWSERS: Final = 4_000
WINDOW: Final = 128
OWN_ROOM: Final = json.dumps({"type": "subscribe_room", "id": "own", "payload": {"room": "user"}})
WORD_EVERY_S: Final = 0.1
LINES_THAT_PING: Final = 64
PING_EVERY_S: Final = 0.001
UPGRADE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def direct(made: Machines, given: argparse.Namespace) -> None:
    """One instance."""
    _life(made, given, made.instances[0].port)


def nginx(made: Machines, given: argparse.Namespace) -> None:
    """Two instances behind Nginx."""
    _life(made, given, made.nginx())


def alone(made: Machines, given: argparse.Namespace) -> None:
    """One of two dies, at which nobody reads: the other has to read again what it may have missed."""
    made.read(made.instances[0].port, given.browsers, OWN_ROOM, window=WINDOW).ready()
    time.sleep(given.settle)
    _report("lines", made, given.seconds)
    made.instances.pop().stop()
    time.sleep(given.settle)
    _report("alone", made, given.seconds)


def pings(made: Machines, given: argparse.Namespace) -> None:
    """Lines that ping one after the other, as each browser does once between two heartbeats."""
    lines = [_line(made.instances[0].port, number) for number in range(LINES_THAT_PING)]
    time.sleep(given.settle)
    before, began, count = made.cpu(), time.monotonic(), 0
    while time.monotonic() < began + given.seconds:
        line = lines[count % len(lines)]
        line.sendall(_frame({"type": "ping"}))
        line.recv(65_536)
        count += 1
        time.sleep(PING_EVERY_S)
    quiet = made.cpu()
    time.sleep(took := time.monotonic() - began)
    spent = {who: s - made.cpu()[who] + quiet[who] for who, s in since(before, quiet).items()}
    _say("pings", a_second=count / took, **{f"us {who}": s / count * 1e6 for who, s in spent.items()})


def places(made: Machines, given: argparse.Namespace) -> None:
    """Both are told again and again that somebody waits for a place, as each new task says."""
    [channel] = [
        name for name in made.redis.ask("PUBSUB", "CHANNELS").split() if name.endswith("words:cluster")
    ]
    before, calls, began, count = made.cpu(), made.store_calls(), time.monotonic(), 0
    while (late := time.monotonic() - began) < given.seconds:
        made.redis.ask("PUBLISH", channel, 'bench ["LineMoved",true]')
        count += 1
        time.sleep(max(0.0, count * WORD_EVERY_S - late))
    took = time.monotonic() - began
    spent = {f"us_per_s {who}": s / took * 1e6 for who, s in since(before, made.cpu()).items()}
    _say("words", a_second=count / took, calls=(made.store_calls() - calls) / took, **spent)


def _line(port: int, number: int) -> socket.socket:
    """Signed in."""
    line = socket.create_connection(("127.0.0.1", port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.sendall(UPGRADE)
    line.recv(65_536)
    line.sendall(_frame({"type": "auth", "payload": {"token": token(f"reader-{number}")}}))
    line.recv(65_536)
    return line


def _frame(message: object) -> bytes:
    """Of a client, whose mask of zeros leaves the payload as it is."""
    payload = json.dumps(message).encode()
    length = (
        bytes([0x80 | len(payload)]) if len(payload) < 126 else struct.pack("!BH", 0x80 | 126, len(payload))
    )
    return b"\x81" + length + bytes(4) + payload


INSTANCES: Final[Mapping[Callable[[Machines, argparse.Namespace], None], int]] = {
    direct: 1,
    nginx: 2,
    alone: 2,
    pings: 1,
    places: 2,
}


def main() -> int:
    by_name = {what.__name__: what for what in INSTANCES}
    parser = argparse.ArgumentParser(prog="bench.capacity.measure", description=__doc__)
    parser.add_argument("what", choices=by_name)
    parser.add_argument("--browsers", type=int, default=BROWSERS)
    parser.add_argument("--interval", type=int, default=30_000, help="ms between two looks at a task")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--settle", type=float, default=10.0, metavar="S", help="before each")
    arguments = parser.parse_args()
    what = by_name[arguments.what]
    interval = {"SORA_POLL_INTERVAL": str(arguments.interval)}
    if what is not alone:  # where the shortest wait says how often is read again
        interval["SORA_POLL_MIN_INTERVAL"] = str(arguments.interval)
    with machines(serving(arguments.interval), interval) as made:
        made.start(INSTANCES[what])
        time.sleep(arguments.settle)
        _report("empty", made, arguments.seconds)
        made.keep(_own_tasks(arguments.browsers))
        time.sleep(arguments.settle)
        _report("tasks", made, arguments.seconds)
        what(made, arguments)
    return 0


def _life(made: Machines, given: argparse.Namespace, port: int) -> None:
    cpu, memory, browsers = made.cpu(), _memory(made), given.browsers
    came = made.read(port, browsers, OWN_ROOM, window=WINDOW).ready()
    spent, took_s = since(cpu, made.cpu()), (came["ready_us"] - came["started_us"]) / 1e6
    _say("storm", a_second=browsers / took_s, **{f"us {who}": s / browsers * 1e6 for who, s in spent.items()})
    time.sleep(given.settle)
    _say("memory", **{who: grown / browsers for who, grown in since(memory, _memory(made)).items()})
    _report("lines", made, given.seconds)
    _make_due(made, given)
    time.sleep(given.interval / 1000 + given.settle)
    _report("looks", made, given.seconds)
    with made.mongod.client() as client:
        stats = client[DATABASE].command("collStats", "tasks")
    _say("stored", data=stats["size"] / stats["count"], indexes=stats["totalIndexSize"] / stats["count"])


def _report(phase: str, made: Machines, seconds: float) -> None:
    cpu, redis, calls, looks, began = (
        made.cpu(),
        made.redis_figures(),
        made.store_calls(),
        _looks(made),
        time.monotonic(),
    )
    time.sleep(seconds)
    took = time.monotonic() - began
    spent = {f"us_per_s {who}": s / took * 1e6 for who, s in since(cpu, made.cpu()).items()}
    passed = {f"Redis, {what}": count / took for what, count in since(redis, made.redis_figures()).items()}
    store = {"store calls": (made.store_calls() - calls) / took, "looks": (_looks(made) - looks) / took}
    _say(phase, **spent, **passed, **store)


def _looks(made: Machines) -> int:
    made.provider.tell("looks")
    return int(made.provider.answer("looks")["looks"])


def _own_tasks(count: int) -> list[Task]:
    """One of each reader, that nobody looks at for an hour."""
    tasks = live_tasks(count, 0, Clock()() + HOUR_MS)
    return [replace(task, user_id=f"reader-{number}") for number, task in enumerate(tasks)]


def _make_due(made: Machines, given: argparse.Namespace) -> None:
    """One after the other, over an interval."""
    first_at = Clock()() + 2_000
    with made.mongod.client() as client:
        tasks = client[DATABASE].tasks
        client[DATABASE].tasks.bulk_write(
            [
                UpdateOne(
                    {"_id": found["_id"]},
                    {"$set": {"watch.nextLookAt": first_at + given.interval * n // given.browsers}},
                )
                for n, found in enumerate(tasks.find({}, {"_id": 1}))
            ]
        )


def _memory(made: Machines) -> dict[str, float]:
    """Bytes of the processes, each its own, and what the kernel has for itself."""
    nginx = {} if made.nginx_pid is None else {"Nginx": [made.nginx_pid]}
    spent = Spent.now(made.pids() | nginx)
    return {**spent.own, "kernel": spent.kernel}


def _say(phase: str, **figures: float) -> None:
    print(
        json.dumps({"phase": phase} | {name: float(f"{value:.4g}") for name, value in figures.items()}),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
