"""The rows: each starts what it needs, for each number of instances, and ends without a figure when a message
is lost, doubled or out of order, or a task is looked at twice."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bench.instances.machines import Machines, machines, until
from bench.message import TEAM, subscribe_room
from bench.processes import Broken, Counted, Readers
from bench.provider import live_tasks, serving
from bench.rounds import Rounds, quantile
from sora_ws.clock import Clock

STEPPING: Final = (sys.executable, "-m", "bench.contenders.provider")
QUICK: Final = {"SORA_POLL_INTERVAL": "500", "SORA_POLL_MIN_INTERVAL": "100"}
LOCAL: Final = "on the instance that saved it"
OTHER: Final = "on the other"
WINDOW: Final = 128


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured; times in s."""

    instances: tuple[int, ...] = (1, 2, 4)
    readers: int = 2_000
    steps: int = 60  # below a hundred per cent
    tasks: int = 60  # as many as one instance looks at at once
    joined_steps: int = 20
    near: int = 100
    near_tasks: int = 4
    quiet: float = 4.0
    many: int = 8
    live: int = 10_000
    interval_ms: int = 30_000
    steady: float = 30.0
    crowd: int = 2_000


SHORT: Final = Scale(
    instances=(2,),
    readers=60,
    steps=5,
    tasks=20,
    joined_steps=3,
    near=20,
    near_tasks=2,
    quiet=0.0,
    many=3,
    live=600,
    interval_ms=10_000,
    steady=0.0,
    crowd=100,
)


def one_task(scale: Scale) -> Rounds:
    """A task whose readers are spread over all instances."""
    return _pushes(scale, 1, scale.steps, is_spread=True)


def many_tasks(scale: Scale) -> Rounds:
    """Tasks of all instances, whose readers are all at one."""
    return _pushes(scale, scale.tasks, scale.joined_steps, is_spread=False)


def across(scale: Scale) -> Rounds:
    """The same changes at an instance that saved them and at one that did not."""
    rounds = Rounds((LOCAL, OTHER), 1)
    with machines(STEPPING, QUICK) as made:
        made.start(1)
        mine = _create(made, scale.near_tasks)
        made.start(1)
        here, there = [
            made.read(each.port, scale.near, subscribe_room(TEAM), scale.near_tasks)
            for each in made.instances
        ]
        _all_in(here, there)
        told = [_step(made, scale.near_tasks) for _ in range(scale.steps)]
        if made.owners() != dict.fromkeys(mine, made.instances[0].port):
            raise Broken("a task went over to another instance")
    late: dict[str, list[float]] = {LOCAL: [], OTHER: []}
    between = []
    for step in told:
        local, other = (_arrivals(counted) for counted in step.counted)
        late[LOCAL] += [(at - step.at_us) / 1000 for at in local.values()]
        late[OTHER] += [(at - step.at_us) / 1000 for at in other.values()]
        between += [(other[change] - at) / 1000 for change, at in local.items()]
    for who, values in late.items():
        rounds.add(who, "p50", "ms", statistics.median(values))
        rounds.add(who, "p99", "ms", quantile(values, 0.99))
    rounds.add(OTHER, "later than the local one, p50", "ms", statistics.median(between))
    rounds.add(OTHER, "later than the local one, p99", "ms", quantile(between, 0.99))
    return rounds


def due(scale: Scale) -> Rounds:
    """Instances that are started at once over live tasks that are all due, and what follows."""
    counts = (1, scale.many)
    rounds = Rounds(_names(counts), 1)
    for count in counts:
        with machines(serving(scale.interval_ms), _rhythm(scale)) as made:
            made.keep(live_tasks(scale.live, 0, Clock()()))
            calls, cpu, began = made.store_calls(), made.cpu(), time.monotonic()
            made.start(count)
            until(lambda made=made: _looks(made)["jobs"] == scale.live, poll_s=0.2)  # type: ignore[misc]
            took, spent, first = time.monotonic() - began, _since(cpu, made.cpu()), _looks(made)
            calls = made.store_calls() - calls
            add = _adder(rounds, count)
            add("looks until all were looked at", "a task", first["looks"] / scale.live)
            add("store operations", "a task", calls / scale.live)
            add("from their start until all were looked at", "s", took)
            _add_cpu(add, "a task", spent, scale.live)
            _steady(made, scale, add)
            if _looks(made)["early"]:
                raise Broken(f"tasks were looked at before their time: {_looks(made)}")
    return rounds


def nginx(scale: Scale) -> Rounds:
    """How fast browsers come in, through Nginx and past it."""
    direct = "1 instance, no Nginx"
    through = [f"Nginx, {name}" for name in _names(scale.instances)]
    rounds = Rounds((direct, *through), 1)
    for who, count in zip((direct, *through), (1, *scale.instances), strict=True):
        with machines(STEPPING, QUICK) as made:
            made.start(count)
            _create(made, 1)
            port = made.instances[0].port if who == direct else made.nginx()
            before = made.cpu()
            came = made.read(port, scale.crowd, subscribe_room(TEAM), window=WINDOW).ready()
            rounds.add(who, "browsers", "/s", scale.crowd / (came["ready_us"] - came["started_us"]) * 1e6)
            spent = _since(before, made.cpu())
            _add_cpu(_adder(rounds, who), "a browser", spent, scale.crowd)
    return rounds


ROWS: Final[dict[str, Callable[[Scale], Rounds]]] = {
    "one_task": one_task,
    "many_tasks": many_tasks,
    "across": across,
    "due": due,
    "nginx": nginx,
}
GOALS: Final = {
    "across": "p99 within 10 ms of the local one",
    "due": "one look a task, at most 5 store operations",
}


