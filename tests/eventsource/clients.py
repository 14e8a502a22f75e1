"""EventSources that nobody here wrote: the one of Chromium, and npm's."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from playwright.sync_api import Page

from tests.backends.install import installed, run
from tests.backends.node import node
from tests.server import Server

GUARD_S: Final = 60.0
VERSION: Final = "4.1.1"
SCRIPT: Final = Path(__file__).with_name("client.mjs")
OPEN: Final = """
(url) => {
  globalThis.heard = [];
  globalThis.source = new EventSource(url);
  source.onmessage = ({ data, lastEventId }) => heard.push({ id: Number(lastEventId), ...JSON.parse(data) });
}
"""

Message = dict[str, Any]


class Listening(Protocol):
    """One EventSource."""

    def first(self) -> Message:
        """The first message."""
        ...

    def end(self) -> list[Message]:
        """All messages, when it is closed and will not come back by itself."""
        ...


class Chromium:
    """In a page of another origin, so that CORS has its say; the token is in the address."""

    def __init__(self, page: Page, server: Server, path: str, token: str) -> None:
        self._page = page
        page.evaluate(OPEN, f"{server.url}{path}?access_token={token}")

    def first(self) -> Message:
        self._page.wait_for_function("heard.length > 0", timeout=GUARD_S * 1000)
        return self._heard()[0]

    def end(self) -> list[Message]:
        self._page.wait_for_function("source.readyState === EventSource.CLOSED", timeout=GUARD_S * 1000)
        return self._heard()

    def _heard(self) -> list[Message]:
        heard: list[Message] = self._page.evaluate("heard")
        return heard


class Npm:
    """In a Node of its own; the token is in a header."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._heard: list[Message] = []

    def first(self) -> Message:
        assert self._process.stdout is not None
        with _killed_later(self._process):
            self._heard.append(json.loads(self._process.stdout.readline()))
        return self._heard[0]

    def end(self) -> list[Message]:
        said, _ = self._process.communicate(timeout=GUARD_S)
        assert self._process.returncode == 0
        return self._heard + [json.loads(line) for line in said.splitlines()]


@contextmanager
def npm(server: Server, path: str, token: str) -> Iterator[Npm]:
    module = installed(f"eventsource-{VERSION}", _install) / "node_modules/eventsource/dist/index.js"
    command = [node().node, str(SCRIPT), str(module), server.url + path, token]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Npm(process)
        finally:
            process.kill()


@contextmanager
def _killed_later(process: subprocess.Popen[str]) -> Iterator[None]:
    """A read of its output has no timeout of its own."""
    timer = threading.Timer(GUARD_S, process.kill)
    timer.start()
    yield
    timer.cancel()


def _install(folder: Path) -> None:
    (folder / "package.json").write_text('{"private": true}\n')
    options = ["--no-audit", "--no-fund", "--ignore-scripts"]
    run([*node().npm, "install", *options, f"eventsource@{VERSION}"], cwd=folder)
