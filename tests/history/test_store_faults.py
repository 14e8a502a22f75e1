"""What becomes of everything while the database is gone, hangs, is slow, locked or full.

Each test prints what it saw; `pytest -s` shows it.
"""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from pymongo.errors import AutoReconnect

from tests.history.proxy import SlowProxy
from tests.history.run import CHECKOUT, Lag, Run, a_run, is_ready, until
from tests.mongod import Mongod, running_mongod, running_replica_set
from tests.services import a_small_disk

FAULT_S: Final = 5.0  # longer than any deadline of the store
REFUSED: Final = 3  # creates that have to be answered meanwhile
IN_TIME_S: Final = 15.0  # a guard; the promise itself is 5 s
SMOOTH_MS: Final = 1_000.0  # a guard; the promise itself is 100 ms


def hurt(
    run: Run,
    begin: Callable[[], object],
    end: Callable[[], object],
    refusal: int = 503,
    lasts_s: float = FAULT_S,
) -> None:
    """Let the fault begin under load, and end; new tasks are refused in time and all else waits.

    The checker's judgement is the last word.
    """
    name = sys._getframe(1).f_code.co_name
    with Lag(run.server.port) as lag:
        run.clients.begin(4)
        until(lambda: run.clients.accepted > 0)
        begin()
        began = time.monotonic()
        run.clients.begin(4)
        until(lambda: len(answers_since(run, began, refusal)) >= REFUSED)
        time.sleep(max(0.0, began + lasts_s - time.monotonic()))
        refused = answers_since(run, began, refusal)
        end()
        back_s = until(lambda: is_ready(run.server))
    assert run.verdict() == []
    slowest = max(refused)
    print(
        f"{name}: {len(refused)} creates refused, the slowest in {slowest:.2f} s; ready {back_s:.1f} s after;"
        f" loop lag {lag.worst_ms:.0f} ms at most, {lag.usual_ms:.1f} ms as a rule"
    )
    assert slowest < IN_TIME_S
    assert back_s < IN_TIME_S
    assert lag.worst_ms < SMOOTH_MS


def answers_since(run: Run, began: float, status: int) -> list[float]:
    """The seconds that creates with this status took."""
    return [took for at, answer, took in run.clients.answers if at > began and answer == status]


def test_mongodb_killed(tmp_path: Path, start_mongod: Callable[..., Mongod]) -> None:
    """Refused at once, and found again without a restart."""
    mongod = start_mongod()
    with a_run(tmp_path, {"DATABASE_URL": mongod.url("killed")}) as run:
        hurt(run, mongod.kill, mongod.start)


def test_mongodb_stopped(tmp_path: Path, start_mongod: Callable[..., Mongod]) -> None:
    """It takes connections and answers nothing."""
    mongod = start_mongod()
    with a_run(tmp_path, {"DATABASE_URL": mongod.url("stopped")}) as run:
        hurt(run, mongod.pause, mongod.resume)


def test_mongodb_slow(tmp_path: Path, mongod: Mongod) -> None:
    """Each of its answers is six seconds late, which is later than anybody waits."""
    with SlowProxy(mongod.port) as proxy:
        url = f"mongodb://127.0.0.1:{proxy.port}/slow_{tmp_path.name[-20:]}"
        with a_run(tmp_path, {"DATABASE_URL": url}) as run:
            hurt(
                run,
                lambda: setattr(proxy, "delay_s", 6.0),
                lambda: setattr(proxy, "delay_s", 0.0),
                lasts_s=2 * FAULT_S,
            )


def test_a_primary_killed_under_load(tmp_path: Path) -> None:
    """Twice: the other two elect another one, and the one that died comes back behind it."""
    with running_replica_set() as servers, a_run(tmp_path, {"DATABASE_URL": servers.url("set")}) as run:
        with Lag(run.server.port) as lag:
            for _ in range(2):
                run.clients.begin(4)
                until(lambda accepted=run.clients.accepted: run.clients.accepted > accepted)  # type: ignore[misc]
                primary = servers.primary()
                primary.kill()
                began = time.monotonic()
                run.clients.create(4)
                primary.start(elect=False)
                print(f"test_a_primary_killed_under_load: new tasks {time.monotonic() - began:.1f} s after")
        assert run.verdict() == []
        print(f"test_a_primary_killed_under_load: loop lag {lag.worst_ms:.0f} ms at most")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    with a_small_disk(tmp_path / "disk", 2) as disk:
        yield disk


