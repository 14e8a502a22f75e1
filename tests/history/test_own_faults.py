"""A stop, a hung loop, a clock that is stepped, no file left: each under load, judged by the checker."""

from __future__ import annotations

import resource
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.history.run import Run, a_run, until
from tests.services import missing

HOUR_S = 3600
WATCHDOG_S = 2.0


@pytest.fixture
def clock(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file with the server's clock in it, as an offset in seconds, and the settings that make it so."""
    library = next(Path("/usr/lib").glob("*-linux-gnu/faketime/libfaketime.so.1"), None)
    if library is None:
        missing("a clock is stepped by Debian's libfaketime")
    file = tmp_path / "clock"
    file.write_text("+0")
    settings = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",  # which no step of a real clock moves either
    }
    return file, settings


def test_sigterm_under_load(tmp_path: Path, database_url: str) -> None:
    """Stopped again and again while tasks come and go, the server ends with 0 each time and loses none."""
    with a_run(tmp_path, {"DATABASE_URL": database_url, "DRAIN_SECONDS": "1"}, reset_every=5) as run:
        for _ in range(3):
            run.clients.begin(4)
            accepted = run.clients.accepted
            until(lambda before=accepted: run.clients.accepted > before)  # type: ignore[misc]
            assert run.server.stop() == 0
            run.server.start()
        assert run.verdict() == []


def test_a_loop_that_hangs(tmp_path: Path) -> None:
    """It sends no more signs of life, so that systemd kills it as it does here; the next start goes on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(WATCHDOG_S)
        settings = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
            "SORA_WS_FAILPOINT": "look_answered:pause",
        }
        with a_run(tmp_path / "run", settings, started=False) as run:
            run.server.launch()
            run.clients.start()
            until_ready(systemd)
            run.clients.begin(3)
            until_silent(systemd)
            run.signal(signal.SIGABRT)
            assert run.until_dead() == -signal.SIGABRT
            del run.server.settings["SORA_WS_FAILPOINT"]
            run.server.start()
            assert run.verdict() == []


def until_ready(systemd: socket.socket) -> None:
    """Returns at READY=1, which comes after signs of life or before."""
    guard = time.monotonic() + 60
    while time.monotonic() < guard:
        try:
            if b"READY=1" in systemd.recv(4096):
                return
        except TimeoutError:
            continue
    raise AssertionError("the server never said that it is ready")


def until_silent(systemd: socket.socket) -> None:
    """Returns when no sign of life has come for as long as the watchdog allows."""
    guard = time.monotonic() + 60
    while time.monotonic() < guard:
        try:
            systemd.recv(4096)
        except TimeoutError:
            return
    raise AssertionError("signs of life never ended")


def test_a_loop_that_is_held_up(tmp_path: Path) -> None:
    """Two seconds in which the process gets nothing done are late, and nothing else."""
    with a_run(tmp_path) as run:
        run.clients.begin(4)
        until(lambda: run.clients.accepted > 0)
        run.signal(signal.SIGSTOP)
        time.sleep(2)  # the fault itself
        run.signal(signal.SIGCONT)
        assert run.verdict() == []


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_a_clock_that_is_stepped(
    tmp_path: Path, clock: tuple[Path, dict[str, str]], step_s: int, restarts: bool
) -> None:
    """An hour forward or back: the tasks under way end as if nothing had happened, and new ones too."""
    file, settings = clock
    with a_run(tmp_path / "run", settings) as run:
        run.clients.begin(2)
        until(lambda: run.clients.accepted > 0)
        if restarts:
            run.server.kill()
        file.write_text(f"{step_s:+d}")
        if restarts:
            run.server.start()
        run.clients.begin(1)
        assert run.verdict() == []


def test_a_create_behind_a_clock_that_is_set_back(tmp_path: Path, clock: tuple[Path, dict[str, str]]) -> None:
    """What became of a create that seems to leave in an hour is found out now, and makes no second job."""
    file, settings = clock
    with a_run(tmp_path / "run", settings | {"SORA_WS_FAILPOINT": "create_answered:kill"}) as run:
        run.clients.begin(1)
        run.until_dead()
        del run.server.settings["SORA_WS_FAILPOINT"]
        file.write_text(f"{-HOUR_S}")
        run.server.start()
        assert run.verdict() == []


def test_no_file_may_be_opened(tmp_path: Path) -> None:
    """Lines live on, who comes waits, tasks wait too; with files again all goes on by itself."""
    with a_run(tmp_path) as run:
        run.clients.create(4)
        was = leave_files(run, spare=0)
        run.clients.begin(4)
        until(lambda: "new connections have to wait" in run.server.log)
        time.sleep(2)  # the fault itself
        leave_files(run, spare=was)
        assert run.verdict() == []


def leave_files(run: Run, spare: int) -> int:
    """Let the server open so many files more than it has now; how many it could before."""
    assert run.server.process is not None
    process = run.server.process.pid
    open_now = len(list(Path(f"/proc/{process}/fd").iterdir()))
    before, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (open_now + spare, hard))
    return before - open_now
