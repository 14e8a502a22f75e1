"""The command line as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GUARD_S = 120.0


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on stderr of a command that failed."""
        (line,) = self.err.splitlines()
        return line


@dataclass
class CommandLine:
    """Runs commands with a home of their own and with nothing else of this machine's environment."""

    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        python = {name: os.environ[name] for name in ("PATH", "TMPDIR", "WS_TRANSPORT") if name in os.environ}
        return python | {"HOME": str(self.home), "LANG": "C.UTF-8"} | dict(self.settings)

    def run(self, *arguments: str, stdin: str = "", **settings: str) -> Result:
        """The command's end; stdin is no terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "sora_ws", *arguments],
            env=self.environment | settings,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=GUARD_S,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """A command that goes on; its stdout and stderr are pipes, unless `options` say otherwise."""
        pipes: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "sora_ws", *arguments],
            env=self.environment,
            text=True,
            **pipes | options,
        )


def interrupt(process: subprocess.Popen[str]) -> Result:
    """Ctrl-C."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=GUARD_S)
    return Result(process.returncode, out, err)
