"""What every command has: help with an example, one line for what is wrong, and a light start."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sora_ws
from sora_ws.cli import main
from sora_ws.cli.parser import Parser, build_parser
from sora_ws.cli.reference import reference

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"

HEAVY = ("tornado", "rich", "motor", "aiosqlite", "jwt", "sora_ws.app", "sora_ws.service", "sora_ws.store")


def _leaves(parser: Parser) -> Iterator[Parser]:
    if not parser.children:
        yield parser
    for child in parser.children:
        yield from _leaves(child)


COMMANDS = {parser.prog: parser for parser in _leaves(build_parser())}


def test_the_contracts_commands_are_there() -> None:
    """Each command of the contract exists, `user enable` to take a `disable` back, and `secret`."""
    users = [f"user {name}" for name in ("add", "passwd", "disable", "enable", "list")]
    others = ["serve", "token", "secret", "login", "create", "watch", "list", "simulate", "check"]
    assert set(COMMANDS) == {f"sora-ws {name}" for name in (*users, *others)}


@pytest.mark.parametrize("prog", COMMANDS)
def test_each_command_can_be_done_and_shows_an_example(prog: str) -> None:
    """A command's function exists, and its help ends with a line to paste."""
    parser = COMMANDS[prog]
    assert callable(pkgutil.resolve_name(parser.get_default("run")))
    assert f"example:\n  {prog}" in parser.format_help() or f"$({prog}" in parser.format_help()


def test_the_reference_is_up_to_date() -> None:
    """docs/cli.md is what the parsers say now."""
    assert DOCS.read_text(encoding="utf-8") == reference(), (
        "docs/cli.md is stale: python -m sora_ws.cli.reference > docs/cli.md"
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints name and version."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"sora-ws {sora_ws.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["user"],
        ["user", "add"],
        ["create"],
        ["create", "x", "--seconds", "eight"],
        ["list", "--status", "gone"],
        ["list", "--lim", "3"],
        ["simulate", "--port", "70000"],
        ["simulate", "--seconds", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What can't be parsed is told in one line that names the help."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert line.endswith("--help")


@pytest.mark.parametrize("arguments", [[], ["--config=settings.env"], ["--config", "settings.env"]])
def test_without_a_command_it_serves(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sora-ws` is `sora-ws serve`, its option included."""
    monkeypatch.setenv("PORT", "x")
    assert main(arguments) == 78
    complaint = capsys.readouterr().err
    assert complaint.startswith("sora-ws: ")
    assert ("settings.env" in complaint) == bool(arguments)


def test_a_wrong_setting_is_one_line_and_78(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the setting and says what to write."""
    monkeypatch.setenv("WS_AUTH_TIMEOUT", "10s")
    assert main(["user", "list"]) == 78
    assert capsys.readouterr().err == (
        "sora-ws: WS_AUTH_TIMEOUT is '10s': write a whole number from 100 to 3600000\n"
    )


def _modules_after(arguments: list[str], home: Path) -> set[str]:
    """What a process has imported when it has done the command."""
    script = (
        "import sys\n"
        "from sora_ws.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"XDG_CONFIG_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stderr.splitlines())


def test_the_version_costs_no_imports(tmp_path: Path) -> None:
    """Nothing heavy is loaded for `--version`."""
    assert _modules_after(["--version"], tmp_path).isdisjoint(HEAVY)


def test_a_client_command_does_not_load_the_server(tmp_path: Path) -> None:
    """`list` is a client like any other and imports nothing that serves."""
    loaded = _modules_after(["list"], tmp_path)
    assert "sora_ws.client" in loaded
    assert loaded.isdisjoint({"sora_ws.app", "sora_ws.service", "sora_ws.store", "motor", "aiosqlite"})
