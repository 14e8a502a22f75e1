"""Who somebody is: tokens made and checked, passwords kept and compared.

A token is checked without the store: its key and the names of those who are shut out are in
memory. Whatever is wrong with a token ends as one error with one text, so that nobody learns
from the answer how near a guess was. Of two equal claims in one token the last one counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import re
import secrets
import string
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import jwt
import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from sora_ws.settings import Secret, Settings
from sora_ws.store import KeyStore, User, UserExists, UserStore
from sora_ws.task import Viewer

log = logging.getLogger(__name__)

ISSUER: Final = "sora-ws"
ALGORITHM: Final = "HS256"
TOKEN_BYTES_MAX: Final = 8 * 1024
KNOWN_MAX: Final = 4096  # tokens whose check is remembered, 100 bytes each
DIGEST_BYTES: Final = 15  # 120 bits; with its head it fills 48 bytes exactly
LIFETIME_S_MAX: Final = 3653 * 24 * 3600  # ten years, with their leap days
TEAMS_MAX: Final = 256
NAME_LENGTH_MAX: Final = 128
TOKEN_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
ACCESS_KINDS: Final = frozenset({"access", "access_token", "bearer", "jwt", "at+jwt"})

PASSWORD_LENGTH_MIN: Final = 8
PASSWORD_LENGTH_MAX: Final = 1024
HASHES_AT_ONCE: Final = 2  # each takes 64 MiB and a core
ADMIN: Final = "admin"
RANDOM_PASSWORD_LENGTH: Final = 24


class AuthError(Exception):
    """Nobody is known by this."""


class TokenInvalid(AuthError):
    """The token is none of ours; the text never says why."""

    def __init__(self) -> None:
        super().__init__("the token is not valid")


class TokenExpired(AuthError):
    """The token was good, and its time is over."""

    def __init__(self) -> None:
        super().__init__("the token has expired")


class UserDisabled(AuthError):
    """The token is good, and its user is shut out."""

    def __init__(self) -> None:
        super().__init__("the user is disabled")


class AccountError(Exception):
    """A name or password that can't be used, or a user that isn't there; the text is for people."""


class Identity(msgspec.Struct, frozen=True, gc=False):
    """Who a token speaks for, and until when (ms since the epoch)."""

    viewer: Viewer
    username: str
    expires_at: int


class _Claims(msgspec.Struct):
    """What is read of a token, and nothing of a wrong type. Times in s: RFC 7519 section 4.1."""

    exp: int
    sub: str | msgspec.UnsetType = msgspec.UNSET  # null is no id, whatever `userId` says
    user_id: str | None = msgspec.field(default=None, name="userId")
    iss: str | None = None
    aud: Any = None
    nbf: int | float | None = None
    iat: int | float | None = None
    teams: list[str] | None = None
    username: Any = None
    preferred_username: Any = None
    name: Any = None
    typ: Any = None
    type: Any = None
    token_type: Any = None
    token_use: Any = None


class Tokens:
    """Makes and checks HS256 tokens (RFC 7519, by the practices of RFC 8725).

    `key` is the secret of the signature, `lifetime_ms` how long the tokens made here live.
    """

    def __init__(self, lifetime_ms: int, key: Secret) -> None:
        self._lifetime_ms = lifetime_ms
        self._key = key
        self._signatures = jwt.PyJWS(algorithms=[ALGORITHM], options={"enforce_minimum_key_length": True})
        self._disabled: frozenset[str] = frozenset()
        self._known: dict[bytes, Identity] = {}

    def refresh_disabled(self, names: frozenset[str]) -> frozenset[str]:
        """Shut out exactly these users from now on; returns those who weren't before."""
        fresh = names - self._disabled
        self._disabled = names
        if fresh:
            self._known.clear()
        return fresh

    def issue(self, user_id: str, username: str, teams: Sequence[str] = ()) -> tuple[str, int]:
        """A new token, and when it ends (ms since the epoch)."""
        now = time.time()
        expires = math.ceil(now + self._lifetime_ms / 1000)
        claims = {
            "iss": ISSUER,
            "sub": user_id,
            "username": username,
            "teams": list(teams),
            "iat": int(now),
            "exp": expires,
        }
        token = self._signatures.encode(msgspec.json.encode(claims), self._key.reveal(), ALGORITHM)
        return token, expires * 1000

    def identify(self, token: object) -> Identity:
        """Whom the token speaks for. Raises TokenInvalid, TokenExpired, UserDisabled."""
        # The length comes first: decoding 10 MB would hold the loop for half a second.
        if not isinstance(token, str) or len(token) > TOKEN_BYTES_MAX or not token.isascii():
            raise TokenInvalid
        digest = hashlib.blake2b(token.encode(), digest_size=DIGEST_BYTES).digest()
        identity = self._known.get(digest)
        if identity is None:
            identity = _identity(self._claims(token), time.time())
            if identity.viewer.user_id in self._disabled:
                raise UserDisabled
            self._remember(digest, identity)
        elif identity.expires_at <= time.time() * 1000:
            del self._known[digest]
            raise TokenExpired
        return identity

    def _remember(self, digest: bytes, identity: Identity) -> None:
        """The same token comes again with each reload and reconnect; to check it takes 40 µs."""
        if len(self._known) >= KNOWN_MAX:
            del self._known[next(iter(self._known))]
        self._known[digest] = identity

    def _claims(self, token: str) -> _Claims:
        try:
            signed = self._signatures.decode_complete(token, self._key.reveal(), algorithms=[ALGORITHM])
            # As text, because bytes would leave wrong UTF-8 in unknown claims unseen.
            claims = msgspec.json.decode(signed["payload"].decode(), type=_Claims)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise TokenInvalid from None
        if not _is_access_token(signed["header"], claims):
            raise TokenInvalid
        return claims


