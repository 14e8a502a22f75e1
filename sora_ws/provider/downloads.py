"""Fetching a finished video: where it may be, who is shown the key, and whether it is a video."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sora_ws.provider import NoContent, Unavailable
from sora_ws.provider.answers import Answer
from sora_ws.provider.dialects import DATA_URL, AnswerReader, whole_url
from sora_ws.provider.transport import Contact, Forbidden, TooBig, Transport, TransportError, origin_of

REDIRECTS_MAX: Final = 5
HEAD_BYTES: Final = 12
ERROR_BYTES: Final = 16 * 1024
NOT_NOW: Final = frozenset({401, 402, 403, 408, 425, 429, 502, 503, 504})


class _Oversized(NoContent):
    """There is a video, bigger than allowed: no other place makes it smaller."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the video has more than {max_bytes} bytes")


class Downloader:
    """Fetches videos of the backend at `base_url`; `headers` are for the backend's own origin."""

    def __init__(
        self, transport: Transport, reader: AnswerReader, base_url: str, headers: dict[str, str]
    ) -> None:
        self._transport = transport
        self._reader = reader
        self._base_url = base_url
        self._headers = headers
        self._is_inside = False  # whether the backend is in our own network; its own calls tell

    async def fetch(self, places: Sequence[str], target: Path, max_bytes: int) -> None:
        """Save the video into `target`, from the first of the places that has it.

        Raises Unavailable where the backend may have it later, else NoContent; or OSError.
        """
        later: Unavailable | None = None
        never = NoContent("there is no address to have the video from")
        for place in places:
            try:
                return await self._fetch(place, target, max_bytes)
            except _Oversized:
                raise
            except NoContent as error:
                never = error
            except Unavailable as error:
                if error.holds_all:
                    raise
                later = later or error
        raise later or never

    async def _fetch(self, place: str, target: Path, max_bytes: int) -> None:
        if place.startswith(DATA_URL):
            await asyncio.to_thread(_save_data_url, place, target, max_bytes)
        else:
            await self._save(place, target, max_bytes)

    async def _save(self, place: str, target: Path, max_bytes: int) -> None:
        """Redirects are followed by hand: each hop decides anew who is shown the key."""
        base = self._base_url
        for _hop in range(1 + REDIRECTS_MAX):
            url = whole_url(place, base)
            if url is None:
                raise NoContent(f"no address to load from: {self._reader.cleaned(place)}")
            is_ours = origin_of(url) == origin_of(self._base_url)
            answer = await self._get(url, target, max_bytes, is_ours=is_ours)
            if not answer.is_redirect:
                return self._check(answer, target, is_ours=is_ours)
            place, base = answer.headers.get("location", ""), url
        raise NoContent("redirected too often")

    async def _get(self, url: str, target: Path, max_bytes: int, *, is_ours: bool) -> Answer:
        contact = Contact(may_go_inside=is_ours or self._is_inside)
        headers = self._headers if is_ours else {}
        try:
            answer = await self._transport.save(url, headers, target, max_bytes, contact)
        except TooBig:
            raise _Oversized(max_bytes) from None
        except TransportError as error:
            text = self._reader.cleaned(str(error))
            # Somebody else's address may be dead for ever; only the backend is waited for.
            is_waited_for = is_ours and not isinstance(error, Forbidden)
            raise (Unavailable(text) if is_waited_for else NoContent(text)) from error
        if is_ours:
            self._is_inside = contact.is_inside
        return answer

    def _check(self, answer: Answer, target: Path, *, is_ours: bool) -> None:
        if answer.is_success and is_video(_head(target, HEAD_BYTES)):
            return
        whole = replace(answer, body=_head(target, ERROR_BYTES))
        unavailable = self._reader.unavailable(whole, time.time())
        if is_ours and (answer.status in NOT_NOW or unavailable.holds_all):
            raise unavailable
        raise NoContent(f"no video: {self._reader.said(whole)}", retry_after_s=unavailable.retry_after_s)


def is_video(head: bytes) -> bool:
    """Whether the first 12 bytes of a file are those of an MP4, an AVI or a WebM."""
    is_avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    return head[4:8] == b"ftyp" or is_avi or head[:4] == b"\x1aE\xdf\xa3"


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _save_data_url(url: str, target: Path, max_bytes: int) -> None:
    try:
        content = b64decode(url.removeprefix(DATA_URL))
    except ValueError:
        raise NoContent("the data: URL is not base64") from None
    if len(content) > max_bytes:
        raise _Oversized(max_bytes)
    if not is_video(content[:HEAD_BYTES]):
        raise NoContent("the data: URL holds no video")
    target.write_bytes(content)
