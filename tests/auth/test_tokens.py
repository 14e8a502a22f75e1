"""Every way in which a token may be wrong, and what good ones say."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from sora_ws import auth
from sora_ws.auth import TokenExpired, TokenInvalid, Tokens, UserDisabled, jwt_key
from sora_ws.settings import Secret, Settings
from sora_ws.store.sqlite import SqliteStore
from sora_ws.task import Viewer
from tests.auth.stores import opened

KEY = "0123456789abcdef0123456789abcdef"
HEADER = {"alg": "HS256", "typ": "JWT"}
HOUR_S = 3600
YEAR_S = 365 * 24 * HOUR_S


def tokens() -> Tokens:
    """The real thing, as the server makes it."""
    return Tokens(HOUR_S * 1000, Secret(KEY))


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(payload: bytes, header: Mapping[str, Any] | bytes = HEADER, key: str = KEY) -> str:
    """A token with a right signature over whatever bytes."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    message = f"{base64url(head)}.{base64url(payload)}"
    return f"{message}.{base64url(hmac.digest(key.encode(), message.encode(), 'sha256'))}"


def claims(**more: Any) -> dict[str, Any]:
    """Good claims, changed; `...` leaves one out."""
    good = {"sub": "ann", "exp": int(time.time()) + HOUR_S} | more
    return {name: value for name, value in good.items() if value is not ...}


def token(header: Mapping[str, Any] | bytes = HEADER, **more: Any) -> str:
    return signed(json.dumps(claims(**more)).encode(), header)


def raw(text: str) -> str:
    """Claims as JSON text, with EXP for a time to come."""
    return signed(text.replace("EXP", str(int(time.time()) + HOUR_S)).encode("utf-8", "surrogatepass"))


def unsigned(alg: str) -> str:
    return f"{base64url(json.dumps({'alg': alg}).encode())}.{base64url(json.dumps(claims()).encode())}."


def public_pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


WRONG: dict[str, Callable[[], object]] = {
    # J1-J6: the header
    "alg none": lambda: unsigned("none"),
    "alg NoNe": lambda: unsigned("NoNe"),
    "another key": lambda: signed(json.dumps(claims()).encode(), key="x" * 32),
    "a public key as the secret": lambda: signed(json.dumps(claims()).encode(), key=public_pem()),
    "alg HS512": lambda: jwt.encode(claims(), KEY * 2, "HS512"),
    "alg HS512, signed as HS256": lambda: token(HEADER | {"alg": "HS512"}),
    "alg a list": lambda: token(HEADER | {"alg": ["HS256"]}),
    "alg missing": lambda: token({"typ": "JWT"}),
    "kid a number": lambda: token(HEADER | {"kid": 1}),
    "unknown crit": lambda: token(HEADER | {"crit": ["x"], "x": 1}),
    "crit empty": lambda: token(HEADER | {"crit": []}),
    "b64 false": lambda: token(HEADER | {"b64": False, "crit": ["b64"]}),
    "header no object": lambda: token(b"[]"),
    "header nested": lambda: token(b"[" * 2000),
    # J8-J11: times
    "exp missing": lambda: token(exp=...),
    "exp null": lambda: token(exp=None),
    "exp a list": lambda: token(exp=[1]),
    "exp true": lambda: token(exp=True),
    "exp a string": lambda: token(exp=str(int(time.time()) + HOUR_S)),
    "exp a float": lambda: token(exp=time.time() + HOUR_S),
    "exp 1e400": lambda: raw('{"sub":"ann","exp":1e400}'),
    "exp NaN": lambda: raw('{"sub":"ann","exp":NaN}'),
    "exp far ahead": lambda: token(exp=10**15),
    "exp eleven years ahead": lambda: token(exp=int(time.time()) + 11 * YEAR_S),
    "nbf ahead": lambda: token(nbf=int(time.time()) + 60),
    "nbf a string": lambda: token(nbf="0"),
    "iat ahead": lambda: token(iat=int(time.time()) + 60),
    "iat a list": lambda: token(iat=[]),
    # J12: not for us
    "aud of another service": lambda: token(aud="billing"),
    "aud a list": lambda: token(aud=[["sora-ws"]]),
    "iss a list": lambda: token(iss=["sora-ws"]),
    # J13-J14: the user
    "sub missing": lambda: token(sub=...),
    "sub null": lambda: token(sub=None),
    "sub null beside a userId": lambda: token(sub=None, userId="ann"),
    "sub a number": lambda: token(sub=7),
    "sub a query": lambda: token(sub={"$ne": 1}),
    "sub empty": lambda: token(sub=""),
    "sub too long": lambda: token(sub="a" * 129),
    "sub with a space": lambda: token(sub="ann lee"),
    "sub with NUL": lambda: token(sub="ann\0"),
    "sub with a new line": lambda: token(sub="ann\r\n"),
    "sub not ASCII": lambda: token(sub="änn"),
    "userId a number": lambda: token(sub=..., userId=7),
    "teams a string": lambda: token(teams="red"),
    "teams of numbers": lambda: token(teams=[1]),
    "a team without a name": lambda: token(teams=[""]),
    "a team with a new line": lambda: token(teams=["red\n"]),
    "too many teams": lambda: token(teams=["a"] * 257),
    # J16-J17: no token at all
    "too long": lambda: token(x="a" * 8192),
    "ten megabytes": lambda: "a" * 10_000_000,
    "nested": lambda: raw('{"sub":"ann","exp":EXP,"x":' + "[" * 4000),
    "a number of 5000 digits": lambda: raw('{"sub":"ann","exp":' + "9" * 5000 + "}"),
    "wrong UTF-8": lambda: signed(b'{"sub":"ann","exp":9999999999,"x":"\xff"}'),
    "half a character": lambda: raw('{"sub":"ann","exp":EXP,"username":"\\ud800"}'),
    "no object": lambda: raw("[]"),
    "no JSON": lambda: raw("{"),
    "two parts": lambda: "a.b",
    "four parts": lambda: token() + ".x",
    "empty": lambda: "",
    "half a character as the token": lambda: "\ud800",
    "nothing": lambda: None,
    "bytes": lambda: token().encode(),
    "an object": lambda: {"token": "x"},
    # J23: made for something else
    "typ refresh": lambda: token(HEADER | {"typ": "refresh+jwt"}),
    "typ a list": lambda: token(HEADER | {"typ": ["JWT"]}),
    "claim typ": lambda: token(typ="Refresh"),
    "claim type": lambda: token(type="refresh"),
    "claim token_type": lambda: token(token_type="refresh"),
    "claim token_use": lambda: token(token_use="id"),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG.keys())
