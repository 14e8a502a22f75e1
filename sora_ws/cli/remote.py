"""`login`, `create`, `watch` and `list`: commands that speak to a server like any other client."""

from __future__ import annotations

import asyncio
import shutil
import sys
from argparse import Namespace
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

from sora_ws.cli import passwords, session
from sora_ws.cli.display import Show, display, task_lines
from sora_ws.cli.output import CommandFailed, print_json, print_or_json
from sora_ws.client import Client
from sora_ws.client.answers import ClientError, SignInNeeded, Task
from sora_ws.client.watch import watch as follow


def login(args: Namespace) -> int:
    """`login`"""
    url = session.server_url()
    username = args.username or _ask_for_username()
    password = passwords.first_line_of_stdin() if args.password_stdin else passwords.ask("Password: ")
    return _run(_login(url, username, password, as_json=args.json))


def create(args: Namespace) -> int:
    """`create`"""
    return _run(_create(args))


def watch(args: Namespace) -> int:
    """`watch`"""
    return _run(_watch(args))


def list_tasks(args: Namespace) -> int:
    """`list`"""
    return _run(_list(args))


async def _login(url: str, username: str, password: str, *, as_json: bool) -> int:
    async with Client(url) as client:
        try:
            received = await client.login(username, password)
        except SignInNeeded as error:
            raise CommandFailed(str(error)) from None
    file = session.keep(url, received.value)
    print_or_json(f"Signed in as {received.value.username}, see {file}", received.document, as_json=as_json)
    return 0


async def _create(args: Namespace) -> int:
    wanted = {name: getattr(args, name) for name in ("prompt", "model", "seconds", "size", "team")}
    order = {name: value for name, value in wanted.items() if value is not None}
    async with _client() as client:
        received = await client.create(order)
        print_or_json(received.value.video_id, received.document, as_json=args.json)
        sys.stdout.flush()
        return await _follow(client, received.value.video_id, args) if args.watch else 0


async def _watch(args: Namespace) -> int:
    async with _client() as client:
        return await _follow(client, args.video_id, args)


async def _list(args: Namespace) -> int:
    async with _client() as client:
        received = await client.list(status=args.status, limit=args.limit)
    if args.json:
        print_json(received.document)
        return 0
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in task_lines(received.value.items, width):
        print(line)
    return 0


async def _follow(client: Client, video_id: str, args: Namespace) -> int:
    """Show the task until it ends. Raises CommandFailed where it ends without a video."""
    with display(as_json=args.json) as show:
        task = await _end_of(client, video_id, show)
    if task.error is not None:
        reason = f": {task.error.details}" if task.error.details else ""
        raise CommandFailed(f"{task.error.message}{reason} ({task.error.code})")
    if task.result is not None and not args.json:
        print(task.result.video_url)
    return 0


async def _end_of(client: Client, video_id: str, show: Show) -> Task:
    async with aclosing(follow(client, video_id)) as pushes:
        async for push in pushes:
            show(push)
            if push.is_last:
                return push.task
    raise AssertionError("a task is followed to its end, or an error is raised")


def _client() -> Client:
    url = session.server_url()
    return Client(url, session.token_for(url))


def _ask_for_username() -> str:
    if not sys.stdin.isatty():
        raise CommandFailed("there is no terminal to ask for the username on: name it")
    return input("Username: ")


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(work)
    except SignInNeeded as error:
        raise CommandFailed(
            f"the server does not take the token, it may be over: {session.SIGN_IN}"
        ) from error
    except ClientError as error:
        raise CommandFailed(str(error)) from error
