"""The archives that the contract of `MediaStore` is held against."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest
from tornado.ioloop import IOLoop

from sora_ws.media import MediaStore
from sora_ws.media.files import FileMedia
from sora_ws.media.gridfs import GridFsMedia
from sora_ws.media.scratch import Scratch
from sora_ws.store.mongo import MongoStore
from tests.mongod import Mongod, mongod, mongod_replica_set, start_mongod

StartMongod = Callable[..., Mongod]

TASK = "video_" + "0123456789abcdef" * 2
OTHER = "video_" + "f" * 32

__all__ = ["mongod", "mongod_replica_set", "start_mongod"]


async def keep(media: MediaStore, name: str, content: bytes) -> None:
    """Archive these bytes."""
    source = media.partial(name.partition(".")[0])
    source.write_bytes(content)
    await media.keep(name, source)


async def read(media: MediaStore, name: str, start: int = 0, stop: int = 10**12) -> bytes:
    """All pieces as one."""
    return b"".join([piece async for piece in media.read(name, start, stop)])


class Archive(Protocol):
    """An empty archive of the test's own."""

    def media(self) -> MediaStore:
        """As one more process sees it, ready."""
        ...

    def end(self) -> None:
        """All these processes are gone, without a last word."""
        ...

    def names(self) -> set[str]:
        """All that is kept."""
        ...

    def date(self, name: str, kept_at: float) -> None:
        """Say that it was kept at that time, in s since the epoch."""
        ...


@dataclass
class FolderArchive:
    folder: Path

    def media(self) -> FileMedia:
        return FileMedia(self.folder)

    def end(self) -> None:
        """Nothing has to be said: it is for one process."""

    def names(self) -> set[str]:
        return {file.name for file in self.folder.rglob("*") if file.is_file()}

    def date(self, name: str, kept_at: float) -> None:
        os.utime(self.folder / name, (kept_at, kept_at))


@dataclass
class MongoArchive:
    """In a database of its own, with downloads in `folder`."""

    server: Mongod
    store: MongoStore
    name: str
    folder: Path
    scratches: list[Scratch] = field(default_factory=list)

    def media(self) -> GridFsMedia:
        self.scratches.append(Scratch(self.folder))
        return GridFsMedia(self.store, self.scratches[-1])

    def end(self) -> None:
        for scratch in self.scratches:
            os.close(scratch._lock)
        self.scratches.clear()

    def names(self) -> set[str]:
        """Files of GridFS, finished or not, and what lies in `folder`."""
        files = {file.name for file in self.folder.rglob("*") if file.is_file()}
        with self.server.client() as client:
            return files | {str(file["filename"]) for file in client[self.name].media.files.find()}

    def date(self, name: str, kept_at: float) -> None:
        date = {"$set": {"uploadDate": datetime.fromtimestamp(kept_at, UTC)}}
        with self.server.client() as client:
            client[self.name].media.files.update_many({"filename": name}, date)

    def counts(self) -> tuple[int, int]:
        """Files and chunks."""
        with self.server.client() as client:
            media = client[self.name].media
            return media.files.count_documents({}), media.chunks.count_documents({})


@pytest.fixture
def folder_archive(tmp_path: Path) -> FolderArchive:
    return FolderArchive(tmp_path / "media")


@pytest.fixture
def mongo_archive(mongod: Mongod, tmp_path: Path, io_loop: IOLoop) -> Iterator[MongoArchive]:
    yield from _mongo_archive(mongod, tmp_path, io_loop)


@pytest.fixture
def replica_set_archive(
    mongod_replica_set: Mongod, tmp_path: Path, io_loop: IOLoop
) -> Iterator[MongoArchive]:
    yield from _mongo_archive(mongod_replica_set, tmp_path, io_loop)


@pytest.fixture(params=["folder", "mongo", "replica_set"])
def archive(request: pytest.FixtureRequest) -> Archive:
    """One after the other, each kind that there is."""
    found: Archive = request.getfixturevalue(f"{request.param}_archive")
    return found


@pytest.fixture
def media(archive: Archive, io_loop: IOLoop) -> MediaStore:
    """One process's view of `archive`."""
    media = archive.media()
    io_loop.run_sync(media.prepare)
    return media


@pytest.fixture
def own_archive(start_mongod: StartMongod, tmp_path: Path, io_loop: IOLoop) -> Iterator[MongoArchive]:
    """On a server for this test alone."""
    yield from _mongo_archive(start_mongod(), tmp_path, io_loop)


def _mongo_archive(server: Mongod, folder: Path, io_loop: IOLoop) -> Iterator[MongoArchive]:
    name = f"test_{uuid4().hex}"
    store = MongoStore(server.url(name))
    io_loop.run_sync(store.open)
    archive = MongoArchive(server, store, name, folder / "partial")
    yield archive
    io_loop.run_sync(store.close)
    archive.end()
    with server.client() as client:
        client.drop_database(name)
