"""What a load takes of everything, by the costs in `measured.py`. Pure: a sum for each resource.

`us` is CPU time in µs. Summed up over a second it is so many millionths of a core.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.capacity.measured import COSTS as COST

CORE_US: Final = 1e6
SEGMENT_BYTES: Final = 66  # of Ethernet, IP and TCP, around what is sent by itself
BEAT_BYTES: Final = 120 + 3 * SEGMENT_BYTES  # with a ping behind it, the pong, and what acknowledges that
PING_BYTES: Final = 105 + 3 * SEGMENT_BYTES  # of a client, with its answer
BEAT_S: Final = 30.0  # at which heartbeats were measured
TOPICS: Final = 2  # of a task: its own and its user's
WORDS_PER_S: Final = 1.0  # of each instance to all others: that it is there, and how it fares
WORDS_A_TASK: Final = 4.0  # to all: it came, it left its place, it ended, it took so long
READ_AGAIN_S: Final = 2.0  # SORA_POLL_MIN_INTERVAL
INSTANCES_MAX: Final = 3_000

# sora-ws.js pings after 25 s of silence and gives the line up 10 s later, so that a zone that is gone is
# noticed by one client after 10 s and by another after 35. Then it waits, with full jitter.
NOTICED_FIRST_S: Final = 10.0
NOTICED_OVER_S: Final = 25.0
FIRST_WAIT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """What there is to do. A line is an open connection; `readers` of them hear each change."""

    lines: int
    tasks: int
    changes_per_s: float
    readers: float
    look_every_s: float
    heartbeat_s: float = BEAT_S
    pings_a_beat: float = 1.0
    """Of the client, which is sora-ws.js: 25 s of silence lie between two heartbeats."""
    push_bytes: float = 272.0
    task_s: float = 300.0
    """How long a task lives; as many come as end."""

    @property
    def looks_per_s(self) -> float:
        """Each change is found by a look."""
        return max(self.tasks / self.look_every_s, self.changes_per_s)

    @property
    def pushes_per_s(self) -> float:
        return self.changes_per_s * self.readers

    @property
    def ends_per_s(self) -> float:
        return self.tasks / self.task_s

    @property
    def bytes_per_s(self) -> float:
        """To the browsers and, of pongs and pings, from them."""
        beats = self.lines / self.heartbeat_s * (BEAT_BYTES + self.pings_a_beat * PING_BYTES)
        return self.pushes_per_s * (self.push_bytes + SEGMENT_BYTES) + beats


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be filled. The rest of a core is for bursts, neighbours, and what the model leaves out."""

    core: float = 0.6
    core_in_a_storm: float = 0.9
    instance_bytes: float = 2e9
    lines: int = 20_000  # MAX_CONNECTIONS where nobody sets it
    mongod_cores: int = 16  # of the one primary that there is
    nginx_cores: int = 16  # of the one machine in front
    zones: int = 3


@dataclass(frozen=True, slots=True)
class State:
    """How many instances carry the load, and how many more did until a moment ago."""

    instances: int
    lost: int = 0
    """They died without a goodbye: their lines come back, and what they may have saved is read again."""

    def lines_lost(self, load: Load) -> float:
        return load.lines * self.lost / (self.instances + self.lost)

    def coming_per_s(self, load: Load) -> float:
        return self.lines_lost(load) / NOTICED_OVER_S

    def read_again_per_s(self, load: Load) -> float:
        """Topics: of each line one."""
        return load.lines / READ_AGAIN_S if self.lost else 0.0

    def places_us(self, load: Load) -> tuple[float, float]:
        """Of who gives out the places, and of MongoDB for it: who waits is asked once a second, and for each
        task that comes to another instance."""
        rounds_per_s = max(1.0, load.ends_per_s * (1 - 1 / self.instances))
        return rounds_per_s * COST.round_us, rounds_per_s * COST.round_mongod_us

    def wanting(self, load: Load) -> float:
        """On how many instances the readers of a change are, spread by chance."""
        return self.instances * (1 - math.pow(1 - 1 / self.instances, load.readers))

    def words_per_s(self, load: Load) -> float:
        """That all say to all."""
        return self.instances * WORDS_PER_S + load.ends_per_s * WORDS_A_TASK


# --- CPU in a second, by what it is spent on ---


def instances_us(load: Load, state: State) -> dict[str, float]:
    """Of all instances together."""
    n, others = state.instances, 1 - 1 / state.instances
    places_us, _ = state.places_us(load)
    spent = {
        "being there": n * COST.idle_us_per_s,
        "words of others": n * others * state.words_per_s(load) * COST.word_us,
        "places at the provider": places_us,
        "heartbeats": load.lines * COST.beat_us_per_s * BEAT_S / load.heartbeat_s,
        "pings of clients": load.lines / load.heartbeat_s * load.pings_a_beat * COST.ping_us,
        "changes of others": load.changes_per_s * state.wanting(load) * others * COST.taken_us,
        "pushes": load.pushes_per_s * COST.push_us,
        "who comes back": state.coming_per_s(load) * (COST.come_us + COST.room_us),
        "reading again": state.read_again_per_s(load) * COST.again_us,
    }
    return spent | {"looks": n * COST.look.us(load.looks_per_s / n, sum(spent.values()) / n)}


