"""The rows of the bench. Each yields what it measured, contenders taking turns in every round."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from bench.message import CROWD, TEAM, subscribe_room, subscribe_task
from bench.processes import CALM, Bench, Broken, Contender, Readers
from bench.results import Result, quantile

GUARD_S: Final = 60.0
STORM_HEAD_START_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything; times in s."""

    rounds: int = 5
    fresh_rounds: int = 3  # of rows whose servers are started anew each time
    memory: tuple[int, ...] = (2_000, 8_000)
    settle: float = 1.0
    readers: int = 2_000
    changes: int = 50
    tasks: int = 100
    near: int = 1_000
    near_changes: int = 100
    others: int = 100
    crowd: int = 4_000
    storm: float = 8.0
    idle: int = 4_000
    idle_for: float = 60.0


SHORT: Final = Scale(1, 1, (1_000,), 0.2, 200, 20, 20, 100, 50, 20, 400, 2.0, 200, 2.0)

Samples = defaultdict[tuple[str, str, str], list[float]]
"""(contender, what, unit) → a value a round."""


def memory(bench: Bench, scale: Scale, who: Sequence[str]) -> Iterator[Result]:
    """Growth of RSS a browser that is connected, authenticated and subscribed."""
    samples: Samples = defaultdict(list)
    most = max(scale.memory)
    ways = [_Way(f"{n} browsers, {CALM} at a time", n, CALM, subscribe_task(TEAM)) for n in scale.memory]
    ways.append(_Way(f"{most} browsers, all at once", most, most, subscribe_task(TEAM)))
    ways.append(_Way(f"{most} browsers, all at once, to a room", most, most, subscribe_room(TEAM)))
    for _ in range(scale.fresh_rounds):
        for way in ways:
            for name in _but(who, "limit"):
                growth = _growth(bench, name, way, scale.settle)
                samples[name, way.what, "KB each"].append(growth.rss_bytes / way.count / 1024)
                if growth.refused:
                    samples[name, f"{way.what}: told to try again", "times"].append(growth.refused)
    yield from _results("memory", samples)


@dataclass(frozen=True, slots=True)
class _Way:
    """How browsers come: how many, at most `window` of them on their way, and to what."""

    what: str
    count: int
    window: int
    subscribe: str


@dataclass(frozen=True, slots=True)
class _Growth:
    rss_bytes: int
    refused: int


def _growth(bench: Bench, name: str, way: _Way, settle: float) -> _Growth:
    contender = bench.contender(name)
    first = bench.readers(contender, 100, subscribe=way.subscribe)  # what they cost is no price of the others
    _all_in(first)
    before = contender.rss_bytes
    readers = bench.readers(contender, way.count, subscribe=way.subscribe, window=way.window)
    came = _all_in(readers)
    time.sleep(settle)
    grown = contender.rss_bytes - before
    for process in (first, readers, contender):
        bench.end(process)
    return _Growth(grown, came["refused"])


def fan_out(bench: Bench, scale: Scale, who: Sequence[str]) -> Iterator[Result]:
    """One task, many readers, never two changes in a turn of the loop: one send a message for all."""
    lines = {name: _with_readers(bench, name, scale.readers) for name in who}
    for name in who:  # Node compiles what it has seen to be hot
        _burst(*lines[name], scale.changes)
    samples: Samples = defaultdict(list)
    for turn in range(scale.rounds):
        for name in _rotated(who, turn):
            cost = _burst(*lines[name], scale.changes)
            samples[name, "messages a second", "/s"].append(cost.per_second)
            samples[name, "CPU a push", "µs"].append(cost.cpu_us)
    _compare(samples, "CPU a push", over=lambda ours, theirs: theirs / ours)
    yield from _results("fan-out", samples)


def joined(bench: Bench, scale: Scale, who: Sequence[str]) -> Iterator[Result]:
    """Many tasks change in one turn of the loop, everybody watches all."""
    lines = {name: _with_readers(bench, name, scale.readers, scale.tasks) for name in who}
    for name in who:
        _burst(*lines[name], scale.tasks, together=scale.tasks)
    samples: Samples = defaultdict(list)
    for turn in range(scale.rounds):
        for name in _rotated(who, turn):
            cost = _burst(*lines[name], scale.tasks, together=scale.tasks)
            samples[name, "messages a second", "/s"].append(cost.per_second)
            samples[name, "CPU a push", "µs"].append(cost.cpu_us)
    _compare(samples, "messages a second", over=lambda ours, theirs: ours / theirs)
    yield from _results("joined", samples)


