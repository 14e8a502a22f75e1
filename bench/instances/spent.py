"""What the memory of a machine is spent on, by the files of proc(5)."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KB: Final = 1024
NAMED: Final = ("Slab", "PageTables", "KernelStack", "VmallocUsed", "Percpu")


@dataclass(frozen=True, slots=True)
class Spent:
    """In bytes, but for `sockets` of TCP, of which a line over loopback has two, and what its queues
    could not take."""

    processes: dict[str, int]
    """Their share of what they have in memory (Pss), by what they are."""
    own: dict[str, int]
    """Of it what no other process can have a share in (Anonymous)."""
    kernel: int
    """What it has a name for: slab, tables of pages, stacks, and the buffers of TCP."""
    slab: int
    buffers: int
    """Of TCP, both ends."""
    unavailable: int
    sockets: int
    syns_dropped: int
    syns_sent_again: int

    @classmethod
    def now(cls, pids: Mapping[str, Sequence[int]]) -> Spent:
        info = _kilobytes("/proc/meminfo")
        tcp, told = _tcp(), _netstat()
        buffers = tcp["mem"] * resource.getpagesize()
        return cls(
            processes=_of_each(pids, "Pss"),
            own=_of_each(pids, "Anonymous"),
            kernel=buffers + sum(info[name] for name in NAMED),
            slab=info["Slab"],
            buffers=buffers,
            unavailable=info["MemTotal"] - info["MemAvailable"],
            sockets=tcp["inuse"],
            syns_dropped=told["ListenDrops"],
            syns_sent_again=told["TCPSynRetrans"],
        )

    def kernel_since(self, before: Spent) -> dict[str, int]:
        """What the kernel took meanwhile: all of it, and of that what has a name."""
        return {
            "kernel": self.kernel - before.kernel,
            "of it slab": self.slab - before.slab,
            "of it TCP's buffers": self.buffers - before.buffers,
            "MemAvailable less": self.unavailable - before.unavailable,
        }


def _of_each(pids: Mapping[str, Sequence[int]], what: str) -> dict[str, int]:
    return {
        name: sum(_kilobytes(f"/proc/{pid}/smaps_rollup")[what] for pid in each)
        for name, each in pids.items()
    }


def _kilobytes(file: str) -> dict[str, int]:
    """Its lines `Name:  123 kB`, in bytes."""
    lines = [line.split() for line in Path(file).read_text(encoding="ascii").splitlines()]
    return {line[0].rstrip(":"): int(line[1]) * KB for line in lines if line[-1] == "kB"}


def _tcp() -> dict[str, int]:
    """Sockets in use and pages of their buffers."""
    lines = Path("/proc/net/sockstat").read_text(encoding="ascii").splitlines()
    words = next(line for line in lines if line.startswith("TCP:")).split()[1:]
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def _netstat() -> dict[str, int]:
    """The extended counters of TCP: a line of names and a line of numbers."""
    lines = Path("/proc/net/netstat").read_text(encoding="ascii").splitlines()
    names, numbers = (line.split()[1:] for line in lines if line.startswith("TcpExt:"))
    return dict(zip(names, map(int, numbers), strict=True))
