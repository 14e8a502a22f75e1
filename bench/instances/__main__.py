"""`python -m bench.instances [ROW …]`: every figure as a line of JSON, and all of them as a table a row.

It needs the mongod of the tests, Debian's redis-server and nginx, and a C compiler.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from bench.instances.rows import GOALS, ROWS
from bench.instances.scale import SHORT, Scale
from bench.processes import Broken, Others
from bench.results import Measured, json_lines, machine, table
from bench.tools import Missing


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.instances", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--short", action="store_true", help="a look whether all of it works")
    parser.add_argument("--browsers", type=int, metavar="N", help=f"in the row held; {Scale().held}")
    parser.add_argument("--instances", type=int, metavar="N", help="in that row; as few as have room")
    parser.add_argument("--window", type=int, metavar="N", help="browsers an instance has on their way there")
    arguments = parser.parse_args()
    unknown = [row for row in arguments.rows if row not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(ROWS)}")
    scale = SHORT if arguments.short else Scale()
    held = {"held": arguments.browsers, "held_by": arguments.instances, "held_window": arguments.window}
    scale = dataclasses.replace(scale, **{name: value for name, value in held.items() if value is not None})
    return run(arguments.rows or list(ROWS), scale)


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
