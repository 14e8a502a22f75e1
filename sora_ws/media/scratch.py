"""Where one process writes its downloads, and how it clears up behind others that were killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sora_ws.media import TASK_ID, checked
from sora_ws.media.files import remove


class Scratch:
    """A folder of this process's own in `parent`, locked for as long as it lives.

    Several processes may share `parent`; none takes away what another one is at. Raises OSError where
    the folder can't be made.
    """

    def __init__(self, parent: Path) -> None:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._parent = parent
        with _locked(parent):  # else another one's sweep could come before our lock
            self._folder = Path(tempfile.mkdtemp(dir=parent))
            self._lock = _lock(self._folder)

    @property
    def free_bytes(self) -> int:
        """What its disk has left."""
        return shutil.disk_usage(self._folder).free

    def path(self, task_id: str) -> Path:
        """For the task's download; what belongs to it has the same name with another suffix."""
        return self._folder / checked(task_id, TASK_ID)

    def clear(self, task_id: str) -> None:
        """Remove what there is of the task; no error where there is nothing."""
        remove([self.path(task_id), *self._folder.glob(f"{task_id}.*")])

    def sweep(self) -> None:
        """Remove what processes that are gone have left."""
        with _locked(self._parent):
            for left in self._parent.iterdir():
                if left.is_dir():
                    _remove_unlocked(left)
                else:  # of a time when there was one process
                    left.unlink()

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)


def _remove_unlocked(folder: Path) -> None:
    try:
        lock = _lock(folder, fcntl.LOCK_NB)
    except BlockingIOError:
        return
    shutil.rmtree(folder)
    os.close(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = _lock(folder)
    try:
        yield
    finally:
        os.close(lock)


def _lock(folder: Path, how: int = 0) -> int:
    """Lets go with its close, and with the end of the process. Raises BlockingIOError by LOCK_NB."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
