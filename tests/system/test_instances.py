"""Several instances on a Debian that boots: started, restarted one after another under load, killed, stopped.

What an operator types is taken from docs/operations.md. MongoDB, the provider and the visitors are processes
of this machine in the boot's network.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.docs.markdown import DOCS, blocks
from tests.history.checker import judge
from tests.history.journal import doubles, read
from tests.history.run import SECRET
from tests.mongod import running_mongod
from tests.services import missing
from tests.system import debian

SOURCES: Final = "/usr/src/sora-ws"
ENV_FILE: Final = "/etc/sora-ws/sora-ws.env"
PROVIDER_PORT: Final = 3100
LINES: Final = 200
BACK_S: Final = 30.0
FAILED: Final = "awk '$8 >= 500 {print $3}' /var/log/nginx/sora-ws.log"
"""When Nginx had no good answer, a line each."""

SET_UP, ROLLING = (
    block.text
    for block in blocks(DOCS / "operations.md")
    if (block.heading, block.language) == ("On one machine", "sh")
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Debian with sora-ws installed."""
    if reason := debian.why_not():
        missing(reason)
    tree = tmp_path_factory.mktemp("debian") / "tree"
    debian.new_tree(tree)
    debian.copy_checkout(into=tree / SOURCES.lstrip("/"))
    debian.in_chroot(tree, f"cd {SOURCES}; make install")
    yield tree
    shutil.rmtree(tree.parent)


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the provider writes what it was asked for, and all visitors what they were answered."""
    return tmp_path_factory.mktemp("journals")


@pytest.fixture(scope="module")
def machine(tree: Path, journals: Path) -> Iterator[debian.Machine]:
    """The booted machine, set up as the operations page has it."""
    with debian.Machine(tree) as machine, ExitStack() as stack:
        mongod = stack.enter_context(running_mongod(within=machine.its_network()))
        provider = [
            "tests.history.provider",
            "127.0.0.1",
            str(PROVIDER_PORT),
            str(journals / "provider"),
            "0",
        ]
        stack.enter_context(beside(machine, *provider))
        with (tree / ENV_FILE.lstrip("/")).open("a") as file:
            file.write(
                f"DATABASE_URL={mongod.url('sora_ws')}\nREDIS_URL=redis://localhost\nMEDIA_STORE=gridfs\n"
                f"SORA_API_BASE_URL=http://127.0.0.1:{PROVIDER_PORT}/v1\nJWT_SECRET={SECRET}\n"
                "SORA_POLL_INTERVAL=1000\nSORA_POLL_MIN_INTERVAL=200\nMAX_TASKS_PER_USER=100000\n"
            )
        named = "sed -i 's/server_name _;/server_name 127.0.0.1 localhost;/' conf/nginx-cluster.conf"
        machine.run(f"systemctl start nginx redis-server; cd {SOURCES}; {named}; {SET_UP}")
        yield machine


@contextmanager
def beside(machine: debian.Machine, *module: str) -> Iterator[subprocess.Popen[str]]:
    """A module of the tests, with its arguments, as a process of this machine in the boot's network."""
    with subprocess.Popen(
        [*machine.its_network(), sys.executable, "-m", *module],
        cwd=debian.CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def shown(machine: debian.Machine, port: int, name: str) -> str:
    """A property of the instance, as systemd shows it."""
    return machine.run(f"systemctl show --property={name} --value sora-ws@{port}").strip()


def test_all_instances_run_as_one_user(machine: debian.Machine) -> None:
    """Each is ready on its port, and they share a state folder in which each has its own."""
    for port in (3001, 3002):
        machine.run(f"curl -sS --fail localhost:{port}/readyz")
    users = machine.run("stat -c %U /var/lib/private/sora-ws/3001 /var/lib/private/sora-ws/3002").split()
    assert len(set(users)) == 1
    assert users[0] != "root"
    assert machine.run("cat /var/lib/sora-ws/*/password").count("password: ") == 1


def under_load(machine: debian.Machine, command: str, journals: Path) -> dict[str, Any]:
    """What the crowd saw while both instances were restarted by this: nothing is lost, and all are back."""
    before = [shown(machine, port, "MainPID") for port in (3001, 3002)]
    with beside(machine, "tests.system.crowd", "80", str(journals / "clients"), str(LINES)) as crowd:
        assert crowd.stdin
        assert crowd.stdout
        assert crowd.stdout.readline() == "there\n"
        machine.run(command)
        crowd.stdin.write("\n")
        crowd.stdin.flush()
        assert crowd.stdout.readline() == "back\n"
        crowd.stdin.close()
        seen: dict[str, Any] = json.loads(crowd.stdout.readline())
    assert not {shown(machine, port, "MainPID") for port in (3001, 3002)} & set(before)

    seconds = Counter(int(at) for at in seen["came_back"])
    seen |= {"away_s_max": max(seen["away_s"]), "back_in_a_second_max": max(seconds.values())}
    print({name: seen[name] for name in seen if name not in ("came_back", "away_s")})
    assert seen["left_by"].keys() == {"1001"}

    log = machine.run("journalctl --unit='sora-ws@*' --output=cat")
    history = [*read(journals / "clients"), *read(journals / "provider"), *doubles(log)]
    assert judge(history, float("inf"), time.time() - time.monotonic()) == []
    return seen


def test_rolling_restart_under_load(machine: debian.Machine, journals: Path) -> None:
    """Nobody is refused, nothing is lost, and everybody is back in time, on a slope."""
    seen = under_load(machine, ROLLING, journals)
    assert seen["refused"] == {}
    assert seen["creates"].keys() == seen["keyed"].keys() == {"202"}
    assert seen["away_s_max"] < BACK_S
    # Half of them where those who come wait for the next process.
    assert seen["back_in_a_second_max"] < LINES * 0.45
    assert machine.run(FAILED) == ""


def test_restart_of_all_at_once(machine: debian.Machine, journals: Path) -> None:
    """Nginx answers 502 while there is nobody to ask, but nothing is lost and everybody is back."""
    seen = under_load(machine, "systemctl restart sora-ws.target", journals)
    assert seen["refused"].keys() | seen["creates"].keys() <= {"202", "502"}
    failed = Counter(machine.run(FAILED).splitlines())
    print({"seconds_with_502": len(failed), "answers": failed.total()})


def test_a_killed_instance_refuses_nobody(machine: debian.Machine) -> None:
    """Its socket stays with systemd: who comes before the next process is there waits for it."""
    before = shown(machine, 3001, "MainPID")
    machine.run(f"kill -9 {before}; curl -sS --fail --max-time 60 localhost:3001/healthz")
    assert shown(machine, 3001, "MainPID") != before


def test_a_wrong_setting_stops_one_instance(machine: debian.Machine) -> None:
    """The rolling restart ends at the first that doesn't come up, and the others serve as before."""
    before = shown(machine, 3002, "MainPID")
    machine.run(f"cp {ENV_FILE} /etc/good.env; echo WS_AUTH_TIMEOUT=10s >> {ENV_FILE}; {ROLLING}")
    assert shown(machine, 3001, "ExecMainStatus") == "78"
    assert shown(machine, 3002, "MainPID") == before
    machine.run("for n in 1 2 3 4; do curl -sS --fail localhost/readyz; done")
    machine.run(f"cp /etc/good.env {ENV_FILE}; systemctl start sora-ws@3001")


def test_settings_of_one_instance(machine: debian.Machine) -> None:
    """Its own file wins over the shared one."""
    machine.run("echo MAX_CONNECTIONS=0 > /etc/sora-ws/3003.env; ! systemctl start sora-ws@3003")
    assert "MAX_CONNECTIONS is '0'" in machine.run("journalctl --unit=sora-ws@3003 --output=cat")
    machine.run("rm /etc/sora-ws/3003.env; systemctl start sora-ws@3003; systemctl stop sora-ws@3003")


def test_the_target_is_all_of_them(machine: debian.Machine) -> None:
    """Its stop stops them, its start starts those that are enabled."""
    machine.run("systemctl stop sora-ws.target; ! systemctl is-active sora-ws@3001 sora-ws@3002")
    machine.run("systemctl start sora-ws.target; systemctl is-active sora-ws@3001 sora-ws@3002")
    machine.run("! systemctl is-active sora-ws@3003")
