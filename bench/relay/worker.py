"""One instance of the bench, told what to do line by line; answers with a line of JSON each."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

from bench.relay.ways import WAYS, topics_to_want
from sora_ws.bus.redis import RedisBus
from sora_ws.bus.redis_url import RedisUrl
from sora_ws.media.links import Links
from sora_ws.push.hub import Hub
from sora_ws.push.messages import Presenter
from sora_ws.rhythm import Rhythm
from sora_ws.task import Order, Task

NOW: Final = 1_760_000_000_000
TICK: Final = 50  # changes in a turn of the loop, at most one of a task
TASKS_OF_USER: Final = 10


class Worker:
    """Publishes, or hears, by one way."""

    def __init__(self, way: str, url: str) -> None:
        presenter = Presenter("en", Links(b"key", "http://localhost"), Rhythm(2_000, 30_000))
        self.hub = Hub(presenter, lambda: NOW)
        self.bus = RedisBus(RedisUrl.parse(url))
        self.way = WAYS[way](self.bus, self.hub)
        self._joining: set[bytes] = set()
        self._news = asyncio.Event()

    # --- BusEar ---

    def heard(self, channel: bytes, data: bytes) -> None:
        self.way.heard(channel, data)

    def joined(self, channel: bytes) -> None:
        self._joining.discard(channel)
        self._news.set()

    def parted(self, channels: Collection[bytes]) -> None:
        raise RuntimeError("Redis went away")

    # --- what it is told ---

    async def want(self, first: int, count: int) -> dict[str, Any]:
        began = cpu()
        self._joining = self.way.want(topics_to_want(task(n) for n in range(first, first + count)))
        while self._joining:
            self._news.clear()
            await self._news.wait()
        return {"subscribe_cpu_s": cpu() - began}

    async def publish(self, tasks: int, changes: int) -> dict[str, Any]:
        """`changes` of so many tasks, one after the other."""
        made = [task(n) for n in range(tasks)]
        changed = [replace(made[n % tasks], seq=NOW + n, progress=n % 100) for n in range(changes)]
        tick, began = min(tasks, TICK), cpu()
        for n, each in enumerate(changed, 1):
            self.way.publish(each)
            if n % tick == 0:
                await asyncio.sleep(0)
        while self.bus.sent < self._due(changes):  # noqa: ASYNC110 the bus tells nobody
            await asyncio.sleep(0.001)
        return {"cpu_s": cpu() - began, "published": self.bus.sent}

    async def figures(self) -> dict[str, Any]:
        return {"cpu_s": cpu(), "decoded": self.way.decoded, "messages": self.way.messages}

    def _due(self, changes: int) -> int:
        return changes * (2 if type(self.way) is WAYS["per topic"] else 1)


def task(number: int) -> Task:
    order = Order("A cat that plays the piano by moonlight, as a woodcut", "sora-2", 8, "1280x720")
    made = Task.new(f"user{number // TASKS_OF_USER}", order, NOW)
    return replace(made, id=f"video_{number:032x}", job_id=f"job-{number}", accepted_at=NOW, started_at=NOW)


def cpu() -> float:
    """Seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main(way: str, url: str) -> None:
    worker = Worker(way, url)
    await worker.bus.start(worker)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print(json.dumps({"is_up": worker.bus.is_up}), flush=True)
    while line := await lines.readline():
        name, *numbers = json.loads(line)
        print(json.dumps(await getattr(worker, name)(*numbers)), flush=True)
    await worker.bus.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
