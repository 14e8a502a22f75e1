"""What a client offers in `Sec-WebSocket-Extensions`, and which of it is taken. Pure.

Only permessage-deflate (RFC 7692) is known. Whatever is wrong with an offer, it is declined: the
line is opened all the same, without it (section 5.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sora_ws.push.frames import WINDOW_BITS

DEFLATE: Final = "permessage-deflate"

_VALUES: Final = {  # what each parameter may be given, "" where it may stand without
    "server_no_context_takeover": re.compile(r""),
    "client_no_context_takeover": re.compile(r""),
    "server_max_window_bits": re.compile(r"[89]|1[0-5]"),
    "client_max_window_bits": re.compile(r"|[89]|1[0-5]"),
}


def deflate_answer(header: str) -> dict[str, str | None] | None:
    """The parameters of our answer to the first offer that can be met, None where there is none.

    Neither side keeps a context: that is what lets one compressed state serve every reader,
    and costs no memory a connection.
    """
    for offer in header.split(","):
        name, *given = (part.strip() for part in offer.split(";"))
        if name.lower() != DEFLATE:
            continue
        parameters = _parameters(given)
        if parameters is None:
            continue
        answer: dict[str, str | None] = {
            "server_no_context_takeover": None,
            "client_no_context_takeover": None,
        }
        window = parameters.get("server_max_window_bits")
        if window is not None:
            if int(window) < WINDOW_BITS:  # we compress once, for readers with this window
                continue
            answer["server_max_window_bits"] = window
        return answer
    return None


def deflate_header(answer: Mapping[str, str | None]) -> str:
    """`Sec-WebSocket-Extensions` of our answer."""
    return "; ".join(
        [DEFLATE, *(name if value is None else f"{name}={value}" for name, value in answer.items())]
    )


def _parameters(given: list[str]) -> dict[str, str] | None:
    """By name, the value "" where there is none; None where one is unknown, wrong or given twice."""
    found: dict[str, str] = {}
    for parameter in given:
        name, equals, value = (part.strip() for part in parameter.partition("="))
        name = name.lower()
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        allowed = _VALUES.get(name)
        if allowed is None or name in found or not allowed.fullmatch(value) or (equals and not value):
            return None
        found[name] = value
    return found
