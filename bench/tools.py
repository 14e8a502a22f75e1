"""What the bench needs besides Python: two programs in C, and Node's ws; made once, in `.cache/bench`."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

BENCH: Final = Path(__file__).parent
CACHE: Final = BENCH.parent / ".cache" / "bench"
WS: Final = "ws@8.18.3"
INSTALL_TIMEOUT_S: Final = 300


class Missing(Exception):
    """A tool that this machine does not have; the text says which."""


def compiled(source: Path) -> Path:
    """The program of a C file, built anew where the file is newer."""
    program = CACHE / source.stem
    with _lock("cc"):
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            _run(["cc", "-O2", "-Wall", "-Werror", "-o", str(program), str(source), "-lz"])
    return program


def node_modules() -> Path:
    """The folder with Node's ws in it."""
    folder = CACHE / "node" / WS.replace("@", "-")
    with _lock("npm"):
        done = folder / ".complete"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), WS])
            done.touch()
    return folder / "node_modules"


def _run(command: list[str]) -> None:
    if not shutil.which(command[0]):
        raise Missing(f"{command[0]} is not installed")
    ended = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    if ended.returncode:
        raise Missing(f"{' '.join(command)} failed: {ended.stderr[-500:]}")


@contextmanager
def _lock(name: str) -> Iterator[None]:
    """One run at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
