"""A client of the videos API that OpenAI began and many others speak, each in its own dialect."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from sora_ws.provider import Job, ListedJob, Listing, OutcomeUnknown, Unavailable
from sora_ws.provider.answers import Answer, date_ms
from sora_ws.provider.dialects import AnswerReader
from sora_ws.provider.downloads import Downloader
from sora_ws.provider.orders import Encoding, encoded
from sora_ws.provider.transport import NoAnswer, NotSent, Transport, TransportError
from sora_ws.settings import Secret
from sora_ws.task import Observation, Order

CALL_TIMEOUT_S: Final = 30.0
CREATE_TIMEOUT_S: Final = 120.0  # proxies pass the whole of it on before they answer
STALL_TIMEOUT_S: Final = 120.0  # proxies fetch the whole video before they send its first byte
LIST_LIMIT: Final = 100  # jobs a page, the most that the format allows
LIST_PAGES_MAX: Final = 10
CANNOT_BE_DELETED: Final = frozenset({400, 404, 405, 410, 422, 501})


class OpenAIVideos:
    """The `VideoProvider` at `base_url`, which goes up to and with its ``/v1``.

    `api_key` is sent as a bearer token, to this origin alone. A call has `call_timeout_s` to be
    answered, a create `create_timeout_s`; a download may last, but not stand still for
    `stall_timeout_s`. Belongs to the IOLoop it was made on.
    """

    def __init__(
        self,
        base_url: str,
        api_key: Secret | None,
        *,
        call_timeout_s: float = CALL_TIMEOUT_S,
        create_timeout_s: float = CREATE_TIMEOUT_S,
        stall_timeout_s: float = STALL_TIMEOUT_S,
    ) -> None:
        key = api_key.reveal() if api_key else None
        self._videos_url = f"{base_url.rstrip('/')}/videos"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._call_timeout_s = call_timeout_s
        self._create_timeout_s = create_timeout_s
        self._encoding = Encoding.FORM
        self._reader = AnswerReader(base_url.rstrip("/"), key)
        self._transport = Transport(stall_timeout_s)
        self._downloader = Downloader(self._transport, self._reader, base_url, self._headers)

    async def create(self, order: Order, reference: bytes | None) -> Job:
        """See `VideoProvider.create`. What can't be read as a form is sent once more as JSON."""
        answer = await self._post(order, reference, self._encoding)
        if self._reader.wants_other_encoding(answer):
            other = Encoding.JSON if self._encoding is Encoding.FORM else Encoding.FORM
            second = await self._post(order, reference, other)
            if second.is_success:
                self._encoding = other
            if not self._reader.wants_other_encoding(second):
                answer = second
        return self._reader.created(answer, time.time())

    async def recent(self, age: int) -> Listing:
        """See `VideoProvider.recent`. Reads at most LIST_PAGES_MAX pages."""
        found: dict[str, ListedJob] = {}
        after: str | None = None
        now: int | None = None
        for _ in range(LIST_PAGES_MAX):
            query = {"limit": str(LIST_LIMIT), "order": "desc"} | ({"after": after} if after else {})
            answer = await self._call("GET", f"{self._videos_url}?{urlencode(query)}")
            jobs, page = self._reader.listed(answer, time.time())
            now = now or date_ms(answer.headers) or int(time.time() * 1000)
            news = {job.job.id: job for job in jobs if job.job.id not in found}
            found |= news
            has_more = len(page.jobs) >= LIST_LIMIT if page.has_more is None else page.has_more
            if not has_more or _reaches_back(jobs, now - age):
                return Listing(tuple(found.values()), is_whole=True, now=now)
            if not news:  # it does not know `after`, and shows the same page again
                break
            after = jobs[-1].job.id
        return Listing(tuple(found.values()), is_whole=False, now=now or 0)

    async def look(self, job_id: str) -> Observation:
        """See `VideoProvider.look`."""
        answer = await self._call("GET", self._url(job_id))
        return self._reader.seen(answer, time.time())

    async def download(self, job_id: str, urls: Sequence[str], target: Path, max_bytes: int) -> None:
        """See `VideoProvider.download`."""
        await self._downloader.fetch([f"{self._url(job_id)}/content", *urls], target, max_bytes)

    async def delete(self, job_id: str) -> bool:
        """See `VideoProvider.delete`."""
        answer = await self._call("DELETE", self._url(job_id))
        if answer.is_success:
            return True
        if answer.status in CANNOT_BE_DELETED:
            return False
        raise self._reader.unavailable(answer, time.time())

    async def check(self) -> None:
        """See `VideoProvider.check`. Not every backend has a list; to say so is an answer too."""
        answer = await self._call("GET", f"{self._videos_url}?limit=1")
        error = self._reader.unavailable(answer, time.time())
        is_in_trouble = answer.status >= 500 and answer.status != 501
        if error.is_configuration or error.holds_all or is_in_trouble:
            raise error

    async def close(self) -> None:
        """See `VideoProvider.close`."""
        self._transport.close()

    def _url(self, job_id: str) -> str:
        """An id is opaque text, with `/`, `+` and `=` in it at some backends."""
        return f"{self._videos_url}/{quote(job_id, safe='')}"

    async def _call(self, method: str, url: str) -> Answer:
        try:
            return await self._transport.call(method, url, self._headers, None, self._call_timeout_s)
        except TransportError as error:
            raise Unavailable(self._reader.cleaned(str(error))) from error

    async def _post(self, order: Order, reference: bytes | None, encoding: Encoding) -> Answer:
        body = encoded(order, reference, encoding)
        headers = {**self._headers, "Content-Type": body.content_type}
        try:
            return await self._transport.call(
                "POST", self._videos_url, headers, body.content, self._create_timeout_s
            )
        except NotSent as error:
            raise Unavailable(self._reader.cleaned(str(error))) from error
        except NoAnswer as error:
            raise OutcomeUnknown(self._reader.cleaned(str(error))) from error


def _reaches_back(jobs: Sequence[ListedJob], since: int) -> bool:
    """Whether a page that is newest first ends with a job from before `since` (ms)."""
    times = [job.created_at for job in jobs if job.created_at is not None]
    return bool(times) and times[0] > times[-1] and times[-1] < since
