"""Every error that a request may end with, as RFC 9457 wants it told.

`KINDS` is the one place where an error of the domain becomes an HTTP status. What stands in
none of its rows is our own fault: 500, told to the log in full and to the client not at all.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import msgspec
from tornado.web import HTTPError

from sora_ws.auth import TokenExpired, TokenInvalid, UserDisabled
from sora_ws.media import MediaAway, MediaGone
from sora_ws.service import Conflict, Forbidden, KeyReused, NoRoom, NotFound, TooManyTasks
from sora_ws.signatures import WrongSignature
from sora_ws.store import StoreFull, StoreUnavailable

CONTENT_TYPE: Final = "application/problem+json"

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field of a request, for people."""

    field: str
    message: str


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    type: str = "about:blank"  # the status says all there is to say
    title: str
    status: int
    detail: str | msgspec.UnsetType
    errors: Sequence[FieldError] | msgspec.UnsetType


class Problem(Exception):
    """A request's end with an error; `detail` and `errors` are shown to the client."""

    def __init__(
        self,
        status: int,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(detail or HTTPStatus(status).phrase)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers

    def encode(self) -> bytes:
        """The body of the answer."""
        body = _Body(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail or msgspec.UNSET,
            errors=self.errors or msgspec.UNSET,
        )
        return msgspec.json.encode(body)


def wrong_field(name: str, message: str) -> Problem:
    """422 for one field."""
    return Problem(422, f"{name}: {message}", errors=[FieldError(name, message)])


@dataclass(frozen=True, slots=True)
class _Kind:
    """How an error is answered; without a `detail` it is the error's own text."""

    status: int
    detail: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    field: str | None = None


_WHO = _Kind(401, "Send a valid token: `Authorization: Bearer …`.", {"WWW-Authenticate": "Bearer"})
_AWAY = _Kind(503, "The database can't be reached just now.", {"Retry-After": "5"})
_FULL = _Kind(507, "The server's disk is full.")

KINDS: Final[Mapping[type[Exception], _Kind]] = MappingProxyType(
    {
        TokenInvalid: _WHO,
        TokenExpired: _WHO,
        UserDisabled: _WHO,
        NotFound: _Kind(404),
        MediaGone: _Kind(404, "There is no such video or picture."),
        Forbidden: _Kind(403),
        WrongSignature: _Kind(403),
        Conflict: _Kind(409),
        KeyReused: _Kind(422, field="Idempotency-Key"),
        TooManyTasks: _Kind(429, headers={"Retry-After": "30"}),
        StoreUnavailable: _AWAY,
        MediaAway: _AWAY,
        StoreFull: _FULL,
        NoRoom: _FULL,
    }
)

REFUSALS: Final[tuple[type[Exception], ...]] = (Problem, *KINDS)
"""Errors that are answers, not faults."""


def problem_of(error: BaseException | None) -> Problem:
    """How the error is told to the client."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPError):
        return Problem(error.status_code)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return _told(error, _FULL)
    for cls in type(error).__mro__:
        if error is not None and cls in KINDS:
            return _told(error, KINDS[cls])
    return Problem(500, "Something went wrong here. It has been logged.")


def _told(error: BaseException, kind: _Kind) -> Problem:
    detail = kind.detail or str(error)
    errors = [FieldError(kind.field, detail)] if kind.field else []
    return Problem(kind.status, detail, errors=errors, headers=kind.headers)
