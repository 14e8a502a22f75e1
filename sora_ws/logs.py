"""The log: one line per event on stderr, as text for people or as JSON for programs.

Whatever is logged, by whichever library, passes the same last wall: tokens, keys and passwords
that got into a line are blotted out before it is written.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal

BLOT: Final = "[hidden]"

_SECRETS: Final = re.compile(
    r"""
    eyJ[\w-]{8,}(?:\.[\w-]*)*                      # a JWT: its header is always an object, '{"'
    | (?<=access_token=) [^\s&"'\\]+                # how EventSource sends one
    | (?<=[Bb]earer[ ]) [^\s,;"'\\]+                # RFC 6750 section 2.1
    | \bsk-[\w-]{8,}                                # a provider's key
    | (?<=://) [^\s/@:"']* : [^\s/@"']+ (?=@)       # the login in a database's address
    """,
    re.VERBOSE,
)
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# At debug level these write out every statement with its values: hashes and signing keys.
_TOO_TALKATIVE: Final = ("aiosqlite", "pymongo")

_PLAIN: Final = logging.Formatter()
_STANDARD_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(log_format: Literal["text", "json"] | None, level: str) -> None:
    """Send every logger of the process to stderr; None is text on a terminal, else JSON.

    May be called again, the last call counts.
    """
    log_format = log_format or ("text" if sys.stderr.isatty() else "json")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _TOO_TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO)


def without_secrets(text: str) -> str:
    """The text with its tokens, keys and passwords blotted out."""
    return _SECRETS.sub(BLOT, text)


class TextFormatter(logging.Formatter):
    """`2026-11-24 10:21:33 INFO sora_ws.app: Serving action=start`, then the traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone()
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        # What a stranger sent must not look like a line of its own, nor steer the terminal.
        said = _CONTROLS.sub(_escaped, record.getMessage() + extras)
        line = f"{time:%Y-%m-%d %H:%M:%S} {record.levelname} {record.name}: {said}"
        return without_secrets("\n".join([line, *_traces(record)]))


class JsonFormatter(logging.Formatter):
    """One object a line: time (ISO 8601, UTC), level, logger, message, and the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        event |= _extras(record)
        if traces := _traces(record):
            event["exception"] = "\n".join(traces)
        return without_secrets(json.dumps(event, ensure_ascii=False, default=str))


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller gave as `extra=`, e.g. `action`, a word for programs to look for."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}


def _traces(record: logging.LogRecord) -> list[str]:
    """The record's traceback and stack, where it has them."""
    traces = [] if record.exc_info is None else [_PLAIN.formatException(record.exc_info)]
    return traces if record.stack_info is None else [*traces, record.stack_info]


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"
