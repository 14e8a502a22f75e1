"""`make autobahn`: every section over both transports, compression too, as a table."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.autobahn.suite import COMPRESSION, FRAMES, GOOD, TRANSPORTS, verdicts

DEADLINE_S: Final = 7_200.0  # a case of compression is a thousand messages, and the client is slow
DECLINED: Final = {"UNIMPLEMENTED"}  # an offer that allows only a window of 9 bits; ours has 12


def main() -> int:
    """0 where every case is good."""
    faults = 0
    for cases, name, good in ((FRAMES, "1-7, 10", GOOD), (COMPRESSION, "12, 13", GOOD | DECLINED)):
        for transport in TRANSPORTS:
            with tempfile.TemporaryDirectory() as folder:
                begun = time.monotonic()
                said = verdicts(transport, cases, Path(folder), DEADLINE_S)
                took = time.monotonic() - begun
            bad = {case: word for case, word in said.items() if word not in good}
            counts = dict(Counter(said.values()))
            print(f"{transport:6} sections {name:7} {counts} in {took:.0f} s", *bad, flush=True)
            faults += len(bad)
    return min(faults, 1)


if __name__ == "__main__":
    sys.exit(main())
