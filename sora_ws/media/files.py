"""A folder of files as the archive."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sora_ws.media import CHUNK, NAME, ROOM_BYTES_MIN, TASK_ID, Holding, MediaGone, checked


class FileMedia:
    """A folder of files, for one process."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where the folder can't be made."""
        self._folder = folder
        self._scratch = folder / "partial"
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)

    def partial(self, task_id: str) -> Path:
        return self._scratch / checked(task_id, TASK_ID)

    async def keep(self, name: str, source: Path) -> None:
        await asyncio.to_thread(_settle, source, self._path(name))

    async def size(self, name: str) -> int | None:
        return await asyncio.to_thread(_size, self._path(name))

    async def read(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(_open, self._path(name))
        with file:
            file.seek(start)
            while start < stop and (chunk := await asyncio.to_thread(file.read, min(CHUNK, stop - start))):
                start += len(chunk)
                yield chunk

    async def save_reference(self, task_id: str, content: bytes) -> None:
        source = self.partial(task_id).with_suffix(".reference")
        await asyncio.to_thread(source.write_bytes, content)
        await asyncio.to_thread(_settle, source, self._reference(task_id))

    async def reference(self, task_id: str) -> bytes | None:
        try:
            return await asyncio.to_thread(self._reference(task_id).read_bytes)
        except FileNotFoundError:
            return None

    async def delete(self, task_id: str) -> None:
        partial = self.partial(task_id)
        doomed = [
            self._path(f"{task_id}.mp4"),
            self._path(f"{task_id}.jpg"),
            self._reference(task_id),
            partial,
            partial.with_suffix(".jpg"),
            partial.with_suffix(".reference"),
        ]
        await asyncio.to_thread(remove, doomed)

    async def has_room(self) -> bool:
        usage = await asyncio.to_thread(shutil.disk_usage, self._folder)
        return usage.free >= ROOM_BYTES_MIN

    async def oldest(self, limit: int) -> Sequence[Holding]:
        holdings = await asyncio.to_thread(_holdings, self._folder)
        return sorted(holdings, key=lambda holding: holding.kept_at)[:limit]

    async def total(self) -> int:
        return sum(holding.size for holding in await asyncio.to_thread(_holdings, self._folder))

    async def prepare(self) -> None:
        await asyncio.to_thread(lambda: remove(list(self._scratch.iterdir())))

    def _path(self, name: str) -> Path:
        return self._folder / checked(name, NAME)

    def _reference(self, task_id: str) -> Path:
        return self._folder / f"{checked(task_id, TASK_ID)}.reference"


def _settle(source: Path, target: Path) -> None:
    """Give the file its name once its bytes are on the disk, and see that the name is too."""
    with source.open("rb") as file:
        os.fchmod(file.fileno(), 0o600)
        os.fsync(file.fileno())
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _size(path: Path) -> int | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _holdings(folder: Path) -> list[Holding]:
    found: dict[str, Holding] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            task_id = entry.name.partition(".")[0]
            if not TASK_ID.fullmatch(task_id) or not entry.is_file(follow_symlinks=False):
                continue
            with suppress(FileNotFoundError):  # deleted meanwhile
                status = entry.stat(follow_symlinks=False)
                others = found.get(task_id, Holding(task_id, 0, 0))
                kept_at = max(others.kept_at, status.st_mtime)
                found[task_id] = Holding(task_id, others.size + status.st_size, kept_at)
    return list(found.values())


def _open(path: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0)
    except FileNotFoundError:
        raise MediaGone(path.name) from None


def remove(paths: list[Path]) -> None:
    """Also where there is nothing."""
    for path in paths:
        path.unlink(missing_ok=True)