def test_wrong_tokens_are_all_refused_alike(make: Callable[[], object]) -> None:
    """Whatever is wrong with it, a token ends as the same error with the same text."""
    with pytest.raises(TokenInvalid, match=r"\Athe token is not valid\Z"):
        tokens().identify(make())


@pytest.mark.parametrize("ago_s", [0, 1, HOUR_S])
def test_token_ends_without_leeway(ago_s: int) -> None:
    """A token is over from the second that it names on."""
    with pytest.raises(TokenExpired):
        tokens().identify(token(exp=int(time.time()) - ago_s))


def test_wrong_token_that_is_over_too_is_wrong() -> None:
    """Only a token that was good once is told to be over."""
    over = int(time.time()) - 1
    for wrong in (token(exp=True), token(exp=over, sub=7), signed(b'{"sub":"ann","exp":1}', key="x" * 32)):
        with pytest.raises(TokenInvalid):
            tokens().identify(wrong)


GOOD: dict[str, tuple[dict[str, Any], Viewer, str]] = {
    "least": ({}, Viewer("ann"), "ann"),
    "userId": ({"sub": ..., "userId": "u-1"}, Viewer("u-1"), "u-1"),
    "sub before userId": ({"userId": "u-1"}, Viewer("ann"), "ann"),
    "any issuer": ({"iss": "https://login.example.com"}, Viewer("ann"), "ann"),
    "username": ({"username": "Ann", "preferred_username": "a", "name": "b"}, Viewer("ann"), "Ann"),
    "preferred_username": ({"preferred_username": "安", "name": "b"}, Viewer("ann"), "安"),
    "name": ({"name": "Ann Lee"}, Viewer("ann"), "Ann Lee"),
    "username of a wrong type": ({"username": 7, "name": "Ann"}, Viewer("ann"), "Ann"),
    "username that steers a terminal": ({"username": "\x1b[31m"}, Viewer("ann"), "ann"),
    "username too long": ({"username": "a" * 129}, Viewer("ann"), "ann"),
    "teams": ({"teams": ["red", "蓝队"]}, Viewer("ann", ("red", "蓝队")), "ann"),
    "teams null": ({"teams": None}, Viewer("ann"), "ann"),
    "past nbf and iat": ({"nbf": 1, "iat": 1.5}, Viewer("ann"), "ann"),
    "ten years": ({"exp": int(time.time()) + 10 * YEAR_S}, Viewer("ann"), "ann"),
    "access token": ({"typ": "Bearer", "token_use": "access"}, Viewer("ann"), "ann"),
    "unknown claims": ({"role": "x", "scope": ["y"]}, Viewer("ann"), "ann"),
}


@pytest.mark.parametrize(("more", "viewer", "username"), GOOD.values(), ids=GOOD.keys())
def test_good_tokens_say_who_it_is(more: dict[str, Any], viewer: Viewer, username: str) -> None:
    """Tokens of another login with the same secret are as good as our own."""
    made = claims(**more)
    identity = tokens().identify(jwt.encode(made, KEY, "HS256"))
    assert (identity.viewer, identity.username) == (viewer, username)
    assert identity.expires_at == made["exp"] * 1000


@pytest.mark.parametrize("kid", ["../../dev/null", "' OR 1=1", "key-1"])
def test_kid_leads_nowhere(kid: str) -> None:
    """The name of a key is neither a path nor a query: it is passed over."""
    assert tokens().identify(token(HEADER | {"kid": kid})).viewer.user_id == "ann"


