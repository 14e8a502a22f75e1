"""Tokens for passwords, and for older tokens: `/api/auth/`."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from sora_ws.auth import NAME_LENGTH_MAX, PASSWORD_LENGTH_MAX
from sora_ws.rest.base import ApiHandler
from sora_ws.rest.body import checked, json_object
from sora_ws.rest.problem import Problem


class LoginBody(msgspec.Struct, frozen=True):
    """POST /api/auth/login."""

    username: Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX, description="the name of a user")]
    password: Annotated[
        str, Meta(min_length=1, max_length=PASSWORD_LENGTH_MAX, description="the user's password")
    ]


class Signed(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A token and whom it speaks for; `expires_at` in ms since the epoch."""

    token: str
    token_type: str = "Bearer"  # noqa: S105 -- RFC 6750, no password
    expires_at: int
    user_id: str
    username: str


class LoginHandler(ApiHandler):
    """`/api/auth/login`."""

    async def admit(self) -> None:
        """Open to all: who comes here has no token yet."""

    async def post(self) -> None:
        """A token for a name and a password."""
        body = checked(json_object(self.body, self.request.headers), LoginBody)
        throttle = self.context.login_throttle
        wait_s = throttle.begin(body.username, self.address)
        if wait_s > 0:
            raise _too_often(wait_s)
        user = await self.context.accounts.login(body.username, body.password)
        if user is None:
            raise Problem(
                401, "The user name or the password is wrong.", headers={"WWW-Authenticate": "Bearer"}
            )
        throttle.succeeded(body.username, self.address)
        token, expires_at = self.context.tokens.issue(user.name, user.name)
        self.reply(Signed(token=token, expires_at=expires_at, user_id=user.name, username=user.name))


class RefreshHandler(ApiHandler):
    """`/api/auth/refresh`."""

    async def post(self) -> None:
        """A new token for a valid one, with what it said."""
        viewer, username = self.viewer, self.identity.username
        token, expires_at = self.context.tokens.issue(viewer.user_id, username, viewer.teams)
        self.reply(Signed(token=token, expires_at=expires_at, user_id=viewer.user_id, username=username))


def _too_often(wait_s: float) -> Problem:
    return Problem(
        429,
        "Too many failed sign-ins from here or for this user. Try again a little later.",
        headers={"Retry-After": str(math.ceil(wait_s))},
    )
