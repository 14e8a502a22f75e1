"""`python -m bench.capacity`: what a load takes; where none is named, the three steps to a million.

As JSON, with --table as in docs/scaling.md; --check sets the model beside what was measured, and --write puts
both into the page.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Final

from bench.capacity import model
from bench.capacity.check import Check, checks
from bench.capacity.measured import COSTS
from bench.capacity.model import Limits, Load, State, cores

PAGE: Final = Path(__file__).parents[2] / "docs" / "scaling.md"
STEPS: Final = (10_000, 100_000, 1_000_000)
LINES_A_TASK: Final = 10
EVERY_S: Final = 10.0
READERS: Final = 2.0  # its owner's page and telephone

Figures = dict[str, str | float]


def figures(load: Load, limits: Limits, *, zone_lost: bool) -> Figures:
    """All that is told of a load."""
    state, bound_by = model.plan(load, limits, zone_lost=zone_lost)
    redis, mongod, nginx = (
        cores(spent(load, state)) for spent in (model.redis_us, model.mongod_us, model.nginx_us)
    )
    share = model.may(limits, state)
    fills = model.fixed_fills(load, state, limits)
    first = max(fills, key=lambda what: fills[what])
    told: Figures = {
        "instances": state.instances + state.lost,
        "so many for": bound_by,
        "of them left": state.instances,
        "lines at each": load.lines / state.instances,
        "of its core each takes, %": 100 * cores(model.instances_us(load, state)) / state.instances,
        "memory of each, the kernel's with it, MB": model.instance_bytes(load, state) / 1e6,
        "MongoDB's primary, cores": mongod,
        f"primaries of {limits.mongod_cores} cores": ceil(mongod / limits.mongod_cores / share),
        "calls to it a second": model.mongod_calls_per_s(load, state),
        "live tasks with their indexes, MB": load.tasks * COSTS.task_bytes / 1e6,
        "tasks that ended in 30 days, GB": load.ends_per_s * 30 * 86_400 * COSTS.task_bytes / 1e9,
        "Redis, cores": redis,
        "shards": ceil(redis / share),
        "Mbit a second to Redis and from it": 8 * model.redis_bytes_per_s(load, state) / 1e6,
        "Nginx, cores": nginx,
        "its workers": ceil(nginx / share),
        "its memory, the kernel's with it, GB": model.nginx_bytes(load) / 1e9,
        "Mbit a second to the browsers": 8 * load.bytes_per_s / 1e6,
        "looks at the provider a second": load.looks_per_s,
    }
    return (
        told
        | _storm(load, state, limits)
        | {"first to break": first, "how full that is, %": 100 * fills[first]}
    )


def _storm(load: Load, state: State, limits: Limits) -> Figures:
    """How the lines of a lost zone come back."""
    if not state.lost:
        return {}
    return {
        "lines that come back": state.lines_lost(load),
        "a second, to each that is left": state.coming_per_s(load) / state.instances,
        "all are back after, s": model.NOTICED_FIRST_S + model.until_back_s(load, state, limits),
        "the same if all notice at once, s": model.until_back_s(load, state, limits, over_s=0.0),
    }


def table(columns: dict[str, Figures]) -> str:
    """In Markdown, a row for each figure that anybody has."""
    rows = list(dict.fromkeys(what for told in columns.values() for what in told))
    lines = [f"| | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    lines += [
        f"| {what} | {' | '.join(_cell(told.get(what, '–')) for told in columns.values())} |" for what in rows
    ]
    return "\n".join(lines)


def steps(limits: Limits) -> dict[str, Figures]:
    """The columns of the page."""
    return {
        f"{lines:,} lines{', a zone lost' if zone_lost else ''}": figures(
            _load(lines), limits, zone_lost=zone_lost
        )
        for lines in STEPS
        for zone_lost in (False, True)
    }


def _load(lines: int) -> Load:
    tasks = lines // LINES_A_TASK
    return Load(lines, tasks, tasks / EVERY_S, READERS, EVERY_S)


def check_table(found: Sequence[Check]) -> str:
    """In Markdown."""
    head = "| measured | | the model | off by | its costs are from |\n| --- | --- | --- | --- | --- |\n"
    return head + "\n".join(
        f"| {it.what} | {_cell(it.measured)} | {_cell(it.predicted)} | {it.off:+.0%} | {it.costs_from} |"
        for it in found
    )


TABLES: Final[dict[str, Callable[[], str]]] = {
    "plan": lambda: table(steps(Limits())),
    "check": lambda: check_table(checks()),
}


def written(page: str) -> str:
    """The page with both tables as they are today, each between its two marks."""
    for name, made in TABLES.items():
        between = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- {name} ends -->)", re.DOTALL)
        page = between.sub(f"{made()}\n", page)
    return page


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.capacity", description=__doc__)
    parser.add_argument("--lines", type=int, help="open connections")
    parser.add_argument("--tasks", type=int, help="live ones; a tenth of the lines where not given")
    parser.add_argument(
        "--changes", type=float, help="of all tasks a second; one of each in 10 s where not given"
    )
    parser.add_argument("--readers", type=float, default=READERS, help="lines that hear a change")
    parser.add_argument("--look-every", type=float, default=EVERY_S, metavar="S")
    parser.add_argument("--heartbeat", type=float, default=model.BEAT_S, metavar="S")
    parser.add_argument("--bytes", type=float, default=272.0, help="of a push")
    parser.add_argument(
        "--core", type=float, default=Limits().core, help="the share of a core that may be used"
    )
    how = parser.add_mutually_exclusive_group()
    for option in ("--table", "--check", "--write"):
        how.add_argument(option, action="store_true")
    arguments = parser.parse_args()
    if arguments.write:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    elif arguments.check:
        print(check_table(checks()))
    else:
        columns = _asked(arguments)
        print(table(columns) if arguments.table else json.dumps(columns, indent=1))
    return 0


def _asked(arguments: argparse.Namespace) -> dict[str, Figures]:
    limits = Limits(core=arguments.core)
    if arguments.lines is None:
        return steps(limits)
    tasks = arguments.tasks or arguments.lines // LINES_A_TASK
    changes = arguments.changes or tasks / EVERY_S
    load = Load(
        arguments.lines,
        tasks,
        changes,
        arguments.readers,
        arguments.look_every,
        arguments.heartbeat,
        push_bytes=arguments.bytes,
    )
    return {
        ("a zone lost" if zone_lost else "all zones"): figures(load, limits, zone_lost=zone_lost)
        for zone_lost in (False, True)
    }


def _cell(value: float | str) -> str:
    """Two digits, and no more than are known."""
    if isinstance(value, str):
        return value
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 9.5 else f"{value:.2g}"


if __name__ == "__main__":
    sys.exit(main())
