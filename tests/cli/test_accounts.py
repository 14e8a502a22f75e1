"""`user …` and `token` on a running server's own database."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest

from tests.cli.commands import GUARD_S, CommandLine, Result
from tests.server import Server


def sign_in(server: Server, name: str, password: str) -> int:
    """The status of a sign-in."""
    return server.request("POST", "/api/auth/login", {"username": name, "password": password}).status


def test_a_user_is_added_with_a_given_password(beside_server: CommandLine, running: Server) -> None:
    """The user signs in at the running server at once."""
    added = beside_server.run("user", "add", "alice", "--password-stdin", stdin="correct horse\n")
    assert added == Result(0, "alice may sign in with this password\n", "")
    assert sign_in(running, "alice", "correct horse") == 200


def test_without_a_terminal_a_password_is_made(beside_server: CommandLine, running: Server) -> None:
    """Where nobody can be asked, a password is made and shown this once."""
    beside_server.run("user", "add", "bob", "--password-stdin", stdin="correct horse\n")
    made = beside_server.run("user", "passwd", "bob").out.removeprefix("password: ").strip()
    assert len(made) == 24
    assert sign_in(running, "bob", made) == 200
    assert sign_in(running, "bob", "correct horse") == 401


def test_a_made_password_as_json(beside_server: CommandLine, running: Server) -> None:
    """A program gets it as a field."""
    made = beside_server.run("user", "add", "carol", "--json").json
    assert set(made) == {"name", "password"}
    assert sign_in(running, "carol", made["password"]) == 200


def test_a_disabled_user_stays_out_until_enabled(beside_server: CommandLine, running: Server) -> None:
    """Neither password nor token lets a disabled user in, nor a new password; `enable` does."""
    password = beside_server.run("user", "add", "dave", "--json").json["password"]
    assert beside_server.run("user", "disable", "dave").out == "dave is shut out\n"
    assert sign_in(running, "dave", password) == 401
    refused = beside_server.run("token", "dave")
    assert refused.status == 1
    assert refused.complaint == "sora-ws: dave is disabled: sora-ws user enable dave"
    password = beside_server.run("user", "passwd", "dave", "--json").json["password"]
    assert sign_in(running, "dave", password) == 401
    assert beside_server.run("user", "enable", "dave", "--json").json == {"name": "dave", "disabled": False}
    assert sign_in(running, "dave", password) == 200


def test_list(beside_server: CommandLine) -> None:
    """All users, by name; whoever is shut out is marked."""
    beside_server.run("user", "add", "erin")
    beside_server.run("user", "disable", "erin")
    lines = beside_server.run("user", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)
    assert next(line for line in lines if line.startswith("erin ")).endswith("  disabled")
    users = {user["name"]: user for user in beside_server.run("user", "list", "--json").json["users"]}
    assert users["erin"]["disabled"] is True
    assert users["admin"]["disabled"] is False
    assert users["admin"]["createdAt"] > 1_700_000_000_000


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["user", "add", "admin"], "", "there is a user admin already"),
        (["user", "passwd", "nobody"], "", "there is no user nobody"),
        (["user", "disable", "nobody"], "", "there is no user nobody"),
        (["user", "enable", "nobody"], "", "there is no user nobody"),
        (["user", "add", "a b"], "", "without spaces"),
        (["user", "add", "x", "--password-stdin"], "short\n", "a password has"),
        (["user", "add", "x", "--password-stdin"], "", "no password on the first line of stdin"),
        (["token", "a b"], "", "no server would take this token"),
        (["token", "a", "--team", ""], "", "no server would take this token"),
    ],
)
def test_what_can_not_be_done_is_one_line(
    arguments: list[str], stdin: str, said: str, beside_server: CommandLine
) -> None:
    """The complaint names the cause, and nothing is printed for a program to take."""
    refused = beside_server.run(*arguments, stdin=stdin)
    assert refused.status == 1
    assert refused.out == ""
    assert said in refused.complaint


def test_a_complaint_names_the_database(beside_server: CommandLine, running: Server) -> None:
    """Whoever looks into the wrong database sees which one it was."""
    assert f"({running.state / 'sora-ws.sqlite3'})" in beside_server.run("user", "passwd", "nobody").complaint


def test_token_of_somebody_unknown(beside_server: CommandLine, running: Server) -> None:
    """A token is good for any id, with its teams."""
    token = beside_server.run(
        "token", "visitor", "--name", "A Visitor", "--team", "film", "--team", "art"
    ).out
    answer = running.request("POST", "/api/videos", {"prompt": "a cat", "team": "art"}, token=token.strip())
    assert answer.status == 202
    assert answer.json["userId"] == "visitor"
    assert (
        running.request("POST", "/api/auth/refresh", {}, token=token.strip()).json["username"] == "A Visitor"
    )


def test_token_as_json(beside_server: CommandLine) -> None:
    """A program also gets the time when it ends, by JWT_EXPIRES_IN."""
    long = beside_server.run("token", "v", "--json").json
    short = beside_server.run("token", "v", "--json", JWT_EXPIRES_IN="60000").json
    assert set(long) == {"token", "tokenType", "expiresAt", "userId"}
    assert short["expiresAt"] < long["expiresAt"]


def test_the_settings_of_the_file_count(command_line: CommandLine, running: Server, tmp_path: Path) -> None:
    """--config leads to the same database and key as the server's, and the environment wins over it."""
    file = tmp_path / "sora-ws.env"
    file.write_text(f"STATE_DIR={running.state}  # where it is\nJWT_SECRET={'x' * 32}\n")
    assert command_line.run("user", "list", "--config", str(file)).out.startswith("admin ")
    foreign = command_line.run("token", "v", "--config", str(file)).out.strip()
    assert running.request("GET", "/api/videos", token=foreign).status == 401
    ours = command_line.run("token", "v", "--config", str(file), JWT_SECRET="").out.strip()
    assert running.request("GET", "/api/videos", token=ours).status == 200


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["correct horse", "correct horse"], "may sign in with this password"),
        ([""], "password: "),
        (["correct horse", "battery staple"], "the two passwords differ"),
    ],
)
def test_a_terminal_is_asked(typed: list[str], said: str, beside_server: CommandLine) -> None:
    """A password is typed twice, unseen; nothing typed makes one."""
    beside_server.run("user", "add", "typist")
    ours, theirs = pty.openpty()
    asking = beside_server.start("user", "passwd", "typist", stdin=theirs, start_new_session=True)
    assert asking.stderr is not None
    for line in typed:
        while asking.stderr.read(1) != ":":
            pass
        os.write(ours, f"{line}\n".encode())
    out, err = asking.communicate(timeout=GUARD_S)
    os.close(theirs)
    os.close(ours)
    assert said in out + err
