"""What `MediaStore` promises, held against every adapter."""

from __future__ import annotations

import asyncio
import os

import pytest

from sora_ws.media import CHUNK, Holding, MediaGone, MediaStore
from tests.media.conftest import OTHER, TASK, Archive, keep, read


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        f"../{TASK}.mp4",
        f"{TASK}.mp4/../../x",
        f"{TASK}.mp4\0",
        f"{TASK}.mp4\n",
        f"{TASK}.reference",
        f"{TASK}.MP4",
        f"{TASK.upper()}.mp4",
        TASK,
        "",
        ".mp4",
        f"/{TASK}.mp4",
        f"partial/{TASK}",
        "unfinished",
    ],
)
@pytest.mark.gen_test
async def test_no_name_comes_from_outside(media: MediaStore, name: str) -> None:
    """A name that is not exactly a task's video or thumbnail reaches nothing."""
    with pytest.raises(ValueError, match="not a name in the archive"):
        await media.size(name)
    with pytest.raises(ValueError, match="not a name in the archive"):
        await read(media, name)
    with pytest.raises(ValueError, match="not a name in the archive"):
        await media.keep(name, media.partial(TASK))


@pytest.mark.parametrize("task_id", ["../x", "video_1", f"{TASK}.mp4", f"{TASK}/..", "*"])
@pytest.mark.gen_test
async def test_no_name_comes_from_an_id(media: MediaStore, task_id: str) -> None:
    """An id that is not exactly one reaches nothing either."""
    with pytest.raises(ValueError, match="not a name in the archive"):
        media.partial(task_id)
    with pytest.raises(ValueError, match="not a name in the archive"):
        await media.reference(task_id)
    with pytest.raises(ValueError, match="not a name in the archive"):
        await media.save_reference(task_id, b"image")
    with pytest.raises(ValueError, match="not a name in the archive"):
        await media.delete(task_id)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.gen_test
async def test_what_is_kept_comes_back(media: MediaStore, size: int) -> None:
    """Byte for byte, and its download is gone."""
    content = os.urandom(size)
    assert await media.size(f"{TASK}.mp4") is None
    await keep(media, f"{TASK}.mp4", content)
    assert await media.size(f"{TASK}.mp4") == size
    assert await read(media, f"{TASK}.mp4") == content
    assert not media.partial(TASK).exists()


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 3 * CHUNK), (1, 2), (CHUNK - 1, CHUNK + 1), (5, 5), (3 * CHUNK - 1, 9 * CHUNK), (9 * CHUNK, 10**12)],
)
@pytest.mark.gen_test
async def test_a_part_can_be_read(media: MediaStore, start: int, stop: int) -> None:
    """Any part, in pieces of at most a chunk; what is asked for beyond the end is not there."""
    content = os.urandom(3 * CHUNK)
    await keep(media, f"{TASK}.mp4", content)
    pieces = [piece async for piece in media.read(f"{TASK}.mp4", start, stop)]
    assert b"".join(pieces) == content[start:stop]
    assert max(map(len, pieces), default=0) <= CHUNK


@pytest.mark.gen_test
async def test_what_is_not_there_is_gone(media: MediaStore) -> None:
    """Also where nothing of it is asked for."""
    with pytest.raises(MediaGone):
        await read(media, f"{TASK}.mp4", 0, 0)


@pytest.mark.gen_test
async def test_a_video_may_go_while_it_is_read(media: MediaStore) -> None:
    """Who has begun to read gets no wrong byte, to the end or until it is gone; who comes later gets none."""
    content = os.urandom(3 * CHUNK)
    await keep(media, f"{TASK}.mp4", content)
    pieces = media.read(f"{TASK}.mp4", 0, len(content))
    got = await anext(pieces)
    await media.delete(TASK)
    try:
        got += b"".join([piece async for piece in pieces])
    except MediaGone:
        assert content.startswith(got)
    else:
        assert got == content
    with pytest.raises(MediaGone):
        await read(media, f"{TASK}.mp4", 0, 1)


@pytest.mark.gen_test
async def test_a_second_one_takes_the_place_of_the_first(media: MediaStore, archive: Archive) -> None:
    """There is always one of the name, and in the end one alone, the later one."""
    await keep(media, f"{TASK}.mp4", b"first")
    for content in (b"second", b"and third"):
        again = asyncio.ensure_future(keep(media, f"{TASK}.mp4", content))
        while not again.done():
            assert await media.size(f"{TASK}.mp4")
        await again
        assert await read(media, f"{TASK}.mp4") == content
    assert archive.names() == {f"{TASK}.mp4"}
    assert await media.total() == len(b"and third")


@pytest.mark.gen_test
async def test_a_reference_comes_back(media: MediaStore) -> None:
    """The input image is there for a retry, until its task is deleted."""
    image = os.urandom(CHUNK + 1)
    assert await media.reference(TASK) is None
    await media.save_reference(TASK, image)
    assert await media.reference(TASK) == image
    await media.delete(TASK)
    assert await media.reference(TASK) is None


@pytest.mark.gen_test
async def test_delete_takes_all_of_one_task(media: MediaStore, archive: Archive) -> None:
    """Video, thumbnail, image and download of the task go, and nothing of another; twice is no error."""
    await keep(media, f"{TASK}.mp4", b"video")
    await keep(media, f"{TASK}.jpg", b"picture")
    await keep(media, f"{OTHER}.mp4", b"other")
    await media.save_reference(TASK, b"image")
    media.partial(TASK).write_bytes(b"half")
    media.partial(TASK).with_suffix(".jpg").write_bytes(b"half")
    await media.delete(TASK)
    await media.delete(TASK)
    assert archive.names() == {f"{OTHER}.mp4"}
    assert await read(media, f"{OTHER}.mp4") == b"other"


@pytest.mark.gen_test
async def test_a_start_removes_what_was_broken_off(media: MediaStore, archive: Archive) -> None:
    """Half downloads of a killed process go, finished videos stay."""
    await keep(media, f"{TASK}.mp4", b"video")
    media.partial(OTHER).write_bytes(b"half")
    archive.end()
    again = archive.media()
    await again.prepare()
    assert archive.names() == {f"{TASK}.mp4"}
    assert await again.size(f"{TASK}.mp4") == 5


@pytest.mark.gen_test
async def test_there_is_room(media: MediaStore) -> None:
    """On a disk that isn't full."""
    assert await media.has_room()


@pytest.mark.gen_test
async def test_what_is_held(media: MediaStore, archive: Archive) -> None:
    """All of a task together, as old as the newest of it; the oldest first, as many as are asked for."""
    assert (await media.oldest(9), await media.total()) == ([], 0)
    await keep(media, f"{TASK}.mp4", bytes(1_000))
    await keep(media, f"{TASK}.jpg", bytes(100))
    await media.save_reference(TASK, bytes(10))
    await keep(media, f"{OTHER}.mp4", bytes(1))
    archive.date(f"{TASK}.mp4", 3_000)
    archive.date(f"{TASK}.jpg", 2_000.5)
    archive.date(f"{TASK}.reference", 1_000)
    archive.date(f"{OTHER}.mp4", 2_500)
    held = [Holding(OTHER, 1, 2_500), Holding(TASK, 1_110, 3_000)]
    assert await media.oldest(9) == held
    assert await media.oldest(1) == held[:1]
    assert await media.total() == 1_111
