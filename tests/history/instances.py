"""Several instances on one database, hurt in every way at once, and what the checker says of the history.

    python -m tests.history.instances --seconds 600 --seed 7

Three things happen side by side, each by a chance of its own from one seed: an instance is killed, or paused
for longer than its lease and woken again; Redis is killed, paused, slow, or cut off from one instance; the
primary of the database is killed. Tasks are created all the time.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.history.checker import Violation
from tests.history.namespaces import Machine, a_network
from tests.history.proxy import SlowProxy
from tests.history.run import Run, a_run
from tests.mongod import ReplicaSet, running_replica_set
from tests.redisd import Redisd, running

INSTANCES: Final = 3
PLACES: Final = "3"
PAUSE_S: Final = 2 * 0.6  # and up to five times that: longer than a lease, at times than a role's term
TASKS: Final = 2
CROWD: Final = 20  # live tasks, at which no more are begun: what is hurt is slower than whoever asks
BREATH_S: Final = (0.5, 3.0)  # between two faults of a kind
HURT_S: Final = (0.3, 4.0)
SLOW_S: Final = 1.0

Fault = Callable[[float, int], None]
"""Does something bad, for so many seconds; to the instance of this number, where it is done to one."""


class Stage:
    """The services behind the instances. `faults` counts what was done, by its name."""

    def __init__(
        self, run: Run, machines: Sequence[Machine], redis: Redisd, proxy: SlowProxy, mongo: ReplicaSet
    ) -> None:
        self.faults: Counter[str] = Counter()
        self._run = run
        self._machines = machines
        self._redis = redis
        self._proxy = proxy
        self._mongo = mongo
        self._over = threading.Event()
        self._errors: list[BaseException] = []

    def hurt(self, seconds: float, seed: int) -> None:
        """Everything at once, for so long; afterwards all is well again."""
        kinds: list[Sequence[Fault]] = [
            (self._kill_instance, self._pause_instance),
            (self._kill_redis, self._pause_redis, self._slow_redis, self._cut_off_from_redis),
            (self._kill_primary,),
        ]
        lanes = [
            threading.Thread(target=self._hurt_by, args=(faults, random.Random(f"{seed} {number}")))
            for number, faults in enumerate(kinds)
        ]
        for lane in lanes:
            lane.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._errors:
            if self._run.clients.live < CROWD:
                self._run.clients.begin(TASKS)
            time.sleep(1)  # this is the load
        self._over.set()
        for lane in lanes:
            lane.join()
        if self._errors:
            raise self._errors[0]

    def _hurt_by(self, faults: Sequence[Fault], chance: random.Random) -> None:
        while not self._over.wait(chance.uniform(*BREATH_S)):
            fault = chance.choice(faults)
            self.faults[fault.__name__.strip("_").replace("_", " ")] += 1
            try:
                fault(chance.uniform(*HURT_S), chance.randrange(INSTANCES))
            except BaseException as error:
                self._errors.append(error)
                raise

    def _kill_instance(self, seconds: float, number: int) -> None:
        server = self._run.servers[number]
        server.kill()
        time.sleep(seconds)
        server.start(wait=False)  # which takes as long as the database is away

    def _pause_instance(self, seconds: float, number: int) -> None:
        process = self._run.servers[number].process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(PAUSE_S + seconds * PAUSE_S)
        process.send_signal(signal.SIGCONT)

    def _kill_redis(self, seconds: float, _: int) -> None:
        self._redis.kill()
        time.sleep(seconds)
        self._redis.start()

    def _pause_redis(self, seconds: float, _: int) -> None:
        self._redis.pause()
        time.sleep(seconds)
        self._redis.resume()

    def _slow_redis(self, seconds: float, _: int) -> None:
        self._proxy.delay_s = SLOW_S
        time.sleep(seconds)
        self._proxy.delay_s = 0.0

    def _cut_off_from_redis(self, seconds: float, number: int) -> None:
        machine = self._machines[number]
        machine.pull_the_wire()
        time.sleep(seconds)
        machine.plug_it_in()

    def _kill_primary(self, seconds: float, _: int) -> None:
        primary = self._mongo.primary()
        primary.kill()
        time.sleep(seconds)
        primary.start(elect=False)


@contextmanager
def a_stage(folder: Path) -> Iterator[tuple[Run, Stage]]:
    """Instances on machines of their own, one Redis, and a replica set of three."""
    with ExitStack() as stack:
        network = stack.enter_context(a_network(INSTANCES))
        mongo = stack.enter_context(running_replica_set(network.address))
        redis = stack.enter_context(running(Redisd))
        assert isinstance(redis, Redisd)
        proxy = stack.enter_context(SlowProxy(redis.port, network.redis_address))
        settings = {
            "DATABASE_URL": mongo.url("instances"),
            "REDIS_URL": f"redis://{network.redis_address}:{proxy.port}",
            "MEDIA_STORE": "gridfs",
            "SORA_MAX_IN_FLIGHT": PLACES,
        }
        run = stack.enter_context(
            a_run(
                folder,
                settings,
                reset_every=5,
                callbacks=True,
                machines=network.machines,
                here=network.address,
            )
        )
        yield run, Stage(run, network.machines, redis, proxy, mongo)


def hurt_all_at_once(folder: Path, seconds: float, seed: int) -> tuple[list[Violation], Counter[str]]:
    """One history of so many seconds over a replica set of three."""
    random.seed(seed)
    with a_stage(folder) as (run, stage):
        stage.hurt(seconds, seed)
        return run.verdict(), stage.faults


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.history.instances")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="instances-"))
    violations, faults = hurt_all_at_once(folder, options.seconds, options.seed)
    for violation in violations:
        print(f"{violation.rule}: {violation.text}")
    done = ", ".join(f"{name} {count}" for name, count in sorted(faults.items()))
    print(f"{options.seconds:.0f} s, seed {options.seed}: {done}; {len(violations)} violations: {folder}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
