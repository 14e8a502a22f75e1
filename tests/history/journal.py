"""What clients and the provider write down, one JSON object a line, and how it is read again.

Every event has `at`, seconds of the machine's monotonic clock, which all processes share and which
no test steps, and `what`:

| what | written by | fields |
| --- | --- | --- |
| asked | client | user, prompt, callback (whether it asks for one): a create leaves |
| answered | client | user, prompt, status (None: the line broke), took_s, videoId (None but at a 202) |
| found | client | user, asked_at, task: what REST shows |
| opened | client | line, user: authenticated |
| heard | client | line, message: what came, as it came |
| closed | client | line, by: "server" or "client" |
| job | provider | prompt, job: a create has made a job |
| job_over | provider | job: it is done, or stopped |
| called | provider | method, path |
| called_back | provider | prompt, type: a callback came |
| doubled | server | videoId: it logged a possible double |
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class Journal:
    """A file that events are appended to; each is in it when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def write(self, what: str, **facts: Any) -> None:
        self._file.write(json.dumps({"at": time.monotonic(), "what": what, **facts}) + "\n")

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[Event]:
    """The events of a journal; of a writer that was killed, without the line that it died in."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def doubles(log: str) -> Iterator[Event]:
    """The possible doubles that a server has logged, as events of no particular time."""
    for line in log.splitlines():
        if '"possible_double"' in line:
            yield {"at": 0.0, "what": "doubled", "videoId": json.loads(line)["task"]}
