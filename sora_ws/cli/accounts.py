"""`user …` and `token`: who may come in, said on the server's own database."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from sora_ws.auth import ADMIN, Accounts, AuthError, Tokens, jwt_key, random_password
from sora_ws.cli import passwords
from sora_ws.cli.database import on_database
from sora_ws.cli.output import CommandFailed, print_json, print_or_json
from sora_ws.settings import Settings
from sora_ws.store import Store, User


def add(args: Namespace) -> int:
    """`user add NAME`"""
    return _with_new_password(args, lambda accounts, password: accounts.add(args.name, password))


def passwd(args: Namespace) -> int:
    """`user passwd NAME`"""
    return _with_new_password(args, lambda accounts, password: accounts.set_password(args.name, password))


def disable(args: Namespace) -> int:
    """`user disable NAME`"""
    _change(args, lambda accounts: accounts.disable(args.name))
    print_or_json(f"{args.name} is shut out", {"name": args.name, "disabled": True}, as_json=args.json)
    return 0


def enable(args: Namespace) -> int:
    """`user enable NAME`"""
    _change(args, lambda accounts: accounts.enable(args.name))
    print_or_json(f"{args.name} may sign in", {"name": args.name, "disabled": False}, as_json=args.json)
    return 0


def list_users(args: Namespace) -> int:
    """`user list`"""

    async def work(store: Store, _: Settings) -> Sequence[User]:
        return await store.users()

    users = on_database(args.config, work)
    if args.json:
        shown = [{"name": u.name, "disabled": u.disabled, "createdAt": u.created_at} for u in users]
        print_json({"users": shown})
        return 0
    for user in users:
        since = datetime.fromtimestamp(user.created_at / 1000)
        print(f"{user.name:<24} since {since:%Y-%m-%d}{'  disabled' if user.disabled else ''}")
    return 0


def token(args: Namespace) -> int:
    """`token USER`"""

    async def work(store: Store, settings: Settings) -> tuple[str, int]:
        user = await store.find_user(args.user)
        if user is not None and user.disabled:
            raise CommandFailed(f"{args.user} is disabled: sora-ws user enable {args.user}")
        return await _issue(Tokens(settings.jwt_expires_in, await jwt_key(store, settings)), args)

    token, expires_at = on_database(args.config, work)
    document = {"token": token, "tokenType": "Bearer", "expiresAt": expires_at, "userId": args.user}
    print_or_json(token, document, as_json=args.json)
    return 0


async def _issue(tokens: Tokens, args: Namespace) -> tuple[str, int]:
    """A token that a server takes. Raises CommandFailed."""
    token, expires_at = tokens.issue(args.user, args.name or args.user, args.teams)
    try:
        tokens.identify(token)
    except AuthError:
        raise CommandFailed(
            "no server would take this token: an id is 1 to 128 printable ASCII characters without a space, "
            "a team's name 1 to 128 printable ones"
        ) from None
    return token, expires_at


def _with_new_password(args: Namespace, change: Callable[[Accounts, str], Awaitable[None]]) -> int:
    """Change a user with the password that is given, else with one that is made and shown this once."""
    given = _given_password(args)
    password = given or random_password()

    async def work(store: Store, settings: Settings) -> None:
        await change(Accounts(store), password)
        if args.name == ADMIN:
            settings.first_password_file.unlink(missing_ok=True)  # it tells an older one

    on_database(args.config, work)
    made = {} if given else {"password": password}
    text = f"{args.name} may sign in with this password" if given else f"password: {password}"
    print_or_json(text, {"name": args.name, **made}, as_json=args.json)
    return 0


def _given_password(args: Namespace) -> str:
    """What was piped in or typed; empty where one is to be made."""
    if args.password_stdin:
        return passwords.first_line_of_stdin()
    return passwords.ask_for_new() if sys.stdin.isatty() else ""


def _change(args: Namespace, change: Callable[[Accounts], Awaitable[None]]) -> None:
    async def work(store: Store, _: Settings) -> None:
        await change(Accounts(store))

    on_database(args.config, work)
