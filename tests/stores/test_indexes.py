"""Every query is served by an index, by the word of the databases themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from sora_ws.callbacks import Callback
from sora_ws.store import Page, Stale, Store, User
from sora_ws.task import Status, Watch
from tests.stores.conftest import MongoDatabase
from tests.stores.plans import MongoRecorder, Recorder, SqliteRecorder
from tests.stores.tasks import A_CALLBACK, NOW, a_task, completed, rendering

PRIMARY_KEYS = {"_id_", "sqlite_autoindex_tasks_1", "sqlite_autoindex_users_1"}
DONE = Status.COMPLETED
EDGE = (NOW + 5, "video_5")


async def save(store: Store) -> None:
    with suppress(Stale):
        await store.save(a_task(), NOW)


async def save_callback(store: Store) -> None:
    with suppress(Stale):
        await store.save_callback("video_5", Callback("https://a.example/", "a.example"), 0)


QUERIES: dict[str, tuple[Callable[[Store], Awaitable[Any]], set[str]]] = {
    "list of a user": (lambda store: store.list(Page("ann")), {"tasks_of_user"}),
    "list of a user, later page": (
        lambda store: store.list(Page("ann", before=EDGE)),
        {"tasks_of_user"},
    ),
    "list of a user by status": (
        lambda store: store.list(Page("ann", status=DONE)),
        {"tasks_of_user_by_status"},
    ),
    "list of a user by status, later page": (
        lambda store: store.list(Page("ann", status=DONE, before=EDGE)),
        {"tasks_of_user_by_status"},
    ),
    "list of a team": (lambda store: store.list(Page("ann", team="team-a")), {"tasks_of_team"}),
    "list of a team, later page": (
        lambda store: store.list(Page("ann", team="team-a", before=EDGE)),
        {"tasks_of_team"},
    ),
    "list of a team by status": (
        lambda store: store.list(Page("ann", team="team-a", status=DONE)),
        {"tasks_of_team_by_status"},
    ),
    "list of a team by status, later page": (
        lambda store: store.list(Page("ann", team="team-a", status=DONE, before=EDGE)),
        {"tasks_of_team_by_status"},
    ),
    "live": (lambda store: store.live(), {"live_tasks"}),
    "live of a user": (lambda store: store.live(user_id="ann"), {"live_tasks_of_user"}),
    "live of a team": (lambda store: store.live(team="team-a"), {"live_tasks_of_team"}),
    "live of users": (lambda store: store.live_of(user_ids=["ann", "bob"]), {"live_tasks_of_user"}),
    "live of teams": (lambda store: store.live_of(teams=["team-a", "b"]), {"live_tasks_of_team"}),
    "ended of users": (lambda store: store.ended_of(NOW, user_ids=["ann", "bob"]), {"ended_tasks_of_user"}),
    "ended of teams": (lambda store: store.ended_of(NOW, teams=["team-a", "b"]), {"ended_tasks_of_team"}),
    "ended_since": (lambda store: store.ended_since("ann", NOW, 100), {"ended_tasks_of_user"}),
    "count_live": (lambda store: store.count_live(), {"live_tasks", "due_tasks"}),
    "count_live of a user": (lambda store: store.count_live("ann"), {"live_tasks_of_user"}),
    "count_by_state": (lambda store: store.count_by_state(), {"live_tasks", "due_tasks"}),
    "due": (lambda store: store.due(NOW + 5, 64), {"due_tasks"}),
    "due of the others": (lambda store: store.due(NOW + 5, 64, but_not=["a", "b"]), {"due_tasks"}),
    "bring_forward": (lambda store: store.bring_forward(NOW + 9), {"due_tasks"}),
    "bring_callbacks_forward": (lambda store: store.bring_callbacks_forward(NOW), {"due_callbacks"}),
    "find": (lambda store: store.find("video_5"), PRIMARY_KEYS),
    "find_all": (lambda store: store.find_all(["video_5", "video_6"]), PRIMARY_KEYS),
    "find_by_key": (lambda store: store.find_by_key("ann", "key"), {"tasks_by_key"}),
    "find_by_job": (lambda store: store.find_by_job("job-1"), {"tasks_by_job"}),
    "due_callbacks": (lambda store: store.due_callbacks(NOW + 9, 64), {"due_callbacks"}),
    "due_callbacks of the others": (
        lambda store: store.due_callbacks(NOW + 9, 64, but_not_to=["a.example"], but_not_of=["bob", "eve"]),
        {"due_callbacks"},
    ),
    "save_callback": (save_callback, PRIMARY_KEYS),
    "at_provider": (lambda store: store.at_provider(), {"tasks_by_place"}),
    "users_in_line": (lambda store: store.users_in_line(), {"tasks_by_place"}),
    "ids_in_line": (lambda store: store.ids_in_line("ann"), {"tasks_by_place"}),
    "the next of ids_in_line": (lambda store: store.ids_in_line("ann", limit=1), {"tasks_by_place"}),
    "known_jobs": (lambda store: store.known_jobs(["job-1", "job-2"]), {"tasks_by_job"}),
    "save": (save, PRIMARY_KEYS),
    "reschedule": (lambda store: store.reschedule("video_5", Watch(NOW)), PRIMARY_KEYS),
    "forget_key": (lambda store: store.forget_key("video_5"), PRIMARY_KEYS),
    "expire_video": (lambda store: store.expire_video("video_5"), PRIMARY_KEYS),
    "delete": (lambda store: store.delete("video_5"), PRIMARY_KEYS),
    "find_user": (lambda store: store.find_user("ann"), PRIMARY_KEYS),
    "replace_user": (lambda store: store.replace_user(User("ann", "hash", NOW)), PRIMARY_KEYS),
    "disabled_users": (lambda store: store.disabled_users(), {"disabled_users"}),
}


@pytest.fixture(params=[SqliteRecorder, MongoRecorder], ids=["sqlite", "mongo"])
def recorder(request: pytest.FixtureRequest) -> Recorder:
    name = "sqlite_database" if request.param is SqliteRecorder else "mongo_database"
    made: Recorder = request.param(request.getfixturevalue(name))
    return made


@pytest.mark.gen_test(timeout=30)
async def test_creates_under_way_have_an_index(mongo_database: MongoDatabase) -> None:
    """What only instances that share a database ask."""
    recorder, store = MongoRecorder(mongo_database), mongo_database.claim_store("a")
    await store.open()
    await store.insert(a_task())
    with recorder.listening():
        await store.are_creates_under_way("a cat")
    assert recorder.indexes() == {"tasks_by_place"}
    await store.close()


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize(("query", "indexes"), QUERIES.values(), ids=QUERIES)
async def test_a_query_has_its_index(
    recorder: Recorder, query: Callable[[Store], Awaitable[Any]], indexes: set[str]
) -> None:
    """It is served by the index that was made for it, and nothing is scanned or sorted."""
    store = recorder.database.store()
    await store.open()
    for n in range(12):
        task = a_task(
            user=("ann", "bob")[n % 2], at=NOW + n, team=("team-a", "team-b")[n % 2], callback=A_CALLBACK
        )
        await store.insert((task, rendering(task), completed(task))[n % 3])
    with recorder.listening():
        await query(store)
    used = recorder.indexes()
    await store.close()
    assert len(used) == 1
    assert used <= indexes
