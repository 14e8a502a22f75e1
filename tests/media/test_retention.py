"""Old videos make room, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from sora_ws.media import Holding, MediaStore
from sora_ws.retention import SETTLING_S, Limits, Retention
from sora_ws.store import StoreUnavailable
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Task
from tests.media.conftest import Archive, keep
from tests.stores.tasks import a_task, completed

NOW = 1_800_000_000.0
DAY = 86_400


class Shelf:
    """A store and an archive, with tasks in them."""

    def __init__(self, store: SqliteStore, archive: Archive) -> None:
        self.store = store
        self.archive = archive
        self.media = archive.media()

    async def add(self, task: Task, *, days: float, size: int = 1_000, end: str = "mp4") -> Task:
        """The task, with a file of this size that was kept so many days ago."""
        await self.store.insert(task)
        await self.add_file(task.id, days=days, size=size, end=end)
        return task

    async def add_file(self, task_id: str, *, days: float, size: int = 1_000, end: str = "mp4") -> None:
        if end == "reference":
            await self.media.save_reference(task_id, bytes(size))
        else:
            await keep(self.media, f"{task_id}.{end}", bytes(size))
        self.archive.date(f"{task_id}.{end}", NOW - days * DAY)

    async def tidy(self, **limits: int) -> None:
        everything = {"max_age": None, "max_bytes": None} | limits
        await Retention(self.store, self.media, Limits(**everything)).tidy(NOW)

    def ids(self) -> set[str]:
        """Whose files are there."""
        return {name.partition(".")[0] for name in self.archive.names()}


@pytest.fixture
def shelf(tmp_path: Path, io_loop: IOLoop, archive: Archive, media: MediaStore) -> Iterator[Shelf]:
    store = SqliteStore(tmp_path / "tasks.sqlite3")
    io_loop.run_sync(store.open)
    yield Shelf(store, archive)
    io_loop.run_sync(store.close)


async def expired(shelf: Shelf, task: Task) -> bool:
    found = await shelf.store.find(task.id)
    assert found is not None
    assert found.video is not None
    assert found.seq == task.seq
    return found.video.expired


@pytest.mark.gen_test
async def test_what_is_too_old_goes(shelf: Shelf) -> None:
    """All files of it; its task stays, with a word that the video is gone."""
    old = await shelf.add(completed(a_task()), days=3)
    await shelf.add_file(old.id, days=3, end="jpg")
    young = await shelf.add(completed(a_task()), days=1)
    await shelf.tidy(max_age=2 * DAY)
    assert shelf.ids() == {young.id}
    assert await expired(shelf, old)
    assert not await expired(shelf, young)


@pytest.mark.gen_test
async def test_the_oldest_make_room(shelf: Shelf) -> None:
    """Only as many as it takes."""
    tasks = [await shelf.add(completed(a_task()), days=days) for days in (5, 4, 3, 2)]
    await shelf.tidy(max_bytes=2_500)
    assert shelf.ids() == {task.id for task in tasks[2:]}
    assert [await expired(shelf, task) for task in tasks] == [True, True, False, False]


@pytest.mark.gen_test
async def test_several_at_once_remove_what_one_would(shelf: Shelf) -> None:
    """Instances over one archive don't do the same work twice over, to what is next."""
    tasks = [await shelf.add(completed(a_task()), days=9 - n) for n in range(8)]
    await asyncio.gather(*(shelf.tidy(max_bytes=5_000) for _ in range(4)))
    assert shelf.ids() == {task.id for task in tasks[3:]}


@pytest.mark.gen_test
async def test_a_live_task_keeps_its_image(shelf: Shelf) -> None:
    """It may have to be submitted again; others make room in its place."""
    live = await shelf.add(a_task(), days=9, end="reference")
    done = await shelf.add(completed(a_task()), days=5)
    await shelf.tidy(max_bytes=1_500, max_age=7 * DAY)
    assert shelf.ids() == {live.id}
    assert await expired(shelf, done)


@pytest.mark.gen_test
async def test_what_has_just_come_stays(shelf: Shelf) -> None:
    """The task of a file may be a moment behind it."""
    young = "video_" + "1" * 32
    await shelf.add_file(young, days=0)
    await shelf.tidy(max_bytes=1)
    assert shelf.ids() == {young}


@pytest.mark.gen_test
async def test_files_without_a_task_go_too(shelf: Shelf) -> None:
    """What a create that failed has left behind."""
    await shelf.add_file("video_" + "1" * 32, days=2)
    await shelf.tidy(max_age=DAY)
    assert shelf.ids() == set()


@pytest.mark.gen_test
async def test_a_store_that_is_away_loses_nothing(shelf: Shelf) -> None:
    """Files stay until it is noted that they are gone."""
    old = await shelf.add(completed(a_task()), days=3)
    await shelf.store.close()
    await shelf.tidy(max_age=DAY)
    assert shelf.ids() == {old.id}
    await shelf.store.open()
    await shelf.tidy(max_age=DAY)
    assert shelf.ids() == set()


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(SETTLING_S, 1_000)), max_size=20),
    st.none() | st.integers(1, 2_000),
)
def test_what_is_left_fits(files: list[tuple[int, int]], max_bytes: int | None) -> None:
    """Oldest first, until it fits, and never one more."""
    left = sorted(
        (Holding(str(n), size, NOW - age) for n, (size, age) in enumerate(files)), key=lambda h: h.kept_at
    )
    limits = Limits(None, max_bytes)
    while left and limits.forbid(left[0], sum(h.size for h in left), NOW):
        last = left.pop(0)
        assert max_bytes is not None
        assert sum(h.size for h in left) + last.size > max_bytes
    assert max_bytes is None or sum(h.size for h in left) <= max_bytes


@pytest.mark.gen_test
async def test_a_word_that_is_not_kept(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is promised a video that is gone: where its end can't be noted, it stays."""

    async def away(task_id: str) -> None:
        raise StoreUnavailable("away")

    old = await shelf.add(completed(a_task()), days=3)
    monkeypatch.setattr(shelf.store, "expire_video", away)
    await shelf.tidy(max_age=DAY)
    assert shelf.ids() == {old.id}
