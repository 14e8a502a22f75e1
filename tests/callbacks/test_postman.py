"""Ends are told: over both databases, to a receiver that checks every signature."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from sora_ws.callbacks import RETRY_MS, Callback, Delivery, message_id
from sora_ws.clock import Clock
from sora_ws.delivery import Sender
from sora_ws.media.links import Links
from sora_ws.postman import AT_ONCE_OF_A_USER, AT_ONCE_TO_A_HOST, Postman
from sora_ws.push.messages import Presenter
from sora_ws.rest.views import letter
from sora_ws.rhythm import Rhythm
from sora_ws.settings import Secret
from sora_ws.signatures import Signer
from sora_ws.store import Store
from sora_ws.task import Task
from tests.callbacks.receiver import SECRET, Receiver
from tests.stores.tasks import a_task, completed

clock = Clock()
GUARD_S = 30
PRESENTER = Presenter("en", Links(b"k" * 32, "https://films.example"), Rhythm(2_000, 30_000))


@asynccontextmanager
async def a_postman(
    store: Store, attempt_s: float = 15, clock: Callable[[], int] = clock
) -> AsyncIterator[Postman]:
    sender = Sender((ip_network("127.0.0.0/8"),), attempt_s)
    postman = Postman(store, sender, Signer([Secret(SECRET)]), lambda task: letter(task, PRESENTER), clock)
    postman.start()
    postman.nudge()
    try:
        yield postman
    finally:
        await postman.stop(grace_s=0)
        sender.close()


async def an_end(store: Store, url: str, host: str = "127.0.0.1", user: str = "ann") -> Task:
    """A stored task that has ended and is to be told to this address."""
    task = completed(a_task(user=user, at=clock(), callback=Callback(url, host)))
    task = replace(task, callback=Callback(url, host).due(clock()))
    await store.insert(task)
    return task


async def callback_of(store: Store, task: Task) -> Callback:
    found = await store.find(task.id)
    assert found is not None
    assert found.callback is not None
    return found.callback


async def until(store: Store, task: Task, reached: Callable[[Callback], Any]) -> Callback:
    """The stored callback, as soon as it is so."""
    async with asyncio.timeout(GUARD_S):
        while not reached(callback := await callback_of(store, task)):  # noqa: ASYNC110 -- nothing tells
            await asyncio.sleep(0.01)
    return callback


async def bring_forward(store: Store, task: Task, callback: Callback) -> None:
    """As if the wait were over."""
    sooner = replace(callback, due_at=clock(), revision=callback.revision + 1)
    await store.save_callback(task.id, sooner, callback.revision)


@pytest.mark.gen_test(timeout=60)
async def test_tried_until_it_is_taken(store: Store, receiver: Receiver) -> None:
    """After a 500, a redirect, a reset and silence; each time the same message, and each one signed."""
    task = await an_end(store, f"{receiver.url}/500/301/reset/hang/204")
    errors: list[str | None] = []
    async with a_postman(store, attempt_s=0.5) as postman:
        for attempt in range(1, 5):
            # One revision each for due or brought forward, begun, failed.
            callback = await until(store, task, lambda found, n=attempt: found.revision == 3 * n)  # type: ignore[misc]
            errors.append(callback.error)
            assert callback.state is Delivery.PENDING
            await bring_forward(store, task, callback)
            postman.nudge()
        callback = await until(store, task, lambda found: found.state is Delivery.DELIVERED)
    assert errors == ["answered 500", "answered 301", "the connection failed", "no answer in time"]
    assert (callback.attempts, callback.error, callback.due_at) == (5, None, None)
    messages = await receiver.received(5)
    assert {message["error"] for message in messages} == {None}
    assert {message["id"] for message in messages} == {message_id(task.id)}
    assert len({message["body"] for message in messages}) == 1
    event = messages[0]["event"]
    assert (event["type"], event["timestamp"]) == ("video.completed", task.finished_at)
    assert event["data"]["videoId"] == task.id
    assert event["data"]["result"]["videoUrl"].startswith("https://films.example/media/")


@pytest.mark.gen_test(timeout=60)
async def test_given_up_after_the_last(store: Store, receiver: Receiver) -> None:
    """Then it is failed, and nothing is sent any more until somebody asks for it."""
    task = await an_end(store, f"{receiver.url}/500")
    callback = await callback_of(store, task)
    last = replace(callback, attempts=len(RETRY_MS), revision=callback.revision + 1)
    await store.save_callback(task.id, last, callback.revision)
    async with a_postman(store):
        callback = await until(store, task, lambda found: found.state is Delivery.FAILED)
    assert (callback.attempts, callback.due_at, callback.error) == (9, None, "answered 500")


@pytest.mark.gen_test(timeout=60)
async def test_a_receiver_that_hangs_holds_no_other_up(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many wait for it, a few at a time; who comes behind them is told at once."""
    monkeypatch.setattr("sora_ws.postman.ASK_EVERY_MS", 3_600_000)
    for _ in range(100):
        await an_end(store, f"{receiver.url}/hang")
    behind = await an_end(store, f"http://localhost:{receiver.port}/204", "localhost")
    async with a_postman(store):
        await until(store, behind, lambda found: found.state is Delivery.DELIVERED)
        messages = await receiver.received(AT_ONCE_TO_A_HOST + 1)
    assert Counter(message["path"] for message in messages) == {"/hang": AT_ONCE_TO_A_HOST, "/204": 1}


