"""What the ports promise of listing and counting tasks, held against every database."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from sora_ws.store import Page, Store
from sora_ws.task import State, Status, Task, Watch
from tests.stores.tasks import NOW, a_task, completed, failed, rendering


async def insert_shuffled(store: Store, tasks: Iterable[Task]) -> None:
    shuffled = random.Random(7).sample(tasks := list(tasks), len(tasks))
    for task in shuffled:
        await store.insert(task)


async def all_pages(store: Store, page: Page) -> list[list[Task]]:
    """The pages one behind the other, up to the first empty one."""
    pages = []
    while found := list(await store.list(page)):
        pages.append(found)
        page = replace(page, before=(found[-1].created_at, found[-1].id))
    return pages


def newest_first(tasks: Iterable[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: (task.created_at, task.id), reverse=True)


def ids(tasks: Sequence[Task]) -> list[str]:
    return [task.id for task in tasks]


@pytest.mark.gen_test
async def test_a_list_is_newest_first(store: Store) -> None:
    """By the time of creation, and whole tasks."""
    tasks = [a_task(at=NOW + n) for n in range(5)]
    await insert_shuffled(store, tasks)
    assert await store.list(Page("ann")) == tasks[::-1]


@pytest.mark.gen_test
async def test_pages_lose_and_repeat_nothing_at_equal_times(store: Store) -> None:
    """Tasks of one millisecond are told apart by their ids, over every page's edge."""
    tasks = [a_task(at=NOW + n // 5) for n in range(23)]
    await insert_shuffled(store, tasks)
    pages = await all_pages(store, Page("ann", limit=4))
    assert [len(page) for page in pages] == [4, 4, 4, 4, 4, 3]
    assert [task for page in pages for task in page] == newest_first(tasks)


@pytest.mark.gen_test
async def test_a_page_stays_where_it_was_when_newer_tasks_come(store: Store) -> None:
    """The next page goes on behind the last task seen, whatever came meanwhile."""
    tasks = [a_task(at=NOW + n) for n in range(4)]
    await insert_shuffled(store, tasks)
    first = await store.list(Page("ann", limit=2))
    await store.insert(a_task(at=NOW + 9))
    await store.delete(first[-1].id)
    second = await store.list(Page("ann", before=(first[-1].created_at, first[-1].id), limit=2))
    assert second == [tasks[1], tasks[0]]


@pytest.mark.gen_test
async def test_a_list_holds_ones_own_tasks(store: Store) -> None:
    """Those of the user, of a team or not, and nobody else's."""
    mine, teams = a_task(at=NOW + 1), a_task(at=NOW, team="team-a")
    await insert_shuffled(store, [mine, teams, a_task(user="bob"), a_task(user="bob", team="team-a")])
    assert await store.list(Page("ann")) == [mine, teams]
    assert await store.list(Page("nobody")) == []


@pytest.mark.gen_test
async def test_a_teams_list_holds_every_members_tasks(store: Store) -> None:
    """With a team, whose they are doesn't matter."""
    anns, bobs = a_task(at=NOW + 1, team="team-a"), a_task(user="bob", at=NOW, team="team-a")
    await insert_shuffled(store, [anns, bobs, a_task(), a_task(team="team-b")])
    assert await store.list(Page("carol", team="team-a")) == [anns, bobs]
    pages = await all_pages(store, Page("carol", team="team-a", limit=1))
    assert pages == [[anns], [bobs]]


@pytest.mark.gen_test
@pytest.mark.parametrize("team", [None, "team-a"], ids=["user", "team"])
async def test_a_list_of_one_status(store: Store, team: str | None) -> None:
    """Of the user's or the team's tasks those with the status, over pages too."""
    tasks = []
    for n in range(0, 50, 10):
        submitting, moving, over, done, off = (a_task(at=NOW + n + i, team=team) for i in range(5))
        tasks += [submitting, rendering(moving), failed(over), completed(done), off.cancel(NOW + 99)]
    await insert_shuffled(store, [*tasks, a_task(user="bob"), a_task(user="bob", team="team-b")])
    for status in Status:
        pages = await all_pages(store, Page("ann", team=team, status=status, limit=2))
        wanted = newest_first(task for task in tasks if task.status is status)
        assert [task for page in pages for task in page] == wanted
        assert len(wanted) == 5


@pytest.mark.gen_test
async def test_a_status_that_changed_moves_the_task(store: Store) -> None:
    """A list of one status follows every save."""
    task = a_task()
    await store.insert(task)
    await store.save(rendering(task), task.seq)
    assert await store.list(Page("ann", status=Status.QUEUED)) == []
    assert await store.list(Page("ann", status=Status.PROCESSING)) == [rendering(task)]


@pytest.mark.gen_test
async def test_names_are_compared_whole_and_as_they_are(store: Store) -> None:
    """No name is a pattern, a prefix or an operator to a database."""
    names = ["ann", "Ann", "ann ", "an", "a%", "a.b", "$ne", "ann'--", "ünn"]
    tasks = {name: a_task(user=name, team=name) for name in names}
    await insert_shuffled(store, tasks.values())
    for name, task in tasks.items():
        assert await store.list(Page(name)) == [task]
        assert await store.list(Page("", team=name)) == [task]
        assert await store.live(user_id=name) == [task]
        assert await store.count_live(name) == 1


@pytest.mark.gen_test
async def test_live_tasks_are_oldest_first(store: Store) -> None:
    """Those that have not ended: of all, of one user, of one team."""
    a1, a2, b1 = a_task(at=NOW), a_task(at=NOW + 1, team="team-a"), a_task(user="bob", at=NOW + 2)
    b2 = rendering(a_task(user="bob", at=NOW + 3, team="team-a"))
    ended = [failed(a_task(team="team-a")), completed(a_task()), a_task(user="bob").cancel(NOW)]
    await insert_shuffled(store, [a1, a2, b1, b2, *ended])
    assert await store.live() == [a1, a2, b1, b2]
    assert await store.live(user_id="ann") == [a1, a2]
    assert await store.live(team="team-a") == [a2, b2]
    assert await store.live(user_id="nobody") == []


@pytest.mark.gen_test
async def test_many_live_tasks_come_all(store: Store) -> None:
    """However many they are: no page cuts them off."""
    tasks = [a_task(at=NOW + n) for n in range(250)]
    await insert_shuffled(store, tasks)
    assert ids(await store.live()) == ids(tasks)


@pytest.mark.gen_test
async def test_ended_tasks_come_by_their_end(store: Store) -> None:
    """The user's that ended behind a seq, the newest where they are too many; the order is the end's."""
    tasks = [a_task(at=NOW + 10 * (5 - n)).cancel(NOW + 1_000 + n) for n in range(5)]
    others = [a_task(user="bob").cancel(NOW + 1_003), rendering(a_task(at=NOW + 2_000))]
    await insert_shuffled(store, [*tasks, *others])
    assert await store.ended_since("ann", NOW, 100) == tasks
    assert await store.ended_since("ann", tasks[1].seq, 100) == tasks[2:]
    assert await store.ended_since("ann", NOW, 2) == tasks[3:]
    assert await store.ended_since("ann", tasks[-1].seq, 100) == []


@pytest.mark.gen_test
async def test_many_are_found_at_once(store: Store) -> None:
    """By their ids, those that there are; none where none are asked for."""
    tasks = [rendering(a_task(at=NOW + n)) for n in range(600)]
    await insert_shuffled(store, tasks)
    wanted = [task.id for task in tasks[50:]]
    found = await store.find_all([*wanted, "video_0", "$where", ""])
    assert sorted(ids(found)) == sorted(wanted)
    assert {task.id: task for task in found}[tasks[50].id] == tasks[50]
    assert await store.find_all([]) == []


@pytest.mark.gen_test
async def test_rooms_are_read_together(store: Store) -> None:
    """The live tasks of several users or teams, and what ended in them behind a seq."""
    a1, b1, c1 = a_task(team="x"), rendering(a_task(user="bob")), a_task(user="eve", team="y")
    a2 = a_task(team="x").cancel(NOW + 1_000)
    b2, c2 = (a_task(user=user, team="y").cancel(NOW + 2_000) for user in ("bob", "eve"))
    await insert_shuffled(store, [a1, b1, c1, a2, b2, c2])
    reads = {
        (a1.id, b1.id): store.live_of(user_ids=["ann", "bob", "nobody"]),
        (a1.id, c1.id): store.live_of(teams=["x", "y"]),
        (a2.id, b2.id): store.ended_of(NOW, user_ids=["ann", "bob"]),
        (b2.id,): store.ended_of(a2.seq, user_ids=["ann", "bob"]),
        (b2.id, c2.id): store.ended_of(NOW, teams=["y"]),
        (): store.ended_of(b2.seq, teams=["x", "y"]),
    }
    for wanted, read in reads.items():
        assert sorted(ids(await read)) == sorted(wanted)
    assert await store.live_of(user_ids=["nobody"]) == await store.ended_of(NOW, teams=["z"]) == []


@pytest.mark.gen_test
async def test_live_tasks_are_counted(store: Store) -> None:
    """Of one user, or of all; an end counts at once."""
    tasks = [a_task(), rendering(a_task()), a_task(user="bob")]
    await insert_shuffled(store, [*tasks, failed(a_task())])
    assert await store.count_live() == 3
    assert await store.count_live("ann") == 2
    assert await store.count_live("nobody") == 0
    await store.save(failed(tasks[0]), tasks[0].seq)
    assert await store.count_live("ann") == 1


@pytest.mark.gen_test
async def test_due_tasks_come_by_how_long_they_are_due(store: Store) -> None:
    """The longest due first, up to and with the time asked for, at most as many as asked for."""
    tasks = [a_task(user=f"u{n % 3}", due=NOW + n) for n in range(10)]
    await insert_shuffled(store, tasks)
    assert await store.due(NOW + 6, 100) == tasks[:7]
    assert await store.due(NOW + 6, 3) == tasks[:3]
    assert await store.due(NOW - 1, 100) == []


@pytest.mark.gen_test
async def test_due_tasks_come_without_those_in_hand(store: Store) -> None:
    """They take no room from the others, also where they are many, or where none of them is stored."""
    tasks = [a_task(due=NOW + n) for n in range(6)]
    await insert_shuffled(store, tasks)
    in_hand = {task.id for task in tasks[::2]} | {f"video_{number}" for number in range(2_000)}
    assert await store.due(NOW + 9, 2, but_not=in_hand) == tasks[1:4:2]
    assert await store.due(NOW + 9, 9, but_not=[task.id for task in tasks]) == []


@pytest.mark.gen_test
async def test_no_room_means_no_due_tasks(store: Store) -> None:
    """A limit of nothing gives nothing."""
    await store.insert(a_task(due=NOW))
    assert await store.due(NOW, 0) == []


@pytest.mark.gen_test
async def test_an_ended_task_is_never_due(store: Store) -> None:
    """Nobody looks at a task that has ended, wherever its watch stands."""
    task = a_task(due=NOW)
    await insert_shuffled(store, [task, failed(a_task(due=NOW))])
    assert await store.due(NOW, 10) == [task]
    await store.save(completed(task), task.seq)
    assert await store.due(NOW, 10) == []


@pytest.mark.gen_test
async def test_a_rescheduled_task_is_due_at_its_new_time(store: Store) -> None:
    """Also by the watch that comes with a save."""
    task, other = a_task(due=NOW), a_task(due=NOW + 1)
    await insert_shuffled(store, [task, other])
    await store.reschedule(task.id, Watch(NOW + 5))
    assert ids(await store.due(NOW + 9, 10)) == [other.id, task.id]
    moved = replace(rendering(other), watch=Watch(NOW + 7))
    await store.save(moved, other.seq)
    assert ids(await store.due(NOW + 9, 10)) == [task.id, other.id]
    assert ids(await store.due(NOW + 6, 10)) == [task.id]


@pytest.mark.gen_test
async def test_the_live_are_counted_by_state(store: Store) -> None:
    """Of all users; what has ended is in no count."""
    assert await store.count_by_state() == {}
    for task in (a_task(), a_task(), rendering(a_task()), completed(a_task()), failed(a_task())):
        await store.insert(task)
    assert await store.count_by_state() == {State.SUBMITTING: 2, State.RENDERING: 1}


@pytest.mark.gen_test
async def test_looks_planned_in_the_future_are_brought_forward(store: Store) -> None:
    """They wait anew, as long as they were to; a long wait that was planned before now stays."""
    hour = 3_600_000
    long, early, late, old = (a_task() for _ in range(4))
    long = replace(long, watch=Watch(NOW + hour, planned_at=NOW))
    early = replace(early, watch=Watch(NOW + hour, planned_at=NOW + hour, looks=3))
    late = replace(late, watch=Watch(NOW + 3 * hour, planned_at=NOW + hour, errors=1))
    ended = completed(replace(old, watch=early.watch))
    await insert_shuffled(store, [long, early, late, ended])
    assert await store.bring_forward(NOW) == 2
    early = replace(early, watch=Watch(NOW, planned_at=NOW, looks=3))
    late = replace(late, watch=Watch(NOW + 2 * hour, planned_at=NOW, errors=1))
    assert await store.due(NOW + 3 * hour, 10) == [early, long, late]
    assert await store.find(ended.id) == ended
    assert await store.bring_forward(NOW) == 0
