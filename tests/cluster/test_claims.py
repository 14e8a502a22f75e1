"""How long an instance trusts what the database told it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from sora_ws.claims import TERM_MS, Claims, Role
from sora_ws.store.mongo import MongoStore
from tests.stores.conftest import MongoDatabase
from tests.stores.tasks import NOW, a_task

LEASE_MS = 400


@dataclass
class Steady:
    """A clock that stands."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Told:
    """What was told, and a way to wait for it."""

    names: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, name: str = "taken") -> None:
        self.names.append(name)
        self.news.set()


@asynccontextmanager
async def opened(database: MongoDatabase, name: str, lease_ms: int = LEASE_MS) -> AsyncIterator[MongoStore]:
    store = database.claim_store(name, lease_ms)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_what_is_in_hand_stays_claimed(mongo_database: MongoDatabase) -> None:
    """For as long as it is in hand, whatever the lease; what isn't any more is free when that is over."""
    async with opened(mongo_database, "a") as a, opened(mongo_database, "b") as b:
        kept, let_go = a_task(due=NOW), a_task(due=NOW)
        await a.insert(kept)
        await a.insert(let_go)
        claims = Claims(a, LEASE_MS, Told())
        claims.start(lambda: {kept.id})
        while [task.id for task in await b.due(NOW, 10)] != [let_go.id]:
            pass
        assert claims.are_sure()
        await claims.stop()
        assert {task.id for task in await b.due(NOW, 10)} == {kept.id, let_go.id}


@pytest.mark.gen_test(timeout=30)
async def test_a_pause_is_noticed(mongo_database: MongoDatabase) -> None:
    """Behind one that was longer than the lease nothing is sure, until all is begun anew."""
    async with opened(mongo_database, "a", 3_600_000) as store:
        steady = Steady()
        claims = Claims(store, 3_600_000, Told(), steady)
        assert claims.are_sure()
        steady.now += 3_500
        assert not claims.are_sure()
        claims.begin_anew()
        assert claims.are_sure()


@pytest.mark.gen_test(timeout=30)
async def test_a_hastened_task_is_told(mongo_database: MongoDatabase) -> None:
    """It is due in the store before anybody hears of it."""
    async with opened(mongo_database, "a", 60_000) as store:
        task, told = a_task(due=NOW + 60_000), Told()
        await store.insert(task)
        await Claims(store, 60_000, told).hasten(task.id, NOW)
        assert told.names == [task.id]
        assert [due.id for due in await store.due(NOW, 10)] == [task.id]


@pytest.mark.gen_test(timeout=30)
async def test_who_is_at_work_is_known(mongo_database: MongoDatabase) -> None:
    """While it renews, with nothing in hand, too; a lease after its last word, or when it stops, no more."""
    async with opened(mongo_database, "a") as a, opened(mongo_database, "b") as b:
        claims, other = Claims(a, LEASE_MS, Told()), Claims(b, LEASE_MS, Told())
        claims.start(tuple)
        while await other.at_work() != ["a"]:
            pass
        claims._beat.stop()
        while await other.at_work():
            pass
        claims.start(tuple)
        while await other.at_work() != ["a"]:
            pass
        await claims.stop()
        assert await other.at_work() == []


@pytest.mark.gen_test(timeout=30)
async def test_one_has_the_role_at_a_time(mongo_database: MongoDatabase) -> None:
    """The second gets it when the first gives it up, and is told so."""
    async with opened(mongo_database, "a") as a, opened(mongo_database, "b") as b:
        first, second = Told(), Told()
        role, other = Role(a, "line"), Role(b, "line")
        await role.start(first)
        await other.start(second)
        assert role.is_ours()
        assert not other.is_ours()
        role.stop()
        assert not role.is_ours()
        await a.release()
        await second.news.wait()
        assert other.is_ours()
        assert (first.names, second.names) == (["taken"], ["taken"])
        other.stop()


@pytest.mark.gen_test(timeout=30)
async def test_a_role_is_not_trusted_for_longer_than_its_term(mongo_database: MongoDatabase) -> None:
    """Who was paused knows by its own clock that the role may be another's, before it asks."""
    async with opened(mongo_database, "a") as store:
        steady = Steady()
        role = Role(store, "line", steady)
        await role.start(Told())
        steady.now += TERM_MS / 1000 * 0.95
        assert not role.is_ours()
        role.stop()
