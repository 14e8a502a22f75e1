"""The port to the archive of videos, thumbnails and input images. Its adapters stand in the files beside."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

CHUNK: Final = 256 * 1024
ROOM_BYTES_MIN: Final = 16 * 1024**2  # about one video
TASK_ID: Final = re.compile(r"video_[0-9a-f]{32}")
NAME: Final = re.compile(rf"{TASK_ID.pattern}\.(?:mp4|jpg)")


class MediaGone(Exception):
    """There is no such video or picture (any more)."""


class MediaAway(OSError):
    """What keeps them can't be reached just now: try again later."""


@dataclass(frozen=True, slots=True)
class Holding:
    """All files of one task: `size` in bytes, `kept_at` in s since the epoch, of the newest of them."""

    task_id: str
    size: int
    kept_at: float


class MediaStore(Protocol):
    """Where videos, thumbnails and input images are kept, by the ids of their tasks.

    A name is ``{task id}.mp4`` or ``{task id}.jpg``; any other is a ValueError, so that no
    path ever comes from outside. Raises OSError where the disk does not do what it should:
    MediaAway where that may change by itself, ENOSPC where there is no room.
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
        """The bytes from `start` to before `stop`, in pieces. Raises MediaGone, also in the middle."""
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

    async def oldest(self, limit: int) -> Sequence[Holding]:
        """What is kept for each task, the oldest first, and of many only so many."""
        ...

    async def total(self) -> int:
        """The bytes of all that is kept."""
        ...

    async def prepare(self) -> None:
        """Make ready, and remove what was broken off. Only for a start, before the first download."""
        ...


def checked(name: str, pattern: re.Pattern[str]) -> str:
    """The name, if it is one. Raises ValueError."""
    if not pattern.fullmatch(name):
        raise ValueError(f"not a name in the archive: {name[:80]!r}")
    return name
