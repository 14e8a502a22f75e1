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
from tests.history.proxy import SlowProxy
from tests.history.run import Run, a_run
from tests.mongod import ReplicaSet, running_replica_set
from tests.redisd import Redisd, running

INSTANCES: Final = 3
PLACES: Final = "3"
LEASE_S: Final = 0.6  # two of `QUICK`'s longest waits
TASKS: Final = 2
BREATH_S: Final = (0.5, 3.0)  # between two faults of a kind
HURT_S: Final = (0.3, 4.0)
SLOW_S: Final = 1.0

Fault = Callable[[float], None]
"""Does something bad, for so many seconds."""


class Stage:
    """The services behind the instances. `faults` counts what was done, by its name."""

    def __init__(
        self, run: Run, redis: Redisd, proxies: Sequence[SlowProxy], mongo: ReplicaSet | None
    ) -> None:
        self.faults: Counter[str] = Counter()
        self._run = run
        self._redis = redis
        self._proxies = proxies
        self._mongo = mongo
        self._over = threading.Event()
        self._errors: list[BaseException] = []

    def hurt(self, seconds: float, seed: int) -> None:
        """Everything at once, for so long; afterwards all is well again."""
        kinds: list[Sequence[Fault]] = [
            (self._kill_instance, self._pause_instance),
            (self._kill_redis, self._pause_redis, self._slow_redis, self._cut_redis_off),
        ]
        if self._mongo is not None:
            kinds.append((self._kill_primary,))
        lanes = [
            threading.Thread(target=self._hurt_by, args=(faults, random.Random(f"{seed} {number}")))
            for number, faults in enumerate(kinds)
        ]
        for lane in lanes:
            lane.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._errors:
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
                fault(chance.uniform(*HURT_S))
            except BaseException as error:
                self._errors.append(error)
                raise

    def _kill_instance(self, seconds: float) -> None:
        server = random.choice(self._run.servers)
        server.kill()
        time.sleep(seconds)
        server.start()

    def _pause_instance(self, seconds: float) -> None:
        process = random.choice(self._run.servers).process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(2 * LEASE_S + seconds)
        process.send_signal(signal.SIGCONT)

    def _kill_redis(self, seconds: float) -> None:
        self._redis.kill()
        time.sleep(seconds)
        self._redis.start()

    def _pause_redis(self, seconds: float) -> None:
        self._redis.pause()
        time.sleep(seconds)
        self._redis.resume()

    def _slow_redis(self, seconds: float) -> None:
        for proxy in self._proxies:
            proxy.delay_s = SLOW_S
        time.sleep(seconds)
        for proxy in self._proxies:
            proxy.delay_s = 0.0

    def _cut_redis_off(self, seconds: float) -> None:
        proxy = random.choice(self._proxies)
        proxy.cut()
        time.sleep(seconds)
        proxy.mend()

    def _kill_primary(self, seconds: float) -> None:
        assert self._mongo is not None
        primary = self._mongo.primary()
        primary.kill()
        time.sleep(seconds)
        primary.start(elect=False)


@contextmanager
def a_stage(folder: Path, database_url: str, mongo: ReplicaSet | None = None) -> Iterator[tuple[Run, Stage]]:
    """Instances that each have a way of their own to one Redis."""
    with ExitStack() as stack:
        redis = stack.enter_context(running(Redisd))
        assert isinstance(redis, Redisd)
        proxies = [stack.enter_context(SlowProxy(redis.port)) for _ in range(INSTANCES)]
        settings = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis.url,
            "MEDIA_STORE": "gridfs",
            "SORA_MAX_IN_FLIGHT": PLACES,
        }
        run = stack.enter_context(
            a_run(folder, settings, reset_every=5, callbacks=True, instances=INSTANCES, started=False)
        )
        for server, proxy in zip(run.servers, proxies, strict=True):
            server.settings["REDIS_URL"] = f"redis://127.0.0.1:{proxy.port}"
            server.start()
        run.clients.start()
        yield run, Stage(run, redis, proxies, mongo)


def hurt_all_at_once(folder: Path, seconds: float, seed: int) -> tuple[list[Violation], Counter[str]]:
    """One history of so many seconds over a replica set of three."""
    random.seed(seed)
    with running_replica_set() as mongo, a_stage(folder, mongo.url("instances"), mongo) as (run, stage):
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
