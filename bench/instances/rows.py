"""The rows: each starts what it needs, for each number of instances, and ends without a figure when a message
is lost, doubled or out of order, or a task is looked at twice."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

from bench.instances.driving import (
    STEPPING,
    WINDOW,
    add_cpu,
    adder,
    all_in,
    create,
    labels,
    last_arrivals,
    move_on,
    since,
)
from bench.instances.held import held
from bench.instances.machines import Machines, machines, until
from bench.instances.scale import Scale
from bench.message import TEAM, subscribe_room
from bench.processes import Broken
from bench.provider import live_tasks, serving
from bench.rounds import Rounds, quantile
from sora_ws.clock import Clock

QUICK: Final = {"SORA_POLL_INTERVAL": "500", "SORA_POLL_MIN_INTERVAL": "100"}
LOCAL: Final = "on the instance that saved it"
OTHER: Final = "on the other"


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
        mine = create(made, scale.near_tasks)
        made.start(1)
        here, there = [
            made.read(each.port, scale.near, subscribe_room(TEAM), scale.near_tasks)
            for each in made.instances
        ]
        all_in(here, there)
        told = [move_on(made, scale.near_tasks) for _ in range(scale.steps)]
        if made.owners() != dict.fromkeys(mine, made.instances[0].port):
            raise Broken("a task went over to another instance")
    late: dict[str, list[float]] = {LOCAL: [], OTHER: []}
    between = []
    for step in told:
        local, other = (last_arrivals(counted) for counted in step.counted)
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
    rounds = Rounds(labels(counts), 1)
    for count in counts:
        with machines(serving(scale.interval_ms), _rhythm(scale)) as made:
            made.keep(live_tasks(scale.live, 0, Clock()()))
            calls, cpu, began = made.store_calls(), made.cpu(), time.monotonic()
            made.start(count)
            until(lambda made=made: _looks(made)["jobs"] == scale.live, poll_s=0.2)  # type: ignore[misc]
            took, spent, first = time.monotonic() - began, since(cpu, made.cpu()), _looks(made)
            calls = made.store_calls() - calls
            add = adder(rounds, count)
            add("looks until all were looked at", "a task", first["looks"] / scale.live)
            add("store operations", "a task", calls / scale.live)
            add("from their start until all were looked at", "s", took)
            add_cpu(add, "a task", spent, scale.live)
            _steady(made, scale, add)
            if _looks(made)["early"]:
                raise Broken(f"tasks were looked at before their time: {_looks(made)}")
    return rounds


def nginx(scale: Scale) -> Rounds:
    """How fast browsers come in, through Nginx and past it."""
    direct = "1 instance, no Nginx"
    through = [f"Nginx, {name}" for name in labels(scale.instances)]
    rounds = Rounds((direct, *through), 1)
    for who, count in zip((direct, *through), (1, *scale.instances), strict=True):
        with machines(STEPPING, QUICK) as made:
            made.start(count)
            create(made, 1)
            port = made.instances[0].port if who == direct else made.nginx()
            before = made.cpu()
            came = made.read(port, scale.crowd, subscribe_room(TEAM), window=WINDOW).ready()
            rounds.add(who, "browsers", "/s", scale.crowd / (came["ready_us"] - came["started_us"]) * 1e6)
            spent = since(before, made.cpu())
            add_cpu(adder(rounds, who), "a browser", spent, scale.crowd)
    return rounds


ROWS: Final[dict[str, Callable[[Scale], Rounds]]] = {
    "one_task": one_task,
    "many_tasks": many_tasks,
    "across": across,
    "due": due,
    "nginx": nginx,
    "held": held,
}
GOALS: Final = {
    "across": "p99 within 10 ms of the local one",
    "due": "one look a task, at most 5 store operations",
    "held": "all are told, each once",
}


def _pushes(scale: Scale, tasks: int, steps: int, *, is_spread: bool) -> Rounds:
    rounds = Rounds(labels(scale.instances), 1)
    for count in scale.instances:
        with machines(STEPPING, QUICK) as made:
            made.start(count)
            create(made, tasks)
            listening = made.instances if is_spread else made.instances[-1:]
            share = scale.readers // len(listening)
            all_in(*(made.read(each.port, share, subscribe_room(TEAM), tasks) for each in listening))
            quiet = _redis_a_second(made, scale.quiet)
            redis, began = made.redis_figures(), time.monotonic()
            told = [move_on(made, tasks) for _ in range(steps)]
            took, passed = time.monotonic() - began, since(redis, made.redis_figures())
        add, messages = adder(rounds, count), sum(step.messages for step in told)
        delays = [delay for step in told for delay in step.delays_ms]
        add("pushes", "/s", statistics.median(step.messages / step.seconds for step in told))
        add("p50", "ms", statistics.median(delays))
        add("p99", "ms", quantile(delays, 0.99))
        spent = {name: sum(step.cpu_s[name] for step in told) for name in told[0].cpu_s}
        add_cpu(add, "a push", spent, messages)
        for name, value in passed.items():
            add(f"Redis, {name}", "a change", (value - quiet[name] * took) / (tasks * steps))
            add(f"Redis, {name}", "a push", (value - quiet[name] * took) / messages)
    return rounds


def _steady(made: Machines, scale: Scale, add: Callable[[str, str, float], None]) -> None:
    """What goes on as long as nobody comes or goes."""
    looks, calls, cpu, began = _looks(made)["looks"], made.store_calls(), made.cpu(), time.monotonic()
    time.sleep(scale.steady)
    looks, took = _looks(made)["looks"] - looks, time.monotonic() - began
    calls = made.store_calls() - calls
    if looks:
        add("steady: looks", "/s", looks / took)
        add("steady: store operations", "a look", calls / looks)
        add_cpu(add, "a look, steady", since(cpu, made.cpu()), looks)


def _rhythm(scale: Scale) -> dict[str, str]:
    """One look in each interval."""
    interval = str(scale.interval_ms)
    return {"SORA_POLL_INTERVAL": interval, "SORA_POLL_MIN_INTERVAL": interval}


def _looks(made: Machines) -> dict[str, int]:
    made.provider.tell("looks")
    return made.provider.answer("looks")


def _redis_a_second(made: Machines, seconds: float) -> dict[str, float]:
    """What passes while no task changes."""
    before = made.redis_figures()
    time.sleep(seconds)
    passed = since(before, made.redis_figures())
    return {name: value / seconds if seconds else 0.0 for name, value in passed.items()}
