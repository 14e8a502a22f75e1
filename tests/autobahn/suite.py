"""Autobahn's fuzzing client: put into `.cache` once, run against an echo, and its report."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, Literal

from tests.backends.install import installed, run
from tests.backends.process import running
from tests.ports import free_port
from tests.services import missing

Transport = Literal["fast", "stream"]

TRANSPORTS: Final[tuple[Transport, ...]] = ("fast", "stream")
FRAMES: Final = tuple(f"{section}.*" for section in (1, 2, 3, 4, 5, 6, 7, 10))
COMPRESSION: Final = ("12.*", "13.*")
GOOD: Final = {"OK", "INFORMATIONAL"}

CHECKOUT: Final = Path(__file__).parents[2]
DEADLINE_S: Final = 180.0
REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
WSTEST: Final = (
    "import sys; from autobahntestsuite import wstest;"
    "sys.argv = ['wstest', '-m', 'fuzzingclient', '-s', sys.argv[1]]; wstest.run()"
)


def verdicts(
    transport: Transport, cases: Sequence[str], folder: Path, deadline_s: float = DEADLINE_S
) -> dict[str, str]:
    """What Autobahn says of each case, in its order; `folder` takes logs and reports.

    It is killed after `deadline_s`, and subprocess.TimeoutExpired raised.
    """
    site, port = _site(), free_port()
    spec = {
        "options": {"failByDrop": False},
        "outdir": str(folder / "reports"),
        "servers": [{"agent": transport, "url": f"ws://127.0.0.1:{port}/ws", "options": {"version": 18}}],
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    echo = [sys.executable, "-m", "tests.autobahn.echo", str(port), transport]
    with (
        running(echo, folder / "echo.log", f"http://127.0.0.1:{port}/ws", {"PYTHONPATH": str(CHECKOUT)}),
        (folder / "wstest.log").open("wb") as log,
    ):
        subprocess.run(
            [python2(), "-c", WSTEST, str(folder / "spec.json")],
            env=os.environ | {"PYTHONPATH": str(site)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
            timeout=deadline_s,
        )
    report = json.loads((folder / "reports" / "index.json").read_text())[transport]
    return {case: _verdict(report[case]) for case in sorted(report, key=_in_order)}


@cache
def python2() -> str:
    """Skips the test, or fails it in CI, where there is none."""
    works = (command for command in _candidates() if _works(command))
    return next(works, None) or missing("there is no Python 2.7, neither on the path nor of pyenv")


def _works(command: str) -> bool:
    """pyenv has one on the path that only says which versions there are."""
    return subprocess.run([command, "--version"], capture_output=True, check=False).returncode == 0


def _candidates() -> Iterator[str]:
    on_path = shutil.which("python2.7")
    if on_path is not None:
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob("versions/2.7*/bin/python2.7")))


def _site() -> Path:
    """Where the suite and what it needs are installed (60 MB)."""
    version = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:8]
    return installed(f"autobahn-{version}", _install)


def _install(folder: Path) -> None:
    pip = [python2(), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    run([*pip, "--no-deps", "--target", str(folder), "--requirement", str(REQUIREMENTS)])
    (folder / "zope" / "__init__.py").touch()  # a namespace package, which `--target` leaves without one


def _verdict(case: dict[str, str]) -> str:
    """The worse of what was said and of how the line was closed."""
    said = case["behavior"], case["behaviorClose"]
    return next((word for word in said if word not in GOOD), case["behavior"])


def _in_order(case: str) -> list[int]:
    return [int(number) for number in case.split(".")]
