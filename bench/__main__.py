"""`python -m bench [ROW …]`: every figure as a line of JSON, and all of them as a table."""

from __future__ import annotations

import argparse
import json
import sys

from bench.processes import CONTENDERS, Broken, bench
from bench.results import Result, machine, table
from bench.rows import ROWS, SHORT, Scale
from bench.tools import Missing


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--short", action="store_true", help="a look whether all of it works")
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders, comma-separated")
    arguments = parser.parse_args()
    unknown = [row for row in arguments.rows if row not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(ROWS)}")
    scale = SHORT if arguments.short else Scale()
    print(json.dumps(machine()), flush=True)
    results: list[Result] = []
    broken = False
    for row in arguments.rows or ROWS:
        try:
            with bench(max(*scale.memory, scale.crowd, scale.readers)) as made:
                for result in ROWS[row](made, scale, arguments.only.split(",")):
                    print(result.json(), flush=True)
                    results.append(result)
        except (Broken, Missing) as error:
            print(f"bench: {row}: {error}", file=sys.stderr)
            broken = True
    print(f"\n{table(results)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
