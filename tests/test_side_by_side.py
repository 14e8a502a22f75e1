"""What keeps tests of several processes out of each other's way."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.locks import among_others
from tests.ports import RANGES, free_port

CHECKOUT = Path(__file__).parents[1]
PROCESSES = 3
SHOW_PORTS = """
import sys
from tests.ports import free_port
print(*[free_port() for _ in range(9)], flush=True)
sys.stdin.read()
"""


def drawing() -> subprocess.Popen[str]:
    """A process that draws ports, and lives until its stdin is closed."""
    command = [sys.executable, "-c", SHOW_PORTS]
    return subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_no_two_processes_draw_the_same_port() -> None:
    """Each has a range of its own, in which a port comes again only after all others."""
    drawn = [str(free_port()) for _ in range(RANGES.step // 2)]
    with ExitStack() as stack:
        for process in [stack.enter_context(drawing()) for _ in range(PROCESSES)]:
            assert process.stdout is not None
            drawn += process.stdout.readline().split()
    assert len(drawn) == len(set(drawn)) == RANGES.step // 2 + 9 * PROCESSES


def test_who_is_alone_has_nobody_beside(tmp_path: Path) -> None:
    """Others may be many at once, never beside one who is alone."""
    inside: list[int] = []

    def come_and_go(number: int) -> tuple[bool, int]:
        alone = number % 5 == 0
        with among_others(alone=alone, folder=tmp_path):
            inside.append(number)
            os.sched_yield()  # to whoever may come in
            beside = len(inside)
            inside.remove(number)
        return alone, beside

    with ThreadPoolExecutor(8) as crowd:
        seen = set(crowd.map(come_and_go, range(400)))
    assert (True, 1) in seen
    assert not {beside for alone, beside in seen if alone} - {1}
