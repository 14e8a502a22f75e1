"""A receiver of callbacks that nobody here wrote the checks of: Node and npm's `standardwebhooks`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from tornado.httpclient import AsyncHTTPClient

from tests.backends.install import installed, run
from tests.backends.node import node
from tests.backends.process import running
from tests.ports import free_port

VERSION: Final = "1.1.1"
SCRIPT: Final = Path(__file__).with_name("receiver.cjs")
SECRET: Final = "whsec_dGVzdHMgb2YgY2FsbGJhY2tzIGhhdmUgYSBzZWNyZXQ="
GUARD_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running one; `url` plus its answers (`receiver.cjs` has the list) is an address for callbacks."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def received(self, count: int) -> list[dict[str, Any]]:
        """All messages, as soon as there are so many."""
        address = f"{self.url}/received?count={count}"
        answer = await AsyncHTTPClient().fetch(address, request_timeout=GUARD_S)
        messages: list[dict[str, Any]] = json.loads(answer.body)
        return messages

    async def release(self) -> None:
        """Answer what was held."""
        await AsyncHTTPClient().fetch(f"{self.url}/release")

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        """As `received`, without a loop."""
        with urlopen(f"{self.url}/received?count={count}", timeout=GUARD_S) as answer:
            messages: list[dict[str, Any]] = json.load(answer)
        return messages


@contextmanager
def a_receiver(folder: Path, port: int | None = None, secret: str = SECRET) -> Iterator[Receiver]:
    """`folder` takes its log."""
    receiver = Receiver(port or free_port())
    command = [node().node, str(SCRIPT), str(receiver.port), secret]
    with running(command, folder / "receiver.log", f"{receiver.url}/received?count=0", npm_environment()):
        yield receiver


def npm_environment() -> dict[str, str]:
    """What a Node needs to find the package."""
    package = installed(f"standardwebhooks-{VERSION}", _install)
    return {"NODE_PATH": str(package / "node_modules"), "PATH": os.environ["PATH"]}


def _install(folder: Path) -> None:
    (folder / "package.json").write_text('{"private": true}\n')
    options = ["--no-audit", "--no-fund", "--ignore-scripts"]
    run([*node().npm, "install", *options, f"standardwebhooks@{VERSION}"], cwd=folder)
