"""What everybody sends: a real `taskProgress`, whoever sends it."""

from __future__ import annotations

import json
from typing import Final

from sora_ws.push.messages import Presenter, encode
from sora_ws.rhythm import Rhythm
from sora_ws.task import Order, State, Task, Watch

TEAM: Final = "bench"
CROWD: Final = "crowd"
"""Those who come in a storm: they have a task of their own, at which nothing happens."""
NEVER: Final = 2**53  # ms; no poller comes this way
HOLE: Final = "SEQ"
TIMESTAMP: Final = 1_790_000_000_000


class _NoLinks:
    def video(self, task_id: str) -> str:
        return task_id

    def thumbnail(self, task_id: str) -> str:
        return task_id


def example_tasks(count: int, team: str = TEAM) -> list[Task]:
    """Tasks of the team that are half done."""
    order = Order("A lighthouse in a storm, seen from the sea", "sora-2")
    return [
        Task(
            id=f"video_{team.encode().hex():0>16}{number:016x}",
            user_id="owner",
            team=team,
            order=order,
            created_at=TIMESTAMP,
            seq=1,
            watch=Watch(next_look_at=NEVER),
            state=State.RENDERING,
            step=State.RENDERING,
            progress=42,
            job_id="job",
            accepted_at=TIMESTAMP,
            started_at=TIMESTAMP,
        )
        for number in range(count)
    ]


def subscribe_task(team: str) -> str:
    """To the first of the team's tasks."""
    return json.dumps(
        {"type": "subscribe_task", "id": team, "payload": {"videoId": example_tasks(1, team)[0].id}}
    )


def subscribe_room(team: str) -> str:
    """To all of the team's tasks."""
    return json.dumps({"type": "subscribe_room", "id": team, "payload": {"room": f"team:{team}"}})


def template() -> str:
    """The message as text, with HOLE where its `seq` belongs."""
    task = example_tasks(1)[0]
    type_, payload = Presenter("en", _NoLinks(), Rhythm(2_000, 30_000)).push(task, TIMESTAMP)
    text = encode(type_, payload, TIMESTAMP).decode()
    return text.replace('"seq":1}', f'"seq":{HOLE}}}')
