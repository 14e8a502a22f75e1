"""The service on a Debian 12 that boots: installed, started, restarted, killed, updated, removed.

The tests go through one service's life from top to bottom, on one boot; each leaves the service running
for the next.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.services import missing
from tests.system import debian

SOURCES: Final = "/usr/src/sora-ws"
ENV_FILE: Final = "/etc/sora-ws/sora-ws.env"
STATE: Final = "/var/lib/private/sora-ws"
UNITS: Final = "etc/systemd/system"
PORT_IS_CLOSED: Final = (
    "status=0; curl -s --max-time 60 localhost:3001/healthz || status=$?; test $status = 7"
)
OLD_VERSION: Final = "0.0.1"
# What the operator of this machine has set; an update must leave it alone.
OURS: Final = (
    "SORA_SIMULATOR_SECONDS=4\nSORA_POLL_MIN_INTERVAL=200\nSORA_POLL_INTERVAL=500\nDRAIN_SECONDS=1\n"
)


class Service:
    """The booted machine, as somebody who uses the service on it."""

    def __init__(self, machine: debian.Machine) -> None:
        self.machine = machine
        self.run = machine.run
        self.token = ""

    def sign_in(self, password: str) -> str:
        """The status of a sign-in as admin; later requests use its token."""
        body = json.dumps({"username": "admin", "password": password})
        answer = self.run(f"curl -s -w '\\n%{{http_code}}' --json '{body}' localhost:3001/api/auth/login")
        text, _, status = answer.rpartition("\n")
        if status == "200":
            self.token = json.loads(text)["token"]
        return status

    @property
    def bearer(self) -> str:
        """curl's option that says who asks."""
        return f"-H 'Authorization: Bearer {self.token}'"

    def create(self, prompt: str) -> str:
        """The videoId of a new task."""
        return str(self.ask("/api/videos", f"--json '{json.dumps({'prompt': prompt})}'")["videoId"])

    def ask(self, path: str, options: str = "") -> dict[str, Any]:
        """The JSON that a request gets; it waits in the listening socket while no server runs."""
        curl = "curl -sS --fail-with-body --max-time 60"
        answer = self.run(f"{curl} {self.bearer} {options} localhost:3001{path}")
        return dict(json.loads(answer))

    def wait_for(self, video: str) -> dict[str, Any]:
        """The task when it has ended, which the pushes tell."""
        self.run(f"SORA_WS_TOKEN={self.token} timeout 60 sora-ws watch {video} --json")
        return self.ask(f"/api/videos/{video}")

    def shown(self, name: str) -> str:
        """A property of the unit, as systemd shows it."""
        return self.run(f"systemctl show --property={name} --value sora-ws").strip()

    def log(self) -> str:
        """What the service has said in this boot."""
        return self.run("journalctl --unit=sora-ws --output=cat")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Debian with the sources, an older version installed from them, and the operator's settings."""
    if reason := debian.why_not():
        missing(reason)
    tree = tmp_path_factory.mktemp("debian") / "tree"
    debian.new_tree(tree)
    sources = tree / SOURCES.lstrip("/")
    debian.copy_checkout(into=sources)
    (sources / "sora_ws" / "left_over.py").touch()
    debian.in_chroot(tree, f"cd {SOURCES}; sed -i 's/0[.]1[.]0/{OLD_VERSION}/' setup.py sora_ws/__init__.py")
    debian.in_chroot(tree, f"cd {SOURCES}; make install")
    yield tree
    shutil.rmtree(tree.parent)


@pytest.fixture(scope="module")
def service(tree: Path) -> Iterator[Service]:
    """The booted machine, with the service started and admin signed in."""
    with (tree / ENV_FILE.lstrip("/")).open("a") as file:
        file.write(OURS)
    # What an update builds with, as a boot has no network.
    debian.in_chroot(tree, "python3 -m pip --quiet download -d /wheels 'setuptools>=70' wheel")
    with debian.Machine(tree) as machine:
        machine.run("systemctl start sora-ws")
        service = Service(machine)
        password = machine.run(f"cat {STATE}/password").removeprefix("password: ").strip()
        assert service.sign_in(password) == "200"
        yield service


def test_install_without_systemd_only_puts_files(tree: Path) -> None:
    """In a tree that isn't booted there is a program, a unit and a file of settings for root alone."""
    assert debian.in_chroot(tree, "sora-ws --version").split()[-1] == OLD_VERSION
    assert (tree / UNITS / "sora-ws.service").exists()
    assert (tree / ENV_FILE.lstrip("/")).stat().st_mode & 0o777 == 0o600
    assert not list((tree / UNITS).glob("*.wants/sora-ws*"))


