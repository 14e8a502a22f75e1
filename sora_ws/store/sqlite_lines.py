"""The lines to a SQLite file: one statement at a time, a deadline for each, writes committed together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import aiosqlite

from sora_ws.store import StoreError, StoreFull, StoreUnavailable

LOCK_WAIT_S: Final = 1.5  # nothing breaks it off, and a stop waits for it
COMMIT_MAX: Final = 100  # statements in one transaction, some ms of the file's lock
GATHER_S: Final = 0.01  # small beside the poller's tick, whose looks are answered one by one


class Line:
    """One connection with its thread: a statement at a time, and a deadline for each."""

    def __init__(self, connection: aiosqlite.Connection, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._turn = asyncio.Lock()
        self._closed = False

    @classmethod
    async def connect(cls, path: Path, deadline: float) -> Self:
        with driver_errors():
            async with asyncio.timeout(deadline):
                # Another process's lock is waited for no longer than half of it, so that the
                # answer is SQLite's own.
                lock_wait = min(deadline / 2, LOCK_WAIT_S)
                connecting = aiosqlite.connect(path, timeout=lock_wait, isolation_level=None)
                # Else a process whose store nobody closed, as by an error on the way, would never end.
                connecting._thread.daemon = True
                connection = await connecting
        return cls(connection, deadline)

    async def run(self, sql: str, *values: Any) -> Sequence[Any]:
        call = self._connection.execute_fetchall
        rows: Sequence[Any] = await self._in_turn(call, sql, values, deadline=self._deadline)
        return rows

    async def apply(self, work: Callable[[sqlite3.Connection], None], deadline: float) -> None:
        """Have `work` done in its thread, with nothing in between."""
        await self._in_turn(self._in_thread, work, deadline=deadline)

    async def settled(self) -> None:
        """Returns when no statement is under way whose caller has given up."""
        with driver_errors():
            async with asyncio.timeout(self._deadline), self._turn:
                return

    async def close(self) -> None:
        self._closed = True
        async with self._turn:
            with driver_errors():
                await self._connection.close()

    async def _in_turn(self, call: Any, *arguments: Any, deadline: float) -> Any:
        # A statement in its thread can't be called back, so the turn ends with the statement and
        # not with its caller: whoever gives up while waiting for a turn leaves nothing behind.
        with driver_errors():
            async with asyncio.timeout(deadline):
                await self._turn.acquire()
                statement = asyncio.ensure_future(self._begin(call, *arguments))
                statement.add_done_callback(lambda _: self._turn.release())
                return await asyncio.shield(statement)

    async def _begin(self, call: Any, *arguments: Any) -> Any:
        if self._closed:
            raise StoreUnavailable("the database was closed")
        return await call(*arguments)

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        # Private: the one way to run several statements in its thread with nothing in between.
        call: Any = self._connection._execute
        return await call(work, self._connection._conn, *arguments)


Statement = tuple[str, Sequence[Any]]
"""SQL and its values."""


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    attempts: Sequence[Statement]
    outcome: asyncio.Future[int]


_Outcome = int | Exception


class Writer(Line):
    """The connection that writes: what comes while the disk is waited for is committed together.

    A commit takes some ms, and a few turns of the loop, which are long while thousands are told a
    change: one by one, a hundred jobs that move on at once would be stored one a turn and told one by
    one. Committed together they are told together. Who is patient waits up to GATHER_S for company.
    """

    def __init__(self, connection: aiosqlite.Connection, deadline: float) -> None:
        super().__init__(connection, deadline)
        self._waiting: list[_Write] = []
        self._committing: asyncio.Task[None] | None = None
        self._gathering: asyncio.TimerHandle | None = None

    async def write(self, *attempts: Statement, is_patient: bool = False) -> int:
        """How many rows were changed by the first of `attempts` that changed any; in one transaction."""
        loop = asyncio.get_running_loop()
        write = _Write(attempts, loop.create_future())
        self._waiting.append(write)
        if not is_patient:
            self._begin_commit()
        elif self._committing is None and self._gathering is None:
            self._gathering = loop.call_later(GATHER_S, self._begin_commit)
        # A timer alone is half of what asyncio.timeout takes, in the busiest call of all.
        deadline = loop.call_later(self._deadline, _give_up, write.outcome)
        try:
            return await write.outcome
        except (TimeoutError, OverflowError, sqlite3.Error):
            with driver_errors():
                raise
        finally:
            deadline.cancel()

    def _begin_commit(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit())

    async def _commit(self) -> None:
        try:
            while self._waiting:
                async with self._turn:
                    # Whoever has given up meanwhile leaves nothing behind.
                    batch = [each for each in self._waiting[:COMMIT_MAX] if not each.outcome.done()]
                    del self._waiting[:COMMIT_MAX]
                    await self._run_all(batch)
        finally:
            self._committing = None

    async def _run_all(self, batch: Sequence[_Write]) -> None:
        outcomes: Sequence[_Outcome]
        try:
            outcomes = await self._begin(self._in_thread, _committed, batch)
        except (sqlite3.Error, StoreError, ValueError, OverflowError) as error:
            outcomes = [error] * len(batch)
        for each, outcome in zip(batch, outcomes, strict=True):
            if each.outcome.done():
                continue
            if isinstance(outcome, Exception):
                each.outcome.set_exception(outcome)
            else:
                each.outcome.set_result(outcome)


def _committed(connection: sqlite3.Connection, batch: Sequence[_Write]) -> Sequence[_Outcome]:
    """In its thread: all in one transaction, so that what a full disk says is said to all."""
    with transaction(connection):
        # Asked again behind the wait for the lock: who gave up meanwhile was told that it is not done.
        return [0 if each.outcome.done() else _outcome(connection, each.attempts) for each in batch]


def _outcome(connection: sqlite3.Connection, attempts: Sequence[Statement]) -> _Outcome:
    """What is wrong with this write alone leaves the transaction as it is."""
    try:
        return next((n for n in (connection.execute(*each).rowcount for each in attempts) if n), 0)
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, ValueError, OverflowError) as error:
        return error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Committed at the end; taken back where that is not reached."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _give_up(outcome: asyncio.Future[int]) -> None:
    if not outcome.done():
        outcome.set_exception(TimeoutError())


@contextmanager
def driver_errors() -> Iterator[None]:
    """Says in the port's words what went wrong with the database.

    IntegrityError is left to who expects it, and ProgrammingError would be a fault of this file.
    """
    try:
        yield
    except TimeoutError as error:
        raise StoreUnavailable("SQLite took too long") from error
    except OverflowError as error:
        raise ValueError("an integer of more than 64 bits can't be stored") from error
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise StoreFull(str(error)) from error
        raise StoreUnavailable(f"{error.sqlite_errorname}: {error}") from error
