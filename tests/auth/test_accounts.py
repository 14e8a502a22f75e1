"""Users and their passwords, over a real store."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from argon2 import PasswordHasher
from tornado.ioloop import IOLoop

from sora_ws.auth import AccountError, Accounts
from sora_ws.store import User
from sora_ws.store.sqlite import SqliteStore

PASSWORD = "correct horse"
CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


@pytest.fixture
def store(io_loop: IOLoop, tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "db")
    io_loop.run_sync(store.open)
    yield store
    io_loop.run_sync(store.close)


@pytest.fixture
def accounts(store: SqliteStore) -> Accounts:
    return Accounts(store, CHEAP)


@pytest.mark.gen_test
async def test_right_password_signs_in(accounts: Accounts) -> None:
    """The name and the password together are a user, any other pair is nobody."""
    await accounts.add("ann", PASSWORD)
    user = await accounts.login("ann", PASSWORD)
    assert user is not None
    assert user.name == "ann"
    for name, password in (
        ("ann", "wrong horse"),
        ("ann", ""),
        ("ann", PASSWORD + "x" * 1024),
        ("Ann", PASSWORD),
        ("bob", PASSWORD),
        ("", PASSWORD),
        ("ann\0", PASSWORD),
        ("安", PASSWORD),
    ):
        assert await accounts.login(name, password) is None


@pytest.mark.gen_test
async def test_password_is_kept_as_argon2id(accounts: Accounts, store: SqliteStore) -> None:
    """What the store holds is an argon2id hash, another one each time."""
    await accounts.add("ann", PASSWORD)
    await accounts.add("bob", PASSWORD)
    hashes = {user.password_hash for user in await store.users()}
    assert len(hashes) == 2
    assert all(text.startswith("$argon2id$") for text in hashes)
    assert PASSWORD not in "".join(hashes)


@pytest.mark.gen_test
async def test_unknown_user_costs_as_much(accounts: Accounts, store: SqliteStore) -> None:
    """For an unknown name a password is compared too, by the same parameters."""
    compared: list[str] = []

    class Watched(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
            compared.append(str(hash).rpartition("$p=")[0].rpartition("$")[0])
            return super().verify(hash, password)

    watched = Accounts(store, Watched(time_cost=1, memory_cost=64, parallelism=1))
    await watched.add("ann", PASSWORD)
    await watched.login("ann", "wrong horse")
    await watched.login("nobody", "wrong horse")
    await watched.login("no name", "wrong horse")
    assert len(compared) == 3
    assert len(set(compared)) == 1


@pytest.mark.gen_test
async def test_disabled_user_does_not_sign_in(accounts: Accounts, store: SqliteStore) -> None:
    """A disabled user's right password is as good as a wrong one; disabling twice is once."""
    await accounts.add("ann", PASSWORD)
    await accounts.disable("ann")
    await accounts.disable("ann")
    assert await accounts.login("ann", PASSWORD) is None
    assert await store.disabled_users() == {"ann"}


@pytest.mark.gen_test
async def test_new_password_replaces_the_old(accounts: Accounts) -> None:
    """After a change only the new password is right."""
    await accounts.add("ann", PASSWORD)
    await accounts.set_password("ann", "battery staple")
    assert await accounts.login("ann", PASSWORD) is None
    assert await accounts.login("ann", "battery staple") is not None


@pytest.mark.gen_test
async def test_what_can_not_be_used_is_named(accounts: Accounts) -> None:
    """Wrong names and passwords, double and missing users end with a sentence."""
    await accounts.add("ann", PASSWORD)
    for attempt, sentence in (
        (accounts.add("ann", PASSWORD), "there is a user ann already"),
        (accounts.add("ann lee", PASSWORD), "without spaces"),
        (accounts.add("", PASSWORD), "1 to 128"),
        (accounts.add("a" * 129, PASSWORD), "1 to 128"),
        (accounts.add("bob", "short"), "8 to 1024"),
        (accounts.add("bob", "x" * 1025), "8 to 1024"),
        (accounts.add("bob", "half a character \udc80"), "UTF-8"),
        (accounts.set_password("bob", PASSWORD), "there is no user bob"),
        (accounts.set_password("ann", "short"), "8 to 1024"),
        (accounts.disable("bob"), "there is no user bob"),
    ):
        with pytest.raises(AccountError, match=sentence):
            await attempt


@pytest.mark.gen_test
async def test_old_hash_is_renewed_at_sign_in(accounts: Accounts, store: SqliteStore) -> None:
    """A password hashed by weaker parameters is hashed anew when it is known again."""
    await accounts.add("ann", PASSWORD)
    stronger = PasswordHasher(time_cost=2, memory_cost=64, parallelism=1)
    assert await Accounts(store, stronger).login("ann", PASSWORD) is not None
    user = await store.find_user("ann")
    assert user is not None
    assert not stronger.check_needs_rehash(user.password_hash)
    assert await accounts.login("ann", PASSWORD) is not None


@pytest.mark.gen_test
async def test_unreadable_hash_lets_nobody_in(
    accounts: Accounts, store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A hash that is none is no password of anybody's, and the log says what to do."""
    await store.add_user(User("ann", "no hash", int(time.time() * 1000)))
    assert await accounts.login("ann", PASSWORD) is None
    assert "set a new password" in caplog.text


@pytest.mark.gen_test
async def test_admin_is_made_once(accounts: Accounts) -> None:
    """The first start makes admin with 24 random characters and tells them once."""
    password = await accounts.ensure_admin()
    assert password is not None
    assert re.fullmatch(r"[a-z0-9]{24}", password)
    assert await accounts.login("admin", password) is not None
    assert await accounts.ensure_admin() is None


@pytest.mark.gen_test
async def test_no_admin_beside_other_users(accounts: Accounts) -> None:
    """Where there is any user, none is made."""
    await accounts.add("ann", PASSWORD)
    assert await accounts.ensure_admin() is None
    assert await accounts.login("admin", PASSWORD) is None


@pytest.mark.gen_test(timeout=60)
async def test_instances_that_start_together_make_one_admin(accounts: Accounts, store: SqliteStore) -> None:
    """Of instances that race for the first user one tells a password, and that one is right."""
    told = await asyncio.gather(*(Accounts(store, CHEAP).ensure_admin() for _ in range(8)))
    passwords = [password for password in told if password is not None]
    assert len(passwords) == 1
    assert await accounts.login("admin", passwords[0]) is not None
