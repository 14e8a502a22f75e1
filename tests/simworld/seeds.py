"""Many seeds at once, on all cores."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import multiprocessing
from collections.abc import Iterable, Iterator

from tests.simworld.world import World

# Processes are renewed now and then: buried lives leave something behind. A new one is a copy of one that
# has imported everything.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def digest(seed: int) -> str:
    """Of the seed's history: equal whenever and wherever it is run."""
    world = World(seed)
    world.run()
    return hashlib.sha256(json.dumps(world.history).encode()).hexdigest()


def tried(seeds: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Each seed, in the order in which they are done, with what its history breaks: nothing, mostly."""
    with PROCESSES.Pool(initializer=_begin, maxtasksperchild=10) as pool:
        yield from pool.imap_unordered(_try, seeds, chunksize=20)


def _begin() -> None:
    logging.disable()
    gc.disable()  # a world collects its own garbage when it is over
    gc.freeze()  # and of what is imported nothing is ever garbage


def _try(seed: int) -> tuple[int, str]:
    try:
        return seed, "; ".join(f"{found.rule}: {found.text}" for found in World(seed).run())
    except Exception as error:
        return seed, repr(error)
    finally:
        gc.freeze()  # what buried lives leave behind is not looked at again
