"""`python -m bench.instances [ROW …]`: every figure as a line of JSON, and all of them as a table a row.

It needs the mongod of the tests, Debian's redis-server and nginx, and a C compiler.
"""

from __future__ import annotations

import argparse
import json
import sys

from bench.instances.rows import GOALS, ROWS, SHORT, Scale
from bench.processes import Broken, Others
from bench.results import Measured, json_lines, machine, table
from bench.tools import Missing


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.instances", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--short", action="store_true", help="a look whether all of it works")
    arguments = parser.parse_args()
    unknown = [row for row in arguments.rows if row not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(ROWS)}")
    return run(arguments.rows or list(ROWS), SHORT if arguments.short else Scale())


def run(rows: list[str], scale: Scale) -> int:
    """The exit status: 1 where a row could not be measured."""
    print(json.dumps(machine()), flush=True)
    measured: list[Measured] = []
    for row in rows:
        others = Others()
        try:
            rounds = ROWS[row](scale)
        except (Broken, Missing) as error:
            print(f"bench.instances: {row}: {error}", file=sys.stderr)
        else:
            measured.append(Measured(row, GOALS.get(row, "none"), rounds, others.share))
            print(*json_lines(measured[-1]), sep="\n", flush=True)
    for row_measured in measured:
        print(f"\n{table([row_measured], row_measured.rounds.who)}")
    return 0 if len(measured) == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