@dataclass(frozen=True, slots=True)
class _Told:
    """A step of all jobs: when it was, and what each group of readers heard."""

    at_us: int
    counted: list[Counted]
    cpu_s: dict[str, float]
    """What it took of the cores until the last reader had heard it, by who took it."""

    @property
    def messages(self) -> int:
        return sum(counted.received for counted in self.counted)

    @property
    def seconds(self) -> float:
        return (max(counted.last_us for counted in self.counted) - self.at_us) / 1e6

    @property
    def delays_ms(self) -> list[float]:
        """From the step to the last of all readers, of each task."""
        last: dict[int, int] = {}
        for counted in self.counted:
            for change, at_us in _arrivals(counted).items():
                last[change] = max(at_us, last.get(change, 0))
        return [(at_us - self.at_us) / 1000 for at_us in last.values()]


def _pushes(scale: Scale, tasks: int, steps: int, *, is_spread: bool) -> Rounds:
    rounds = Rounds(_names(scale.instances), 1)
    for count in scale.instances:
        with machines(STEPPING, QUICK) as made:
            made.start(count)
            _create(made, tasks)
            listening = made.instances if is_spread else made.instances[-1:]
            share = scale.readers // len(listening)
            _all_in(*(made.read(each.port, share, subscribe_room(TEAM), tasks) for each in listening))
            quiet = _redis_a_second(made, scale.quiet)
            redis, began = made.redis_figures(), time.monotonic()
            told = [_step(made, tasks) for _ in range(steps)]
            took, passed = time.monotonic() - began, _since(redis, made.redis_figures())
        add, messages = _adder(rounds, count), sum(step.messages for step in told)
        delays = [delay for step in told for delay in step.delays_ms]
        add("pushes", "/s", statistics.median(step.messages / step.seconds for step in told))
        add("p50", "ms", statistics.median(delays))
        add("p99", "ms", quantile(delays, 0.99))
        spent = {name: sum(step.cpu_s[name] for step in told) for name in told[0].cpu_s}
        _add_cpu(add, "a push", spent, messages)
        for name, value in passed.items():
            add(f"Redis, {name}", "a change", (value - quiet[name] * took) / (tasks * steps))
            add(f"Redis, {name}", "a push", (value - quiet[name] * took) / messages)
    return rounds


def _step(made: Machines, tasks: int) -> _Told:
    """All jobs move on, when all are being looked at. Raises Broken."""
    _until_waiting(made, tasks)
    for readers in made.readers:
        readers.expect(tasks)
    before = made.cpu()
    made.provider.tell("step")
    at_us = made.provider.answer("stepped_us")["stepped_us"]
    counted = [readers.counted(tasks) for readers in made.readers]
    return _Told(at_us, counted, _since(before, made.cpu()))


def _steady(made: Machines, scale: Scale, add: Callable[[str, str, float], None]) -> None:
    """What goes on as long as nobody comes or goes."""
    looks, calls, cpu, began = _looks(made)["looks"], made.store_calls(), made.cpu(), time.monotonic()
    time.sleep(scale.steady)
    looks, took = _looks(made)["looks"] - looks, time.monotonic() - began
    calls = made.store_calls() - calls
    if looks:
        add("steady: looks", "/s", looks / took)
        add("steady: store operations", "a look", calls / looks)
        _add_cpu(add, "a look, steady", _since(cpu, made.cpu()), looks)


def _create(made: Machines, tasks: int) -> list[str]:
    """New tasks, made at all instances in turn; each is looked at."""
    ids = [made.instances[number % len(made.instances)].create() for number in range(tasks)]
    _until_waiting(made, tasks)
    return ids


def _until_waiting(made: Machines, tasks: int) -> None:
    """So many looks wait at the provider for news."""

    def are_waiting() -> bool:
        made.provider.tell("waiting")
        return bool(made.provider.answer("waiting")["waiting"] == tasks)

    until(are_waiting)


def _rhythm(scale: Scale) -> dict[str, str]:
    """One look in each interval."""
    interval = str(scale.interval_ms)
    return {"SORA_POLL_INTERVAL": interval, "SORA_POLL_MIN_INTERVAL": interval}


def _all_in(*readers: Readers) -> None:
    for each in readers:
        each.ready()


def _looks(made: Machines) -> dict[str, int]:
    made.provider.tell("looks")
    return made.provider.answer("looks")


def _arrivals(counted: Counted) -> dict[int, int]:
    """When the changes of a seq were at the last reader, in µs."""
    arrivals: dict[int, int] = {}
    for seq, _, late_us in counted.changes:
        arrivals[seq] = max(seq + late_us, arrivals.get(seq, 0))
    return arrivals


def _redis_a_second(made: Machines, seconds: float) -> dict[str, float]:
    """What passes while no task changes."""
    before = made.redis_figures()
    time.sleep(seconds)
    passed = _since(before, made.redis_figures())
    return {name: value / seconds if seconds else 0.0 for name, value in passed.items()}


def _since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in after.items()}


def _names(counts: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(map(_name, counts))


def _name(count: int) -> str:
    return f"{count} instance{'s' if count > 1 else ''}"


def _adder(rounds: Rounds, who: int | str) -> Callable[[str, str, float], None]:
    name = who if isinstance(who, str) else _name(who)
    return lambda what, unit, value: rounds.add(name, what, unit, value)


def _add_cpu(
    add: Callable[[str, str, float], None], of_what: str, spent: Mapping[str, float], count: int
) -> None:
    for name, seconds in spent.items():
        if seconds:
            add(f"CPU {of_what}: {name}", "µs", seconds / count * 1e6)
