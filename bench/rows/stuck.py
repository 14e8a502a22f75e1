"""One in a hundred never reads: what the others notice, what is kept for it, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from bench.processes import COUNT_GUARD_S, OURS, Bench, Contender, Readers
from bench.rounds import Rounds, quantile
from bench.scale import Scale

GOAL: Final = "the others' p99 unchanged, memory bounded, all closed with 4413"
SHARE: Final = 100
RECEIVE_BUFFER: Final = 32_768
POLL_S: Final = 0.25
READ_S: Final = 3.0  # less than the 5 s that a closed line has for its close frame


def measure(bench: Bench, scale: Scale, who: Sequence[str]) -> Rounds:
    """By a fresh process each time; the same others with the stuck ones and without, equally long."""
    rounds = Rounds(who, scale.rounds)
    for name in rounds.turns():
        _measure(bench, scale, rounds, name)
    return rounds


def _measure(bench: Bench, scale: Scale, rounds: Rounds, name: str) -> None:
    options = ("skip",) if name == "limit" else ()
    settings = {"MAX_SEND_BUFFER_BYTES": str(scale.stuck_buffer)} if name in OURS else {}
    contender = bench.contender(name, scale.stuck_tasks, options=options, **settings)
    count = scale.stuck_readers // SHARE
    stuck = bench.readers(contender, count, tasks=scale.stuck_tasks, receive_buffer=RECEIVE_BUFFER)
    stuck.ready()
    empty = contender.rss_bytes
    contender.publish(scale.stuck_fill, together=scale.stuck_tasks)
    contender.published()
    filled = contender.rss_bytes
    if contender.lines < count:  # closed by that already, and a close frame waits 5 s for who reads it
        _closed(stuck)

    others = bench.readers(contender, scale.stuck_readers - count, tasks=scale.stuck_tasks)
    others.ready()
    beside = contender.rss_bytes
    pushes = _Pushes(contender, others, scale.stuck_for, scale.stuck_per_second)
    peak = _until_closed(contender, others.count, scale.stuck_for)
    closed_us = time.monotonic_ns() // 1000
    closed = _closed(stuck)
    p99_ms = pushes.p99_ms(closed_us)
    bench.end(stuck)
    alone_ms = _Pushes(contender, others, scale.stuck_for, scale.stuck_per_second).p99_ms()
    bench.end(others, contender)

    rounds.add(name, "the others' p99 beside them", "ms", p99_ms)
    rounds.add(name, "the others' p99 without them", "ms", alone_ms)
    rounds.add(name, "p99, of without", "×", p99_ms / alone_ms)
    rounds.add(name, f"memory for {count} stuck ones", "MB", (filled - empty + peak - beside) / 2**20)
    rounds.add(name, "closed with 4413", "%", 100 * closed / count)


def _closed(stuck: Readers) -> int:
    """Let them read: how many have been closed with 4413, in all."""
    stuck.tell("read", READ_S)
    closed: int = stuck.answer("closed")["closed"].get("4413", 0)
    return closed


def _until_closed(contender: Contender, others: int, seconds: float) -> int:
    """Wait until nobody but the others is left, or the time is over; the most RSS meanwhile, in bytes."""
    end = time.monotonic() + seconds
    peak = contender.rss_bytes
    while contender.lines > others and time.monotonic() < end:
        time.sleep(POLL_S)
        peak = max(peak, contender.rss_bytes)
    return peak


class _Pushes:
    """Changes at a steady rate, from now on."""

    def __init__(self, contender: Contender, readers: Readers, seconds: float, per_second: int) -> None:
        self._contender = contender
        self._readers = readers
        self._changes = int(seconds * per_second)
        readers.expect(self._changes, seconds + COUNT_GUARD_S)
        contender.publish(self._changes, interval_us=1_000_000 // per_second)

    def p99_ms(self, until_us: int = 2**63) -> float:
        """Of those that were due by then; of all where none was."""
        self._contender.published()
        counted = self._readers.counted(self._changes)
        return quantile(counted.delays_ms(end_us=until_us) or counted.delays_ms(), 0.99)
