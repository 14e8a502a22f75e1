"""What the ports promise of keeping and changing a task, held against every database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from sora_ws.store import DuplicateKey, Stale, Store, StoreError, StoreUnavailable
from sora_ws.task import Idempotency, Order, State, Task, Video, Watch
from tests.stores.conftest import Database
from tests.stores.tasks import A_CALLBACK, NOW, a_keyed_task, a_task, completed, failed, rendering

PROMPTS = {
    "chinese": "一只猫在月光下弹钢琴",
    "emoji": "👩🏽‍🚀 on the 🌕, zwj and all",
    "nul": "before\0after",
    "quotes": """'; DROP TABLE tasks; -- " \\ $where {"$ne": null} %00 ?""",
    "control": "\x01\x1f\x7f\u2028\ufeff\uffff",
    "longest": "映" * 32_000,
}


@pytest.mark.gen_test
async def test_an_inserted_task_is_found(store: Store) -> None:
    """What was inserted is found again, field by field."""
    task = a_task(team="team-a", idempotency=Idempotency("key", "digest"))
    await store.insert(task)
    found = await store.find(task.id)
    assert found == task
    assert found.idempotency == task.idempotency


@pytest.mark.gen_test
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
async def test_a_prompt_is_kept_letter_by_letter(store: Store, prompt: str) -> None:
    """Any text of up to 32,000 characters comes back as it was."""
    task = a_task(order=Order(prompt, "sora-2", seconds=8, size="1280x720", reference_type="image/png"))
    await store.insert(task)
    assert await store.find(task.id) == task


@pytest.mark.gen_test
async def test_numbers_come_back_as_plain_ones(store: Store) -> None:
    """Times are ints and durations floats, of no type that an encoder refuses."""
    done = completed(a_task(), Video(8.0, 5_000_000_000, 1280, 720, has_thumbnail=True))
    await store.insert(done)
    found = await store.find(done.id)
    assert found == done
    assert found.video is not None
    assert {type(number) for number in (found.seq, found.created_at, found.video.size)} == {int}
    assert type(found.video.duration) is float


@pytest.mark.gen_test
async def test_an_unknown_task_is_none(store: Store) -> None:
    """Looking for what is not there is no error, whatever is in the id."""
    assert await store.find("video_0") is None
    assert await store.find("$where") is None
    assert await store.find("") is None


@pytest.mark.gen_test
@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"], ids=["high", "low"])
async def test_a_lone_surrogate_is_a_value_error(store: Store, text: str) -> None:
    """Text that is no Unicode is refused by its value, and nothing of it is kept."""
    task = a_task(order=Order(text, "sora-2"))
    with pytest.raises(ValueError, match="surrogates"):
        await store.insert(task)
    with pytest.raises(ValueError, match="surrogates"):
        await store.find(text)
    assert await store.find(task.id) is None


@pytest.mark.gen_test
async def test_a_number_of_more_than_64_bits_is_a_value_error(store: Store) -> None:
    """A number that no database has room for is refused by its value."""
    task = a_task()
    await store.insert(task)
    for seconds in (2**63, -(2**63) - 1, 2**200):
        with pytest.raises(ValueError, match="64 bits"):
            await store.insert(a_task(order=Order("a cat", "sora-2", seconds=seconds)))
    with pytest.raises(ValueError, match="64 bits"):
        await store.save(task, over_seq=2**63)
    with pytest.raises(ValueError, match="64 bits"):
        await store.reschedule(task.id, Watch(next_look_at=2**63))
    with pytest.raises(ValueError, match="64 bits"):
        await store.due(2**63, 10)


@pytest.mark.gen_test
async def test_a_name_with_a_nul_is_a_value_error(store: Store) -> None:
    """Users, teams and keys are never cut short at a NUL and so taken for others."""
    for task in (a_task(user="ann\0x"), a_task(team="a\0b"), a_keyed_task("k\0l")):
        with pytest.raises(ValueError, match="NUL"):
            await store.insert(task)


@pytest.mark.gen_test
async def test_the_same_task_twice_is_an_error(store: Store) -> None:
    """An id is kept once, and its task not overwritten by a second insert."""
    task = a_task()
    await store.insert(task)
    with pytest.raises(StoreError):
        await store.insert(rendering(task))
    assert await store.find(task.id) == task


