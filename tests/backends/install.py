"""Puts the programs of others that tests need into `.cache`, once for all runs."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from tests.locks import CACHE, locked
from tests.services import missing

INSTALL_TIMEOUT_S = 360
_failures: dict[str, str] = {}  # an index that can't be reached is waited for once a run, not by each test


def installed(name: str, install: Callable[[Path], None]) -> Path:
    """The folder `.cache/NAME`, filled by `install` where no run before has done so to its end.

    Skips the test, or fails it in CI, where the installation fails.
    """
    if name in _failures:
        missing(_failures[name])
    folder = CACHE / name
    with locked(name):
        done = folder / ".complete"
        if done.exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            install(folder)
        except subprocess.CalledProcessError as error:
            _failures[name] = f"{name} can't be installed: {error.stderr[-500:]}"
            missing(_failures[name])
        except (OSError, subprocess.TimeoutExpired) as error:
            _failures[name] = f"{name} can't be installed: {error}"
            missing(_failures[name])
        done.touch()
    return folder


def python_packages(folder: Path, *requirements: str) -> None:
    """Make `folder` a virtual environment with these packages in it."""
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [_python_with_pip(), "-m", "pip", "--python", str(folder / "bin" / "python")]
    run([*pip, "install", "--quiet", "--disable-pip-version-check", *requirements])


def run(command: list[str], cwd: Path | None = None) -> None:
    """Raises CalledProcessError, with what the command said."""
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)


def _python_with_pip() -> str:
    """This Python, or the one that its virtual environment was made from without a pip in it."""
    if importlib.util.find_spec("pip"):
        return sys.executable
    return str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
