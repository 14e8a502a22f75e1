"""A Debian tree of its own, and a real systemd booted in it.

Needs root, debootstrap and systemd-nspawn. What installs packages runs in the tree by chroot, which has
this machine's network; a boot has a loopback alone. In a boot systemd does all that it does on a host
but what takes resource controllers: MemoryMax=, TasksMax= and IPAddressDeny= are not enforced.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.locks import CACHE, locked

CHECKOUT: Final = Path(__file__).parents[2]
PACKAGES: Final = (
    "systemd,systemd-sysv,libnss-systemd,dbus,python3,python3-pip,make,ca-certificates,curl,nginx-light,"
    "redis-server"
)
CACHED_TREE: Final = CACHE / f"debian-{zlib.crc32(PACKAGES.encode()):08x}"
BOOT_SECONDS_MAX: Final = 60
POWER_OFF: Final = signal.SIGRTMIN + 4  # systemd(1): starts poweroff.target

# A mount namespace of its own gives nspawn a pure cgroup2 tree whatever the host has mounted, and
# --register=no keeps it from asking a systemd that the host may not run.
BOOT: Final = """
umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup && mkdir -p /run/systemd/nspawn &&
exec systemd-nspawn --quiet --directory="$0" --boot --register=no --keep-unit --link-journal=no \
  --private-network --console=pipe --notify-ready=yes --machine=sora-ws-test
"""


def why_not() -> str | None:
    """What keeps this machine from booting a tree, or None."""
    if os.geteuid() != 0:
        return "booting systemd needs root"
    absent = [tool for tool in ("debootstrap", "systemd-nspawn", "nsenter") if not shutil.which(tool)]
    return f"booting systemd needs {', '.join(absent)}; see `make test`" if absent else None


def new_tree(at: Path) -> None:
    """Put a fresh Debian 12 at the path; the first one takes a minute, the next ones are copies."""
    with locked("debian"):
        if not CACHED_TREE.exists():
            _debootstrap(CACHED_TREE)
    subprocess.run(["cp", "-a", "--reflink=auto", CACHED_TREE, at], check=True)
    _trust_as_here(at)


def _debootstrap(target: Path) -> None:
    """Make the tree beside the target and move it there when it is whole."""
    mirror = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()[0]
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        tree = Path(scratch) / "tree"
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(tree), mirror]
        made = subprocess.run(command, check=False, capture_output=True, text=True, timeout=360)
        if made.returncode:
            raise RuntimeError(f"debootstrap failed:\n{made.stdout[-2000:]}{made.stderr[-2000:]}")
        (tree / "etc/hostname").write_text("sora-ws-test\n")
        (tree / "etc/machine-id").write_text("")
        tree.rename(target)


def _trust_as_here(tree: Path) -> None:
    """Let pip in the tree find and trust the package index that pip on this machine does."""
    files = ["/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/xdg/pip"]
    files += [os.environ[name] for name in ("SSL_CERT_FILE", "PIP_CERT") if name in os.environ]
    for file in map(Path, files):
        copy = tree / file.relative_to("/")
        if file.is_dir():
            shutil.copytree(file, copy, dirs_exist_ok=True)
        elif file.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            shutil.copy(file, copy)


def copy_checkout(into: Path) -> None:
    """Copy what git tracks, as it stands in the working tree."""
    listed = subprocess.run(
        ["git", "-C", CHECKOUT, "ls-files", "-z"], check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (CHECKOUT / name).exists():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, into / name)


def in_chroot(tree: Path, script: str) -> str:
    """Run a shell script in the tree with this machine's network; its output, both streams."""
    command = ["chroot", str(tree), "sh", "-euc", script]
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environ()
    )
    if done.returncode:
        raise AssertionError(f"status {done.returncode} in the tree:\n{script}\n{done.stdout}")
    return done.stdout


def _environ() -> dict[str, str]:
    """A root's plain environment, with how this machine's pip reaches its index."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT_"))}
    kept.pop("PIP_FIND_LINKS", None)  # a folder of this machine
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return kept | {"HOME": "/root", "PATH": path, "LANG": "C.UTF-8"}


class Machine:
    """A tree while it is booted; as a context manager it boots and powers off."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._console = (tree.parent / f"{tree.name}.console").open("w+")
        self._init_pid = 0

    def __enter__(self) -> Self:
        notified = self.tree.parent / f"{self.tree.name}.notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(notified))
            ready.settimeout(BOOT_SECONDS_MAX)
            self._nspawn = subprocess.Popen(
                ["unshare", "--mount", "--propagation=private", "sh", "-c", BOOT, str(self.tree)],
                stdin=subprocess.DEVNULL,
                stdout=self._console,
                stderr=subprocess.STDOUT,
                env=os.environ | {"NOTIFY_SOCKET": str(notified)},
            )
            try:
                self._wait_until_up(ready)
            except BaseException:
                self._end()
                raise
            finally:
                notified.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, script: str) -> str:
        """Run a shell script inside; its output, both streams. Fails the test where the script fails."""
        done = self._inside("sh", "-euc", script)
        if done.returncode:
            raise AssertionError(f"status {done.returncode} of: {script}\n{done.stdout}")
        return done.stdout

    def its_network(self) -> list[str]:
        """What makes a command of this machine run in the boot's network."""
        return ["nsenter", "--target", str(self._init_pid), "--net", "--"]

    def starts(self, script: str) -> subprocess.Popen[str]:
        """A shell script that goes on running inside."""
        return subprocess.Popen(
            self._enter("sh", "-euc", script), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def _inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._enter(*command), check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def _enter(self, *command: str) -> list[str]:
        enter = ["nsenter", "--target", str(self._init_pid), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        return [*enter, "env", "-i", *(f"{k}={v}" for k, v in _environ().items()), *command]

    def _wait_until_up(self, notifications: socket.socket) -> None:
        """nspawn tells its child's process id, and READY=1 when systemd in there has booted."""
        told: dict[str, str] = {}
        while told.get("READY") != "1":
            try:
                lines = notifications.recv(4096).decode().splitlines()
            except TimeoutError:
                self._console.seek(0)
                raise AssertionError(f"the tree did not boot:\n{self._console.read()[-3000:]}") from None
            told |= dict(line.split("=", 1) for line in lines)
            self._init_pid = int(told.get("X_NSPAWN_LEADER_PID", 0))

    def _end(self) -> None:
        if self._init_pid and self._nspawn.poll() is None:
            os.kill(self._init_pid, POWER_OFF)
        try:
            self._nspawn.wait(20)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._console.close()
