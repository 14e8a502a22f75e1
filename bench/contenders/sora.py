"""sora-ws itself: the whole `App`, its store included; only the changes come from here.

    python -m bench.contenders.sora TASKS

Settings come from the environment. The tasks belong to the team "bench". No provider is asked
and nothing is saved: states are published at the hub, which is what this measures.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from itertools import cycle

from bench.contenders.commands import obey, say
from bench.message import CROWD, example_tasks
from sora_ws import logs
from sora_ws.app import App
from sora_ws.attendant import Attendant
from sora_ws.media import MediaStore
from sora_ws.provider import VideoProvider
from sora_ws.push.hub import Hub
from sora_ws.service import VideoService
from sora_ws.settings import Settings
from sora_ws.store import Store


class BenchedApp(App):
    """The application, with its store and its hub to be got at."""

    store: Store
    hub: Hub

    def _tasks(
        self, store: Store, media: MediaStore, provider: VideoProvider, hub: Hub
    ) -> tuple[Attendant, VideoService]:
        self.store, self.hub = store, hub
        return super()._tasks(store, media, provider, hub)


async def main(task_count: int) -> None:
    settings, _ = Settings.load()
    logs.configure(settings.log_format, settings.log_level)
    app = BenchedApp(settings)
    await app.start()
    await app.ready()
    tasks = example_tasks(task_count)
    for task in (*tasks, *example_tasks(1, CROWD)):
        await app.store.insert(task)
    hub, turns, expected = app.hub, cycle(tasks), 0

    async def publish(seqs: list[int]) -> None:
        nonlocal expected
        expected = hub.pushes_sent + len(seqs) * hub.subscriptions
        for seq in seqs:
            hub.publish(replace(next(turns), seq=seq))

    async def published() -> None:
        while hub.pushes_sent < expected:  # noqa: ASYNC110 -- the hub tells nobody, and needs not
            await asyncio.sleep(0)

    say(port=app.settings.port)
    await obey(publish, published)
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
