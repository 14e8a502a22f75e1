"""The provider of a history: a real HTTP server in its own process, which outlives every server.

    python -m tests.history.provider HOST PORT JOURNAL RESET_EVERY

It writes down each call and each job. Every `RESET_EVERY`th create makes its job and breaks the line
off instead of answering, so that nobody can tell what became of it; 0 for none.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tornado.web import Application, RequestHandler

from tests.backends.dialects import DialectServer, Request
from tests.backends.jobs import Dialect, Job, Jobs
from tests.history.journal import Journal


class WrittenJobs(Jobs):
    """Jobs that are written down."""

    def __init__(self, journal: Journal, reset_every: int) -> None:
        super().__init__(Dialect())
        self._journal = journal
        self._reset_every = reset_every
        self._over: set[str] = set()

    def shown(self, job: Job) -> dict[str, Any]:
        if self.has_ended(job) and job.id not in self._over:
            self._over.add(job.id)
            self._journal.write("job_over", job=job.id)
        return super().shown(job)

    def create(self, order: dict[str, Any]) -> Job:
        job = super().create(order)
        self._journal.write("job", prompt=order["prompt"], job=job.id)
        if self._reset_every:
            is_next = len(self.all) % self._reset_every == self._reset_every - 1
            self.dialect.creates = "reset" if is_next else "any"
        return job


class CalledBack(RequestHandler):
    """Where users want ends to be told; beside the provider, as it outlives every server too."""

    def post(self) -> None:
        event = json.loads(self.request.body)
        self.settings["journal"].write("called_back", prompt=event["data"]["prompt"], type=event["type"])


class WritingServer(DialectServer):
    """Writes every call down."""

    def __init__(self, journal: Journal, reset_every: int) -> None:
        super().__init__()
        self.jobs = WrittenJobs(journal, reset_every)
        self._journal = journal

    def _application(self) -> Application:
        application = super()._application()
        application.settings["journal"] = self._journal
        application.add_handlers(".*", [("/called-back", CalledBack)])
        return application

    def record(self, request: Request) -> None:
        self._journal.write("called", method=request.method, path=request.path)


async def main(host: str, port: int, journal: Path, reset_every: int) -> None:
    await WritingServer(Journal(journal), reset_every).start(port, host)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
