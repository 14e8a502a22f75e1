"""How many connections fit below the limit of open files, and who is told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sora_ws.settings import MAX_CONNECTIONS_DEFAULT

SCRIPT = """
import logging, resource, sys
from sora_ws.listening import raise_open_files
hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1024), hard))
logging.basicConfig(level="INFO", format="%(levelname)s")
print(raise_open_files(wanted))
"""


@pytest.mark.parametrize(
    ("hard", "wanted", "let_in", "level"),
    [
        (20_000, MAX_CONNECTIONS_DEFAULT, 19_744, "INFO"),
        (4_096, MAX_CONNECTIONS_DEFAULT, 3_840, "WARNING"),
        (4_096, 3_900, 3_840, "WARNING"),
        (4_096, 3_000, 3_000, ""),
    ],
)
def test_only_a_cut_that_matters_is_warned_of(hard: int, wanted: int, let_in: int, level: str) -> None:
    """One that somebody asked for, or more than half of the default; the rest is a note, or nothing."""
    command = [sys.executable, "-c", SCRIPT, str(hard), str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (int(done.stdout), done.stderr.strip()) == (let_in, level)
