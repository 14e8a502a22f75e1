"""Sign-in, refresh, and how guessing is slowed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from sora_ws.rest.throttle import KEYS_MAX, SECOND, LoginThrottle, Throttle
from sora_ws.task import Viewer
from tests.rest.server import PASSWORD, Answer, RestServer


async def login(rest: RestServer, name: Any = "ann", password: Any = PASSWORD) -> Answer:
    body = {"username": name, "password": password}
    return await rest.call("POST", "/api/auth/login", body, user=None)


@pytest.mark.gen_test
async def test_password_brings_a_token(rest: RestServer) -> None:
    """The right password brings a token that is good for everything, and nobody keeps the answer."""
    await rest.accounts.add("ann", PASSWORD)
    answer = await login(rest)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    signed = answer.json
    assert signed == {
        "token": signed["token"],
        "tokenType": "Bearer",
        "expiresAt": signed["expiresAt"],
        "userId": "ann",
        "username": "ann",
    }
    assert signed["expiresAt"] > time.time() * 1000
    listed = await rest.call(
        "GET", "/api/videos", user=None, headers={"Authorization": f"Bearer {signed['token']}"}
    )
    assert listed.status == 200


@pytest.mark.gen_test
async def test_wrong_passwords_and_names_look_alike(rest: RestServer) -> None:
    """Nobody learns from a 401 who has an account here, or a disabled one."""
    await rest.accounts.add("ann", PASSWORD)
    await rest.accounts.add("bob", PASSWORD)
    await rest.accounts.disable("bob")
    answers = [
        await login(rest, "ann", "wrong"),
        await login(rest, "nobody", "wrong"),
        await login(rest, "no name", "wrong"),
        await login(rest, "bob", PASSWORD),
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["username", "password"]),
        ({"username": "", "password": ""}, ["username", "password"]),
        ({"username": 1, "password": None}, ["username", "password"]),
        ({"username": {"$ne": None}, "password": {"$ne": None}}, ["username", "password"]),
        ({"username": "a" * 129, "password": "x" * 1025}, ["username", "password"]),
    ],
)
@pytest.mark.gen_test
async def test_wrong_shapes_are_named(rest: RestServer, body: Any, fields: list[str]) -> None:
    """What can't be a name or a password is 422."""
    answer = await rest.call("POST", "/api/auth/login", body, user=None)
    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == fields


@pytest.mark.gen_test
async def test_refresh_says_the_same_again(rest: RestServer) -> None:
    """A valid token brings a new one of the same user, name and teams."""
    answer = await rest.call("POST", "/api/auth/refresh", teams=("red",))
    assert answer.status == 200
    assert (answer.json["userId"], answer.json["username"]) == ("ann", "Ann")
    identity = rest.tokens.identify(answer.json["token"])
    assert identity.viewer == Viewer("ann", ("red",))
    assert identity.expires_at == answer.json["expiresAt"]


@pytest.mark.gen_test
async def test_eleventh_wrong_password_waits(rest: RestServer) -> None:
    """After ten failures from one address it is 429 with a time, for whatever name and password."""
    await rest.accounts.add("ann", PASSWORD)
    for attempt in range(10):
        assert (await login(rest, f"user-{attempt}", "wrong")).status == 401
    answer = await login(rest)
    assert answer.status == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


@pytest.mark.gen_test
async def test_guesses_sent_at_once_count_too(rest: RestServer) -> None:
    """Guesses that are under way together are counted before they are compared."""
    answers = await asyncio.gather(*(login(rest, "ann", "wrong") for _ in range(25)))
    assert sorted(answer.status for answer in answers) == [401] * 10 + [429] * 15


@pytest.mark.gen_test
async def test_right_passwords_cost_nothing(rest: RestServer) -> None:
    """Who knows the password may sign in as often as they like."""
    await rest.accounts.add("ann", PASSWORD)
    for _ in range(15):
        assert (await login(rest)).status == 200


class HandClock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


def test_try_comes_back_after_its_interval() -> None:
    """A burst is free at once; then there is one try an interval."""
    clock = HandClock()
    throttle = Throttle(3, 10, clock)
    for _ in range(3):
        assert throttle.wait_s("a") == 0
        throttle.spend("a")
    assert throttle.wait_s("a") == 10
    assert throttle.wait_s("b") == 0
    clock.now += 10 * SECOND
    assert throttle.wait_s("a") == 0
    throttle.spend("a")
    assert throttle.wait_s("a") == 10
    throttle.refund("a")
    assert throttle.wait_s("a") == 0
    clock.now += 3600 * SECOND
    for _ in range(3):
        assert throttle.wait_s("a") == 0
        throttle.spend("a")
    assert throttle.wait_s("a") == 10


def test_flood_of_keys_does_not_free_the_one_in_use() -> None:
    """Memory is bounded: the longest unused keys are forgotten, not the busiest."""
    throttle = Throttle(1, 3600, HandClock())
    for number in range(3 * KEYS_MAX):
        throttle.spend(number)
        if number % 1000 == 0:
            throttle.spend("busy")
    assert throttle.wait_s("busy") > 0
    assert throttle.wait_s(0) == 0


def test_stranger_can_not_lock_a_user_out() -> None:
    """A name guessed at from everywhere waits, but not where its user signed in before."""
    throttle = LoginThrottle(HandClock())
    assert throttle.begin("ann", "192.0.2.1") == 0
    throttle.succeeded("ann", "192.0.2.1")
    tries = [throttle.begin("ann", f"198.51.100.{number}") for number in range(200)]
    assert tries[:30] == [0] * 30
    assert all(wait_s > 0 for wait_s in tries[30:])
    assert throttle.begin("ann", "192.0.2.1") == 0
    assert throttle.begin("bob", "198.51.100.7") == 0


def test_known_address_is_throttled_as_an_address() -> None:
    """Having signed in once gives no more guesses than an address has."""
    throttle = LoginThrottle(HandClock())
    throttle.begin("ann", "192.0.2.1")
    throttle.succeeded("ann", "192.0.2.1")
    assert [throttle.begin("ann", "192.0.2.1") for _ in range(10)] == [0] * 10
    assert throttle.begin("ann", "192.0.2.1") > 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2:3:4:5", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_party_is_what_it_commonly_holds(one: str, other: str, same: bool) -> None:
    """The addresses of one /64 of IPv6 count as one, and so do the two ways to write an IPv4 one."""
    throttle = LoginThrottle(HandClock())
    for _ in range(10):
        throttle.begin("ann", one)
    assert (throttle.begin("bob", other) > 0) == same
