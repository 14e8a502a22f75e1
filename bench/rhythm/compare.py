"""Every rhythm over the same tasks, and what of it is owed."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any, Final

from bench.rhythm.backends import BACKENDS, Backend
from bench.rhythm.replay import Seen, replay, together
from bench.rhythm.rhythms import LONGEST, Follow, doubling, fixed, oracle, ours
from sora_ws.rhythm import LOOK_PRICE

Make = Callable[[Backend], Follow]
"""A rhythm for the tasks of a backend."""

PRICES: Final = (0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.2, 3.0, 5.0)  # s of delay for a look


@dataclass(frozen=True, slots=True)
class Draw:
    """So many tasks of each backend, drawn with one seed; how long each takes, in s."""

    seed: int
    durations: Mapping[str, Sequence[float]]

    @classmethod
    def of(cls, seed: int, tasks: int, backends: Sequence[Backend] = BACKENDS) -> Draw:
        random = Random(seed)
        return cls(seed, {backend.name: [backend.draw(random) for _ in range(tasks)] for backend in backends})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rhythm did, over all backends and for each."""

    rhythm: str
    draw: Draw
    of_backend: Mapping[str, Seen]
    all: Seen

    def json(self) -> str:
        figures = {name: _figures(seen) for name, seen in self.of_backend.items()}
        line = {"rhythm": self.rhythm, "seed": self.draw.seed} | _figures(self.all) | {"backends": figures}
        return json.dumps(line, ensure_ascii=False)


def outcome(name: str, draw: Draw, make: Make, backends: Sequence[Backend] = BACKENDS) -> Outcome:
    """The rhythm that `make` gives, over all the tasks; one backend's teach nothing of another's."""
    of_backend = {b.name: replay(make(b), b, draw.durations[b.name]) for b in backends}
    return Outcome(name, draw, of_backend, together(of_backend.values()))


def four(draw: Draw) -> list[Outcome]:
    """The rhythms that are compared, each as it would be used."""
    return [
        outcome("fixed", draw, lambda _: fixed()),
        outcome("doubling", draw, lambda _: doubling()),
        outcome("ours", draw, lambda _: ours()),
        outcome("oracle", draw, lambda backend: known(backend, LOOK_PRICE * LONGEST)),
    ]


def frontiers(draw: Draw) -> dict[str, list[Seen]]:
    """Each rhythm from few looks to many."""
    return {
        "fixed": [outcome("", draw, lambda _, w=w: fixed(w)).all for w in (60, 45, 30, 20, 15, 10, 7.5)],  # type: ignore[misc]
        "doubling": [outcome("", draw, lambda _, w=w: doubling(w)).all for w in (60, 30, 20, 15, 10, 7.5)],  # type: ignore[misc]
        "ours": [outcome("", draw, lambda _, p=p: ours(p / LONGEST)).all for p in reversed(PRICES)],  # type: ignore[misc]
        "oracle": oracles(draw),
    }


def oracles(draw: Draw, prices: Sequence[float] = PRICES) -> list[Seen]:
    """What who knows the true distributions gets, from few looks to many."""
    return [
        outcome("", draw, lambda backend, price=price: known(backend, price)).all  # type: ignore[misc]
        for price in sorted(prices, reverse=True)
    ]


def goals(base: Seen, own: Seen, best: Sequence[Seen]) -> dict[str, float]:
    """What is owed: against the fixed rhythm `base` at most 1.4 and 0.3, against the oracle 1.15."""
    assert own.error is not None
    assert best[0].error is not None
    return {
        "looksOfFixed": _short(own.looks_a_task / base.looks_a_task),
        "delayOfFixed": _short(own.delay / base.delay),
        "delayOfOracleAtEqualLooks": _short(own.delay / _delay_at(own.looks_a_task, best)),
        "errorOfOracle": _short(own.error / best[0].error),
    }


known: Final = cache(oracle)  # a plan costs more than its use


def _delay_at(looks: float, frontier: Sequence[Seen]) -> float:
    """Between the two neighbours. Raises ValueError beyond the ends."""
    for few, many in pairwise(frontier):
        if few.looks_a_task <= looks <= many.looks_a_task:
            part = (looks - few.looks_a_task) / (many.looks_a_task - few.looks_a_task)
            return few.delay + part * (many.delay - few.delay)
    raise ValueError(f"{looks:.2f} looks a task are beyond the frontier")


def _figures(seen: Seen) -> dict[str, Any]:
    return {
        "looks": _short(seen.looks_a_task),
        "delay": _short(seen.delay),
        "delayP95": _short(statistics.quantiles(seen.delays, n=20)[-1]),
        "errorAtHalf": None if seen.error is None else _short(seen.error),
    }


def _short(value: float) -> float:
    """Four figures; more would be noise."""
    return float(f"{value:.4g}")