@pytest.mark.gen_test
async def test_save_replaces_the_task(store: Store) -> None:
    """A save over the seq that was read is what is found from then on."""
    task = a_task()
    await store.insert(task)
    moved = rendering(task)
    await store.save(moved, task.seq)
    assert await store.find(task.id) == moved
    ended = failed(moved)
    await store.save(ended, moved.seq)
    assert await store.find(task.id) == ended


@pytest.mark.gen_test
async def test_save_also_takes_back(store: Store) -> None:
    """A field that is unset in the saved task is unset in the stored one."""
    task = replace(rendering(a_task()), overdue=True, watch=Watch(NOW, missing=3, missing_since=NOW))
    await store.insert(task)
    calm = replace(task, overdue=False, job_id=None, watch=Watch(NOW), seq=task.seq + 1)
    await store.save(calm, task.seq)
    assert await store.find(task.id) == calm


@pytest.mark.gen_test(timeout=30)
async def test_save_on_the_way_replaces_what_no_step_changes_too(store: Store) -> None:
    """Each field by itself, also the owner and where the end is told, and found by what it is now."""
    task = rendering(a_task(team="team-a", callback=A_CALLBACK))
    await store.insert(task)
    for change in (
        {"user_id": "bob"},
        {"team": "team-b"},
        {"team": None},
        {"state": State.QUEUED},
        {"in_line": True},
        {"created_at": NOW + 1},
        {"job_id": "job-2"},
        {"callback": replace(A_CALLBACK, revision=1)},
        {"callback": None},
        {"order": Order("a dog", "sora-2")},
    ):
        after: Task = replace(task, seq=task.seq + 1, **cast(Any, change))
        await store.save(after, task.seq)
        assert await store.find(task.id) == after
        assert await store.live(user_id=after.user_id) == [after]
        task = after
    assert await store.ids_in_line("bob") == [task.id]
    assert await store.find_by_job("job-2") == task


@pytest.mark.gen_test
async def test_save_over_another_seq_is_stale(store: Store) -> None:
    """Who read an older or a newer seq than the stored one changes nothing."""
    task = a_task()
    await store.insert(task)
    for seq in (task.seq - 1, task.seq + 1):
        with pytest.raises(Stale):
            await store.save(rendering(task), seq)
    assert await store.find(task.id) == task


@pytest.mark.gen_test
async def test_save_of_a_gone_task_is_stale(store: Store) -> None:
    """A save makes no task."""
    task = a_task()
    with pytest.raises(Stale):
        await store.save(task, task.seq)
    assert await store.find(task.id) is None


@pytest.mark.gen_test(timeout=60)
async def test_of_many_savers_one_wins(database: Database, store: Store) -> None:
    """Of many saves over one seq, from two stores at once, exactly one succeeds."""
    other = database.store()
    await other.open()
    task = a_task()
    await store.insert(task)
    rivals = [rendering(task, progress) for progress in range(1, 21)]
    saves = (
        (store if n % 2 else other).save(replace(rival, seq=rival.seq + n), task.seq)
        for n, rival in enumerate(rivals)
    )
    outcomes = await asyncio.gather(*saves, return_exceptions=True)
    await other.close()
    won = [n for n, outcome in enumerate(outcomes) if outcome is None]
    assert len(won) == 1
    assert sum(isinstance(outcome, Stale) for outcome in outcomes) == len(rivals) - 1
    assert await store.find(task.id) == replace(rivals[won[0]], seq=rivals[won[0]].seq + won[0])


@pytest.mark.gen_test
async def test_reschedule_replaces_the_watch_alone(store: Store) -> None:
    """The poller's memory changes, seq and all that clients see does not."""
    task = rendering(a_task())
    await store.insert(task)
    watch = Watch(NOW + 5, looks=2, errors=1, missing=3, missing_since=NOW, sent_at=NOW, unknown_sends=4)
    await store.reschedule(task.id, watch)
    assert await store.due(NOW + 5, 10) == [replace(task, watch=watch)]
    await store.save(failed(task), task.seq)


