"""What the port promises of what was learned, held against every database."""

from __future__ import annotations

import math

import pytest

from sora_ws.durations import BINS, USUAL, Durations, Kind
from sora_ws.store import Store
from tests.stores.conftest import Database

ONE_BIN = Durations((*(0.0,) * 30, 1.5, *(0.0,) * (BINS - 31)))
NOTHING = Durations((0.0,) * BINS)
KINDS: list[Kind] = [
    (),
    ("sora-2",),
    ("sora-2", None, None),
    ("sora-2", 8, "1280x720"),
    ('a"b\\c', None, "1x1"),
]


@pytest.mark.gen_test
async def test_what_was_learned_is_kept_by_kind(store: Store, database: Database) -> None:
    """Each kind its own, found again by whoever opens the database next."""
    assert await store.experience() == {}
    for number, kind in enumerate(KINDS, start=1):
        await store.keep_durations(kind, ONE_BIN.scaled(number))
    other = database.store()
    await other.open()
    try:
        assert await other.experience() == {
            kind: ONE_BIN.scaled(number) for number, kind in enumerate(KINDS, start=1)
        }
    finally:
        await other.close()


@pytest.mark.parametrize("durations", [USUAL, USUAL.learn(7_000, 9_000), ONE_BIN, NOTHING])
@pytest.mark.gen_test
async def test_durations_come_back_to_a_millionth(store: Store, durations: Durations) -> None:
    """Every bin in its place."""
    await store.keep_durations((), durations)
    found = (await store.experience())[()]
    assert len(found.weights) == BINS
    for weight, kept in zip(durations.weights, found.weights, strict=True):
        assert math.isclose(weight, kept, abs_tol=1e-6)


@pytest.mark.gen_test
async def test_the_newest_is_kept(store: Store) -> None:
    """In place of the one before."""
    await store.keep_durations(("sora-2",), USUAL)
    await store.keep_durations(("sora-2",), ONE_BIN)
    assert await store.experience() == {("sora-2",): ONE_BIN}


@pytest.mark.gen_test
async def test_a_kind_is_forgotten(store: Store) -> None:
    """That one alone; to forget it again is no error."""
    for kind in KINDS:
        await store.keep_durations(kind, ONE_BIN)
    await store.forget_durations(KINDS[1])
    await store.forget_durations(KINDS[1])
    assert set(await store.experience()) == {*KINDS} - {KINDS[1]}
