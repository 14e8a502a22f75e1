"""`python -m bench [ROW …]`: every figure as a line of JSON, and all of them as a table."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from bench.processes import CONTENDERS, Broken, Others, bench
from bench.results import Measured, json_lines, machine, table
from bench.rows import ROWS
from bench.scale import SHORT, Scale
from bench.tools import Missing


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, metavar="N", help=f"{Scale().rounds} where not given")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS, metavar="CONTENDER")
    parser.add_argument("--short", action="store_true", help="a look whether all of it works")
    arguments = parser.parse_args()
    unknown = [row for row in arguments.rows if row not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(ROWS)}")
    scale = SHORT if arguments.short else Scale()
    if arguments.rounds:
        scale = dataclasses.replace(scale, rounds=arguments.rounds)
    return run(arguments.rows or list(ROWS), scale, arguments.only)


def run(rows: list[str], scale: Scale, who: list[str]) -> int:
    """The exit status: 1 where a row could not be measured."""
    print(json.dumps(machine()), flush=True)
    measured: list[Measured] = []
    for row in rows:
        others = Others()
        try:
            with bench(scale.readers_max) as made:
                rounds = ROWS[row].measure(made, scale, who)
        except (Broken, Missing) as error:
            print(f"bench: {row}: {error}", file=sys.stderr)
        else:
            measured.append(Measured(row, ROWS[row].goal, rounds, others.share))
            print(*json_lines(measured[-1]), sep="\n", flush=True)
    print(f"\n{table(measured, who)}")
    return 0 if len(measured) == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