def fill(disk: Path) -> None:
    """Leave no room."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_sqlite_without_room(tmp_path: Path, small_disk: Path) -> None:
    """507 for new tasks; the running ones wait, and the file is whole."""
    with a_run(tmp_path / "run", {"DATABASE_URL": f"sqlite:///{small_disk}/sora.sqlite3"}) as run:
        hurt(run, lambda: fill(small_disk), (small_disk / "filler").unlink, refusal=507)
        assert run.server.stop() == 0
        assert faults_of(small_disk / "sora.sqlite3") == []


@contextmanager
def a_mongod_on(disk: Path) -> Iterator[Mongod]:
    """A server whose data is there, which takes 300 MB of it for a journal."""
    with running_mongod():  # so that it is unpacked
        pass
    server = Mongod(disk / "data")
    server.start()
    try:
        yield server
    finally:
        server.kill()


def test_mongodb_with_little_room(tmp_path: Path) -> None:
    """507 for new tasks while what is left is what MongoDB needs itself."""
    with a_small_disk(tmp_path / "disk", 800) as disk, a_mongod_on(disk) as mongod:
        ballast = disk / "ballast"
        settings = {"DATABASE_URL": mongod.url("narrow"), "MEDIA_STORE": "gridfs"}
        with a_run(tmp_path / "run", settings) as run:
            hurt(run, lambda: ballast.write_bytes(bytes(250 * 1024**2)), ballast.unlink, refusal=507)


def test_mongodb_dead_of_a_full_disk(tmp_path: Path) -> None:
    """It ends itself, as nothing keeps room for it here; found again when it was given some and started."""
    with a_small_disk(tmp_path / "disk", 450) as disk, a_mongod_on(disk) as mongod:

        def begin() -> None:
            fill(disk)
            with mongod.client() as client, suppress(AutoReconnect):
                while True:  # writes of its own, until it can't
                    client.admin.command("fsync")

        def end() -> None:
            (disk / "filler").unlink()
            mongod.kill()
            mongod.start()

        with a_run(tmp_path / "run", {"DATABASE_URL": mongod.url("full")}) as run:
            hurt(run, begin, end)


@contextmanager
def locked(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which holds the write lock until it is spoken to."""
    command = [sys.executable, "-m", "tests.stores.locker", str(path)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        try:
            yield other
        finally:
            other.kill()


def test_sqlite_locked(tmp_path: Path) -> None:
    """503 for new tasks while another process holds the lock, and nothing else."""
    path = tmp_path / "sora.sqlite3"
    with a_run(tmp_path / "run", {"DATABASE_URL": f"sqlite:///{path}"}) as run:
        stack = locked(path)
        hurt(run, stack.__enter__, lambda: stack.__exit__(None, None, None), lasts_s=2 * FAULT_S)


def test_sqlite_copied_away(tmp_path: Path) -> None:
    """Whatever moment a copy was taken at, it holds every task that was accepted by then, and is whole."""
    chance = random.Random(14)
    path, copy = tmp_path / "sora.sqlite3", tmp_path / "copy.sqlite3"
    with a_run(tmp_path / "run", {"DATABASE_URL": f"sqlite:///{path}"}) as run:
        for _ in range(12):
            run.clients.begin(2)
            time.sleep(chance.uniform(0, 0.3))  # the moment is what is drawn here
            run.signal(signal.SIGSTOP)  # so that both files are of one moment
            accepted = set(run.clients.tasks)
            for end in ("", "-wal"):
                shutil.copy(f"{path}{end}", f"{copy}{end}")
            run.signal(signal.SIGCONT)
            assert faults_of(copy) == []
            with closing(sqlite3.connect(copy)) as connection:
                assert accepted <= {task for (task,) in connection.execute("SELECT id FROM tasks")}
        assert run.verdict() == []


def faults_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [fault for (fault,) in connection.execute("PRAGMA integrity_check") if fault != "ok"]