def mongod_us(load: Load, state: State) -> dict[str, float]:
    """Of the primary."""
    _, places_us = state.places_us(load)
    spent = {
        "instances": state.instances * COST.idle_mongod_us_per_s,
        "places at the provider": places_us,
        "who comes back": state.coming_per_s(load) * COST.room_mongod_us,
        "reading again": state.read_again_per_s(load) * COST.again_mongod_us,
    }
    return spent | {"looks": COST.look_mongod.us(load.looks_per_s, sum(spent.values()))}


def redis_us(load: Load, state: State) -> dict[str, float]:
    """Of all shards together. What all say to all goes by one channel, and so by one of them."""
    changes, words = load.changes_per_s * TOPICS, state.words_per_s(load)
    return {
        "being there": COST.idle_redis_us_per_s,
        "changes out": load.changes_per_s * state.wanting(load) * COST.redis_out_us,
        "words out": words * state.instances * COST.redis_out_us,
        "in": (changes + words) * COST.redis_in_us,
        "who comes back": state.coming_per_s(load) * COST.room_redis_us,
    }


def nginx_us(load: Load, state: State) -> dict[str, float]:
    """Of all workers together."""
    beats = load.lines * (1 + load.pings_a_beat) * COST.nginx_beat_us_per_s * BEAT_S / load.heartbeat_s
    return {
        "heartbeats and pings": beats,
        "pushes": load.pushes_per_s * COST.nginx_push_us,
        "who comes back": state.coming_per_s(load) * COST.come_nginx_us,
    }


def cores(us_per_s: Mapping[str, float]) -> float:
    return sum(us_per_s.values()) / CORE_US


def mongod_calls_per_s(load: Load, state: State) -> float:
    return load.looks_per_s * COST.look_calls + state.instances * COST.idle_calls_per_s


def redis_bytes_per_s(load: Load, state: State) -> float:
    """Of changes: in on each topic, and out to each instance that wants them, also to who sent them."""
    return load.changes_per_s * (TOPICS + state.wanting(load)) * COST.redis_message_bytes


# --- memory ---


def instance_bytes(load: Load, state: State) -> float:
    """Of each, with what the kernel keeps for its lines; each line watches something of its own."""
    a_line = COST.line_bytes + COST.room_bytes + COST.kernel_line_bytes
    return COST.instance_bytes + load.lines / state.instances * a_line


def nginx_bytes(load: Load) -> float:
    """With what the kernel keeps for both sides."""
    return load.lines * (COST.nginx_line_bytes + 2 * COST.kernel_line_bytes)


# --- how full it is: above 1 it does not hold ---


def instance_fills(load: Load, state: State, limits: Limits) -> dict[str, float]:
    """Of what each instance may have; more of them make it less."""
    core = cores(instances_us(load, state)) / state.instances
    return {
        "CPU in the storm" if state.lost else "CPU": core / may(limits, state),
        "memory": instance_bytes(load, state) / limits.instance_bytes,
        "MAX_CONNECTIONS": load.lines / state.instances / limits.lines,
    }


def fixed_fills(load: Load, state: State, limits: Limits) -> dict[str, float]:
    """Of what there is one of, however many instances there are."""
    share = may(limits, state)
    return {
        "MongoDB's one primary": cores(mongod_us(load, state)) / limits.mongod_cores / share,
        "the one machine of Nginx": cores(nginx_us(load, state)) / limits.nginx_cores / share,
        "the channel of all to all": redis_us(load, state)["words out"] / CORE_US / share,
        "who gives out the places": _places_core(load, state) / share,
    }


def _places_core(load: Load, state: State) -> float:
    """Of the one instance that gives out the places: as much as the others, and that."""
    spent = instances_us(load, state)
    places_us = spent.pop("places at the provider")
    return cores(spent) / state.instances + places_us / CORE_US


def may(limits: Limits, state: State) -> float:
    """The share of a core that may be used."""
    return limits.core_in_a_storm if state.lost else limits.core


# --- the plan ---


def plan(load: Load, limits: Limits, *, zone_lost: bool = False) -> tuple[State, str]:
    """With the fewest instances that carry it, also without a zone; and what would be too full with one less.

    Raises ValueError where INSTANCES_MAX are too few.
    """
    too_full = "–"
    for count in range(2 if zone_lost else 1, INSTANCES_MAX + 1):
        lost = math.ceil(count / limits.zones) if zone_lost else 0
        last = State(count - lost, lost)
        fills = instance_fills(load, State(count), limits) | instance_fills(load, last, limits)
        fullest = max(fills, key=lambda what: fills[what])
        if fills[fullest] <= 1:
            return last, too_full
        too_full = fullest
    raise ValueError(f"{INSTANCES_MAX} instances are too few")


def until_back_s(load: Load, state: State, limits: Limits, over_s: float = NOTICED_OVER_S) -> float:
    """Until the last line of a lost zone is in again, behind the moment at which the first client notices,
    where they notice one after the other `over_s`."""
    spent = instances_us(load, state)
    us_a_line = COST.come_us + COST.room_us
    others_us = sum(spent.values()) - spent["who comes back"]
    room_us = state.instances * limits.core_in_a_storm * CORE_US - others_us
    work_s = state.lines_lost(load) * us_a_line / room_us if room_us > 0 else math.inf
    return max(over_s + FIRST_WAIT_S, work_s)
