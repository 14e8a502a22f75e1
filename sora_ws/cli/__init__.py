"""The command line. `main` finds the command and turns whatever goes wrong into one line.

A command is a function of the parsed arguments that returns the exit status. It stands in a
module that is imported when the command is called, so that none pays for another's imports.
"""

from __future__ import annotations

import os
import pkgutil
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Final

from sora_ws.cli.output import CommandFailed, complain
from sora_ws.cli.parser import build_parser
from sora_ws.settings import WrongSetting

FAILED: Final = 1
KILLED_BY: Final = 128  # and the signal's number, as shells count


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say, by default the process's own; returns the exit status.

    0 done, 1 failed (or the watched task did), 2 wrong usage, 78 wrong setting (EX_CONFIG).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0].startswith("--config"):
        arguments.insert(0, "serve")
    args = build_parser().parse_args(arguments)
    _never_fail_to_print()
    try:
        status: int = pkgutil.resolve_name(args.run)(args)
        sys.stdout.flush()
    except WrongSetting as error:
        return complain(error, os.EX_CONFIG)
    except KeyboardInterrupt:
        return KILLED_BY + signal.SIGINT
    except BrokenPipeError:
        _close_stdout()
        return KILLED_BY + signal.SIGPIPE
    except (CommandFailed, OSError) as error:
        return complain(error, FAILED)
    return status


def _never_fail_to_print() -> None:
    """A prompt may hold letters that the terminal's encoding has not."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _close_stdout() -> None:
    """Nobody reads any more, so the interpreter's own flush at the end must not fail aloud."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
