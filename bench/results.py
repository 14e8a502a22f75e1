"""What was measured, as JSON lines and as a table."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tornado

from bench import tools
from bench.rounds import Figure, Rounds
from sora_ws import __version__


@dataclass(frozen=True, slots=True)
class Measured:
    """A row with all its figures."""

    row: str
    goal: str
    rounds: Rounds
    others: float
    """The share of the machine's cores that was not ours meanwhile."""


def json_lines(measured: Measured) -> Iterator[str]:
    """One line a figure, with the value of every round, and one for each contender that is absent."""
    for figure in measured.rounds.figures:
        line = {
            "row": measured.row,
            "contender": figure.contender,
            "what": figure.what,
            "unit": figure.unit,
            "median": _short(figure.median),
            "low": _short(min(figure.values)),
            "high": _short(max(figure.values)),
            "values": [_short(value) for value in figure.values],
        }
        yield json.dumps(line)
    yield json.dumps({"row": measured.row, "others_share": _short(measured.others)})
    for contender, why in measured.rounds.absent.items():
        yield json.dumps({"row": measured.row, "contender": contender, "absent": why})


def table(rows: Sequence[Measured], who: Sequence[str]) -> str:
    """In Markdown: a line a figure, the contenders side by side, each with median (low – high)."""
    lines = [f"| row | what | {' | '.join(who)} |", f"| --- | --- |{' --- |' * len(who)}"]
    for measured in rows:
        head = f"goal: {measured.goal}; {measured.others:.0%} of the cores went to others"
        lines.append(f"| **{measured.row}** | {head} |{' |' * len(who)}")
        found: dict[tuple[str, str], dict[str, Figure]] = {}
        for figure in measured.rounds.figures:
            found.setdefault((figure.what, figure.unit), {})[figure.contender] = figure
        for (what, unit), by_contender in found.items():
            cells = [_cell(by_contender.get(name), measured.rounds.absent.get(name, "–")) for name in who]
            lines.append(f"| | {what}, {unit} | {' | '.join(cells)} |")
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


def _cell(figure: Figure | None, why_not: str) -> str:
    if figure is None:
        return why_not
    low, high = min(figure.values), max(figure.values)
    return f"{_text(figure.median)} ({_text(low)} – {_text(high)})"


def _short(value: float) -> float:
    """Four figures; more would be noise."""
    return float(f"{value:.4g}")


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
