"""Where passwords come from: a terminal that doesn't show them, or the first line of stdin."""

from __future__ import annotations

import sys
from getpass import getpass

from sora_ws.cli.output import CommandFailed


def first_line_of_stdin() -> str:
    """What a program pipes in. Raises CommandFailed where nothing comes."""
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandFailed("there is no password on the first line of stdin")
    return password


def ask(prompt: str) -> str:
    """What is typed, unseen. Raises CommandFailed without a terminal."""
    if not sys.stdin.isatty():
        raise CommandFailed("there is no terminal to ask for the password on: use --password-stdin")
    try:
        return getpass(prompt)
    except EOFError:
        raise CommandFailed("no password was given") from None


def ask_for_new() -> str:
    """A new password, typed twice; empty where one is to be made. Raises CommandFailed."""
    password = ask("New password, or nothing to have one made: ")
    if password and ask("Once more: ") != password:
        raise CommandFailed("the two passwords differ")
    return password
