"""The existing frontend as its users have it: bundled by esbuild, served from a port of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.backends.install import installed, run
from tests.backends.node import node
from tests.backends.process import running
from tests.ports import free_port

SOURCES: Final = Path(__file__).parent
BUNDLE_TIMEOUT_S: Final = 120
FOR_BROWSERS: Final = ("--bundle", "--jsx=automatic", "--define:process.env.NODE_ENV='production'")


@contextmanager
def frontend(folder: Path) -> Iterator[str]:
    """The address of the page; `folder` takes its files. Its packages are installed once (150 MB)."""
    site = folder / "site"
    site.mkdir()
    shutil.copy(SOURCES / "index.html", site)
    _bundle(SOURCES / "page.tsx", site / "page.js")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        str(site),
    ]
    with running(command, folder / "http.log", f"http://127.0.0.1:{port}/"):
        yield f"http://localhost:{port}/"


def _bundle(source: Path, target: Path) -> None:
    modules = _packages() / "node_modules"
    esbuild = [node().node, str(modules / "esbuild" / "bin" / "esbuild")]
    subprocess.run(
        [*esbuild, str(source), *FOR_BROWSERS, f"--outfile={target}", "--log-level=warning"],
        env=os.environ | {"NODE_PATH": str(modules)},
        check=True,
        timeout=BUNDLE_TIMEOUT_S,
    )


def _packages() -> Path:
    """Exactly those of package-lock.json."""
    lock = SOURCES / "package-lock.json"
    version = hashlib.sha256(lock.read_bytes()).hexdigest()[:8]
    return installed(f"frontend-{version}", _install)


def _install(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCES / name, folder)
    run([*node().npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder)
