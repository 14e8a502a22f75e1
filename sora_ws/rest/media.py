"""The archived videos and their pictures, by links that are their own permission."""

from __future__ import annotations

import logging
import re
from typing import Final, cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError

from sora_ws.media import MediaGone
from sora_ws.rest.base import Handler
from sora_ws.rest.context import RestContext
from sora_ws.rest.problem import Problem

log = logging.getLogger(__name__)

CONTENT_TYPES: Final = {"mp4": "video/mp4", "jpg": "image/jpeg"}


class MediaHandler(Handler):
    """`/media/{videoId}.mp4` and `.jpg`, whole or in parts."""

    def initialize(self, context: RestContext) -> None:  # type: ignore[override]
        super().initialize(context.settings)
        self.context = context

    async def get(self, name: str) -> None:
        """The file. A wrong signature and a missing file look the same."""
        if not self.context.links.holds(name, self.get_query_argument("sig", "")):
            raise MediaGone(name)
        size = await self.context.media.size(name)
        if size is None:
            raise MediaGone(name)
        self._describe(name, size)
        if self.check_etag_header():
            self.set_status(304)
            return
        start, stop = self._range(size)
        self.set_header("Content-Length", str(stop - start))
        if self.request.method != "HEAD":
            await self._send(name, start, stop)

    def _describe(self, name: str, size: int) -> None:
        self.set_header("Content-Type", CONTENT_TYPES[name.rpartition(".")[2]])
        self.set_header("Etag", f'"{name}-{size}"')  # what has a name here never changes
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Cache-Control", "private, max-age=86400")
        if self.get_query_argument("download", "") == "1":
            self.set_header("Content-Disposition", f'attachment; filename="{name}"')

    def _range(self, size: int) -> tuple[int, int]:
        """The part that is wanted, after setting 206; the whole where no part can be meant.

        Raises Problem 416. RFC 9110 section 14; of several ranges none is sent.
        """
        wanted = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", self.request.headers.get("Range", ""))
        is_fresh = self.request.headers.get("If-Range", self._headers["Etag"]) == self._headers["Etag"]
        if self.request.method == "HEAD" or wanted is None or not is_fresh or wanted[0] == "bytes=-":
            return 0, size
        first, last = wanted[1], wanted[2]
        if first and last and int(last) < int(first):
            return 0, size
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= stop:
            raise Problem(416, f"There are {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
        self.set_status(206)
        self.set_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        return start, stop

    async def _send(self, name: str, start: int, stop: int) -> None:
        try:
            async for chunk in self.context.media.read(name, start, stop):
                self.write(chunk)
                await self.flush()
        except StreamClosedError:
            return  # a player that seeks hangs up in the middle
        except (MediaGone, OSError) as error:
            if not self._headers_written:
                raise
            # Too late for an answer: a line that breaks early says that this is not all.
            log.warning("%s broke off: %s", name, error, extra={"action": "media_broke_off"})
            cast(HTTP1Connection, self.request.connection).close()
