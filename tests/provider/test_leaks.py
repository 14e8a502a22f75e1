"""A provider that is slow, silent or rude costs no file: nothing of a failed call stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sora_ws.provider import OutcomeUnknown, Unavailable
from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.task import Order
from tests.backends.dialects import DialectServer
from tests.backends.jobs import Dialect
from tests.provider.conftest import MakeClient

AT_ONCE = 100
RESETS = 3  # for each that waits for its time to be over
ROUNDS = 20  # 10,000 calls in all
NO_ANSWER = {OutcomeUnknown, Unavailable}  # on a slow machine the time of some is over before they have left
CAT = Order("a cat", "sora-2")


def open_files() -> int:
    """Of this process: the client's sockets and the server's."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def failing(client: OpenAIVideos, backend: DialectServer, job_id: str) -> set[type]:
    """What creates end with in a round of bodies that drip, of silence and of resets."""
    backend.jobs.dialect = Dialect(drips="looks", creates="silent", looks=None)
    looking = at_once(lambda: client.look(job_id))
    looks, creates = await asyncio.gather(looking, sending(client))
    assert looks == {Unavailable}
    backend.jobs.dialect = Dialect(creates="reset")
    for _ in range(RESETS):
        creates |= await sending(client)
    backend.requests.clear()
    return creates


async def sending(client: OpenAIVideos) -> set[type]:
    return await at_once(lambda: client.create(CAT, None))


async def at_once(call: Callable[[], Awaitable[object]]) -> set[type]:
    """What becomes of so many calls."""
    ends = await asyncio.gather(*(call() for _ in range(AT_ONCE)), return_exceptions=True)
    return set(map(type, ends))


async def down_to(count: int) -> None:
    """Returns when so few files are open: the server hears of an end a little later."""
    for _ in range(1_000):
        if open_files() <= count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{open_files()} files are open, more than {count}")


@pytest.mark.gen_test(timeout=120)
async def test_failed_calls_leave_no_connection(backend: DialectServer, client_of: MakeClient) -> None:
    """After ten thousand of them no more is open than after the first; after the close, nothing."""
    at_first = open_files()
    client = client_of(backend.base_url, call_timeout_s=0.3, create_timeout_s=0.3)
    job = await client.create(CAT, None)
    creates: set[type] = set()
    for _ in range(ROUNDS):
        creates |= await failing(client, backend, job.id)
        await down_to(at_first + 4)  # libcurl's own, and a connection that is kept
    assert OutcomeUnknown in creates <= NO_ANSWER
    backend.jobs.dialect = Dialect(looks=None)
    assert (await client.look(job.id)).event is not None
    await client.close()
    await down_to(at_first)
