"""What a fence has to hold: ``python -m tests.media.inmates WHAT [ARGUMENT…]``."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from pathlib import Path

from sora_ws.media.files import FileMedia


def hog_memory() -> None:
    """Take more and more."""
    hoard = []
    while True:
        hoard.append(bytearray(1024**2))


def spin() -> None:
    """Never end, and work at it."""
    while True:
        pass


def wait() -> None:
    """Never end, and do nothing."""
    time.sleep(3600)


def talk() -> None:
    """Print without end."""
    while True:
        print("x" * 65_536)


def write(target: str) -> None:
    """A file without end."""
    with Path(target).open("wb") as file:
        while True:
            file.write(bytes(65_536))


def show_environment() -> None:
    """What of the parent's can be seen."""
    print(*os.environ, os.nice(0), resource.getrlimit(resource.RLIMIT_CORE)[1])


def be_alone(target: str) -> None:
    """Fail where another one is here too."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL))
    Path(target).unlink()


def hold_a_line(port: str) -> None:
    """Connect to the port, and hold the line until death."""
    with socket.create_connection(("127.0.0.1", int(port))):
        wait()


def keep_without_end(folder: str) -> None:
    """Archive one file after the other, each a megabyte of one byte, and tell of each."""
    import asyncio

    async def keep() -> None:
        media = FileMedia(Path(folder))
        for number in range(10**6):
            task_id = f"video_{number:032x}"
            media.partial(task_id).write_bytes(bytes([number % 256]) * 1024**2)
            await media.keep(f"{task_id}.mp4", media.partial(task_id))
            print(number, flush=True)

    asyncio.run(keep())


def keep_in_mongodb(url: str, folder: str, bytes_each: str) -> None:
    """As `keep_without_end`, in MongoDB; the one before is removed before a file is told of."""
    import asyncio

    from sora_ws.media.gridfs import GridFsMedia
    from sora_ws.media.scratch import Scratch
    from sora_ws.store.mongo import MongoStore

    async def keep() -> None:
        store = MongoStore(url)
        await store.open()
        media = GridFsMedia(store, Scratch(Path(folder)))
        for number in range(10**6):
            task_id = f"video_{number:032x}"
            media.partial(task_id).write_bytes(bytes([number % 256]) * int(bytes_each))
            await media.keep(f"{task_id}.mp4", media.partial(task_id))
            if number:
                await media.delete(f"video_{number - 1:032x}")
            print(number, flush=True)

    asyncio.run(keep())


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