def test_install_and_uninstall_need_root(tree: Path) -> None:
    """Somebody else is told so before anything is written."""
    for target in ("install", "uninstall"):
        told = debian.in_chroot(tree, f"cd {SOURCES}; ! setpriv --reuid=65534 make {target} 2>&1")
        assert "run it as root" in told


def test_missing_packages_are_named_to_others_than_root(tree: Path) -> None:
    """`make test` can't install Debian packages for them, so it says which, and how to get them."""
    told = debian.in_chroot(tree, f"cd {SOURCES}; setpriv --reuid=65534 tests/system/debian-packages")
    assert "Some tests will be skipped" in told
    assert "sudo apt-get install --no-install-recommends chromium" in told


@pytest.mark.parametrize("unit", ["sora-ws.service", "sora-ws@.service"])
def test_unit_is_hardened(tree: Path, unit: str) -> None:
    """systemd's own judgement of the unit is an exposure of at most 1.5."""
    debian.in_chroot(tree, f"systemd-analyze security --offline=true --threshold=15 /{UNITS}/{unit}")


def test_units_are_understood(tree: Path) -> None:
    """systemd has nothing to say against a line of them."""
    told = debian.in_chroot(
        tree, "systemd-analyze verify sora-ws.service sora-ws@3001.service sora-ws.target"
    )
    assert told == ""


def test_first_password_is_in_a_file_for_root(service: Service) -> None:
    """The journal, which more people read, has the path and not the password."""
    mode, path = service.run(f"stat -c '%a %n' {STATE}/password").split()
    password = service.run(f"cat {path}").split()[-1]
    assert mode == "600"
    assert password not in service.log()
    assert "/var/lib/sora-ws/password" in service.log()


