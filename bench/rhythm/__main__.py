"""`python -m bench.rhythm`: how soon an end is seen for how many looks, as lines of JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.rhythm import picture
from bench.rhythm.backends import TELLING
from bench.rhythm.compare import Draw, four, frontiers, goals, oracles, outcome
from bench.rhythm.rhythms import fixed, ours


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.rhythm", description=__doc__)
    parser.add_argument("--tasks", type=int, default=500, help="of each backend")
    parser.add_argument("--seeds", default="1,2,3,4", help="comma-separated")
    parser.add_argument("--picture", type=Path, help="where to draw the frontier of the first seed")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    for seed in seeds:
        draw = Draw.of(seed, arguments.tasks)
        outcomes = four(draw)
        for one in outcomes:
            print(one.json(), flush=True)
        base, _, own, _ = (one.all for one in outcomes)
        print(json.dumps({"seed": seed, "goals": goals(base, own, oracles(draw))}), flush=True)
        if arguments.picture and seed == seeds[0]:
            used = {one.rhythm: one.all for one in outcomes}
            arguments.picture.write_text(picture.draw(frontiers(draw), used), encoding="utf-8")
        telling = Draw.of(seed, arguments.tasks, TELLING)
        print(outcome("fixed, progress told", telling, lambda _: fixed(), TELLING).json())
        print(outcome("ours, progress told", telling, lambda _: ours(), TELLING).json(), flush=True)


if __name__ == "__main__":
    main()
