"""What the ports promise of users and of secrets that are made once, held against every database."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sora_ws.store import Store, User, UserExists
from tests.stores.conftest import Database
from tests.stores.tasks import NOW

ANN = User("ann", "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", NOW)


@pytest.mark.gen_test
async def test_an_added_user_is_found(store: Store) -> None:
    """Whole, and only by the exact name."""
    await store.add_user(ANN)
    assert await store.find_user("ann") == ANN
    assert await store.find_user("Ann") is None
    assert await store.find_user("") is None


@pytest.mark.gen_test
async def test_a_name_is_taken_once(store: Store) -> None:
    """A second user of the name is refused, and the first one stays."""
    await store.add_user(ANN)
    with pytest.raises(UserExists):
        await store.add_user(replace(ANN, password_hash="other"))
    assert await store.find_user("ann") == ANN


@pytest.mark.gen_test
async def test_a_user_is_replaced(store: Store) -> None:
    """A new password or a disabled account is what is found from then on."""
    await store.add_user(ANN)
    other = replace(ANN, password_hash="other", disabled=True)
    await store.replace_user(other)
    assert await store.find_user("ann") == other
    assert await store.users() == [other]


@pytest.mark.gen_test
async def test_to_replace_nobody_is_no_error(store: Store) -> None:
    """And makes nobody."""
    await store.replace_user(ANN)
    assert await store.find_user("ann") is None


@pytest.mark.gen_test
async def test_users_come_by_name(store: Store) -> None:
    """All of them."""
    names = ["zoe", "ann", "Bob", "émile", "王", "bob"]
    for name in names:
        await store.add_user(replace(ANN, name=name))
    assert [user.name for user in await store.users()] == sorted(names)


@pytest.mark.gen_test
async def test_disabled_users_are_named(store: Store) -> None:
    """Those who are shut out now, and nobody who was let in again."""
    for name in ("ann", "bob", "carol"):
        await store.add_user(replace(ANN, name=name, disabled=name != "ann"))
    assert await store.disabled_users() == {"bob", "carol"}
    await store.replace_user(replace(ANN, name="bob"))
    assert await store.disabled_users() == {"carol"}


@pytest.mark.gen_test
async def test_nobody_is_disabled_at_first(store: Store) -> None:
    """An empty database shuts nobody out and has no users."""
    assert await store.disabled_users() == frozenset()
    assert await store.users() == []


@pytest.mark.gen_test
async def test_a_name_that_is_no_unicode_is_a_value_error(store: Store) -> None:
    """Refused by its value, like a task's text."""
    with pytest.raises(ValueError, match="surrogates"):
        await store.add_user(replace(ANN, name="\ud800"))
    with pytest.raises(ValueError, match="surrogates"):
        await store.find_user("\ud800")


@pytest.mark.gen_test
async def test_a_secret_is_kept_once(database: Database, store: Store) -> None:
    """The first candidate stays, also for a store that is opened later; names don't mix."""
    assert await store.keep("jwt", "first") == "first"
    assert await store.keep("jwt", "second") == "first"
    assert await store.keep("links", "other") == "other"
    later = database.store()
    await later.open()
    assert await later.keep("jwt", "third") == "first"
    await later.close()


@pytest.mark.gen_test(timeout=60)
async def test_all_who_start_at_once_share_one_secret(database: Database, store: Store) -> None:
    """Of many candidates at the same time, from two stores, all get the same one."""
    other = database.store()
    await other.open()
    keeps = ((store if n % 2 else other).keep("jwt", f"candidate {n}") for n in range(30))
    secrets = set(await asyncio.gather(*keeps))
    await other.close()
    assert len(secrets) == 1
    assert secrets == {await store.keep("jwt", "late")}
