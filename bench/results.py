"""What was measured, as JSON lines and as a table."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tornado

from bench import tools
from sora_ws import __version__


@dataclass(frozen=True, slots=True)
class Result:
    """One figure, as often as it was measured."""

    row: str
    contender: str
    what: str
    unit: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def json(self) -> str:
        return json.dumps(
            {
                "row": self.row,
                "contender": self.contender,
                "what": self.what,
                "unit": self.unit,
                "median": _short(self.median),
                "low": _short(min(self.values)),
                "high": _short(max(self.values)),
                "values": [_short(value) for value in self.values],
            }
        )


def table(results: Iterable[Result]) -> str:
    """In Markdown, one line a figure."""
    lines = ["| row | who | what | median | low – high | unit |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [
        f"| {r.row} | {r.contender} | {r.what} | {_text(r.median)} "
        f"| {_text(min(r.values))} – {_text(max(r.values))} | {r.unit} |"
        for r in results
    ]
    return "\n".join(lines)


def machine() -> dict[str, str]:
    """Where and with what it was measured."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")]
    return {
        "cpu": f"{len(os.sched_getaffinity(0))} × {models[0] if models else platform.machine()}",
        "kernel": platform.release(),
        "load_before": f"{os.getloadavg()[0]:.2f}",
        "sora_ws": __version__,
        "python": sys.version.split()[0],
        "tornado": tornado.version,
        "node": _node_version(),
        "ws": tools.WS,
    }


def _node_version() -> str:
    if not shutil.which("node"):
        return "none"
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that a share `q` of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))]


def _short(value: float) -> float:
    """Four figures; more would be noise."""
    return float(f"{value:.4g}")


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
