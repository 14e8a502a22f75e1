"""The two commands of a newcomer, in a fresh clone, with a home folder that holds nothing yet."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

import pytest

from tests.locks import CACHE
from tests.services import missing
from tests.system import debian

INSTALL_SECONDS_MAX: Final = 600


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fresh clone and an empty home."""
    if not (debian.CHECKOUT / ".git").exists() or not shutil.which("git"):
        missing("a fresh clone needs git and a checkout of it")
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "home").mkdir()
    subprocess.run(["git", "clone", "--quiet", debian.CHECKOUT, folder / "clone"], check=True)
    return folder


def environ(newcomer: Path) -> dict[str, str]:
    """Somebody's environment who has set nothing; what pip downloads is kept for the next run."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT_"))}
    kept |= {"PATH": os.environ["PATH"], "PIP_CACHE_DIR": str(CACHE / "pip")}
    return kept | {"HOME": str(newcomer / "home"), "LANG": "C.UTF-8", "PORT": "0"}


def make(newcomer: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """make in the clone, when it has ended; its output is both streams."""
    return subprocess.run(
        ["make", *arguments],
        cwd=newcomer / "clone",
        env=environ(newcomer),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_SECONDS_MAX,
    )


@contextmanager
def make_run(newcomer: Path) -> Iterator[Iterator[str]]:
    """`make run` while it runs: the lines that it prints. At the end somebody presses Ctrl-C."""
    process = subprocess.Popen(
        ["make", "run"],
        cwd=newcomer / "clone",
        env=environ(newcomer),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    guard = threading.Timer(INSTALL_SECONDS_MAX, os.killpg, [process.pid, signal.SIGKILL])
    guard.start()
    try:
        assert process.stdout
        yield iter(process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    finally:
        guard.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def lines_until(lines: Iterator[str], *patterns: str) -> list[str]:
    """What the patterns' groups match, in the patterns' order, each on a line of its own."""
    found: dict[str, str] = {}
    said = []
    for line in lines:
        said.append(line)
        found |= {pattern: match[1] for pattern in patterns if (match := re.search(pattern, line))}
        if len(found) == len(patterns):
            return [found[pattern] for pattern in patterns]
    raise AssertionError(f"it ended before it said all of {patterns}:\n{''.join(said)}")


def test_make_run_from_a_fresh_clone(newcomer: Path) -> None:
    """One command, and the page's address, the WebSocket's and the password are on the screen, and true."""
    with make_run(newcomer) as lines:
        page, _, password = lines_until(
            lines, r"(http://localhost:\d+)", r"(ws://localhost:\d+/ws)", r"^password: ([a-z0-9]{24})$"
        )
        body = json.dumps({"username": "admin", "password": password}).encode()
        login = Request(f"{page}/api/auth/login", body, {"Content-Type": "application/json"})
        with urlopen(page, timeout=30) as html, urlopen(login, timeout=30) as signed_in:
            assert html.headers.get_content_type() == "text/html"
            assert json.load(signed_in)["username"] == "admin"


def test_make_run_again_installs_nothing(newcomer: Path) -> None:
    """The second start is a start alone: no installation, no new password."""
    with make_run(newcomer) as lines:
        said = []
        for line in lines:
            said.append(line)
            if re.search(r"ws://localhost:\d+/ws", line):
                break
    assert not [line for line in said if line.startswith(("Installing", "password:"))]


def test_make_test_from_a_fresh_clone(newcomer: Path) -> None:
    """The other command installs what the tests need, and runs them."""
    done = make(newcomer, "test", "PYTEST_ARGS=-q tests/test_settings.py")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout.splitlines()[-1])


def test_make_alone_lists_what_there_is(newcomer: Path) -> None:
    """`make` without a word is no surprise: it shows the words."""
    shown = re.findall(r"^make (\w+) ", make(newcomer).stdout, re.MULTILINE)
    assert shown == [
        "help",
        "run",
        "test",
        "kills",
        "lint",
        "bench",
        "autobahn",
        "clean",
        "install",
        "uninstall",
    ]


def test_old_python_is_told(newcomer: Path, tmp_path: Path) -> None:
    """Below 3.11 there is one line that says so, and how to name another Python."""
    old = tmp_path / "python3"
    old.write_text(
        "#!/bin/sh\nexec python3 -c \"import sys; sys.version_info = (3, 9, 2); exec('''$2''')\"\n"
    )
    old.chmod(0o755)
    done = make(newcomer, "run", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "sora-ws needs Python 3.11 or newer, this one is 3.9. Name another: make run" in done.stdout