@pytest.mark.gen_test
async def test_reschedule_leaves_an_ended_task_alone(store: Store) -> None:
    """A look that comes back late wakes no ended task."""
    ended = failed(a_task())
    await store.insert(ended)
    await store.reschedule(ended.id, Watch(NOW + 5, looks=7))
    assert await store.find(ended.id) == ended


@pytest.mark.gen_test
async def test_one_of_several_may_send(store: Store) -> None:
    """Of all who are about to send a create, the first; until it is known that none has left."""
    task = a_task()
    await store.insert(task)
    sent = replace(task, watch=replace(task.watch, sent_at=NOW + 1))
    outcomes = await asyncio.gather(*(store.mark_sent(sent) for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [Stale] * 4
    assert await store.find(task.id) == sent
    await store.reschedule(task.id, task.watch)
    await store.mark_sent(sent)
    with pytest.raises(Stale):
        await store.mark_sent(replace(sent, seq=sent.seq - 1))
    await store.save(failed(task), task.seq)
    with pytest.raises(Stale):
        await store.mark_sent(sent)


@pytest.mark.gen_test
async def test_reschedule_of_a_gone_task_does_nothing(store: Store) -> None:
    """No error, and no task."""
    await store.reschedule("video_0", Watch(NOW))
    assert await store.find("video_0") is None


@pytest.mark.gen_test
async def test_delete_forgets_the_task(store: Store) -> None:
    """A deleted task is gone, the others are not, and its key is free."""
    task, other = a_keyed_task("key"), a_task()
    await store.insert(task)
    await store.insert(other)
    await store.delete(task.id)
    await store.delete(task.id)
    assert await store.find(task.id) is None
    assert await store.find(other.id) == other
    await store.insert(a_keyed_task("key"))


@pytest.mark.gen_test
async def test_a_key_leads_to_its_task(store: Store) -> None:
    """A task is found by its user and its key, and by neither alone."""
    task = a_keyed_task("key")
    await store.insert(task)
    await store.insert(a_keyed_task("other"))
    found = await store.find_by_key("ann", "key")
    assert found == task
    assert found.idempotency == Idempotency("key", "digest")
    assert await store.find_by_key("bob", "key") is None
    assert await store.find_by_key("ann", "KEY") is None


@pytest.mark.gen_test
async def test_a_key_that_is_taken_tells_whose(store: Store) -> None:
    """The second create under a key is told what came of the first, digest included."""
    first = a_keyed_task("key", digest="one")
    await store.insert(first)
    with pytest.raises(DuplicateKey) as caught:
        await store.insert(a_keyed_task("key", digest="two"))
    assert caught.value.task == first
    assert caught.value.task.idempotency == Idempotency("key", "one")


@pytest.mark.gen_test
async def test_a_key_whose_task_goes_meanwhile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the refusal and the look at who has it: to be tried again, and then it is free."""
    first, again = a_keyed_task("key"), a_keyed_task("key")
    await store.insert(first)
    find_by_key = store.find_by_key

    async def find_too_late(user_id: str, key: str) -> Task | None:
        await store.delete(first.id)
        return await find_by_key(user_id, key)

    monkeypatch.setattr(store, "find_by_key", find_too_late)
    with pytest.raises(StoreUnavailable):
        await store.insert(again)
    await store.insert(again)
    assert await store.find(again.id) == again


@pytest.mark.gen_test
async def test_keys_of_two_users_are_two_keys(store: Store) -> None:
    """Nobody can take another user's key; tasks without a key never collide."""
    await store.insert(a_keyed_task("key", user="ann"))
    await store.insert(a_keyed_task("key", user="bob"))
    await store.insert(a_task(user="ann"))
    await store.insert(a_task(user="ann"))


@pytest.mark.gen_test(timeout=60)
async def test_of_fifty_inserts_under_one_key_one_is_kept(database: Database, store: Store) -> None:
    """Sent at once, from two stores, they all come to the same task."""
    other = database.store()
    await other.open()
    tasks = [a_keyed_task("key") for _ in range(50)]
    inserts = ((store if n % 2 else other).insert(task) for n, task in enumerate(tasks))
    outcomes = await asyncio.gather(*inserts, return_exceptions=True)
    await other.close()
    kept = await store.find_by_key("ann", "key")
    assert kept is not None
    assert outcomes.count(None) == 1
    assert {o.task.id for o in outcomes if isinstance(o, DuplicateKey)} == {kept.id}
    assert sum(isinstance(o, DuplicateKey) for o in outcomes) == 49
    assert [task.id for task in await store.live()] == [kept.id]


@pytest.mark.gen_test
async def test_a_forgotten_key_is_free(store: Store) -> None:
    """The old task stays without it, and a new one may take it."""
    old, new = a_keyed_task("key"), a_keyed_task("key")
    await store.insert(old)
    await store.forget_key(old.id)
    await store.forget_key("video_0")
    assert await store.find_by_key("ann", "key") is None
    found = await store.find(old.id)
    assert found == old
    assert found.idempotency is None
    await store.insert(new)
    assert await store.find_by_key("ann", "key") == new


@pytest.mark.gen_test
async def test_a_save_brings_no_forgotten_key_back(store: Store) -> None:
    """Who read the task before its key was freed can still save it, without the key."""
    old, new = a_keyed_task("key"), a_keyed_task("key")
    await store.insert(old)
    await store.forget_key(old.id)
    await store.insert(new)
    await store.save(rendering(old), old.seq)
    assert await store.find(old.id) == rendering(old)
    assert await store.find_by_key("ann", "key") == new


@pytest.mark.gen_test
async def test_a_save_keeps_the_key(store: Store) -> None:
    """A task keeps its key through every change."""
    task = a_keyed_task("key")
    await store.insert(task)
    await store.save(failed(replace(task, idempotency=None)), task.seq)
    assert await store.find_by_key("ann", "key") == failed(task)


@pytest.mark.gen_test
async def test_what_was_kept_is_there_after_a_close(database: Database, store: Store) -> None:
    """Another store on the database, and the same one opened again, find what was kept."""
    task = a_task()
    await store.insert(task)
    await store.save(rendering(task), task.seq)
    await store.close()
    other = database.store()
    await other.open()
    assert await other.find(task.id) == rendering(task)
    await other.close()
    await store.open()
    assert await store.find(task.id) == rendering(task)


@pytest.mark.gen_test
async def test_open_again_changes_nothing(store: Store) -> None:
    """An open store may be opened once more and keeps all."""
    task = a_task()
    await store.insert(task)
    await store.open()
    assert await store.find(task.id) == task


@pytest.mark.gen_test
async def test_a_store_that_is_not_open_is_unavailable(database: Database) -> None:
    """Before its open and after its close, which may come twice, a store says so."""
    store = database.store()
    with pytest.raises(StoreUnavailable):
        await store.ping()
    with pytest.raises(StoreUnavailable):
        await store.insert(a_task())
    await store.open()
    await store.ping()
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.find("video_0")


@pytest.mark.gen_test(timeout=60)
async def test_a_call_that_was_given_up_breaks_nothing(store: Store) -> None:
    """After cancelled calls the store is as good as before, and each task is there or not."""
    tasks = [a_task(at=NOW + n) for n in range(30)]
    inserts = [asyncio.ensure_future(store.insert(task)) for task in tasks]
    await asyncio.wait(inserts, return_when=asyncio.FIRST_COMPLETED)
    for insert in inserts:
        insert.cancel()
    outcomes = await asyncio.gather(*inserts, return_exceptions=True)
    accepted = [task for task, outcome in zip(tasks, outcomes, strict=True) if outcome is None]
    assert accepted
    last = a_task(at=NOW + 99)
    await store.insert(last)
    kept: set[Task] = set(await store.live())
    assert {*accepted, last} <= kept <= {*tasks, last}


@pytest.mark.gen_test
async def test_an_expired_video_is_noted(store: Store) -> None:
    """In the task, which is otherwise as it was, its seq too; a task without a video is left alone."""
    done, live = completed(a_task()), rendering(a_task())
    for task in (done, live):
        await store.insert(task)
        await store.expire_video(task.id)
    await store.expire_video("video_0")
    assert done.video is not None
    assert await store.find(done.id) == replace(done, video=replace(done.video, expired=True))
    assert await store.find(live.id) == live
