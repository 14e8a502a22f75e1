"""From a downloaded file to an archived video."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from sora_ws import failpoint
from sora_ws.fence import Fence
from sora_ws.media import MediaStore
from sora_ws.media.files import remove
from sora_ws.task import Video

PROBE: Final = Fence(seconds=30, memory=1024**3, file_size=16 * 1024**2, at_once=2)

log = logging.getLogger(__name__)


class Unplayable(Exception):
    """What came is no video, or not a whole one; the text says why."""


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
        await asyncio.to_thread(remove, [picture, partial])
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
