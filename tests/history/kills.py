"""kill -9, again and again, and what the checker says of the history.

    python -m tests.history.kills --store mongo --kills 200

Without `--kills` the server dies at each named step in turn (`sora_ws/failpoint.py`), with it so often
at random moments under load.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sora_ws import failpoint
from tests.history.checker import Violation
from tests.history.run import Run, a_run, until
from tests.mongod import running_mongod

FAILPOINT: Final = "SORA_WS_FAILPOINT"
PLACES: Final = "3"
TASKS: Final = 2  # that are created in each life
LIFE_S: Final = (0.3, 2.0)  # of a server that is killed at random, its start included
REST_EVERY: Final = 20  # kills, after which all that was left behind is finished


def die_at_each_step(
    folder: Path, database_url: str, steps: Sequence[str] = failpoint.STEPS
) -> list[Violation]:
    """One history in which the server comes to each step and dies there.

    What one life leaves behind, the next has taken up when it dies itself. Those of callbacks come first:
    an attempt that was cut off is made again 20 s later, and the other lives fill that time.
    """
    with a_run(folder, {"DATABASE_URL": database_url}, reset_every=2, started=False, callbacks=True) as run:
        run.clients.start()
        for step in sorted(steps, key=_needs_callbacks, reverse=True):
            _die_at(step, run)
        run.server.start()
        return run.verdict()


def die_at_random(folder: Path, database_url: str, kills: int, chance: random.Random) -> list[Violation]:
    """One history in which the server is killed so often, at any moment, tasks being created all the time."""
    settings = {"DATABASE_URL": database_url, "SORA_MAX_IN_FLIGHT": PLACES}
    with a_run(folder, settings, reset_every=5, started=False, callbacks=True) as run:
        run.clients.start()
        for kill in range(kills):
            if kill % REST_EVERY == REST_EVERY - 1:
                run.server.start()
                run.clients.settle()
                run.server.kill()
            run.server.launch()
            run.clients.begin(TASKS)
            time.sleep(chance.uniform(*LIFE_S))  # the moment of death is what is drawn here
            run.server.kill()
        run.server.start()
        return run.verdict()


def _needs_callbacks(step: str) -> bool:
    return step.startswith("callback_")


def _die_at(step: str, run: Run) -> None:
    """Let a server live until it has come to this step; AssertionError where it does not."""
    run.server.settings[FAILPOINT] = f"{step}:kill"
    run.server.launch()
    accepted = run.clients.accepted
    run.clients.begin(TASKS, cancel=step == "cancel_saved", callbacks=_needs_callbacks(step))
    if step == "leaving":
        until(lambda: run.clients.accepted > accepted)
        run.signal(signal.SIGTERM)
    assert run.until_dead() == -signal.SIGKILL, f"the server did not die at {step}"
    del run.server.settings[FAILPOINT]


@contextmanager
def database(store: str, folder: Path) -> Iterator[str]:
    if store == "sqlite":
        yield f"sqlite:///{folder}/sora.sqlite3"
        return
    with running_mongod() as mongod:
        yield mongod.url("kills")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.history.kills")
    parser.add_argument("--store", choices=("sqlite", "mongo"), default="sqlite")
    parser.add_argument("--kills", type=int, help="so many at random moments, instead of one at each step")
    parser.add_argument("--seed", type=int, default=7, help="of the moments")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    began = time.monotonic()
    with database(options.store, folder) as url:
        if options.kills is None:
            violations = die_at_each_step(folder, url)
        else:
            violations = die_at_random(folder, url, options.kills, random.Random(options.seed))
    for violation in violations:
        print(f"{violation.rule}: {violation.text}")
    kills = len(failpoint.STEPS) if options.kills is None else options.kills
    took = time.monotonic() - began
    print(f"{kills} kills over {options.store} in {took:.0f} s, {len(violations)} violations: {folder}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
