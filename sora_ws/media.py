"""The archive of finished videos: where they lie, what they are, and the links to them."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import re
import shutil
import stat
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Protocol

import msgspec
from msgspec import Meta

from sora_ws import failpoint
from sora_ws.fence import Fence
from sora_ws.task import Video

CHUNK: Final = 256 * 1024
ROOM_BYTES_MIN: Final = 16 * 1024**2  # about one video
PROBE: Final = Fence(seconds=30, memory=1024**3, file_size=16 * 1024**2, at_once=2)
_TASK_ID: Final = re.compile(r"video_[0-9a-f]{32}")
_NAME: Final = re.compile(rf"{_TASK_ID.pattern}\.(?:mp4|jpg)")

log = logging.getLogger(__name__)


class Unplayable(Exception):
    """What came is no video, or not a whole one; the text says why."""


class MediaGone(Exception):
    """There is no such video or picture (any more)."""


@dataclass(frozen=True, slots=True)
class Holding:
    """All files of one task: `size` in bytes, `kept_at` in s since the epoch, of the newest of them."""

    task_id: str
    size: int
    kept_at: float


class MediaStore(Protocol):
    """Where videos, thumbnails and input images are kept, by the ids of their tasks.

    A name is ``{task id}.mp4`` or ``{task id}.jpg``; any other is a ValueError, so that no
    path ever comes from outside. Raises OSError where the disk does not do what it should.
    """

    def partial(self, task_id: str) -> Path:
        """A path on this machine to write the task's download to."""
        ...

    async def keep(self, name: str, source: Path) -> None:
        """Move the file here, durably: it is there whole under its name, or not at all."""
        ...

    async def size(self, name: str) -> int | None:
        """In bytes; None where there is no such thing."""
        ...

    def read(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `stop`, in pieces. Raises MediaGone."""
        ...

    async def save_reference(self, task_id: str, content: bytes) -> None:
        """Keep the task's input image, durably."""
        ...

    async def reference(self, task_id: str) -> bytes | None:
        """The task's input image, if it has one."""
        ...

    async def delete(self, task_id: str) -> None:
        """Remove all that there is of the task; no error where there is nothing."""
        ...

    async def has_room(self) -> bool:
        """Whether one more video would fit."""
        ...

    async def holdings(self) -> Sequence[Holding]:
        """What is kept for each task, in no order."""
        ...

    async def sweep(self) -> None:
        """Remove downloads that were broken off. Only for a start, before the first download."""
        ...


class FileMedia:
    """A folder of files, for one process."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where the folder can't be made."""
        self._folder = folder
        self._scratch = folder / "partial"
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)

    def partial(self, task_id: str) -> Path:
        return self._scratch / _checked(task_id, _TASK_ID)

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
        await asyncio.to_thread(_remove, doomed)

    async def has_room(self) -> bool:
        usage = await asyncio.to_thread(shutil.disk_usage, self._folder)
        return usage.free >= ROOM_BYTES_MIN

    async def holdings(self) -> Sequence[Holding]:
        return await asyncio.to_thread(_holdings, self._folder)

    async def sweep(self) -> None:
        await asyncio.to_thread(lambda: _remove(list(self._scratch.iterdir())))

    def _path(self, name: str) -> Path:
        return self._folder / _checked(name, _NAME)

    def _reference(self, task_id: str) -> Path:
        return self._folder / f"{_checked(task_id, _TASK_ID)}.reference"


def _checked(name: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(name):
        raise ValueError(f"not a name in the archive: {name[:80]!r}")
    return name


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
            if not _TASK_ID.fullmatch(task_id) or not entry.is_file(follow_symlinks=False):
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


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


class Links:
    """Links to the archive that are their own permission: who has one may see the video."""

    def __init__(self, key: bytes, public_url: str) -> None:
        self._key = key
        self._front = f"{public_url.rstrip('/')}/media"

    def video(self, task_id: str) -> str:
        """The address of the task's video."""
        return self._link(f"{task_id}.mp4")

    def thumbnail(self, task_id: str) -> str:
        """The address of the task's thumbnail."""
        return self._link(f"{task_id}.jpg")

    def holds(self, name: str, signature: str) -> bool:
        """Whether the signature was made here, for this name."""
        return hmac.compare_digest(self._signature(name).encode(), signature.encode())

    def _link(self, name: str) -> str:
        return f"{self._front}/{name}?sig={self._signature(name)}"

    def _signature(self, name: str) -> str:
        return urlsafe_b64encode(hmac.digest(self._key, name.encode(), "sha256")).decode().rstrip("=")


class _Facts(msgspec.Struct):
    """What the probe prints. It has handled a stranger's bytes: what it says is checked too."""

    duration: Annotated[float, Meta(gt=0, lt=1e6)]
    width: Annotated[int, Meta(ge=1, le=65_536)]
    height: Annotated[int, Meta(ge=1, le=65_536)]


async def archive(store: MediaStore, task_id: str, partial: Path) -> Video:
    """Look at the downloaded file, and keep it and a thumbnail of it. The file is gone afterwards.

    Raises Unplayable where it is no video, OSError where it can't be kept.
    """
    picture = partial.with_suffix(".jpg")
    try:
        facts, has_thumbnail = await _probe(partial, picture)
        size = await asyncio.to_thread(lambda: partial.stat().st_size)
        if has_thumbnail:  # first: where the video is, its thumbnail is
            await store.keep(f"{task_id}.jpg", picture)
        failpoint.reach("thumbnail_kept")
        await store.keep(f"{task_id}.mp4", partial)
    finally:
        await asyncio.to_thread(_remove, [picture, partial])
    return Video(facts.duration, size, facts.width, facts.height, has_thumbnail)


async def _probe(video: Path, picture: Path) -> tuple[_Facts, bool]:
    outcome = await PROBE.run("sora_ws.probe", str(video), str(picture))
    try:
        facts = msgspec.json.decode(outcome.output, type=_Facts)
    except msgspec.DecodeError:
        raise Unplayable(f"no playable video: {outcome.complaint}") from None
    if not outcome.ok:
        log.warning("no thumbnail: %s", outcome.complaint, extra={"action": "thumbnail_failed"})
    return facts, outcome.ok


def sniff_image(content: bytes) -> str | None:
    """The media type by the first bytes: PNG, JPEG, WebP or GIF; None for everything else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    return None
