"""The archive in MongoDB, for any number of processes.

`media.files` and `media.chunks` are laid out as the GridFS specification says, so that its tools read them.
They are not written and read by the driver's own GridFS, which collects 48 MB of an upload before it
sends them, fetches 16 MB for a reader of one byte, and leaves chunks of no file behind when it is killed.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from bson import Int64, ObjectId

from sora_ws.media import CHUNK, NAME, ROOM_BYTES_MIN, TASK_ID, Holding, MediaAway, MediaGone, checked
from sora_ws.media.files import remove
from sora_ws.media.scratch import Scratch
from sora_ws.store import StoreFull, StoreUnavailable
from sora_ws.store.mongo import NEWEST, MongoStore

UNFINISHED: Final = "unfinished"  # the filename of what is not there yet
DOOMED: Final = "doomed"  # and of what goes
UPLOAD_SECONDS: Final = 3_600  # for 4 GiB, 1.2 MB a second
LEFT_BEHIND_SECONDS: Final = 2 * UPLOAD_SECONDS
CALLS_AT_ONCE: Final = 4  # of the driver's five threads a core, so that tasks don't wait for videos
ROOM_CHECK_CHUNKS: Final = 64  # how many go between two looks at the room for the others
ERASE_CHUNKS: Final = 512  # in one call, within its deadline
SERVER_RESERVE_BYTES: Final = 256 * 1024**2  # a MongoDB that can't write its journal ends itself

NEWEST_FIRST: Final = {"uploadDate": -1, "_id": -1}
KEPT: Final = {"filename": {"$regex": "^video_"}}
TASK_ID_BYTES: Final = len("video_") + 32

File = Mapping[str, Any]


class GridFsMedia:
    """`MediaStore` in the database of `store`; downloads wait in `scratch`.

    A file stands in `media.files` before its first chunk and until its last one is gone, and has its name
    only while all of them are there: to give it and to take it away is a change of one document each. Of
    several with one name the one that was begun last counts, so that who stood still does not win.
    """

    def __init__(self, store: MongoStore, scratch: Scratch) -> None:
        self._store = store
        self._scratch = scratch
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)

    def partial(self, task_id: str) -> Path:
        return self._scratch.path(task_id)

    async def keep(self, name: str, source: Path) -> None:
        checked(name, NAME)
        with await asyncio.to_thread(source.open, "rb") as file:
            await self._put(name, file, os.fstat(file.fileno()).st_size)
        await asyncio.to_thread(remove, [source])

    async def size(self, name: str) -> int | None:
        file = await self._newest(checked(name, NAME))
        return int(file["length"]) if file else None

    def read(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        return self._read(checked(name, NAME), start, stop)

    async def save_reference(self, task_id: str, content: bytes) -> None:
        await self._put(_reference(task_id), io.BytesIO(content), len(content))

    async def reference(self, task_id: str) -> bytes | None:
        pieces = self._read(_reference(task_id), 0, sys.maxsize)
        try:
            return b"".join([piece async for piece in pieces])
        except MediaGone:
            return None

    async def delete(self, task_id: str) -> None:
        names = [_reference(task_id), f"{task_id}.mp4", f"{task_id}.jpg"]
        await asyncio.to_thread(self._scratch.clear, task_id)
        async with self._database() as database:
            doomed = await database.media.files.find({"filename": {"$in": names}}).to_list(None)
        for file in doomed:
            await self._drop(file)

    async def has_room(self) -> bool:
        free = await asyncio.to_thread(lambda: self._scratch.free_bytes)
        return free >= ROOM_BYTES_MIN and await self._room() >= ROOM_BYTES_MIN

    async def oldest(self, limit: int) -> Sequence[Holding]:
        of_task = {"$substrBytes": ["$filename", 0, TASK_ID_BYTES]}
        steps = [
            {"$match": KEPT},
            {"$group": {"_id": of_task, "size": {"$sum": "$length"}, "at": {"$max": "$uploadDate"}}},
            {"$sort": {"at": 1}},
            {"$limit": limit},
            {"$set": {"at": {"$toLong": "$at"}}},
        ]
        async with self._database() as database:
            found = await database.media.files.aggregate(steps).to_list(None)
        return [Holding(task["_id"], task["size"], task["at"] / 1000) for task in found]

    async def total(self) -> int:
        steps = [{"$match": KEPT}, {"$group": {"_id": None, "size": {"$sum": "$length"}}}]
        async with self._database() as database:
            found = await database.media.files.aggregate(steps).to_list(None)
        return found[0]["size"] if found else 0

    async def prepare(self) -> None:
        await asyncio.to_thread(self._scratch.sweep)
        async with self._database() as database:
            await database.media.files.create_index({"filename": 1, "uploadDate": 1})
            await database.media.chunks.create_index({"files_id": 1, "n": 1}, unique=True)
        await self._sweep()

    async def _put(self, name: str, source: BinaryIO, size: int) -> None:
        file = {"_id": ObjectId(), "length": size, "chunkSize": CHUNK}
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                await self._upload(file, source)
                await self._publish(file, name)
        except TimeoutError as error:
            raise MediaAway(errno.EIO, "MongoDB took too long for the whole of it") from error
        except MediaAway:
            raise  # a chunk may still be on its way: what is there is left to a sweep
        except OSError:
            await self._erase(file)
            raise
        await self._drop_older(name)
        await self._sweep()

    async def _upload(self, file: File, source: BinaryIO) -> None:
        """All of it, in the order of its chunks, unfinished."""
        fields = {"length": Int64(file["length"]), "chunkSize": file["chunkSize"], "filename": UNFINISHED}
        begin = {"$set": fields, "$currentDate": {"uploadDate": True}}
        async with self._database() as database:
            await database.media.files.update_one({"_id": file["_id"]}, begin, upsert=True)
        for n in range(_chunks(file)):
            if n % ROOM_CHECK_CHUNKS == 0 and await self._room() < file["length"] - n * CHUNK:
                raise OSError(errno.ENOSPC, "no room on the disk of MongoDB")
            chunk = {"files_id": file["_id"], "n": n, "data": await asyncio.to_thread(source.read, CHUNK)}
            async with self._database() as database:
                await database.media.chunks.insert_one(chunk)

    async def _publish(self, file: File, name: str) -> None:
        async with self._database() as database:
            wanted = {"_id": file["_id"], "filename": UNFINISHED}
            result = await database.media.files.update_one(wanted, {"$set": {"filename": name}})
        if not result.matched_count:  # this process stood still, and was taken for dead
            raise OSError(errno.ESTALE, "it was swept away before it was whole")

    async def _drop_older(self, name: str) -> None:
        async with self._database() as database:
            found = await database.media.files.find({"filename": name}, sort=NEWEST_FIRST).to_list(None)
        for file in found[1:]:
            await self._drop(file)

    async def _drop(self, file: File) -> None:
        """Remove it, unless it has got its name meanwhile; after a kill in the middle a sweep goes on."""
        wanted = {"_id": file["_id"], "filename": file["filename"]}
        doom = {"$set": {"filename": DOOMED}, "$currentDate": {"uploadDate": True}}
        async with self._database() as database:
            result = await database.media.files.update_one(wanted, doom)
        if result.matched_count:
            await self._erase(file)

    async def _erase(self, file: File) -> None:
        for first in range(0, _chunks(file), ERASE_CHUNKS):
            some = {"files_id": file["_id"], "n": {"$gte": first, "$lt": first + ERASE_CHUNKS}}
            async with self._database() as database:
                await database.media.chunks.delete_many(some)
        async with self._database() as database:
            await database.media.files.delete_one({"_id": file["_id"]})

    async def _sweep(self) -> None:
        """Remove what uploads and removals that were broken off have left, by the clock of MongoDB."""
        long_ago = {"$subtract": ["$$NOW", LEFT_BEHIND_SECONDS * 1000]}
        left = {"filename": {"$in": [UNFINISHED, DOOMED]}, "$expr": {"$lt": ["$uploadDate", long_ago]}}
        async with self._database() as database:
            found = await database.media.files.find(left).to_list(None)
        for file in found:
            await self._drop(file)

    async def _read(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        file = await self._newest(name)
        if file is None:
            raise MediaGone(name)
        stop = min(stop, file["length"])
        while start < stop:
            n, offset = divmod(start, file["chunkSize"])
            async with self._database() as database:
                chunk = await database.media.chunks.find_one({"files_id": file["_id"], "n": n})
            piece = chunk["data"][offset : offset + stop - start] if chunk else b""
            if not piece:  # deleted meanwhile
                raise MediaGone(name)
            start += len(piece)
            yield piece

    async def _newest(self, name: str) -> File | None:
        async with self._database() as database:
            file: File | None = await database.media.files.find_one({"filename": name}, sort=NEWEST_FIRST)
        return file

    async def _room(self) -> int:
        """How many bytes more MongoDB may be given: what its disk has, and its files have unused."""
        async with self._database() as database:
            stats = await database.command("dbStats", freeStorage=1)
        if "fsTotalSize" not in stats:  # some hosted ones don't tell
            return sys.maxsize
        free = stats["fsTotalSize"] - stats["fsUsedSize"] + stats.get("freeStorageSize", 0)
        return int(free) - SERVER_RESERVE_BYTES

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[Any]:
        """For one call, which raises OSError. Its turn is waited for within the deadline.

        Reads need no majority: who asks for a file was told of it when it was kept by one, and a new primary
        does not know at once that it was.
        """
        try:
            async with self._store.database() as database, self._calls:
                yield database.with_options(read_concern=NEWEST)
        except StoreFull as error:
            raise OSError(errno.ENOSPC, str(error)) from error
        except StoreUnavailable as error:
            raise MediaAway(errno.EIO, str(error)) from error


def _reference(task_id: str) -> str:
    return f"{checked(task_id, TASK_ID)}.reference"


def _chunks(file: File) -> int:
    return -(-int(file["length"]) // int(file["chunkSize"]))  # others may have cut it in their own way