def latency(bench: Bench, scale: Scale, who: Sequence[str]) -> Iterator[Result]:
    """From a change to its arrival at the last of all readers."""
    who = _but(who, "limit")
    lines = {name: _with_readers(bench, name, scale.near, scale.tasks) for name in who}
    samples: Samples = defaultdict(list)
    for turn in range(scale.rounds):
        for per_second, changes in ((20, scale.near_changes), (1_000, 3 * scale.near_changes)):
            for name in _rotated(who, turn):
                contender, readers = lines[name]
                readers.expect(changes, GUARD_S)
                contender.publish(changes, interval_us=1_000_000 // per_second)
                delays = [last_us / 1000 for _, _, last_us in checked(contender, readers, changes)["changes"]]
                what = f"{per_second} changes a second to {scale.near}"
                samples[name, f"{what}: p50", "ms"].append(quantile(delays, 0.5))
                samples[name, f"{what}: p99", "ms"].append(quantile(delays, 0.99))
    yield from _results("latency", samples)


def storm(bench: Bench, scale: Scale, who: Sequence[str]) -> Iterator[Result]:
    """Many come at once while a few are served 100 changes a second."""
    samples: Samples = defaultdict(list)
    for turn in range(scale.fresh_rounds):
        for name in _rotated(_but(who, "limit"), turn):
            contender, others = _with_readers(bench, name, scale.others, scale.tasks)
            changes = int(scale.storm * 100)
            others.expect(changes, scale.storm + GUARD_S)
            contender.publish(changes, interval_us=10_000)
            time.sleep(STORM_HEAD_START_S)
            # The load is on one core: who is being measured goes first, as if on a machine of its own.
            crowd = bench.readers(
                contender, scale.crowd, subscribe=subscribe_task(CROWD), window=scale.crowd, nice=19
            )
            came = _all_in(crowd)
            counted = checked(contender, others, changes)
            meanwhile = [
                last_us / 1000
                for seq, _, last_us in counted["changes"]
                if came["started_us"] <= seq <= came["ready_us"]
            ]
            samples[name, "the others' p99", "ms"].append(quantile(meanwhile, 0.99))
            samples[name, "the others' longest", "ms"].append(max(meanwhile))
            all_in_s = (came["ready_us"] - came["started_us"]) / 1e6
            samples[name, f"until {scale.crowd} are in", "s"].append(all_in_s)
            for process in (others, crowd, contender):
                bench.end(process)
    yield from _results("storm", samples)


def idle(bench: Bench, scale: Scale, who: Sequence[str]) -> Iterator[Result]:
    """CPU of lines on which nothing happens but heartbeat and ping every 30 s."""
    who = _but(who, "limit", "tornado")
    lines = {name: _with_readers(bench, name, scale.idle) for name in who}
    empty = {name: bench.contender(name) for name in who}
    before = {name: (lines[name][0].cpu_s, empty[name].cpu_s) for name in who}
    begin = time.monotonic()
    time.sleep(scale.idle_for)
    samples: Samples = defaultdict(list)
    for name in who:
        seconds = time.monotonic() - begin
        full_us = (lines[name][0].cpu_s - before[name][0]) * 1e6 / seconds
        empty_us = (empty[name].cpu_s - before[name][1]) * 1e6 / seconds
        samples[name, f"a connection of {scale.idle}", "µs/s"].append((full_us - empty_us) / scale.idle)
        samples[name, "a server without connections", "µs/s"].append(empty_us)
    yield from _results("idle", samples)


ROWS: Final[Mapping[str, Callable[[Bench, Scale, Sequence[str]], Iterator[Result]]]] = MappingProxyType(
    {
        "memory": memory,
        "fan-out": fan_out,
        "joined": joined,
        "latency": latency,
        "storm": storm,
        "idle": idle,
    }
)


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu_us` of the server's process, a message."""

    per_second: float
    cpu_us: float


def _burst(contender: Contender, readers: Readers, changes: int, *, together: int = 1) -> Cost:
    readers.expect(changes, GUARD_S)
    before = contender.cpu_s
    contender.publish(changes, together=together)
    counted = checked(contender, readers, changes)
    cpu_us = (contender.cpu_s - before) * 1e6
    seconds = (counted["last_us"] - min(seq for seq, _, _ in counted["changes"])) / 1e6
    return Cost(counted["received"] / seconds, cpu_us / counted["received"])


def _with_readers(bench: Bench, name: str, count: int, tasks: int = 1) -> tuple[Contender, Readers]:
    contender = bench.contender(name, tasks)
    subscribe = subscribe_task(TEAM) if tasks == 1 else subscribe_room(TEAM)
    readers = bench.readers(contender, count, subscribe=subscribe, tasks=tasks)
    _all_in(readers)
    return contender, readers


def _all_in(readers: Readers) -> dict[str, Any]:
    came = readers.ready()
    if came["lost_lines"]:
        raise Broken(f"{came['lost_lines']} of {readers.count} browsers were dropped while they came")
    return came


def checked(contender: Contender, readers: Readers, changes: int) -> dict[str, Any]:
    """What the readers counted: each of them every change once, in their order. Raises Broken."""
    contender.answer()
    counted = readers.counted()
    missing = changes * readers.count - counted["received"]
    whole = all(arrivals == readers.count for _, arrivals, _ in counted["changes"])
    if missing or not whole or counted["out_of_order"] or counted["lost_lines"]:
        told = {key: value for key, value in counted.items() if key != "changes"}
        raise Broken(f"{contender.command[:3]}: {missing} messages are missing: {told}")
    return counted


def _compare(samples: Samples, what: str, over: Callable[[float, float], float]) -> None:
    """Ours beside the others, round by round."""
    values = {name: found for (name, kind, _), found in samples.items() if kind == what}
    for other in ("limit", "node"):
        if "fast" in values and other in values:
            pairs = zip(values["fast"], values[other], strict=True)
            samples["fast", f"{what}, of {other}", "×"] = [over(ours, theirs) for ours, theirs in pairs]


def _results(row: str, samples: Samples) -> Iterator[Result]:
    for (contender, what, unit), values in samples.items():
        yield Result(row, contender, what, unit, values)


def _but(who: Sequence[str], *without: str) -> list[str]:
    return [name for name in who if name not in without]


def _rotated(who: Sequence[str], turn: int) -> list[str]:
    at = turn % len(who)
    return [*who[at:], *who[:at]]
