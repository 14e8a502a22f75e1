"""A real sora-ws process, as users start it, for tests that need one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

from tests.ports import free_port

START_GUARD_S = 60.0
STOP_GUARD_S = 60.0

KEPT = ("PATH", "HOME", "TMPDIR", "WS_TRANSPORT")
FAST = {
    "SORA_SIMULATOR_SECONDS": "1",
    "SORA_POLL_INTERVAL": "1000",
    "SORA_POLL_MIN_INTERVAL": "100",
    "DRAIN_SECONDS": "1",
    "LANG": "C.UTF-8",
    "LOG_FORMAT": "json",
}


@dataclass
class Answer:
    """An HTTP answer, whatever its status."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """One server process on one state folder and one port, over any number of deaths.

    `within` is a command that runs it elsewhere, as in another network, where it is reached at `host`.
    """

    state: Path
    settings: dict[str, str] = field(default_factory=dict)
    host: str = "localhost"
    within: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    password: str | None = None
    process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.address}/ws"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        own = {"STATE_DIR": str(self.state), "HOST": self.host, "PORT": str(self.port)}
        return kept | FAST | own | self.settings

    def start(self, *, wait: bool = True) -> Server:
        """Start the process; returns when it is ready, or without `wait` when it listens."""
        self.launch()
        self._wait_for("/readyz" if wait else "/healthz")
        if wait and self.password is None:
            self.password = self._read_password()
        return self

    def launch(self) -> None:
        """Start the process and wait for nothing."""
        self.state.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [*self.within, sys.executable, "-m", "sora_ws", "serve"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=self.log_file.open("a"),
            text=True,
        )

    def wait_until_ready(self) -> None:
        """For a server that was started without waiting."""
        self._wait_for("/readyz")
        self.password = self.password or self._read_password()

    def fail_to_start(self) -> tuple[int, str]:
        """The exit status and all that it said, for a server that must not start."""
        self.state.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "sora_ws", "serve"]
        ended = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=START_GUARD_S, check=False
        )
        return ended.returncode, ended.stdout + ended.stderr

    def kill(self) -> None:
        """kill -9: no last word."""
        if self.process is not None:
            self.process.kill()
            self._reap()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    @property
    def log_file(self) -> Path:
        return self.state / "log"

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One HTTP request; `body` is sent as it is where it is bytes, else as JSON."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        url = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(url, data=data, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    def sign_in(self) -> str:
        """A token of admin."""
        login = {"username": "admin", "password": self.password}
        token: str = self.request("POST", "/api/auth/login", login).json["token"]
        return token

    def create(self, token: str, prompt: str = "a cat", **more: Any) -> str:
        """The id of a new task."""
        answer = self.request("POST", "/api/videos", {"prompt": prompt, **more}, token=token)
        assert answer.status == 202, answer.body
        video_id: str = answer.json["videoId"]
        return video_id

    def _wait_for(self, path: str) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_GUARD_S
        while not self._answers(path):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{self.log}")

    def _answers(self, path: str) -> bool:
        try:
            if self.request("GET", path).status == 200:
                return True
        except OSError:
            pass  # nobody listens yet
        time.sleep(0.02)  # until it answers there is nothing that could be waited for
        return False

    def _read_password(self) -> str | None:
        """The first password, off the lines that a start prints; it is the last of them."""
        assert self.process is not None
        assert self.process.stdout is not None
        if (self.state / "signed-in-before").exists():
            return None
        guard = threading.Timer(
            START_GUARD_S, self.process.kill
        )  # one that was told before is not told again
        guard.start()
        try:
            for line in self.process.stdout:
                if line.startswith("password: "):
                    (self.state / "signed-in-before").touch()
                    return line.removeprefix("password: ").strip()
        finally:
            guard.cancel()
        return None

    def _reap(self) -> int:
        assert self.process is not None
        status = self.process.wait(STOP_GUARD_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return status
