"""SQLite without its thread: statements are done when the world says so, one after the other."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Self

from tests.simworld.weather import Weather

PHASES: Final = ("well", "slow", "locked", "full")


class Disk:
    """How the database's disk is at a time, and how long a statement takes there."""

    def __init__(self, chance: random.Random, weather: Weather) -> None:
        self._chance = chance
        self._weather = weather

    def delay_s(self) -> float:
        if self._weather.now == "slow" and self._chance.random() < 0.3:
            return self._chance.uniform(1, 8)  # longer than the store's deadline
        return self._chance.uniform(0.000_1, 0.003)

    def check(self, sql: str) -> None:
        """Raises what SQLite raises."""
        if sql.lstrip().upper().startswith(("SELECT", "PRAGMA", "ROLLBACK")):
            return
        if self._weather.now == "locked" and self._chance.random() < 0.5:
            raise _error("database is locked", sqlite3.SQLITE_BUSY, "SQLITE_BUSY")
        if self._weather.now == "full" and self._chance.random() < 0.7:
            raise _error("database or disk is full", sqlite3.SQLITE_FULL, "SQLITE_FULL")


def _error(text: str, code: int, name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return error


class _Checked:
    """A connection whose statements meet the disk."""

    def __init__(self, real: sqlite3.Connection, disk: Disk) -> None:
        self._real = real
        self._disk = disk

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        self._disk.check(sql)
        return self._real.execute(sql, values)

    @property
    def in_transaction(self) -> bool:
        return self._real.in_transaction


class Connection:
    """What aiosqlite's connection does, without a thread."""

    def __init__(self, path: Path, disk: Disk, **options: Any) -> None:
        self._thread = SimpleNamespace()
        self._path = path
        self._options = options
        self._disk = disk
        self._free_at = 0.0
        self._real: sqlite3.Connection | None = None

    def __await__(self) -> Any:
        return self._open().__await__()

    async def _open(self) -> Self:
        await asyncio.sleep(self._disk.delay_s())
        self._real = sqlite3.connect(self._path, **self._options)
        return self

    @property
    def _conn(self) -> _Checked:
        assert self._real is not None
        return _Checked(self._real, self._disk)

    async def execute_fetchall(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return list(await self._execute(lambda: self._conn.execute(sql, values).fetchall()))

    async def executescript(self, script: str) -> None:
        await self._execute(lambda: self._real and self._real.executescript(script))

    async def close(self) -> None:
        await self._execute(self.tear)

    def tear(self) -> None:
        """Also when the process is gone: what was not committed never was."""
        if self._real is not None:
            self._real.close()

    def _execute(self, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """It is done when its time has come, also if nobody waits for it any more."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        self._free_at = max(self._free_at, loop.time()) + self._disk.delay_s()
        loop.call_at(self._free_at, _do, done, work, arguments)
        return done


def _do(done: asyncio.Future[Any], work: Callable[..., Any], arguments: Sequence[Any]) -> None:
    try:
        result = work(*arguments)
    except (sqlite3.Error, OverflowError) as error:
        if not done.done():
            done.set_exception(error)
    else:
        if not done.done():
            done.set_result(result)