async def jwt_key(keys: KeyStore, settings: Settings) -> Secret:
    """JWT_SECRET, else the key that is made once for all instances. Raises StoreUnavailable."""
    return settings.jwt_secret or Secret(await keys.keep("jwt_secret", secrets.token_hex(32)))


def _identity(claims: _Claims, now: float) -> Identity:
    user_id = claims.user_id if claims.sub is msgspec.UNSET else claims.sub
    teams = tuple(claims.teams or ())
    sound = (
        is_user_id(user_id)
        and not claims.aud  # meant for another service: RFC 7519 section 4.1.3
        and claims.exp <= now + LIFETIME_S_MAX
        and max(claims.nbf or 0, claims.iat or 0) <= now
        and len(teams) <= TEAMS_MAX
        and all(_is_name(team) for team in teams)
    )
    if not sound or not isinstance(user_id, str):
        raise TokenInvalid
    if claims.exp <= now:
        raise TokenExpired
    names = (claims.username, claims.preferred_username, claims.name)
    username = next((name for name in names if _is_name(name)), user_id)
    return Identity(Viewer(user_id, teams), username, claims.exp * 1000)


def is_user_id(value: object) -> bool:
    """Whether it may be a user's id: 1–128 printable ASCII characters, none of them a space."""
    return isinstance(value, str) and re.fullmatch(r"[\x21-\x7e]{1,128}", value) is not None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= NAME_LENGTH_MAX and value.isprintable()


def _is_access_token(header: dict[str, Any], claims: _Claims) -> bool:
    """Not one made for something else under the same key: RFC 8725 sections 3.11 and 3.12."""
    if _word(header.get("typ", "JWT")) not in TOKEN_TYPES:
        return False
    kinds = (claims.typ, claims.type, claims.token_type, claims.token_use)
    return all(_word(kind) in ACCESS_KINDS for kind in kinds if kind is not None)


def _word(value: object) -> str:
    return value.lower() if isinstance(value, str) else ""


def random_password() -> str:
    """A password that nobody guesses: 24 of a–z0–9, about 124 bits."""
    alphabet = string.ascii_lowercase + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(RANDOM_PASSWORD_LENGTH))


class Accounts:
    """The users of this server and their passwords, which are kept as argon2id hashes."""

    def __init__(self, users: UserStore, hasher: PasswordHasher | None = None) -> None:
        self._users = users
        self._hasher = hasher or PasswordHasher()
        self._dummy_hash = self._hasher.hash(secrets.token_hex())
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)

    async def login(self, name: str, password: str) -> User | None:
        """The user of this name and password; None, and no sooner, where there is none or it is disabled.

        Raises StoreUnavailable.
        """
        if len(password) > PASSWORD_LENGTH_MAX:
            return None
        user = await self._users.find_user(name) if is_user_id(name) else None
        # Unknown users cost the same time as known ones, so that nobody can ask who is here.
        password_hash = user.password_hash if user else self._dummy_hash
        if not await self._matches(password_hash, password) or user is None or user.disabled:
            return None
        if self._hasher.check_needs_rehash(user.password_hash):
            await self._rehash(user, password)
        return user

    async def add(self, name: str, password: str) -> None:
        """Raises AccountError where the name or the password can't be used; StoreUnavailable."""
        if not is_user_id(name):
            raise AccountError(
                f"a user's name is 1 to {NAME_LENGTH_MAX} letters, digits and signs without spaces"
            )
        try:
            await self._users.add_user(User(name, await self._hash(password), int(time.time() * 1000)))
        except UserExists:
            raise AccountError(f"there is a user {name} already") from None

    async def set_password(self, name: str, password: str) -> None:
        """Raises AccountError where there is no such user or the password can't be used."""
        password_hash = await self._hash(password)
        await self._users.replace_user(replace(await self._find(name), password_hash=password_hash))

    async def disable(self, name: str) -> None:
        """Shut the user out; done twice it is done once. Raises AccountError where there is no such user."""
        await self._users.replace_user(replace(await self._find(name), disabled=True))

    async def enable(self, name: str) -> None:
        """Let a disabled user in again. Raises AccountError where there is no such user."""
        await self._users.replace_user(replace(await self._find(name), disabled=False))

    async def ensure_admin(self) -> str | None:
        """Make the first user where there is none: its password, which is told this once, else None."""
        if await self._users.users():
            return None
        password = random_password()
        try:
            await self.add(ADMIN, password)
        except AccountError:  # another instance was faster, and tells its own password
            return None
        return password

    async def _find(self, name: str) -> User:
        user = await self._users.find_user(name)
        if user is None:
            raise AccountError(f"there is no user {name}")
        return user

    async def _rehash(self, user: User, password: str) -> None:
        """Keep the password by today's parameters, unless the user has changed since it was read."""
        password_hash = await self._hash(password)
        if await self._users.find_user(user.name) == user:
            await self._users.replace_user(replace(user, password_hash=password_hash))

    async def _hash(self, password: str) -> str:
        if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
            raise AccountError(f"a password has {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters")
        if any("\ud800" <= character <= "\udfff" for character in password):  # bytes of a wrong terminal
            raise AccountError("a password is text in UTF-8")
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _matches(self, password_hash: str, password: str) -> bool:
        async with self._hashing:
            try:
                return await asyncio.to_thread(self._hasher.verify, password_hash, password)
            except VerificationError:
                return False
            except InvalidHashError:
                log.exception("a user's password hash can't be read: set a new password")
                return False
