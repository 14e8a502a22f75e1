"""The row `held`: very many browsers, held by as many instances as it takes, are told of one change."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Final

from bench.instances.driving import STEPPING, Told, add_cpu, adder, create, label, move_on, since
from bench.instances.machines import CONNECTIONS_MAX, Machines, machines, until
from bench.instances.scale import Scale
from bench.instances.spent import KB, Spent
from bench.processes import raise_open_files
from bench.rounds import Rounds, quantile
from sora_ws.listening import FILES_BESIDE_CONNECTIONS

Add = Callable[[str, str, float], None]
MB: Final = 1_000_000
RHYTHM: Final = {"SORA_POLL_INTERVAL": "5000"}
"""A task at which nothing happened for long is looked at again soon enough for the next change."""
LATE_S: Final = 1.0
"""How long nothing more may come behind a change."""


def held(scale: Scale) -> Rounds:
    """Each of them somebody else, on a line that signs in, subscribes to one task and answers beats."""
    room = min(CONNECTIONS_MAX, raise_open_files() - FILES_BESIDE_CONNECTIONS)
    count = scale.held_by or -(-scale.held // room)
    who = f"{scale.held} browsers, {label(count)}"
    rounds = Rounds((who,), 1)
    add = adder(rounds, who)
    with machines(STEPPING, RHYTHM) as made:
        made.start(count)
        [task] = create(made, 1)
        shares = [scale.held // count + (number < scale.held % count) for number in range(count)]
        add("at one instance, at most", "browsers", max(shares))
        before = Spent.now(made.pids())
        _come_in(made, scale, task, shares, add)
        _hold(made, scale, add)
        _add_memory(add, before, Spent.now(made.pids()), scale.held)
        _add_delays(add, [_told_once(made) for _ in range(scale.held_changes)])
        _leave(made, add)
        _add_left(add, before, Spent.now(made.pids()))
    return rounds


def _come_in(made: Machines, scale: Scale, task: str, shares: list[int], add: Add) -> None:
    """All of them, to one instance as many as to the other."""
    subscribe = json.dumps({"type": "subscribe_task", "id": "held", "payload": {"videoId": task}})
    tokens = [made.tokens(f"{number}th", share) for number, share in enumerate(shares)]
    cpu = made.cpu()
    for instance, share, file in zip(made.instances, shares, tokens, strict=True):
        made.read(instance.port, share, subscribe, window=scale.held_window, tokens=file)
    came = [readers.ready() for readers in made.readers]
    spent = since(cpu, made.cpu())
    seconds = (max(each["ready_us"] for each in came) - min(each["started_us"] for each in came)) / 1e6
    until(lambda: made.instances[0].stats()["cluster"]["subscriptions"] == scale.held)
    add("until all are in", "s", seconds)
    add("come in", "/s", scale.held / seconds)
    add_cpu(add, "a browser that comes", spent, scale.held)


def _hold(made: Machines, scale: Scale, add: Add) -> None:
    """Nothing happens but beats, and nobody is lost."""
    cpu, began = made.cpu(), time.monotonic()
    _hear_nothing(made, scale.held_for)
    seconds = time.monotonic() - began
    add_cpu(add, "a browser held, a second", since(cpu, made.cpu()), int(scale.held * seconds))


def _told_once(made: Machines) -> tuple[Told, list[float]]:
    """A change, and after how many ms each browser had it; nobody has it twice."""
    told = move_on(made, 1)
    arrivals_us = [at_us for readers in made.readers for at_us in readers.arrivals_us()]
    _hear_nothing(made, LATE_S)
    return told, [(at_us - told.at_us) / 1000 for at_us in arrivals_us]


def _hear_nothing(made: Machines, seconds: float) -> None:
    for readers in made.readers:
        readers.expect(1, seconds)
    for readers in made.readers:
        readers.heard_nothing()


def _leave(made: Machines, add: Add) -> None:
    """All at once, without a word."""
    began = time.monotonic()
    made.leave()
    until(lambda: not any(each.stats()["connectedClients"] for each in made.instances))
    add("until all have left", "s", time.monotonic() - began)


def _add_delays(add: Add, all_told: list[tuple[Told, list[float]]]) -> None:
    """Of all changes the median, and of the last reader also the slowest."""
    delays = [sorted(delays_ms) for _, delays_ms in all_told]
    add("a change, at the first", "ms", statistics.median(each[0] for each in delays))
    add("at half of them", "ms", statistics.median(statistics.median(each) for each in delays))
    add("at 99 of 100", "ms", statistics.median(quantile(each, 0.99) for each in delays))
    add("at the last", "ms", statistics.median(each[-1] for each in delays))
    add("at the last, slowest of the changes", "ms", max(each[-1] for each in delays))
    messages = sum(map(len, delays))
    spent = {name: sum(told.cpu_s[name] for told, _ in all_told) for name in all_told[0][0].cpu_s}
    add_cpu(add, "a push", spent, messages)


def _add_memory(add: Add, before: Spent, held: Spent, browsers: int) -> None:
    """What all of it takes, and by how much it grew for each of them."""
    for name, size in held.processes.items():
        add(f"memory of {name}", "MB", size / MB)
    add(
        "instances grew by", "KB a browser", (held.own["instances"] - before.own["instances"]) / browsers / KB
    )
    for what, size in held.kernel_since(before).items():
        add(f"{what}, both ends", "MB", size / MB)
        add(f"{what}, both ends", "KB a browser", size / browsers / KB)
    add("sockets, both ends", "", held.sockets - before.sockets)
    add("SYNs that found no place", "", held.syns_dropped - before.syns_dropped)
    add("SYNs sent again", "", held.syns_sent_again - before.syns_sent_again)


def _add_left(add: Add, before: Spent, left: Spent) -> None:
    """What is not given back when all have gone."""
    add("behind them: instances", "MB", left.processes["instances"] / MB)
    add("behind them: kernel", "MB more", (left.kernel - before.kernel) / MB)
