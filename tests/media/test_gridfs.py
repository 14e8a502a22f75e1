"""What the archive in MongoDB promises beyond the contract: over kills, hangs, late writes and full disks."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import gridfs
import pymongo
import pytest

from sora_ws.media import CHUNK, MediaAway, MediaStore
from sora_ws.media.gridfs import DOOMED, UNFINISHED
from sora_ws.media.scratch import Scratch
from sora_ws.store.mongo import OUT_OF_DISK_SPACE, MongoStore
from tests.media.conftest import OTHER, TASK, MongoArchive, keep, read
from tests.mongod import Mongod, ReplicaSet, running_replica_set
from tests.services import a_small_disk

GUARD_S = 30.0
T = TypeVar("T")
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def media(mongo_archive: MongoArchive) -> MediaStore:
    """One process's view of `mongo_archive`."""
    return mongo_archive.media()


async def until(holds: Callable[[], bool]) -> None:
    """Of what goes on in the server there is no word: it is looked at again and again."""
    async with asyncio.timeout(GUARD_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def insisted(call: Callable[[], Awaitable[T]]) -> T:
    """What it answers as soon as MongoDB does."""
    while True:
        with suppress(MediaAway):
            return await call()


@pytest.fixture(scope="module")
def replica_set() -> Iterator[ReplicaSet]:
    """Three servers, of which a test may kill one."""
    with running_replica_set() as servers:
        yield servers


@asynccontextmanager
async def an_archive(servers: ReplicaSet, folder: Path) -> AsyncIterator[MongoArchive]:
    """In a database of its own, on all of them."""
    name = f"test_{uuid4().hex}"
    store = MongoStore(servers.url(name))
    await store.open()
    yield MongoArchive(servers.primary(), store, name, folder)
    await store.close()
    servers.restore()


@asynccontextmanager
async def inmate(archive: MongoArchive, bytes_each: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that archives one file after the other, killed in the end."""
    arguments = (archive.server.url(archive.name), str(archive.folder), str(bytes_each))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.media.inmates", "keep_in_mongodb", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


@pytest.mark.gen_test
async def test_it_is_gridfs(media: MediaStore, mongo_archive: MongoArchive) -> None:
    """The driver's own GridFS, which other tools are like, reads what is kept and keeps what is read."""
    content = os.urandom(2 * CHUNK + 1)
    await keep(media, f"{TASK}.mp4", content)
    with mongo_archive.server.client() as client:
        bucket = gridfs.GridFSBucket(client[mongo_archive.name], "media")
        assert bucket.open_download_stream_by_name(f"{TASK}.mp4").read() == content
        bucket.upload_from_stream(f"{OTHER}.mp4", content, chunk_size_bytes=1_000)
    assert await read(media, f"{OTHER}.mp4", 999, CHUNK) == content[999:CHUNK]
    await media.delete(TASK)
    await media.delete(OTHER)
    assert mongo_archive.counts() == (0, 0)


@pytest.mark.gen_test(timeout=60)
async def test_a_kill_in_the_middle_of_an_upload(media: MediaStore, mongo_archive: MongoArchive) -> None:
    """What is left of it has no name, stays while it may be under way, and then goes with all its chunks."""
    slowly = mongo_archive.server.told_to_fail("insert", blockConnection=True, blockTimeMS=200)
    with slowly:
        async with inmate(mongo_archive, 100 * CHUNK):
            await until(lambda: mongo_archive.counts()[1] >= 2)
    assert await media.size(f"video_{0:032x}.mp4") is None
    await media.prepare()
    assert mongo_archive.names() == {UNFINISHED}
    mongo_archive.date(UNFINISHED, 0)
    await keep(media, f"{TASK}.mp4", b"video")
    assert mongo_archive.names() == {f"{TASK}.mp4"}
    assert mongo_archive.counts() == (1, 1)


@pytest.mark.gen_test(timeout=120)
async def test_kills_leave_whole_videos_only(media: MediaStore, mongo_archive: MongoArchive) -> None:
    """Wherever one is killed in keeping and removing: what has a name is whole, and the rest is swept."""
    for lines in range(1, 11):
        async with inmate(mongo_archive, 3 * CHUNK) as process:
            assert process.stdout
            told = [await process.stdout.readline() for _ in range(lines)]
        assert int(told[-1]) == lines - 1
        kept = {name for name in mongo_archive.names() if name.endswith(".mp4")}
        assert kept
        for name in kept:
            number = int(name[len("video_") : -len(".mp4")], 16)
            assert number >= lines - 2
            assert await read(media, name) == bytes([number % 256]) * 3 * CHUNK
    mongo_archive.date(UNFINISHED, 0)
    mongo_archive.date(DOOMED, 0)
    await media.prepare()
    assert mongo_archive.names() == kept
    assert mongo_archive.counts() == (len(kept), 3 * len(kept))


@pytest.mark.gen_test(timeout=60)
async def test_who_stood_still_for_too_long(media: MediaStore, mongo_archive: MongoArchive) -> None:
    """Taken for dead and swept by another, an upload that goes on fails and leaves nothing."""
    with mongo_archive.server.told_to_fail("insert", blockConnection=True, blockTimeMS=500):
        late = asyncio.ensure_future(keep(media, f"{TASK}.mp4", bytes(3 * CHUNK)))
        await until(lambda: UNFINISHED in mongo_archive.names())
        mongo_archive.date(UNFINISHED, 0)
        await mongo_archive.media().prepare()
        with pytest.raises(OSError, match="swept away") as caught:
            await late
    assert caught.value.errno == errno.ESTALE
    assert mongo_archive.counts() == (0, 0)
    await keep(media, f"{TASK}.mp4", b"again")
    assert await read(media, f"{TASK}.mp4") == b"again"


@pytest.mark.gen_test(timeout=60)
async def test_a_late_write_loses(media: MediaStore, mongo_archive: MongoArchive) -> None:
    """A process that was paused, and ends behind one that began later, does not take its place."""
    name = f"video_{0:032x}.mp4"
    slowly = mongo_archive.server.told_to_fail("insert", blockConnection=True, blockTimeMS=200)
    with slowly:
        async with inmate(mongo_archive, 4 * CHUNK) as process:
            await until(lambda: mongo_archive.counts()[1] >= 1)
            process.send_signal(signal.SIGSTOP)
            await keep(media, name, b"begun later")
            assert UNFINISHED in mongo_archive.names()
            process.send_signal(signal.SIGCONT)
            assert process.stdout
            assert await process.stdout.readline() == b"0\n"
    assert await read(media, name) == b"begun later"
    assert await media.total() == len(b"begun later")


@pytest.mark.gen_test(timeout=60)
async def test_a_hang_in_the_middle_of_a_read(own_archive: MongoArchive) -> None:
    """It ends by the deadline, without a wrong byte; the rest is there when the server goes on."""
    media = own_archive.media()
    content = os.urandom(3 * CHUNK)
    await keep(media, f"{TASK}.mp4", content)
    async with aclosing(media.read(f"{TASK}.mp4", 0, len(content))) as pieces:  # type: ignore[type-var]
        got = await anext(pieces)
        own_archive.server.pause()
        async with asyncio.timeout(GUARD_S):
            with pytest.raises(MediaAway):
                await anext(pieces)
            crowd = [media.size(f"{TASK}.mp4") for _ in range(50)]
            outcomes = await asyncio.gather(*crowd, media.has_room(), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {MediaAway}
    own_archive.server.resume()
    assert got + await read(media, f"{TASK}.mp4", len(got)) == content


@pytest.mark.gen_test(timeout=60)
async def test_a_server_that_dies_in_the_middle_of_an_upload(own_archive: MongoArchive) -> None:
    """The upload fails in time and has no name; when the server is back the next one succeeds."""
    media = own_archive.media()
    content = os.urandom(300 * CHUNK)
    dying = asyncio.ensure_future(keep(media, f"{TASK}.mp4", content))
    await until(lambda: own_archive.counts()[1] >= 2)
    own_archive.server.kill()
    async with asyncio.timeout(GUARD_S):
        with pytest.raises(MediaAway):
            await dying
    own_archive.server.start()
    assert await media.size(f"{TASK}.mp4") is None
    await keep(media, f"{TASK}.mp4", content)
    assert await read(media, f"{TASK}.mp4") == content


@pytest.mark.gen_test(timeout=120)
async def test_another_primary_in_the_middle_of_an_upload(replica_set: ReplicaSet, tmp_path: Path) -> None:
    """It is whole, or fails and is whole when it is tried again; what was kept before stays there."""
    async with an_archive(replica_set, tmp_path) as archive:
        media = archive.media()
        await media.prepare()
        before, content = os.urandom(3 * CHUNK), os.urandom(300 * CHUNK)
        await keep(media, f"{OTHER}.mp4", before)
        upload = asyncio.ensure_future(keep(media, f"{TASK}.mp4", content))
        await until(lambda: archive.counts()[1] >= 5)
        archive.server.kill()
        archive.server = replica_set.primary()
        async with asyncio.timeout(GUARD_S):
            assert await insisted(lambda: read(media, f"{OTHER}.mp4")) == before
            with suppress(MediaAway):
                await upload
            await insisted(lambda: keep(media, f"{TASK}.mp4", content))
        assert await read(media, f"{TASK}.mp4") == content
        assert archive.names() <= {f"{OTHER}.mp4", f"{TASK}.mp4", UNFINISHED}
        assert await media.total() == len(before) + len(content)


@pytest.mark.gen_test(timeout=60)
async def test_what_the_majority_is_not_known_to_have_is_not_gone(
    replica_set: ReplicaSet, tmp_path: Path
) -> None:
    """As behind a failover: the new primary has the video, and is believed."""
    async with an_archive(replica_set, tmp_path) as archive:
        media = archive.media()
        await media.prepare()
        content = os.urandom(2 * CHUNK)
        with replica_set.not_replicated():
            with archive.server.client() as client:
                database = client.get_database(archive.name, write_concern=pymongo.WriteConcern(w=1))
                gridfs.GridFSBucket(database, "media").upload_from_stream(f"{TASK}.mp4", content)
            assert await media.size(f"{TASK}.mp4") == len(content)
            assert await read(media, f"{TASK}.mp4") == content


@pytest.mark.gen_test(timeout=60)
async def test_a_server_that_says_it_is_full(media: MediaStore, mongo_archive: MongoArchive) -> None:
    """Its word for a full disk is ours, and what was there already goes."""
    with mongo_archive.server.told_to_fail("insert", errorCode=OUT_OF_DISK_SPACE):
        for kept in (keep(media, f"{TASK}.mp4", b"video"), media.save_reference(TASK, b"image")):
            with pytest.raises(OSError) as caught:  # noqa: PT011
                await kept
            assert caught.value.errno == errno.ENOSPC
    assert mongo_archive.counts() == (0, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """800 MB, of which a new MongoDB takes 300 for its journal."""
    with a_small_disk(tmp_path / "disk", 800) as disk:
        yield disk


@pytest.mark.gen_test(timeout=120)
async def test_a_full_disk(mongod: Mongod, small_disk: Path, tmp_path: Path) -> None:
    """Nothing more is put on it before MongoDB would die of that, and it is used again when there is room."""
    server = Mongod(small_disk / "data")  # unpacked for the other one
    server.start()
    store = MongoStore(server.url("test"))
    await store.open()
    archive = MongoArchive(server, store, "test", tmp_path / "partial")
    media = archive.media()
    try:
        await media.prepare()
        assert await media.has_room()
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(250 * 1024**2))
        assert not await media.has_room()
        with pytest.raises(OSError, match="no room") as caught:
            await keep(media, f"{TASK}.mp4", bytes(30 * 1024**2))
        assert caught.value.errno == errno.ENOSPC
        assert archive.counts() == (0, 0)
        await store.ping()
        ballast.unlink()
        assert await media.has_room()
        await keep(media, f"{TASK}.mp4", bytes(30 * 1024**2))
        assert await media.size(f"{TASK}.mp4") == 30 * 1024**2
    finally:
        await store.close()
        server.kill()


@pytest.mark.gen_test(timeout=60)
async def test_files_can_be_moved_into_it(
    media: MediaStore, mongo_archive: MongoArchive, tmp_path: Path
) -> None:
    """By what the page for operators says."""
    script = re.search(r"<<'END'\n(.*?)^END$", OPERATIONS.read_text(), re.DOTALL | re.MULTILINE)
    assert script
    folder = tmp_path / "media"
    folder.mkdir()
    contents = {
        f"{TASK}.mp4": os.urandom(3 * CHUNK),
        f"{TASK}.jpg": b"picture",
        f"{TASK}.reference": b"image",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    url = mongo_archive.server.url(mongo_archive.name)
    run = partial(
        subprocess.run, [sys.executable, "-", url], input=script[1], text=True, cwd=folder, check=True
    )
    await asyncio.to_thread(run)
    assert [*folder.iterdir()] == []
    assert await read(media, f"{TASK}.mp4") == contents[f"{TASK}.mp4"]
    assert await read(media, f"{TASK}.jpg") == b"picture"
    assert await media.reference(TASK) == b"image"


def test_downloads_of_others_are_left_alone(tmp_path: Path) -> None:
    """Processes that share a folder have each their own in it, which no other one's start takes away."""
    first, second = Scratch(tmp_path), Scratch(tmp_path)
    first.path(TASK).write_bytes(b"first")
    second.path(TASK).write_bytes(b"second")
    Scratch(tmp_path).sweep()
    assert first.path(TASK).read_bytes() == b"first"
    second.close()
    assert not second.path(TASK).exists()
