"""Old videos make room, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from sora_ws.media import Holding
from sora_ws.media.files import FileMedia
from sora_ws.retention import SETTLING_S, Limits, Retention
from sora_ws.store import StoreUnavailable
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Task
from tests.stores.tasks import a_task, completed

NOW = 1_800_000_000.0
DAY = 86_400


class Archive:
    """A store and a folder, with tasks in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "media"
        self.store = SqliteStore(folder / "tasks.sqlite3")
        self.media = FileMedia(self.folder)

    async def add(self, task: Task, *, days: float, size: int = 1_000, end: str = "mp4") -> Task:
        """The task, with a file of this size that was kept so many days ago."""
        await self.store.insert(task)
        self.add_file(task.id, days=days, size=size, end=end)
        return task

    def add_file(self, task_id: str, *, days: float, size: int = 1_000, end: str = "mp4") -> None:
        file = self.folder / f"{task_id}.{end}"
        file.write_bytes(bytes(size))
        os.utime(file, (NOW - days * DAY,) * 2)

    async def tidy(self, **limits: int) -> None:
        everything = {"max_age": None, "max_bytes": None} | limits
        await Retention(self.store, self.media, Limits(**everything)).tidy(NOW)

    def ids(self) -> set[str]:
        """Whose files are there."""
        return {file.name.partition(".")[0] for file in self.folder.iterdir() if file.is_file()}


@pytest.fixture
def archive(tmp_path: Path, io_loop: IOLoop) -> Iterator[Archive]:
    made = Archive(tmp_path)
    io_loop.run_sync(made.store.open)
    yield made
    io_loop.run_sync(made.store.close)


async def expired(archive: Archive, task: Task) -> bool:
    found = await archive.store.find(task.id)
    assert found is not None
    assert found.video is not None
    assert found.seq == task.seq
    return found.video.expired


@pytest.mark.gen_test
async def test_what_is_too_old_goes(archive: Archive) -> None:
    """All files of it; its task stays, with a word that the video is gone."""
    old = await archive.add(completed(a_task()), days=3)
    archive.add_file(old.id, days=3, end="jpg")
    young = await archive.add(completed(a_task()), days=1)
    await archive.tidy(max_age=2 * DAY)
    assert archive.ids() == {young.id}
    assert await expired(archive, old)
    assert not await expired(archive, young)


@pytest.mark.gen_test
async def test_the_oldest_make_room(archive: Archive) -> None:
    """Only as many as it takes."""
    tasks = [await archive.add(completed(a_task()), days=days) for days in (5, 4, 3, 2)]
    await archive.tidy(max_bytes=2_500)
    assert archive.ids() == {task.id for task in tasks[2:]}
    assert [await expired(archive, task) for task in tasks] == [True, True, False, False]


@pytest.mark.gen_test
async def test_a_live_task_keeps_its_image(archive: Archive) -> None:
    """It may have to be submitted again; others make room in its place."""
    live = await archive.add(a_task(), days=9, end="reference")
    done = await archive.add(completed(a_task()), days=5)
    await archive.tidy(max_bytes=1_500, max_age=7 * DAY)
    assert archive.ids() == {live.id}
    assert await expired(archive, done)


@pytest.mark.gen_test
async def test_what_has_just_come_stays(archive: Archive) -> None:
    """The task of a file may be a moment behind it."""
    young = "video_" + "1" * 32
    archive.add_file(young, days=0)
    await archive.tidy(max_bytes=1)
    assert archive.ids() == {young}


@pytest.mark.gen_test
async def test_files_without_a_task_go_too(archive: Archive) -> None:
    """What a create that failed has left behind."""
    archive.add_file("video_" + "1" * 32, days=2)
    await archive.tidy(max_age=DAY)
    assert archive.ids() == set()


@pytest.mark.gen_test
async def test_a_store_that_is_away_loses_nothing(archive: Archive) -> None:
    """Files stay until it is noted that they are gone."""
    old = await archive.add(completed(a_task()), days=3)
    await archive.store.close()
    await archive.tidy(max_age=DAY)
    assert archive.ids() == {old.id}
    await archive.store.open()
    await archive.tidy(max_age=DAY)
    assert archive.ids() == set()


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
async def test_a_word_that_is_not_kept(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is promised a video that is gone: where its end can't be noted, it stays."""

    async def away(task_id: str) -> None:
        raise StoreUnavailable("away")

    old = await archive.add(completed(a_task()), days=3)
    monkeypatch.setattr(archive.store, "expire_video", away)
    await archive.tidy(max_age=DAY)
    assert archive.ids() == {old.id}
