"""`python -m tests.simworld SEED [END]`: one seed with its history, or all of them up to END."""

from __future__ import annotations

import json
import logging
import sys
from typing import Final

from tests.simworld.seeds import tried
from tests.simworld.world import World

TELL_EVERY: Final = 1_000


def main() -> int:
    """Exit status 1 where a rule was broken."""
    logging.disable(logging.CRITICAL)
    numbers = [int(word) for word in sys.argv[1:]]
    if len(numbers) == 2:
        return many(range(*numbers))
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


def many(seeds: range) -> int:
    """Every line is there at once, so that a run that is broken off has told what it found."""
    failed = 0
    for count, (seed, text) in enumerate(tried(seeds), 1):
        if text:
            failed += 1
            print(f"seed {seed}: {text}", flush=True)
        if count % TELL_EVERY == 0 or count == len(seeds):
            print(f"{count} of {len(seeds)} seeds from {seeds.start}, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
