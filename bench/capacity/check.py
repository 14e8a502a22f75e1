"""The model beside points that were measured, by costs that were measured elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import Final

from bench.capacity import model
from bench.capacity.measured import COSTS, LOADS, POINTS
from bench.capacity.model import Load, State, cores

SMALL: Final = 4_000  # browsers of bench.capacity.measure
CROWD: Final = 2_000  # those of bench.instances
DUE: Final = 10_000  # its tasks
CORES: Final = 2

Found = Iterator[tuple[str, float, str]]


@dataclass(frozen=True, slots=True)
class Check:
    """`off` is how far the model is from what was measured, as a share of that."""

    what: str
    measured: float
    predicted: float
    costs_from: str

    @property
    def off(self) -> float:
        return self.predicted / self.measured - 1


def checks() -> list[Check]:
    """One for each point, in their order."""
    told = chain(_small(), _places(), _due(), _one_task(), _nginx(), _redis(), _held())
    by_name = {what: (predicted, costs_from) for what, predicted, costs_from in told}
    return [Check(what, measured, *by_name[what]) for what, measured in POINTS.items()]


def _small() -> Found:
    """4,000 browsers and as many tasks, by other runs of the same program."""
    for name, instances, every_s in (("nginx", 2, 30.0), ("direct, a look in 10 s", 1, 10.0)):
        load = Load(SMALL, SMALL, SMALL / every_s, 1, every_s, pings_a_beat=0, task_s=inf)
        state = State(instances)
        sums = {
            "instances": (model.instances_us(load, state), "direct, `due`, **idle**"),
            "mongod": (model.mongod_us(load, state), "direct, `due`"),
        }
        for who, (spent, source) in sums.items():
            yield f"{name}: {who}, ms a second", cores(spent) * 1e3, source
    yield "nginx: a browser that comes, µs", COSTS.come_us + COSTS.room_us, "direct"
    yield "nginx: memory of a line, bytes", COSTS.line_bytes + COSTS.room_bytes, "direct"


def _places() -> Found:
    """Two instances hear ten words a second that somebody waits for a place at the provider."""
    state = State(2)
    said_per_s = 10.0 / (1 - 1 / state.instances)  # of which so many are another's
    load = Load(0, SMALL, 0, 1, inf, task_s=SMALL / said_per_s)
    sums = {"instances": model.instances_us(load, state), "mongod": model.mongod_us(load, state)}
    for who, spent in sums.items():
        yield f"places: {who}, ms a second", cores(spent) * 1e3, "direct; places of 10 tasks"


def _due() -> Found:
    """Looks that come in one burst, at eight instances."""
    looks_per_s = LOADS["due, 8 instances: looks a second"]
    beside_us = 8 * COSTS.idle_us_per_s
    yield (
        "`due`, 8 instances: µs a look",
        COSTS.look.busy_us + beside_us / looks_per_s,
        "`due` of one, direct",
    )
    beside_us = 8 * COSTS.idle_mongod_us_per_s
    predicted = COSTS.look_mongod.busy_us + beside_us / looks_per_s
    yield "`due`, 8 instances: mongod, µs a look", predicted, "`due` of one, direct"


def _one_task() -> Found:
    """A change of one task at 2,000 readers of all instances, on the cores that others leave."""
    left = CORES * (1 - LOADS["one_task: share of others"])
    look_us = COSTS.look.busy_us + COSTS.look.wake_us
    others_us = CROWD * LOADS["one_task: readers, µs a push"] + COSTS.look_mongod.busy_us
    for n in (1, 2, 4):
        push_us = COSTS.lone_push_us if n == 1 else COSTS.turns_push_us
        own_us = CROWD * push_us + look_us + (n - 1) * COSTS.taken_us
        took_s = (COSTS.told_after_us + max(own_us / n, (own_us + others_us) / left)) / 1e6
        spent_us = own_us + n * COSTS.idle_us_per_s * took_s
        yield f"`one_task`, {n}: instances, µs a push", spent_us / CROWD, "`held`, direct, `relay`"
        yield f"`one_task`, {n}: pushes a second", CROWD / took_s, "`held`, direct"


def _nginx() -> Found:
    """Browsers that come to a room of one task, which is read for several at once."""
    for who, n in (("no Nginx", 1), ("1 instance", 1), ("2", 2), ("4", 4)):
        reads = LOADS[f"nginx, {who}: mongod, µs a browser"] / COSTS.room_mongod_us
        come_us = COSTS.come_us + reads * COSTS.room_us
        nginx_us = 0.0 if who == "no Nginx" else COSTS.come_nginx_us
        others_us = nginx_us + reads * COSTS.room_mongod_us + LOADS["nginx: readers, µs a browser"]
        per_s = 1e6 / max(come_us / n, (come_us + others_us) / CORES)
        yield f"`nginx`, {who}: instances, µs a browser", come_us, "**storm**, direct"
        yield f"`nginx`, {who}: browsers a second", per_s, "**storm**, direct"
        if n > 1:
            yield f"`nginx`, {who}: Nginx, µs a browser", nginx_us, "`nginx` of one"


def _redis() -> Found:
    """Of a change of a task that has a team, and so a topic more."""
    for n in (1, 4):
        yield f"`one_task`, {n}: bytes to Redis, a change", 3 * COSTS.redis_message_bytes, "`relay`"
        yield f"`one_task`, {n}: bytes from Redis, a change", n * COSTS.redis_message_bytes, "`relay`"


def _held() -> Found:
    """Very many browsers on one task: at six instances on two cores, and fewer at one."""
    name, lines, n = "`held`, 100,000", 100_000, LOADS["held, 100,000: instances"]
    left = CORES * (1 - LOADS["held, 100,000: share of others"])
    held_bytes = n * COSTS.instance_bytes + lines * COSTS.line_bytes
    yield f"{name}: memory of the instances, MB", held_bytes / 1e6, "**memory**, idle"
    kernel_bytes = 2 * lines * COSTS.kernel_line_bytes
    yield f"{name}: the kernel's slab, both ends, MB", kernel_bytes / 1e6, "**memory**"
    beats_us = COSTS.beat_us_per_s + n * COSTS.idle_us_per_s / lines
    yield f"{name}: instances, µs a browser and second", beats_us, "**idle**, direct"
    push_us = COSTS.push_us + LOADS["held, 100,000: readers, µs a push"]
    last_ms = (COSTS.told_after_us + lines * push_us / left) / 1e3
    yield f"{name}: until the last is told, ms", last_ms, "**fanout**"
    name, lines = "`held`, 10,000", 10_000
    meanwhile_us = COSTS.idle_us_per_s * LOADS["held, 10,000: seconds"] / lines
    yield f"{name}: instances, µs a browser that comes", COSTS.come_us + meanwhile_us, "**storm**"
    yield f"{name}: instances, µs a push", COSTS.push_us, "**fanout**"
