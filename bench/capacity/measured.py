"""All that was measured, in one place: what one of each costs, and points to hold the model against.

After another measurement the figures are changed here, and `python -m bench.capacity --write` brings
docs/scaling.md up to date. Two virtual cores of an AMD EPYC, Python 3.11, Redis 7.0, MongoDB 6.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Falling:
    """What costs most where nothing else is under way: there it wakes each process that it passes.

    `busy_us` where much comes at once; `wake_us` more at a process that does nothing else, and in between as
    much of that as it is idle.
    """

    busy_us: float
    wake_us: float

    def us(self, per_s: float, others_us: float) -> float:
        """So many a second at a process that spends `others_us` on all else: µs a second."""
        all_idle = others_us + per_s * (self.busy_us + self.wake_us)
        idle = max(0.0, 1 - all_idle / (1e6 + per_s * self.wake_us))
        return per_s * (self.busy_us + self.wake_us * idle)


@dataclass(frozen=True, slots=True)
class Costs:
    """µs of CPU for one, `_per_s` for one in each second, and bytes; beside it where it was measured.

    `direct` is a run of `python -m bench.capacity.measure direct`: 4,000 browsers at one instance, each in
    the room of its own user, who has a live task. `nginx`, `alone` and `pings` are runs of the same program.
    """

    idle_us_per_s: float = 14_300.0  # an instance at which nothing happens; direct, empty
    idle_mongod_us_per_s: float = 4_600.0
    idle_redis_us_per_s: float = 1_550.0
    idle_calls_per_s: float = 7.5
    look: Falling = Falling(529.0, 563.0)  # busy: scaling.md, due, one instance; idle: direct, looks
    look_mongod: Falling = Falling(388.0, 190.0)
    look_calls: float = 1.05  # scaling.md, due
    push_us: float = 7.84  # performance.md, fanout
    lone_push_us: float = 8.4  # of a change that comes alone: readers sleep; scaling.md, held, 10,000
    turns_push_us: float = 10.8  # of several instances, all on two cores; scaling.md, held, 100,000
    told_after_us: float = 4_000.0  # by the clock, from a job's step to the first reader; scaling.md, held
    beat_us_per_s: float = 0.78  # a line, a beat in 30 s; performance.md, idle
    ping_us: float = 90.0  # a client's, answered; pings
    taken_us: float = 9.7  # a change of another instance; scaling.md, per topic, 10,000 tasks
    word_us: float = 9.7  # at most that
    round_us: float = (
        1_190.0  # a word that somebody waits makes one instance ask who does; places of 10 tasks
    )
    round_mongod_us: float = 670.0
    come_us: float = 418.0  # a browser signs in and subscribes to what is known; performance.md, storm
    room_us: float = 786.0  # more where its room is its own, and read from the store; direct, storm
    room_mongod_us: float = 240.0
    room_redis_us: float = 20.0
    again_us: float = 28.0  # a topic, with a live task, that is read again; alone
    again_mongod_us: float = 8.5
    redis_in_us: float = 15.4  # a message that comes alone, the dearest way; nginx, looks
    redis_out_us: float = 1.0  # a copy to one instance; scaling.md, per topic, 10,000 tasks
    redis_message_bytes: float = 920.0  # scaling.md, per topic
    come_nginx_us: float = 125.0  # scaling.md, nginx, one instance
    nginx_beat_us_per_s: float = 0.94  # nginx, lines
    nginx_push_us: float = 31.0  # nginx, looks
    nginx_line_bytes: float = 22_300.0  # nginx, memory
    instance_bytes: float = 45e6  # without lines: Pss of smaps_rollup, proc(5)
    line_bytes: float = 1_190.0  # performance.md, memory
    room_bytes: float = 1_790.0  # more for a room of its own; direct, memory
    kernel_line_bytes: float = 4_600.0  # one end; performance.md, what the figures don't say
    task_bytes: float = 1_550.0  # in MongoDB, with its part of 14 indexes; direct, stored


COSTS: Final = Costs()

LOADS: Final[dict[str, float]] = {
    "due, 8 instances: looks a second": 285.0,
    "one_task: share of others": 0.001,
    "one_task: readers, µs a push": 3.5,
    "nginx: readers, µs a browser": 62.0,
    "nginx, no Nginx: mongod, µs a browser": 46.0,
    "nginx, 1 instance: mongod, µs a browser": 41.0,
    "nginx, 2: mongod, µs a browser": 41.0,
    "nginx, 4: mongod, µs a browser": 49.0,
    "held, 100,000: instances": 6.0,
    "held, 100,000: share of others": 0.23,
    "held, 100,000: readers, µs a push": 3.2,
    "held, 10,000: seconds": 5.2,
}
"""What a point is to be foretold for: how much there was to do, and what the bench and others took."""

POINTS: Final[dict[str, float]] = {
    "nginx: instances, ms a second": 190.7,
    "nginx: mongod, ms a second": 88.6,
    "nginx: a browser that comes, µs": 1_188.0,
    "nginx: memory of a line, bytes": 3_218.0,
    "direct, a look in 10 s: instances, ms a second": 363.6,
    "direct, a look in 10 s: mongod, ms a second": 213.0,
    "places: instances, ms a second": 40.3,
    "places: mongod, ms a second": 14.6,
    "`due`, 8 instances: µs a look": 1_142.0,
    "`due`, 8 instances: mongod, µs a look": 571.0,
    "`one_task`, 1: pushes a second": 77_400.0,
    "`one_task`, 2: pushes a second": 93_600.0,
    "`one_task`, 4: pushes a second": 96_400.0,
    "`one_task`, 1: instances, µs a push": 9.9,
    "`one_task`, 2: instances, µs a push": 10.4,
    "`one_task`, 4: instances, µs a push": 11.8,
    "`one_task`, 1: bytes to Redis, a change": 2_669.0,
    "`one_task`, 4: bytes to Redis, a change": 2_670.0,
    "`one_task`, 4: bytes from Redis, a change": 3_335.0,
    "`nginx`, no Nginx: instances, µs a browser": 610.0,
    "`nginx`, 1 instance: instances, µs a browser": 587.0,
    "`nginx`, 2: instances, µs a browser": 593.0,
    "`nginx`, 4: instances, µs a browser": 684.0,
    "`nginx`, 2: Nginx, µs a browser": 130.0,
    "`nginx`, 4: Nginx, µs a browser": 117.0,
    "`nginx`, no Nginx: browsers a second": 1_616.0,
    "`nginx`, 1 instance: browsers a second": 1_661.0,
    "`nginx`, 2: browsers a second": 2_233.0,
    "`nginx`, 4: browsers a second": 2_109.0,
    "`held`, 100,000: memory of the instances, MB": 379.0,
    "`held`, 100,000: the kernel's slab, both ends, MB": 1_006.0,
    "`held`, 100,000: instances, µs a browser and second": 2.04,
    "`held`, 100,000: until the last is told, ms": 768.0,
    "`held`, 10,000: instances, µs a browser that comes": 477.0,
    "`held`, 10,000: instances, µs a push": 8.4,
}
