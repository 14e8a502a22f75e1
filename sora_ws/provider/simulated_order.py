"""What the simulator is asked for, and what it refuses, in the words of the format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from tornado.web import HTTPError

from sora_ws.provider.simulated_job import BLOCKED, SimulatedJob, is_marked

SECONDS_MAX: Final = 120
SIDE_MIN: Final = 64
SIDE_MAX: Final = 4096
PROMPT_MAX: Final = 32_000


class Refusal(HTTPError):
    """An answer that is an error; `body` is what is sent."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(status)
        self.body = error_body(status, message, code=code, param=param)


def error_body(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """The one shape of all errors."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class SimulatedOrder(msgspec.Struct):
    """The body of a create, as it came."""

    prompt: str = ""
    model: str = "sora-2"
    seconds: str | int = "4"
    size: str = "1280x720"

    @classmethod
    def from_form(cls, fields: Mapping[str, str]) -> SimulatedOrder:
        """From a form's text fields; those that are not known here are left alone."""
        return msgspec.convert(fields, cls)

    @classmethod
    def from_json(cls, body: bytes) -> SimulatedOrder:
        """Raises Refusal where the body is no such object."""
        try:
            return msgspec.json.decode(body, type=cls)
        except (ValueError, msgspec.DecodeError, RecursionError) as error:
            raise Refusal(400, f"We could not parse the JSON body of your request: {error}") from None

    def job(self, lasts: int, now: int) -> SimulatedJob:
        """The job that this becomes, and that takes `lasts` ms. Raises Refusal where there can be none."""
        if not self.prompt.strip():
            raise _wrong("prompt", "it is missing")
        if len(self.prompt) > PROMPT_MAX:
            raise _wrong("prompt", f"at most {PROMPT_MAX} characters")
        if is_marked(self.prompt, BLOCKED):
            raise Refusal(
                400, "Your request was blocked by our moderation system.", code="moderation_blocked"
            )
        return SimulatedJob.new(self.prompt, self.model, self._seconds(), self._sides(), lasts=lasts, now=now)

    def _seconds(self) -> int:
        return whole(str(self.seconds), "seconds", 1, SECONDS_MAX)

    def _sides(self) -> tuple[int, int]:
        sides = re.fullmatch(r"([0-9]+)x([0-9]+)", self.size)
        if not sides:
            raise _wrong("size", "WIDTHxHEIGHT")
        return whole(sides[1], "size", SIDE_MIN, SIDE_MAX), whole(sides[2], "size", SIDE_MIN, SIDE_MAX)


def whole(text: str, param: str, least: int, most: int) -> int:
    """The number. Raises Refusal where it is none within these bounds."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,8}", text) or not least <= int(text) <= most:
        raise _wrong(param, f"a whole number from {least} to {most}")
    return int(text)


def _wrong(param: str, wanted: str) -> Refusal:
    return Refusal(400, f"Invalid value for '{param}': {wanted}.", code="invalid_value", param=param)
