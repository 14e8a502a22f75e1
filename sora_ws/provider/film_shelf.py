"""Films that were drawn, in a folder of their own that goes with the process."""

from __future__ import annotations

import asyncio
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sora_ws.fence import Fence
from sora_ws.provider.simulated_job import SimulatedJob

KEPT_MAX: Final = 64
FENCE: Final = Fence(seconds=120, memory=3 * 1024**3, file_size=512 * 1024**2, at_once=2)


class NoFilm(Exception):
    """The film could not be drawn; the text says why."""


class FilmShelf:
    """Draws each film once, in a child process, and keeps the last ones."""

    def __init__(self) -> None:
        self._drawings: dict[str, asyncio.Task[Path]] = {}

    @cached_property
    def _temporary(self) -> TemporaryDirectory[str]:
        return TemporaryDirectory(prefix="sora-ws-films-")

    @property
    def folder(self) -> Path:
        """Where the films are; made when it is first asked for."""
        return Path(self._temporary.name)

    async def film(self, job: SimulatedJob) -> Path:
        """The job's film, a file that is there at least until the next turn of the loop. Raises NoFilm."""
        name = _name(job)
        drawing = self._drawings.pop(name, None) or asyncio.create_task(self._draw(name, job))
        self._drawings[name] = drawing  # the last one asked for stands last
        try:
            # Who asks may hang up; the film is drawn to its end for the next one.
            return await asyncio.shield(drawing)
        except asyncio.CancelledError:
            if not drawing.cancelled():
                raise
            raise NoFilm("the simulator was stopped") from None

    async def close(self) -> None:
        """Stop drawing and throw the films away. May be called twice."""
        drawings = list(self._drawings.values())
        self._drawings.clear()
        for drawing in drawings:
            drawing.cancel()
        await asyncio.gather(*drawings, return_exceptions=True)
        if "_temporary" in self.__dict__:
            self._temporary.cleanup()
            del self._temporary

    async def _draw(self, name: str, job: SimulatedJob) -> Path:
        target = self.folder / name
        wanted = (job.words, str(job.seconds), str(job.width), str(job.height), str(target))
        outcome = await FENCE.run("sora_ws.provider.film", *wanted)
        if not outcome.ok:
            self._drawings.pop(name, None)
            raise NoFilm(outcome.complaint)
        self._make_room()
        return target

    def _make_room(self) -> None:
        done = [name for name, drawing in self._drawings.items() if drawing.done()]
        for name in done[: max(0, len(self._drawings) - KEPT_MAX)]:
            del self._drawings[name]
            (self.folder / name).unlink(missing_ok=True)


def _name(job: SimulatedJob) -> str:
    """The same for jobs that look the same."""
    look = f"{job.seconds} {job.width}x{job.height} {job.words}"
    return f"{blake2b(look.encode(), digest_size=16).hexdigest()}.mp4"
