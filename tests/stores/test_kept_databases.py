"""What versions before this one have left behind is opened, read and gone on with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sora_ws.callbacks import Delivery
from sora_ws.store import Page, Store, documents, sqlite_tables
from sora_ws.task import NEVER, Status, Task
from tests.stores.conftest import MongoDatabase, SqliteDatabase
from tests.stores.kept_databases import (
    LEARNED,
    SECRETS,
    USERS,
    formats,
    kept_tasks,
    restore_mongo,
    restore_sqlite,
)


def test_this_format_is_kept() -> None:
    """A new format comes with a database of it: python -m tests.stores.kept_databases."""
    assert formats("sql")[-1] == sqlite_tables.FORMAT
    assert formats("json")[-1] == documents.FORMAT


async def check(store: Store) -> None:
    """Everything is there, found by every way that leads to it, and can be changed."""
    await store.open()
    tasks = kept_tasks()
    assert [await store.find(task.id) for task in tasks] == tasks
    of_ann = [task for task in tasks if task.user_id == "ann"]
    assert await store.list(Page("ann")) == of_ann[::-1]
    assert [task.state for task in await store.list(Page("ann", status=Status.CANCELLED))] == ["cancelled"]
    live = [task for task in tasks if task.is_live]
    assert await store.live() == live
    assert await store.count_live("bob") == 1
    assert {task.id for task in await store.due(NEVER - 1, 100)} == {
        task.id for task in live if not task.waits
    }
    assert set(await store.at_provider()) == {task.id for task in live if task.is_at_provider}
    assert await store.ids_in_line("eve") == [task.id for task in live if task.waits]
    assert await store.due_callbacks(NEVER, 100) == [task for task in tasks if _is_to_be_told(task)]
    assert await store.experience() == LEARNED
    assert await store.find_by_key("ann", "key") == tasks[0]
    assert await store.users() == list(USERS)
    assert await store.disabled_users() == {"bob"}
    assert [await store.keep(name, "another") for name in SECRETS] == list(SECRETS.values())

    changed = replace(live[0], progress=12, seq=live[0].seq + 1)
    await store.save(changed, over_seq=live[0].seq)
    await store.delete(tasks[-1].id)
    await store.close()
    await store.open()
    assert await store.find(changed.id) == changed
    assert await store.find(tasks[-1].id) is None
    await store.close()


def _is_to_be_told(task: Task) -> bool:
    return task.callback is not None and task.callback.state is Delivery.PENDING


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("number", formats("sql"))
async def test_sqlite(number: int, sqlite_database: SqliteDatabase) -> None:
    """A file."""
    restore_sqlite(number, sqlite_database.path)
    await check(sqlite_database.store())


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("number", formats("json"))
async def test_mongo(number: int, mongo_database: MongoDatabase) -> None:
    """A database on a server."""
    restore_mongo(number, mongo_database.server, mongo_database.name)
    await check(mongo_database.store())
