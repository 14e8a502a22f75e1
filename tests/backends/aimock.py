"""aimock, a mock of many vendors' APIs that nobody here wrote. Its jobs stand still.

Its `/v1/videos` tells no progress and has no content call: a video is only where its `url` says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.backends import Backend
from tests.backends.install import installed, run
from tests.backends.node import node
from tests.backends.process import running
from tests.ports import free_port

VERSION: Final = "1.43.0"
NOWHERE: Final = "http://127.0.0.1:9/x.mp4"  # the port of RFC 863, where nobody listens
BUSY_S: Final = 2


@contextmanager
def aimock(film_url: str, folder: Path) -> Iterator[Backend]:
    """A running one. What a prompt has in it decides.

    `done` is completed, with its video at `film_url`; `nowhere` with a url that is dead; `running`
    never ends; `limited` is always one too many, `busy` only the first time, and is done the second;
    `refused` fails, which only the Veo side of it can tell. `folder` takes its files.
    """
    package = installed(f"aimock-{VERSION}", _install)
    script = package / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
    fixtures = folder / "aimock.json"
    fixtures.write_text(json.dumps({"fixtures": list(_fixtures(film_url))}))
    port = free_port()
    command = [node().node, str(script), "-p", str(port), "-f", str(fixtures)]
    origin = f"http://127.0.0.1:{port}"
    with running(command, folder / "aimock.log", f"{origin}/v1/videos/none"):
        yield Backend(f"{origin}/v1", key="")


def _install(folder: Path) -> None:
    (folder / "package.json").write_text('{"private": true}\n')
    options = ["--no-audit", "--no-fund", "--ignore-scripts"]
    run([*node().npm, "install", *options, f"@copilotkit/aimock@{VERSION}"], cwd=folder)


def _fixtures(film_url: str) -> Iterator[dict[str, Any]]:
    yield _fixture("done", video={"id": "vid_done", "status": "completed", "url": film_url})
    yield _fixture("nowhere", video={"id": "vid_nowhere", "status": "completed", "url": NOWHERE})
    yield _fixture("running", video={"id": "vid_running", "status": "processing"})
    yield _fixture("refused", video={"id": "vid_refused", "status": "failed"})
    too_many: dict[str, Any] = {"error": {"message": "slow", "type": "rate_limit_error"}, "status": 429}
    yield _fixture("limited", **too_many, retryAfter=7)
    yield _fixture("busy", nth=0, **too_many, retryAfter=BUSY_S)
    yield _fixture("busy", video={"id": "vid_busy", "status": "completed", "url": film_url})


def _fixture(word: str, nth: int | None = None, **response: Any) -> dict[str, Any]:
    """The answer to a create whose prompt holds the word; `nth` is which of them, from 0, None for all."""
    match: dict[str, Any] = {"userMessage": word, "endpoint": "video"}
    if nth is not None:
        match["sequenceIndex"] = nth
    return {"match": match, "response": response}
