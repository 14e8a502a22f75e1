"""What becomes of MongoDB's tasks when the server is killed, hangs, is slow or full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pymongo
import pytest

from sora_ws.store import DuplicateKey, NewerFormat, StoreFull, StoreUnavailable
from sora_ws.store.documents import task_to_document
from sora_ws.store.mongo import OUT_OF_DISK_SPACE, MongoStore
from sora_ws.task import Task
from tests.mongod import Mongod, ReplicaSet, running_replica_set
from tests.stores.conftest import MongoDatabase
from tests.stores.tasks import a_keyed_task, a_task, rendering

DEADLINE = 2.0  # seconds, in which a server that has come back is found
GUARD = 10.0  # seconds in which a call has ended for sure, deadline and a slow machine together


@pytest.fixture(params=[False, True], ids=["alone", "replica_set"])
def own_mongod(request: pytest.FixtureRequest, start_mongod: Callable[..., Mongod]) -> Mongod:
    """A server for this test alone."""
    return start_mongod(replica_set=request.param)


def insert_at_primary(servers: ReplicaSet, task: Task) -> None:
    """Without waiting for the majority."""
    stored = task_to_document(task)
    with pymongo.MongoClient[dict[str, Any]](servers.url("test"), w=1) as client:
        client.get_default_database().tasks.insert_one({"_id": stored.pop("id")} | stored)


async def assert_unavailable(store: MongoStore) -> None:
    """Reads and writes alone, and a crowd of both, fail in time and by name."""
    crowd = [call for _ in range(15) for call in (store.find("video_0"), store.insert(a_task()))]
    async with asyncio.timeout(GUARD):
        outcomes = await asyncio.gather(*crowd, store.ping(), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}


@pytest.mark.gen_test(timeout=60)
async def test_a_killed_server_is_unavailable_until_it_is_back(own_mongod: Mongod) -> None:
    """All that was accepted is there again, for the same store and without its help."""
    store = MongoStore(own_mongod.url("test"), deadline=DEADLINE)
    await store.open()
    task, other = a_task(), a_task()
    await store.insert(task)
    await store.save(rendering(task), task.seq)
    own_mongod.kill()
    await assert_unavailable(store)
    own_mongod.start()
    assert await store.find(task.id) == rendering(task)
    await store.insert(other)
    assert await store.find(other.id) == other
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_server_that_hangs_is_unavailable_until_it_goes_on(own_mongod: Mongod) -> None:
    """Calls don't wait for its answer, and find it again."""
    store = MongoStore(own_mongod.url("test"), deadline=DEADLINE)
    await store.open()
    task = a_task()
    await store.insert(task)
    own_mongod.pause()
    await assert_unavailable(store)
    own_mongod.resume()
    await store.ping()
    assert await store.find(task.id) == task
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_store_opens_when_the_server_has_come(start_mongod: Callable[..., Mongod]) -> None:
    """Without a server a store can't be opened, and says so in one line; later it can."""
    server = start_mongod()
    server.kill()
    store = MongoStore(server.url("test"))
    async with asyncio.timeout(GUARD):
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{server.port}: .*refused$"):
            await store.open()
    server.start()
    await store.open()
    await store.insert(a_task())
    await store.close()


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("leave", [Mongod.pause, Mongod.kill], ids=["hangs", "is killed"])
async def test_a_store_of_a_gone_server_closes(
    start_mongod: Callable[..., Mongod], leave: Callable[[Mongod], None]
) -> None:
    """To close takes no answer of the server."""
    server = start_mongod()
    store = MongoStore(server.url("test"), deadline=DEADLINE)
    await store.open()
    await store.insert(a_task())
    leave(server)
    async with asyncio.timeout(GUARD):
        await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_slow_server_is_unavailable(mongo_database: MongoDatabase) -> None:
    """What takes longer than the deadline has failed, other calls go on."""
    store = MongoStore(mongo_database.server.url(mongo_database.name), deadline=DEADLINE)
    await store.open()
    task = a_task()
    await store.insert(task)
    with mongo_database.server.told_to_fail("find", blockConnection=True, blockTimeMS=int(DEADLINE * 2_000)):
        slow = asyncio.ensure_future(store.find(task.id))
        await store.insert(a_task())
        assert not slow.done()
        with pytest.raises(StoreUnavailable):
            await slow
    assert await store.find(task.id) == task
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_server_without_room_is_full(mongo_database: MongoDatabase) -> None:
    """Its word for a full disk is ours."""
    store = MongoStore(mongo_database.server.url(mongo_database.name))
    await store.open()
    task = a_task()
    with mongo_database.server.told_to_fail("insert", errorCode=OUT_OF_DISK_SPACE), pytest.raises(StoreFull):
        await store.insert(task)
    await store.insert(task)
    with mongo_database.server.told_to_fail("update", errorCode=OUT_OF_DISK_SPACE), pytest.raises(StoreFull):
        await store.save(rendering(task), task.seq)
    await store.save(rendering(task), task.seq)
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_an_error_that_nobody_expects_is_unavailable(mongo_database: MongoDatabase) -> None:
    """No error of the driver goes further than the store."""
    store = MongoStore(mongo_database.server.url(mongo_database.name), deadline=DEADLINE)
    await store.open()
    for fault in ({"errorCode": 10107}, {"errorCode": 13}, {"closeConnection": True}):
        with mongo_database.server.told_to_fail("insert", **fault), pytest.raises(StoreUnavailable):
            await store.insert(a_task())
    await store.close()


