"""sora-ws itself: the whole `App`, its store included; only the changes come from here.

    python -m bench.contenders.sora TASKS

Settings come from the environment. The tasks belong to the team "bench". Where the changes come
from here, no provider is asked and nothing is saved: states are published at the hub. In the row
`whole` TASKS is 0: tasks are made over REST, and their changes come from a provider.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import cycle

from bench.contenders.commands import Contender, obey, say
from bench.message import CROWD, example_tasks
from sora_ws import logs
from sora_ws.app import App
from sora_ws.backing import make_store
from sora_ws.composition import Composition
from sora_ws.loop import calm_garbage_collector, new_loop
from sora_ws.settings import Settings
from sora_ws.task import Task


class Sora(Contender):
    """Publishes states of the tasks, one after the other."""

    def __init__(self, app: App, parts: Composition, tasks: Sequence[Task]) -> None:
        self._app = app
        self._parts = parts
        self._turns = cycle(tasks)
        self._expected = 0

    def publish(self, seqs: Sequence[int]) -> None:
        hub = self._parts.hub
        self._expected = hub.pushes_sent + len(seqs) * hub.subscriptions
        for seq in seqs:
            hub.publish(replace(next(self._turns), seq=seq))

    async def published(self) -> None:
        while self._parts.hub.pushes_sent < self._expected:  # noqa: ASYNC110 -- the hub tells nobody, and needs not
            await asyncio.sleep(0)

    def lines(self) -> int:
        return self._parts.lines.connected

    async def leave(self) -> None:
        await self._app.stop()


async def keep(settings: Settings, tasks: Iterable[Task]) -> None:
    """Put them into the database, beside the application."""
    store = make_store(settings)
    await store.open()
    for task in tasks:
        await store.insert(task)
    await store.close()


async def main(task_count: int) -> None:
    settings, _ = Settings.load()
    logs.configure(settings.log_format, settings.log_level)
    app = App(settings)
    await app.start()
    await app.ready()
    assert app.parts is not None
    tasks = example_tasks(task_count)
    await keep(settings, (*tasks, *example_tasks(1, CROWD)))
    calm_garbage_collector()
    say(port=app.settings.port)
    await obey(Sora(app, app.parts, tasks))
    await app.stop()


if __name__ == "__main__":
    asyncio.Runner(loop_factory=new_loop).run(main(int(sys.argv[1])))
