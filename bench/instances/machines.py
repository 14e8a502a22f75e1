"""The processes: mongod, redis-server, a provider, instances of sora-ws, and who reads.

None has a core of its own: what more instances bring on a machine is what is left by all the others.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench import tools
from bench.message import TEAM
from bench.processes import CALM, CHECKOUT, SECRET, Broken, Process, Readers, cpu_s, token
from bench.provider import keep
from sora_ws.store.mongo import MongoStore
from sora_ws.task import Task
from tests.mongod import Mongod, running_mongod
from tests.ports import free_port
from tests.redisd import Redisd, running

GUARD_S: Final = 90.0
POLL_S: Final = 0.005
DATABASE: Final = "bench"
OWNER: Final = "who-asks"
CONNECTIONS_MAX: Final = 20_000
CALLS: Final = ("find", "insert", "update", "delete", "aggregate", "findAndModify", "getMore")

NGINX: Final = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; {user}
worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {site}
}}
"""


def cores() -> str:
    """All of them, as taskset has it."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


@dataclass
class Instance(Process):
    """A sora-ws as users start it."""

    port: int = 0

    def create(self) -> str:
        """The id of a new task of the team."""
        order = {"prompt": "A lighthouse in a storm", "team": TEAM}
        made: dict[str, str] = json.loads(call(self.port, "POST", "/api/videos", order))
        return made["videoId"]

    def stats(self) -> dict[str, Any]:
        """As docs/protocol.md has them, of this instance and of all."""
        told: dict[str, Any] = json.loads(call(self.port, "GET", "/api/stats"))
        return told


@dataclass
class Machines:
    """All that runs. Instances and readers are added, and all are gone at the end."""

    folder: Path
    mongod: Mongod
    redis: Redisd
    provider: Process
    stack: ExitStack
    settings: dict[str, str]
    instances: list[Instance] = field(default_factory=list)
    readers: list[Readers] = field(default_factory=list)
    nginx_pid: int | None = None

    def keep(self, tasks: Sequence[Task]) -> None:
        """Put them into the database, before the first instance."""
        asyncio.run(keep(MongoStore(self.mongod.url(DATABASE), deadline=GUARD_S), tasks))

    def start(self, count: int) -> None:
        """So many more instances, at once; returns when all are ready."""
        added = [self._launch() for _ in range(count)]
        for instance in added:
            until(lambda port=instance.port: is_ready(port))  # type: ignore[misc]

    def tokens(self, who: str, count: int) -> Path:
        """A file of them, each of somebody else."""
        file = self.folder / f"tokens-{who}-{count}"
        if not file.exists():
            file.write_text("\n".join(token(f"{who}-{number}") for number in range(count)))
        return file

    def read(
        self,
        port: int,
        count: int,
        subscribe: str,
        tasks: int = 1,
        *,
        window: int = CALM,
        tokens: Path | None = None,
    ) -> Readers:
        """Start to connect so many browsers, who subscribe to so many tasks by this message."""
        tokens = tokens or self.tokens("reader", count)
        arguments = [port, count, window, 2 + tasks, tokens, subscribe, 0]
        program = tools.compiled(tools.BENCH / "load.c")
        readers = Readers([str(program), *map(str, arguments)], cores(), count=count)
        self.stack.callback(readers.stop)
        self.readers.append(readers)
        return readers

    def leave(self) -> None:
        """All browsers are gone, as in a crash of theirs."""
        for readers in self.readers:
            readers.stop()
        self.readers.clear()

    def nginx(self) -> int:
        """The port of an Nginx in front of all instances, by conf/nginx-cluster.conf. Raises Missing."""
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if program is None:
            raise tools.Missing("nginx is not installed")
        port = free_port()
        folder = self.folder / "nginx"
        folder.mkdir()
        (folder / "conf").write_text(_configured(folder, port, [each.port for each in self.instances]))
        process = subprocess.Popen([program, "-c", str(folder / "conf")])
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)
        self.nginx_pid = process.pid
        until(lambda: is_ready(port))
        return port

    def owners(self) -> dict[str, int]:
        """The port of the instance that has claimed a task, by the task's id."""
        with self.mongod.client() as client:
            found = list(client[DATABASE].tasks.find({"live": True}, {"lease.owner": 1}))
        return {task["_id"]: int(task["lease"]["owner"].rpartition(":")[2]) for task in found}

    def store_calls(self) -> int:
        """What the database was asked so far; a call for many tasks is one."""
        with self.mongod.client() as client:
            commands = client.admin.command("serverStatus")["metrics"]["commands"]
        return sum(int(commands[name]["total"]) for name in CALLS)

    def redis_figures(self) -> dict[str, int]:
        """Messages and bytes that came to Redis, bytes that left it, in all."""
        stats = dict(line.split(":") for line in self.redis.ask("INFO", "stats").splitlines() if ":" in line)
        published = [
            line for line in self.redis.ask("INFO", "commandstats").splitlines() if "_publish:" in line
        ]
        return {
            "messages": int(published[0].partition("calls=")[2].partition(",")[0]) if published else 0,
            "bytes in": int(stats["total_net_input_bytes"]),
            "bytes out": int(stats["total_net_output_bytes"]),
        }

    def cpu(self) -> dict[str, float]:
        """Seconds so far, by what is at work."""
        nginx = {} if self.nginx_pid is None else {"Nginx": cpu_s(self.nginx_pid)}
        return {
            "instances": sum(each.cpu_s for each in self.instances),
            "readers": sum(each.cpu_s for each in self.readers),
            "provider": self.provider.cpu_s,
            "Redis": cpu_s(self.redis.pid),
            "mongod": cpu_s(self.mongod.pid),
        } | nginx

    def pids(self) -> dict[str, list[int]]:
        """Of all processes but Nginx's, by what they are."""
        return {
            "instances": [each.pid for each in self.instances],
            "readers": [each.pid for each in self.readers],
            "provider": [self.provider.pid],
            "Redis": [self.redis.pid],
            "mongod": [self.mongod.pid],
        }

    def _launch(self) -> Instance:
        port = free_port()
        own = {"PORT": str(port), "STATE_DIR": str(self.folder / str(port))}
        instance = Instance([sys.executable, "-m", "sora_ws"], cores(), self.settings | own, port=port)
        self.stack.callback(instance.stop)
        self.instances.append(instance)
        return instance