@pytest.mark.gen_test(timeout=30)
async def test_a_later_format_is_not_opened(mongo_database: MongoDatabase) -> None:
    """A database of a later version is refused, and left as it is."""
    store = MongoStore(mongo_database.server.url(mongo_database.name))
    await store.open()
    with mongo_database.server.client() as client:
        meta = client[mongo_database.name].meta
        meta.update_one({"_id": "format"}, {"$set": {"format": 2}})
        with pytest.raises(NewerFormat, match="format 2"):
            await store.open()
        assert meta.find_one() == {"_id": "format", "format": 2}
    await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://ann:s3cr/et@localhost/sora",
        "mongodb://ann:s3cr@et@localhost/sora",
        "mongodb://ann:s3cr:et@localhost/sora",
        "mongodb://localhost:s3cret/sora",
        "mongodb://localhost/s3cr et$",
        "mongodb://localhost/",
    ],
)
def test_a_url_that_cannot_be_read_is_a_value_error(url: str) -> None:
    """The sentence tells how to write one, and nothing of what may be a password."""
    with pytest.raises(ValueError, match="mongodb://HOST/NAME") as caught:
        MongoStore(url)
    assert "s3cr" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.gen_test(timeout=30)
async def test_a_password_is_never_told(mongo_database: MongoDatabase) -> None:
    """An account that the server doesn't know is named as such, its password is not."""
    address = f"127.0.0.1:{mongo_database.server.port}"
    store = MongoStore(f"mongodb://ann:s3cret@{address}/{mongo_database.name}?authSource=admin")
    with pytest.raises(StoreUnavailable, match="Authentication failed") as caught:
        await store.open()
    assert "s3cret" not in str(caught.value)
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_what_the_majority_is_not_known_to_have_is_not_gone() -> None:
    """As behind a failover: who knows a task finds it, it has its place, and no list shows it yet."""
    with running_replica_set() as servers:
        store = MongoStore(servers.url("test"), deadline=DEADLINE)
        await store.open()
        known, kept = a_task(), a_task()
        await store.insert(kept)
        with servers.not_replicated():
            insert_at_primary(servers, known)
            assert await store.find(known.id) == known
            assert {task.id for task in await store.find_all([known.id, kept.id])} == {known.id, kept.id}
            assert await store.live() == [kept]
            assert {*await store.at_provider()} == {known.id, kept.id}
        await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_key_that_the_majority_is_not_known_to_have_is_asked_for_again() -> None:
    """As behind a failover: nobody can tell yet whether its task stays, so the create is to be repeated."""
    with running_replica_set() as servers:
        store = MongoStore(servers.url("test"), deadline=DEADLINE)
        await store.open()
        first, again = a_keyed_task("key"), a_keyed_task("key")
        with servers.not_replicated():
            insert_at_primary(servers, first)
            with pytest.raises(StoreUnavailable):
                await store.insert(again)
        taken = None
        async with asyncio.timeout(GUARD):
            while taken is None:
                try:
                    await store.insert(again)
                except DuplicateKey as duplicate:
                    taken = duplicate.task
                except StoreUnavailable:
                    pass
        assert taken == first
        await store.close()
