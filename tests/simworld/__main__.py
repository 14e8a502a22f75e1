"""`python -m tests.simworld SEED [END]`: one seed with its history, or all of them up to END."""

from __future__ import annotations

import json
import logging
import sys

from tests.simworld.seeds import failing
from tests.simworld.world import World


def main() -> int:
    """Exit status 1 where a rule was broken."""
    logging.disable(logging.CRITICAL)
    numbers = [int(word) for word in sys.argv[1:]]
    if len(numbers) == 2:
        found = failing(range(*numbers))
        for seed, text in found.items():
            print(f"seed {seed}: {text}")
        print(f"{numbers[1] - numbers[0]} seeds, {len(found)} failed")
        return 1 if found else 0
    if len(numbers) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    world = World(numbers[0])
    violations = world.run()
    for event in world.history:
        print(json.dumps(event))
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
