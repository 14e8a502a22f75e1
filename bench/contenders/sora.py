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
from typing import Any

from bench.contenders.commands import Contender, obey, say
from bench.message import CROWD, example_tasks
from sora_ws import logs
from sora_ws.app import App, make_store
from sora_ws.loop import calm_garbage_collector, new_loop
from sora_ws.push.hub import Hub
from sora_ws.settings import Settings
from sora_ws.task import Task


class BenchedApp(App):
    """The application, with its hub to be got at."""

    hub: Hub

    def _push(self, *parts: Any, **named: Any) -> Any:
        [self.hub] = [part for part in (*parts, *named.values()) if isinstance(part, Hub)]
        return super()._push(*parts, **named)

    @property
    def connected(self) -> int:
        """How many lines are open."""
        return self._lines.connected if self._lines is not None else 0


class Sora(Contender):
    """Publishes states of the tasks, one after the other."""

    def __init__(self, app: BenchedApp, tasks: Sequence[Task]) -> None:
        self._app = app
        self._turns = cycle(tasks)
        self._expected = 0

    def publish(self, seqs: Sequence[int]) -> None:
        hub = self._app.hub
        self._expected = hub.pushes_sent + len(seqs) * hub.subscriptions
        for seq in seqs:
            hub.publish(replace(next(self._turns), seq=seq))

    async def published(self) -> None:
        while self._app.hub.pushes_sent < self._expected:  # noqa: ASYNC110 -- the hub tells nobody, and needs not
            await asyncio.sleep(0)

    def lines(self) -> int:
        return self._app.connected

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
    app = BenchedApp(settings)
    await app.start()
    await app.ready()
    tasks = example_tasks(task_count)
    await keep(settings, (*tasks, *example_tasks(1, CROWD)))
    calm_garbage_collector()
    say(port=app.settings.port)
    await obey(Sora(app, tasks))
    await app.stop()


if __name__ == "__main__":
    asyncio.Runner(loop_factory=new_loop).run(main(int(sys.argv[1])))
