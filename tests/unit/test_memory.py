"""What was learned goes to the store, also to one that was away."""

from __future__ import annotations

from pathlib import Path

import pytest

from sora_ws import durations
from sora_ws.durations import Experience
from sora_ws.memory import Memory
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Order

ORDER = Order("a cat", "sora-2", 8, "1280x720")


@pytest.mark.gen_test
async def test_a_restart_goes_on_with_what_was_learned(tmp_path: Path) -> None:
    """At a stop the newest is kept, and the next start recalls it."""
    store = SqliteStore(tmp_path / "db")
    await store.open()
    first, second = Experience(), Experience()
    memory = Memory(store, first)
    await memory.start()
    for _ in range(5):
        first.learn(ORDER, 40_000, 41_000)
    await memory.stop()
    recalling = Memory(store, second)
    await recalling.start()
    await recalling.stop()
    before, after = first.of(ORDER), second.of(ORDER)
    assert before is not None
    assert after is not None
    assert after.quantile(0.5) == pytest.approx(before.quantile(0.5), rel=1e-3)
    assert after.total == pytest.approx(before.total, rel=1e-3)
    await store.close()


@pytest.mark.gen_test
async def test_a_store_that_was_away_gets_it_later(tmp_path: Path) -> None:
    """Nothing is raised meanwhile, and nothing lost."""
    store, experience = SqliteStore(tmp_path / "db"), Experience()
    memory = Memory(store, experience)
    experience.learn(ORDER, 40_000, 41_000)
    await memory.keep()
    await store.open()
    await memory.keep()
    assert len(await store.experience()) == 3
    assert experience.changed == set()
    await store.close()


@pytest.mark.gen_test
async def test_what_is_forgotten_here_is_forgotten_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has no more kinds than the limit."""
    monkeypatch.setattr(durations, "KINDS_MAX", 4)
    store, experience = SqliteStore(tmp_path / "db"), Experience()
    await store.open()
    memory = Memory(store, experience)
    for number in range(8):
        experience.learn(Order("", f"model {number}"), 1_000, 2_000)
        await memory.keep()
    kept = await store.experience()
    assert len(kept) == 4
    assert ("model 7",) in kept
    await store.close()