@contextmanager
def machines(provider: Sequence[str], settings: Mapping[str, str]) -> Iterator[Machines]:
    """Servers for a measurement; `provider` is the command of one that says its port."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        mongod = stack.enter_context(running_mongod())
        redis = stack.enter_context(running(Redisd))
        assert isinstance(redis, Redisd)
        backend = Process([*provider], cores())
        stack.callback(backend.stop)
        common = {
            "HOST": "127.0.0.1",
            "DATABASE_URL": mongod.url(DATABASE),
            "REDIS_URL": redis.url,
            "MEDIA_STORE": "gridfs",
            "JWT_SECRET": SECRET,
            "SORA_API_BASE_URL": f"http://127.0.0.1:{backend.answer('port')['port']}/v1",
            "MAX_CONNECTIONS": str(CONNECTIONS_MAX),
            "MAX_CONNECTIONS_PER_ADDRESS": str(CONNECTIONS_MAX),
            "LANG": "C.UTF-8",
            "LOG_LEVEL": "error",
        }
        yield Machines(folder, mongod, redis, backend, stack, common | {**settings})


def call(port: int, method: str, path: str, body: object = None) -> bytes:
    """The body of an answer. Raises OSError where nobody listens, and Broken for an error."""
    connection = HTTPConnection("127.0.0.1", port, timeout=GUARD_S)
    headers = {"Authorization": f"Bearer {token(OWNER)}", "Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status >= 300:
        raise Broken(f"{method} {path}: {answer.status} {text[:500]!r}")
    return text


def is_ready(port: int) -> bool:
    """Whether who listens there serves everything."""
    try:
        call(port, "GET", "/readyz")
    except (OSError, Broken):
        return False
    return True


def until(is_so: Callable[[], bool], guard_s: float = GUARD_S, poll_s: float = POLL_S) -> None:
    """Raises Broken where it never comes to be so."""
    end = time.monotonic() + guard_s
    while not is_so():
        if time.monotonic() > end:
            raise Broken("what was waited for did not come")
        time.sleep(poll_s)


def _configured(folder: Path, listen: int, upstreams: Sequence[int]) -> str:
    """A whole configuration around the site of conf/, with these instances."""
    site = (CHECKOUT / "conf" / "nginx-cluster.conf").read_text(encoding="utf-8")
    site = site.replace("    listen [::]:80;\n", "").replace("listen 80;", f"listen 127.0.0.1:{listen};")
    servers = "\n    ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in upstreams)
    site = site.replace("    server 127.0.0.1:3002 max_fails=0;\n", "")
    site = site.replace("server 127.0.0.1:3001 max_fails=0;", servers)
    site = site.replace("/var/log/nginx/sora-ws.log", f"{folder}/access.log")
    return NGINX.format(folder=folder, site=site, user="user root;" if os.geteuid() == 0 else "")
