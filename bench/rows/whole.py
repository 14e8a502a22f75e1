"""The whole way: jobs change at a provider over HTTP, are looked at, stored and pushed.

The provider is a process of its own on the core of the load. All its jobs move on at once; the clock
runs from then to the last push at the last reader, and the server's CPU is all that it takes meanwhile.
`limit` and `node` have neither provider nor store: for them it is the row `joined`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from typing import Any, Final

from bench.message import TEAM
from bench.processes import OURS, Bench, Broken, Contender, Process, Readers, token
from bench.rounds import Rounds
from bench.rows.bursts import Cost, burst, cost_of
from bench.scale import Scale

GOAL: Final = "messages: ≥ 2 × limit, ≥ 3 × node"
OWNER: Final = "who-asks"
BEGIN_GUARD_S: Final = 30.0
POLL_MS: Final = 1_000
PAUSE_S: Final = 1.5  # then every job is due: as many looks as may be under way wait at the provider


def measure(bench: Bench, scale: Scale, who: Sequence[str]) -> Rounds:
    """Ours with everything that a server does, the others as in `joined`."""
    rounds = Rounds(who, scale.rounds)
    ours = {name: _Whole(bench, name, scale) for name in rounds.who if name in OURS}
    others = {name: bench.served(name, scale.readers, scale.tasks) for name in rounds.who if name not in OURS}
    for whole in ours.values():
        whole.step()
    for contender, readers in others.values():
        burst(contender, readers, scale.tasks, together=scale.tasks)
    for name in rounds.turns():
        if name in ours:
            costs = [ours[name].step() for _ in range(scale.steps)]
        else:
            costs = [burst(*others[name], scale.tasks, together=scale.tasks)]
        seconds_a_message = sum(1 / cost.per_second for cost in costs) / len(costs)
        rounds.add(name, "messages", "/s", 1 / seconds_a_message)
        rounds.add(name, "CPU a push", "µs", sum(cost.cpu_us for cost in costs) / len(costs))
    rounds.compare("messages", OURS, more_is_better=True)
    return rounds


class _Whole:
    """A server with its provider, its tasks under way and all readers in."""

    def __init__(self, bench: Bench, name: str, scale: Scale) -> None:
        self._tasks = scale.tasks
        self._provider: Process = bench.provider()
        address = f"http://127.0.0.1:{self._provider.answer('port')['port']}/v1"
        self._server: Contender = bench.contender(
            name,
            tasks=0,
            SORA_API_BASE_URL=address,
            SORA_POLL_MIN_INTERVAL=str(POLL_MS),
            SORA_POLL_INTERVAL=str(POLL_MS),
        )
        self._begin()
        self._readers: Readers = bench.readers(self._server, scale.readers, tasks=scale.tasks)
        self._readers.ready()

    def step(self) -> Cost:
        """All jobs move on. Raises Broken."""
        time.sleep(PAUSE_S)
        self._readers.expect(self._tasks)
        cpu_s, kernel_s = self._server.cpu_s, self._server.kernel_s
        self._provider.tell("step")
        stepped_us = self._provider.answer("stepped_us")["stepped_us"]
        counted = self._readers.counted(self._tasks)
        return cost_of(counted, stepped_us, self._server.cpu_s - cpu_s, self._server.kernel_s - kernel_s)

    def _begin(self) -> None:
        """Tasks are asked for as people do, and taken by the provider. Raises Broken."""
        for _ in range(self._tasks):
            self._call("POST", "/api/videos", {"prompt": "A lighthouse in a storm", "team": TEAM})
        end = time.monotonic() + BEGIN_GUARD_S
        while True:
            tasks = self._call("GET", "/api/videos?limit=100")["items"]
            if all(task["status"] == "PROCESSING" for task in tasks):
                return
            if time.monotonic() > end:
                raise Broken("the provider has not taken all tasks in time")
            time.sleep(0.1)

    def _call(self, method: str, path: str, body: object = None) -> Any:
        connection = HTTPConnection("127.0.0.1", self._server.port, timeout=BEGIN_GUARD_S)
        headers = {"Authorization": f"Bearer {token(OWNER)}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 300:
            raise Broken(f"{method} {path}: {answer.status} {text[:500]!r}")
        return json.loads(text)
