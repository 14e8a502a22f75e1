"""The arguments: every command with its options, its help and an example."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from sora_ws import __version__

SIMULATOR_PORT: Final = 3002
STATUSES: Final = ("QUEUED", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED")

ABOUT: Final = """\
Pushes the progress of AI video tasks over WebSocket, and loses none of them.
Without a command it serves."""

AS_THE_SERVER: Final = """\
It goes by the server's own settings: the environment's over those of --config.
Called by root where the service is installed, --config is the service's file
and what it writes belongs to the service."""

AS_A_CLIENT: Final = """\
The server is SORA_WS_URL, by default http://localhost:3001; the token is
SORA_WS_TOKEN, else the one of `sora-ws login`."""

# Of one width everywhere, so that the reference made from it is the same on every machine.
_Formatter = partial(argparse.RawDescriptionHelpFormatter, width=80)


class Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong; `children` are the parsers of its commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.children: list[Parser] = []

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class Commands:
    """The commands below a parser."""

    def __init__(self, parser: Parser) -> None:
        self._parent = parser
        self._parsers = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(self, name: str, about: str, *, example: str, more: str = "", **defaults: Any) -> Parser:
        """A command; `defaults` has `run`, the function that does it as "module:function"."""
        parser = self._parsers.add_parser(
            name,
            help=about,
            description="\n\n".join(filter(None, (f"{about[0].upper()}{about[1:]}.", more))),
            epilog=f"example:\n  {example}",
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        parser.set_defaults(**defaults)
        self._parent.children.append(parser)
        return parser


def build_parser() -> Parser:
    """The whole command line; what it parses has `run`, the name of the function to call."""
    parser = Parser(prog="sora-ws", description=ABOUT, formatter_class=_Formatter, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"sora-ws {__version__}")
    commands = Commands(parser)
    _serve(commands)
    _user(commands)
    _token(commands)
    _secret(commands)
    _login(commands)
    _create(commands)
    _watch(commands)
    _list(commands)
    _simulate(commands)
    _check(commands)
    return parser


def _serve(commands: Commands) -> None:
    parser = commands.add(
        "serve",
        "run the server until SIGTERM or Ctrl-C",
        example="sora-ws serve --config conf/sora-ws.env",
        run="sora_ws.cli.server:serve",
    )
    _add_config(parser)


def _user(commands: Commands) -> None:
    parser = commands.add(
        "user",
        "say who may sign in with a password",
        more=AS_THE_SERVER,
        example="sora-ws user passwd admin",
    )
    users = Commands(parser)
    _user_command(users, "add", "let a new user sign in", takes_password=True)
    _user_command(users, "passwd", "set a user's password anew", takes_password=True)
    _user_command(users, "disable", "shut a user out, from open connections too")
    _user_command(users, "enable", "let a disabled user in again")
    listing = users.add(
        "list",
        "show the users",
        more=AS_THE_SERVER,
        example="sora-ws user list --json",
        run="sora_ws.cli.accounts:list_users",
    )
    _add_config(listing)
    _add_json(listing)


def _user_command(users: Commands, name: str, about: str, *, takes_password: bool = False) -> None:
    parser = users.add(
        name,
        about,
        more=AS_THE_SERVER,
        example=f"sora-ws user {name} alice",
        run=f"sora_ws.cli.accounts:{name}",
    )
    parser.add_argument("name", metavar="NAME", help="the user's name, which is also the id in tokens")
    if takes_password:
        _add_password_stdin(parser, "without it one is asked for, or made where there is no terminal")
    _add_config(parser)
    _add_json(parser)


def _token(commands: Commands) -> None:
    parser = commands.add(
        "token",
        "make a token for anybody, without a password",
        more=f"{AS_THE_SERVER}\nIt lives for JWT_EXPIRES_IN.",
        example="export SORA_WS_TOKEN=$(sora-ws token alice --team film)",
        run="sora_ws.cli.accounts:token",
    )
    parser.add_argument("user", metavar="USER", help="the user's id; it needn't be known here")
    parser.add_argument("--name", help="the name to show, by default the id")
    parser.add_argument(
        "--team", action="append", default=[], dest="teams", help="a team of the user; may be repeated"
    )
    _add_config(parser)
    _add_json(parser)


def _secret(commands: Commands) -> None:
    parser = commands.add(
        "secret",
        "show what callbacks are signed with",
        more=f"{AS_THE_SERVER}\nWithout CALLBACK_SECRET it is made once; receivers check signatures with it.",
        example="sora-ws secret",
        run="sora_ws.cli.callbacks:secret",
    )
    _add_config(parser)
    _add_json(parser)


def _login(commands: Commands) -> None:
    parser = commands.add(
        "login",
        "sign in to a server and keep the token for the next commands",
        more="The server is SORA_WS_URL, by default http://localhost:3001.",
        example="sora-ws login admin",
        run="sora_ws.cli.remote:login",
    )
    parser.add_argument("username", nargs="?", metavar="USERNAME", help="asked for where it isn't given")
    _add_password_stdin(parser, "without it it is asked for")
    _add_json(parser)


def _create(commands: Commands) -> None:
    parser = commands.add(
        "create",
        "ask for a video, and print the task's id",
        more=f"{AS_A_CLIENT}\nExit status with --watch: 0 completed, 1 failed.",
        example='sora-ws create "a paper boat on a river" --seconds 8 --watch',
        run="sora_ws.cli.remote:create",
    )
    parser.add_argument("prompt", metavar="PROMPT", help="what the video shows")
    parser.add_argument("--model", help="by default the server's SORA_MODEL")
    parser.add_argument("--seconds", type=int, metavar="N", help="length of the video")
    parser.add_argument("--size", metavar="WIDTHxHEIGHT", help="like 1280x720")
    parser.add_argument("--team", help="one of your teams, whose members may then see the task")
    parser.add_argument("--watch", action="store_true", help="follow the task as `sora-ws watch` does")
    _add_json(parser)


def _watch(commands: Commands) -> None:
    parser = commands.add(
        "watch",
        "follow a task to its end with a progress bar, and print the video's address",
        more=f"{AS_A_CLIENT}\nExit status: 0 completed, 1 failed.",
        example="sora-ws watch $(sora-ws create sunrise)",
        run="sora_ws.cli.remote:watch",
    )
    parser.add_argument("video_id", metavar="VIDEO_ID", help="the task's id")
    _add_json(parser)


def _list(commands: Commands) -> None:
    parser = commands.add(
        "list",
        "show your tasks, newest first",
        more=AS_A_CLIENT,
        example="sora-ws list --status COMPLETED --limit 5",
        run="sora_ws.cli.remote:list_tasks",
    )
    parser.add_argument(
        "--status", type=str.upper, choices=STATUSES, metavar="STATUS", help=", ".join(STATUSES)
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="at most so many, from 1 to 100; 20 by default"
    )
    _add_json(parser)


def _simulate(commands: Commands) -> None:
    parser = commands.add(
        "simulate",
        "run the simulated videos API alone, for SORA_API_BASE_URL",
        example="sora-ws simulate --seconds 5",
        run="sora_ws.cli.server:simulate",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=SIMULATOR_PORT,
        metavar="N",
        help="port on 127.0.0.1; %(default)s by default",
    )
    parser.add_argument(
        "--seconds", type=_seconds, metavar="N", help="time per video; SORA_SIMULATOR_SECONDS by default"
    )


def _check(commands: Commands) -> None:
    parser = commands.add(
        "check",
        "see whether settings, store, provider and Redis are in order",
        more=f"{AS_THE_SERVER}\nExit status: 0 all of them, 78 wrong settings, 1 else.",
        example="sora-ws check --config conf/sora-ws.env",
        run="sora_ws.cli.server:check",
    )
    _add_config(parser)
    _add_json(parser)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0, which takes a free one, to 65535")
    return int(text)


def _seconds(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("seconds are a whole number")
    return int(text)


def _add_config(parser: Parser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as KEY=value lines")


def _add_json(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, a document a line, for programs")


def _add_password_stdin(parser: Parser, otherwise: str) -> None:
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        help=f"read the password from the first line of stdin; {otherwise}",
    )
