"""Our own servers in a process of their own, for others to stand in front of: ``python -m``."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from sora_ws.provider.simulator import Simulator
from tests.backends.dialects import DialectServer
from tests.backends.jobs import Dialect

CHECKOUT = Path(__file__).parents[2]
SIMULATED_S = 1.0
STOP_GUARD_S = 10.0


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Base URLs: of the product's simulator, and of a server that fails as vLLM-Omni does.

    `film_url` is a video on a third origin.
    """

    simulator: str
    failing: str
    film_url: str


@contextmanager
def upstreams() -> Iterator[Upstreams]:
    """All of them, running."""
    command = [sys.executable, "-m", "tests.backends.upstreams"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Upstreams(**json.loads(process.stdout.readline()))
        finally:
            process.terminate()
            process.wait(STOP_GUARD_S)


async def main() -> None:
    """Serve until killed; the addresses go to the standard output, as one line of JSON."""
    simulator = Simulator(SIMULATED_S)
    failing = DialectServer(Dialect(looks=1, failure="http 500"))
    addresses = Upstreams(await simulator.start(), await failing.start(), failing.jobs.film_url)
    print(json.dumps(asdict(addresses)), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
