"""How commands speak: results on stdout, as text or JSON, and complaints on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from sora_ws.logs import without_secrets


class CommandFailed(Exception):
    """The command can't be done; the text is one line for people."""


def print_json(document: Mapping[str, object]) -> None:
    """One JSON document on a line of its own, out at once, in ASCII whatever the locale."""
    print(json.dumps(document), flush=True)


def print_or_json(text: str, document: Mapping[str, object], *, as_json: bool) -> None:
    """The result as a person or as a program wants it."""
    if as_json:
        print_json(document)
    else:
        print(text)


def complain(error: object, status: int) -> int:
    """Say on stderr, in one line and without secrets, what went wrong; returns the exit status."""
    print(f"sora-ws: {one_line(without_secrets(str(error)))}", file=sys.stderr)
    return status


def one_line(text: str) -> str:
    """The text without what could break its line or steer the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