@pytest.mark.gen_test(timeout=60)
async def test_a_user_of_many_hosts_holds_no_other_up(store: Store, receiver: Receiver) -> None:
    """Whoever has a domain has any number of names that hang."""
    for number in range(80):
        await an_end(store, f"{receiver.url}/hang", f"{number}.eve.example", "eve")
    behind = await an_end(store, f"{receiver.url}/204")
    async with a_postman(store):
        await until(store, behind, lambda found: found.state is Delivery.DELIVERED)
        messages = await receiver.received(AT_ONCE_OF_A_USER + 1)
    assert Counter(message["path"] for message in messages) == {"/hang": AT_ONCE_OF_A_USER, "/204": 1}


@pytest.mark.gen_test(timeout=60)
async def test_many_to_one_host(store: Store, receiver: Receiver) -> None:
    """All of them come, each once, though two instances share the work."""
    tasks = [await an_end(store, f"{receiver.url}/204") for _ in range(50)]
    async with a_postman(store), a_postman(store):
        for task in tasks:
            await until(store, task, lambda found: found.state is Delivery.DELIVERED)
    messages = await receiver.received(50)
    assert Counter(message["id"] for message in messages) == {message_id(task.id): 1 for task in tasks}


@pytest.mark.gen_test(timeout=60)
async def test_what_a_stop_broke_off_is_told_after_it(store: Store, receiver: Receiver) -> None:
    """By the next process, under the same id, when nothing more can be heard of the first attempt."""
    task = await an_end(store, f"{receiver.url}/hang/204")
    async with a_postman(store):
        await receiver.received(1)
    callback = await callback_of(store, task)
    assert (callback.state, callback.attempts) == (Delivery.PENDING, 1)
    assert callback.due_at is not None
    assert callback.due_at > clock()
    await bring_forward(store, task, callback)
    async with a_postman(store):
        await until(store, task, lambda found: found.state is Delivery.DELIVERED)
    first, second = await receiver.received(2)
    assert first["id"] == second["id"]


@pytest.mark.gen_test(timeout=60)
async def test_asked_for_again_during_an_attempt(store: Store, receiver: Receiver) -> None:
    """The attempt under way was before that, so there is another one."""
    task = await an_end(store, f"{receiver.url}/held/204")
    async with a_postman(store):
        await receiver.received(1)
        callback = await callback_of(store, task)
        await store.save_callback(task.id, callback.due(clock()), callback.revision)
        await receiver.received(2)
        await receiver.release()
        callback = await until(store, task, lambda found: found.state is Delivery.DELIVERED)
    assert callback.attempts == 1
    assert len(await receiver.received(2)) == 2


@pytest.mark.gen_test(timeout=60)
async def test_both_secrets_sign(store: Store, receiver: Receiver) -> None:
    """While one changes to the next, receivers may know either."""
    another = "whsec_" + "QUJD" * 11
    task = await an_end(store, f"{receiver.url}/204")
    sender = Sender((ip_network("127.0.0.0/8"),))
    signer = Signer([Secret(another), Secret(SECRET)])
    postman = Postman(store, sender, signer, lambda task: letter(task, PRESENTER), clock)
    postman.start()
    postman.nudge()
    await until(store, task, lambda found: found.state is Delivery.DELIVERED)
    await postman.stop(0)
    sender.close()
    [message] = await receiver.received(1)
    assert message["error"] is None


@pytest.mark.gen_test(timeout=60)
async def test_a_clock_that_goes_on_ahead(store: Store, receiver: Receiver) -> None:
    """The wall clock was an hour fast and was set right: the receiver still believes the signature."""
    task = await an_end(store, f"{receiver.url}/204")
    async with a_postman(store, clock=lambda: clock() + 3_600_000):
        await until(store, task, lambda found: found.state is Delivery.DELIVERED)
    [message] = await receiver.received(1)
    assert message["error"] is None


@pytest.mark.gen_test(timeout=60)
async def test_one_that_ends_makes_room(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a host may have at once come one behind the other, without waiting for the next beat."""
    monkeypatch.setattr("sora_ws.postman.ASK_EVERY_MS", 3_600_000)
    tasks = [await an_end(store, f"{receiver.url}/204") for _ in range(2 * AT_ONCE_TO_A_HOST + 1)]
    async with a_postman(store):
        assert len(await receiver.received(len(tasks))) == len(tasks)