def test_keys_in_the_header_are_never_fetched() -> None:
    """What a header says of keys elsewhere is passed over, and nobody is called."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        jwk = {"kty": "oct", "k": base64url(b"x" * 32)}
        header = HEADER | {"jku": url, "x5u": url, "jwk": jwk}
        tokens().identify(token(header))
        with pytest.raises(TokenInvalid):
            tokens().identify(signed(json.dumps(claims()).encode(), header, key="x" * 32))
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_last_of_equal_claims_counts() -> None:
    """Of two equal claims the last one counts."""
    assert tokens().identify(raw('{"sub":"a","sub":"b","exp":EXP}')).viewer.user_id == "b"


@given(st.text(max_size=200) | st.binary(max_size=200) | st.none() | st.integers())
def test_nothing_but_a_refusal_gets_out(junk: object) -> None:
    """Any value at all is a wrong token, never a crash."""
    with pytest.raises(TokenInvalid):
        tokens().identify(junk)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ),
    st.sampled_from(["sub", "exp", "nbf", "iat", "teams", "username", "aud", "iss", "typ", "userId"]),
)
def test_any_claim_is_read_or_refused(value: object, name: str) -> None:
    """A claim of any value makes a token good, wrong or over, and nothing else."""
    made = signed(json.dumps(claims(**{name: value})).encode())
    try:
        identity = tokens().identify(made)
    except (TokenInvalid, TokenExpired):
        return
    assert identity.viewer.user_id.isascii()


def test_own_tokens_are_good() -> None:
    """A token made here says what it was made with, for as long as it was told."""
    before = int(time.time() * 1000)
    made, expires_at = tokens().issue("ann", "Ann", ["red"])
    identity = tokens().identify(made)
    assert identity.viewer == Viewer("ann", ("red",))
    assert (identity.username, identity.expires_at) == ("Ann", expires_at)
    assert 0 <= expires_at - before - HOUR_S * 1000 < 60_000
    assert jwt.decode(made, KEY, ["HS256"], issuer="sora-ws")["sub"] == "ann"


def test_longest_setting_makes_good_tokens() -> None:
    """The longest JWT_EXPIRES_IN is within the ten years that a token may last."""
    longest = Tokens(315_360_000_000, Secret(KEY))
    longest.identify(longest.issue("ann", "ann")[0])


def test_disabled_user_is_shut_out() -> None:
    """A disabled user's token is refused at once, an enabled one's is good again."""
    checked = tokens()
    assert checked.refresh_disabled(frozenset({"ann", "bob"})) == {"ann", "bob"}
    assert checked.refresh_disabled(frozenset({"ann", "cid"})) == {"cid"}
    with pytest.raises(UserDisabled):
        checked.identify(token())
    checked.refresh_disabled(frozenset())
    checked.identify(token())
    checked.refresh_disabled(frozenset({"ann"}))
    with pytest.raises(UserDisabled):  # though its token was known to be good
        checked.identify(token())


def test_a_known_token_is_over_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of a token is not good for longer than the token."""
    checked, made = tokens(), token()
    first = checked.identify(made)
    assert checked.identify(made) is first
    monkeypatch.setattr(time, "time", lambda: first.expires_at / 1000)
    with pytest.raises(TokenExpired):
        checked.identify(made)
    with pytest.raises(TokenExpired):
        checked.identify(made)


def test_few_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten, and checked anew when it comes again; a wrong one takes no place."""
    monkeypatch.setattr(auth, "KNOWN_MAX", 2)
    checked = tokens()
    first, second, third = (token(jti=str(number)) for number in range(3))
    before = [checked.identify(made) for made in (first, second)]
    for wrong in range(5):
        with pytest.raises(TokenInvalid):
            checked.identify(f"{first}{wrong}")
    assert [checked.identify(made) for made in (first, second)] == before
    assert checked.identify(second) is before[1]
    checked.identify(third)
    assert checked.identify(second) is before[1]
    assert checked.identify(first) is not before[0]


def test_short_key_signs_nothing() -> None:
    """A key below 32 bytes is refused even where it got past the settings: RFC 7518 section 3.2."""
    short = Tokens(HOUR_S * 1000, Secret("secret"))
    with pytest.raises(jwt.InvalidKeyError):
        short.issue("ann", "ann")
    with pytest.raises(TokenInvalid):
        short.identify(signed(json.dumps(claims()).encode(), key="secret"))


@pytest.mark.gen_test
async def test_key_is_made_once_or_set(tmp_path: Path) -> None:
    """All instances on a store share one key; JWT_SECRET wins over it."""
    unset = Settings(state_dir=tmp_path, message_language="en")
    async with opened(SqliteStore(tmp_path / "db")) as one, opened(SqliteStore(tmp_path / "db")) as other:
        first = await jwt_key(one, unset)
        assert await jwt_key(other, unset) == first
        given = replace(unset, jwt_secret=Secret(KEY))
        assert (await jwt_key(one, given)).reveal() == KEY
    assert len(first.reveal()) >= 32
