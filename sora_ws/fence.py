"""A fence around work on a stranger's bytes: a one-shot Python child with limits.

The parent's half is `Fence.run`. The child's half runs under ``python -m sora_ws.fence``: it
sets the limits before it imports anything of what does the work.
"""

from __future__ import annotations

import asyncio
import os
import resource
import runpy
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

OUTPUT_MAX: Final = 16_384
COMPLAINT_MAX: Final = 300
PARENT_PATIENCE: Final = 2  # seconds that the parent waits beyond the child's own alarm


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended: the last bytes it printed, and the last line of what it complained of."""

    ok: bool
    output: bytes
    complaint: str


@dataclass(frozen=True, slots=True)
class Fence:
    """What a child may use: `seconds` of time, by its processor and by the clock, bytes of
    `memory`, and bytes of any one file that it writes; at most `at_once` such children.
    """

    seconds: int
    memory: int
    file_size: int
    at_once: int = 2
    # A semaphore belongs to the loop that it was first waited on.
    _turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = field(
        default_factory=WeakKeyDictionary, repr=False, compare=False
    )

    async def run(self, module: str, *arguments: str) -> Outcome:
        """Run a module's `__main__` in a child of its own, which is dead when this returns or raises."""
        turn = self._turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.at_once))
        async with turn:
            process = await asyncio.create_subprocess_exec(
                *self._command(module, arguments),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                env=_environment(),
                start_new_session=True,  # a Ctrl-C is the server's, which then ends its children
            )
            try:
                return await _outcome(process, self.seconds + PARENT_PATIENCE)
            finally:
                _kill(process)
                await process.wait()

    def _command(self, module: str, arguments: Sequence[str]) -> list[str]:
        limits = (str(self.seconds), str(self.memory), str(self.file_size))
        # -P: the working directory is no place to import from.
        return [sys.executable, "-P", "-m", __name__, *limits, module, *arguments]


def _environment() -> dict[str, str]:
    """Nothing of the parent's but where it imports from, however the package was installed."""
    return {
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
        "PYTHONUTF8": "1",
    }


async def _outcome(process: asyncio.subprocess.Process, seconds: float) -> Outcome:
    try:
        async with asyncio.timeout(seconds):
            output, errors, status = await asyncio.gather(
                _tail(process.stdout), _tail(process.stderr), process.wait()
            )
    except TimeoutError:
        return Outcome(ok=False, output=b"", complaint=f"no end after {seconds} s")
    return Outcome(ok=status == 0, output=output, complaint=_complaint(status, errors))


async def _tail(stream: asyncio.StreamReader | None) -> bytes:
    kept = b""
    while stream and (chunk := await stream.read(OUTPUT_MAX)):
        kept = (kept + chunk)[-OUTPUT_MAX:]
    return kept


def _complaint(status: int, errors: bytes) -> str:
    if status < 0:
        return f"ended: {signal.strsignal(-status)}"
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1][:COMPLAINT_MAX] if lines else f"exit status {status}"


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


def _enter(seconds: int, memory: int, file_size: int) -> None:
    """Set this process's limits. They end it even where nobody is left to kill it."""
    os.nice(10)
    signal.alarm(seconds)
    _limit(resource.RLIMIT_CPU, seconds)
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_FSIZE, file_size)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def main(arguments: Sequence[str]) -> None:
    """SECONDS MEMORY FILE_SIZE MODULE [ARGUMENT…]: run the module within these limits."""
    seconds, memory, file_size, module, *rest = arguments
    _enter(int(seconds), int(memory), int(file_size))
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
