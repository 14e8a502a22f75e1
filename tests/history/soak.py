"""A server at work for a while, and what that does to its memory; then the checker judges the history.

    python -m tests.history.soak --store mongo --minutes 15

Tasks are created, watched, called back and archived, round after round, all of a round ended before the
next. Printed is the memory behind each tenth of the time (RSS), and how much it grew by a thousand tasks.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.history.kills import database
from tests.history.run import Run, a_run

ROUND: Final = 50  # tasks
WARM: Final = 0.2  # of the time, in which caches fill
PARTS: Final = 10


def worked(run: Run, seconds: float) -> list[tuple[int, float]]:
    """Let it work so long: how many tasks there were behind each round, and its memory in MB."""
    assert run.server.process is not None
    memory, end = Path(f"/proc/{run.server.process.pid}/statm"), time.monotonic() + seconds
    samples = []
    while time.monotonic() < end:
        run.clients.create(ROUND)
        run.clients.settle()
        samples.append((run.clients.accepted, _resident(memory)))
    return samples


def _resident(statm: Path) -> float:
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6


def growth(samples: Sequence[tuple[int, float]]) -> float:
    """In MB by a thousand tasks, without the time in which it warmed up."""
    late = samples[int(len(samples) * WARM) :]
    tasks, memory = zip(*late, strict=True)
    return 1000 * statistics.linear_regression(tasks, memory).slope


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.history.soak")
    parser.add_argument("--store", choices=("sqlite", "mongo"), default="sqlite")
    parser.add_argument("--minutes", type=float, default=15.0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    with (
        database(options.store, folder) as url,
        a_run(folder, {"DATABASE_URL": url}, callbacks=True) as run,
    ):
        samples = worked(run, 60 * options.minutes)
        violations = run.verdict()
    for violation in violations:
        print(f"{violation.rule}: {violation.text}")
    for tasks, memory in samples[:: max(1, len(samples) // PARTS)]:
        print(f"{tasks:7} tasks {memory:7.1f} MB")
    print(f"{growth(samples):+.2f} MB by a thousand tasks, {len(violations)} violations: {folder}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
