"""Many seeds at once, on all cores."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
from collections.abc import Iterable

from tests.simworld.world import World


def digest(seed: int) -> str:
    """Of the seed's history: equal whenever and wherever it is run."""
    world = World(seed)
    world.run()
    return hashlib.sha256(json.dumps(world.history).encode()).hexdigest()


def failing(seeds: Iterable[int]) -> dict[int, str]:
    """The seeds whose history breaks a promise, with what was broken."""
    # Processes are renewed now and then: buried lives leave something behind, and slow the collector down.
    with multiprocessing.get_context("spawn").Pool(initializer=logging.disable, maxtasksperchild=5) as pool:
        return {seed: text for seed, text in pool.imap_unordered(_try, seeds, chunksize=20) if text}


def _try(seed: int) -> tuple[int, str]:
    try:
        return seed, "; ".join(f"{found.rule}: {found.text}" for found in World(seed).run())
    except Exception as error:
        return seed, repr(error)
