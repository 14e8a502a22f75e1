"""How many connections fit below the limit of open files, and who is told."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from sora_ws.listening import SEND_BUFFER_BYTES, open_sockets
from sora_ws.settings import MAX_CONNECTIONS_DEFAULT, Settings

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


def test_the_kernel_keeps_little_for_who_does_not_read() -> None:
    """Lines inherit a small send buffer; Linux says twice what it was told."""
    settings, _ = Settings.load({"HOST": "127.0.0.1", "PORT": "0", "STATE_DIR": "/nowhere"})
    [listening] = open_sockets(settings)
    with listening, socket.create_connection(listening.getsockname()):
        listening.setblocking(True)
        line, _ = listening.accept()
        with line:
            assert line.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER_BYTES
