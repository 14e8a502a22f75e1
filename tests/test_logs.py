"""The log: its two formats, and the wall that no secret passes."""

from __future__ import annotations

import json
import logging
import pty
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

import pytest
from tornado.log import access_log, app_log, gen_log

from sora_ws import logs

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl-_x"

Lines = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def _root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    def written_since_the_last_call() -> list[str]:
        return capsys.readouterr().err.splitlines()

    return written_since_the_last_call


def test_json_is_one_object_a_line_with_the_extra_fields(lines: Lines) -> None:
    """A JSON line has time in UTC, level, logger, message, `action` and whatever else was given."""
    logs.configure("json", "info")
    logging.getLogger("sora_ws.app").info("Serving\non %d", 3001, extra={"action": "start", "port": 3001})
    (line,) = lines()
    event = json.loads(line)
    assert datetime.fromisoformat(event.pop("time")).tzinfo == UTC
    assert event == {
        "level": "info",
        "logger": "sora_ws.app",
        "message": "Serving\non 3001",
        "action": "start",
        "port": 3001,
    }


def test_json_carries_a_traceback_on_its_one_line(lines: Lines) -> None:
    """An exception is a field of the object, not further lines."""
    logs.configure("json", "info")
    wrong = ValueError("no such thing")
    logging.getLogger("sora_ws").error("It failed", exc_info=wrong, stack_info=True)
    (line,) = lines()
    assert "ValueError: no such thing" in json.loads(line)["exception"]


def test_json_takes_values_that_json_does_not_know(lines: Lines) -> None:
    """An extra field of any type is written as its text."""
    logs.configure("json", "info")
    logging.getLogger("sora_ws").info("Kept", extra={"path": Path("a") / "b"})
    assert json.loads(lines()[0])["path"] == "a/b"


def test_text_is_for_people(lines: Lines) -> None:
    """A text line has time, level, logger, message and the extra fields as name=value."""
    logs.configure("text", "info")
    logging.getLogger("sora_ws.app").warning("Port %d is taken", 80, extra={"action": "listen"})
    (line,) = lines()
    assert line.endswith(" WARNING sora_ws.app: Port 80 is taken action=listen")


def test_text_keeps_a_strangers_line_breaks_inside_the_line(lines: Lines) -> None:
    """Control characters from outside can neither forge a line nor steer a terminal."""
    logs.configure("text", "info")
    logging.getLogger("sora_ws").info("Prompt %s", "a\nERROR forged\x1b[2J", extra={"agent": "x\ry"})
    (line,) = lines()
    assert line.endswith(r"Prompt a\x0aERROR forged\x1b[2J agent=x\x0dy")


def test_text_puts_a_traceback_behind_the_line(lines: Lines) -> None:
    """A traceback stays readable in text."""
    logs.configure("text", "info")
    logging.getLogger("sora_ws").error("It failed", exc_info=ValueError("no such thing"))
    first, *rest = lines()
    assert first.endswith("It failed")
    assert rest[-1] == "ValueError: no such thing"


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    ("said", "secret"),
    [
        (f"token {JWT} is over", JWT),
        (f"token {JWT[:30]}", JWT[:30]),
        ("GET /api/events?access_token=abc.def&x=1", "abc.def"),
        ("Authorization: Bearer s3cr3t/+=", "s3cr3t"),
        ("the key sk-proj-0123456789 is wrong", "0123456789"),
        ("mongodb://sora:p4ss@db.example.com/sora is away", "p4ss"),
    ],
)
def test_no_secret_is_written(
    log_format: Literal["text", "json"], said: str, secret: str, lines: Lines
) -> None:
    """A secret is blotted out in the message, in an extra field and in a traceback."""
    logs.configure(log_format, "info")
    logging.getLogger("sora_ws").error(said, exc_info=ValueError(said), extra={"detail": said})
    written = "\n".join(lines())
    assert secret not in written
    assert written.count(logs.BLOT) == 3


@pytest.mark.parametrize("said", ["GET /api/videos?limit=1", "https://example.com/a@b", "task-0123456789"])
def test_what_is_no_secret_is_left_alone(said: str) -> None:
    """Ordinary addresses and ids pass the wall."""
    assert logs.without_secrets(said) == said


def test_the_wall_leaves_a_json_line_whole(lines: Lines) -> None:
    """Blotting out never eats the quotes around a value."""
    logs.configure("json", "info")
    logging.getLogger("sora_ws").info("said", extra={"header": f"Bearer {JWT}", "uri": "/?access_token=a"})
    event: dict[str, Any] = json.loads(lines()[0])
    assert event["header"] == f"Bearer {logs.BLOT}"
    assert event["uri"] == f"/?access_token={logs.BLOT}"


def test_tornados_own_loggers_are_part_of_it(lines: Lines) -> None:
    """Access, application and general messages of Tornado come in the same format."""
    logs.configure("json", "info")
    for logger in (access_log, app_log, gen_log):
        logger.warning("hello")
    assert [json.loads(line)["logger"] for line in lines()] == [
        "tornado.access",
        "tornado.application",
        "tornado.general",
    ]


def test_the_level_counts_and_the_last_call_wins(lines: Lines) -> None:
    """Below the level nothing is written, and configuring again doesn't double a line."""
    logs.configure("text", "debug")
    logs.configure("json", "warning")
    logging.getLogger("sora_ws").info("not shown")
    logging.getLogger("sora_ws").warning("shown")
    assert [json.loads(line)["message"] for line in lines()] == ["shown"]


@pytest.mark.parametrize("driver", ["aiosqlite", "pymongo.command"])
def test_a_driver_never_writes_out_its_statements(driver: str, lines: Lines) -> None:
    """Also at debug level, statements with password hashes and keys in them stay out of the log."""
    logs.configure("text", "debug")
    logging.getLogger(driver).debug("insert into keys values ('jwt', '…')")
    logging.getLogger("sora_ws").debug("shown")
    assert len(lines()) == 1


def test_where_no_format_is_set_the_terminal_decides(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Text on a terminal, JSON into anything else."""
    logs.configure(None, "info")
    logging.getLogger("sora_ws").info("into a pipe")
    assert json.loads(lines()[0])["message"] == "into a pipe"

    ours, theirs = pty.openpty()
    terminal: TextIO
    with open(theirs, "w") as terminal, open(ours, "rb", buffering=0) as screen:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", terminal)
        logs.configure(None, "info")
        logging.getLogger("sora_ws").info("to a person")
        assert screen.read(200).rstrip().endswith(b"INFO sora_ws: to a person")
