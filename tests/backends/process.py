"""Programs of others, as processes that tests can rely on."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

START_GUARD_S = 180.0
STOP_GUARD_S = 10.0
LOOK_EVERY_S = 0.1


@contextmanager
def running(
    command: Sequence[str], log: Path, ready_url: str, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """The program, from when `ready_url` gives any answer; what it says goes into `log`."""
    on_loopback = {"no_proxy": "127.0.0.1,localhost"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | on_loopback | dict(environment or {}),
        )
    try:
        _wait_until_ready(process, log, ready_url)
        yield
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, url: str) -> None:
    deadline = time.monotonic() + START_GUARD_S
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{process.args!r} did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(LOOK_EVERY_S)  # nothing tells when it listens


def _answers(url: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_GUARD_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