def test_video_from_prompt_to_file_over_a_restart(service: Service) -> None:
    """A restart in the middle of a task refuses no request, and the video is made, kept and served."""
    video = service.create("a lighthouse in the fog")
    before = service.shown("MainPID")
    knock = (
        f"curl -s -o /dev/null -w '%{{http_code}} ' --max-time 60 {service.bearer} localhost:3001/api/videos"
    )
    knocking = service.machine.starts(f"until test -e /run/restarted; do {knock} || echo refused; done")
    service.run("systemctl restart sora-ws; touch /run/restarted")
    answers = knocking.communicate(timeout=60)[0].split()
    assert set(answers) == {"200"}
    assert service.shown("MainPID") != before

    result = service.wait_for(video)["result"]
    service.run(f"curl -sS --fail -o /srv/video.mp4 '{result['videoUrl']}'")
    service.run(f"curl -sS --fail -o /srv/video.jpg '{result['thumbnailUrl']}'")
    downloaded = service.machine.tree / "srv"
    assert (downloaded / "video.mp4").stat().st_size == result["fileSize"]
    assert (downloaded / "video.mp4").read_bytes()[4:8] == b"ftyp"
    assert (downloaded / "video.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_killed_service_comes_back_and_goes_on(service: Service) -> None:
    """After kill -9 the task that was under way is finished by the next process."""
    video = service.create("a paper boat on a river")
    before = service.shown("MainPID")
    service.run(f"kill -9 {before}")
    assert service.wait_for(video)["status"] == "COMPLETED"
    assert service.shown("MainPID") != before


def test_hung_loop_is_killed_and_started_again(service: Service) -> None:
    """The watchdog notices a loop that no longer turns; a request sent meanwhile is answered late."""
    service.run(
        "mkdir -p /run/systemd/system/sora-ws.service.d; cd /run/systemd/system/sora-ws.service.d;"
        "printf '[Service]\nWatchdogSec=4s\n' > watchdog.conf;"
        "systemctl daemon-reload; systemctl restart sora-ws"
    )
    before = service.shown("MainPID")
    service.run(f"kill -STOP {before}")
    service.ask("/healthz")
    assert service.shown("MainPID") != before
    assert "Watchdog timeout" in service.log()
    service.run("rm -r /run/systemd/system/sora-ws.service.d; systemctl daemon-reload")


def test_lost_password_is_set_anew(service: Service) -> None:
    """`sora-ws user passwd` works on the installed service and leaves nothing that it can't write."""
    old = service.run(f"cat {STATE}/password").split()[-1]
    new = service.run("sora-ws user passwd admin").split()[-1]
    assert service.sign_in(old) == "401"
    assert service.sign_in(new) == "200"
    owners = service.run(f"find {STATE} -printf '%u\n' | sort -u").split()
    assert len(owners) == 1
    assert owners != ["root"]


def test_lost_password_is_set_anew_while_stopped(service: Service) -> None:
    """The same with no service running that holds the database open."""
    service.run("systemctl stop sora-ws")
    new = service.run("sora-ws user passwd admin").split()[-1]
    assert "root" not in service.run(f"find {STATE} -printf '%u\n' | sort -u").split()
    service.run("systemctl start sora-ws")
    assert service.sign_in(new) == "200"


def test_wrong_setting_ends_with_78_and_no_loop(service: Service) -> None:
    """The start fails once, with a line that names the setting, and the port is given up."""
    service.run(f"cp {ENV_FILE} /etc/good.env; echo WS_AUTH_TIMEOUT=10s >> {ENV_FILE}")
    service.run("! systemctl restart sora-ws")
    assert service.shown("ExecMainStatus") == "78"
    assert service.shown("ActiveState") == "failed"
    assert "WS_AUTH_TIMEOUT is '10s'" in service.log()
    service.run(PORT_IS_CLOSED)
    service.run(f"cp /etc/good.env {ENV_FILE}; systemctl start sora-ws")


def test_unknown_setting_is_warned_of(service: Service) -> None:
    """A misspelt name doesn't stop the start, and the journal has the name that was meant."""
    service.run(f"cp {ENV_FILE} /etc/good.env; echo WS_AUTH_TIMEOUTS=1 >> {ENV_FILE}")
    service.run("systemctl restart sora-ws")
    assert "there is no setting WS_AUTH_TIMEOUTS; did you mean WS_AUTH_TIMEOUT?" in service.log()
    service.run(f"cp /etc/good.env {ENV_FILE}")


def test_nginx_in_front_by_its_file(service: Service) -> None:
    """conf/nginx.conf works in Debian's Nginx as it comes, the server's name set."""
    service.run(
        f"sed 's/server_name _;/server_name videos.example.com;/' {SOURCES}/conf/nginx.conf"
        " > /etc/nginx/conf.d/sora-ws.conf; nginx -t; systemctl restart nginx"
    )
    through = "curl -sS --fail --resolve videos.example.com:80:127.0.0.1 http://videos.example.com"
    assert service.run(f"{through}/healthz") == service.run("curl -sS localhost:3001/healthz")


def test_stop_ends_with_0_and_closes_the_port(service: Service) -> None:
    """Nothing is left that would start it again; the task under way goes on after the next start."""
    video = service.create("a bicycle leaning on a wall")
    service.run("systemctl stop sora-ws")
    assert service.shown("ExecMainStatus") == "0"
    assert service.shown("Result") == "success"
    service.run(PORT_IS_CLOSED)
    service.run("systemctl start sora-ws")
    assert service.wait_for(video)["status"] == "COMPLETED"


def test_update_keeps_the_settings_and_refuses_nobody(service: Service) -> None:
    """`make install` over an older version runs the new one, without what only the old one had."""
    settings = service.run(f"cat {ENV_FILE}")
    debian.copy_checkout(into=service.machine.tree / SOURCES.lstrip("/"))
    service.run(f"rm {SOURCES}/sora_ws/left_over.py")
    before = service.shown("MainPID")
    service.run(f"cd {SOURCES}; PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels make install")
    assert service.run("sora-ws --version").split()[-1] != OLD_VERSION
    assert service.shown("MainPID") != before
    assert service.run(f"cat {ENV_FILE}") == settings
    assert "left_over" not in service.run("ls /opt/sora-ws/lib/python3*/site-packages/sora_ws")
    service.ask("/api/videos")


def test_uninstall_keeps_settings_and_data(service: Service) -> None:
    """Program, unit and command go; what can't be had again stays, and the way to remove it is told."""
    told = service.run(f"systemctl enable sora-ws; cd {SOURCES}; make uninstall")
    service.run("! systemctl cat sora-ws; ! test -e /opt/sora-ws; ! command -v sora-ws")
    service.run(PORT_IS_CLOSED)
    service.run(f"test -s {STATE}/sora-ws.sqlite3; test -s {ENV_FILE}")
    assert service.run(f"find /{UNITS} -name 'sora-ws*' ! -type d") == ""
    assert f"rm -r /etc/sora-ws/ {STATE}" in told
