"""The EventSource of Chromium and npm's against a real server: to the end, over a death, and no further."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.conftest import StartServer
from tests.eventsource.clients import Chromium, Listening, npm
from tests.page.backend import web_files
from tests.page.browser import chromium
from tests.server import Server

Listen = Callable[[Server, str, str], Listening]

SMALL: dict[str, Any] = {"size": "128x128", "seconds": 1}  # drawn at once
UNKNOWN = f"video_{'0' * 32}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the module."""
    with chromium() as browser:
        yield browser


@pytest.fixture(params=["chromium", "npm"])
def listen(request: pytest.FixtureRequest) -> Iterator[Listen]:
    """`listen(server, path, token)` opens an EventSource of each kind."""
    with ExitStack() as stack:
        if request.param == "npm":
            yield lambda *arguments: stack.enter_context(npm(*arguments))
            return
        browser: Browser = request.getfixturevalue("browser")
        page = stack.enter_context(browser.new_context()).new_page()
        page.goto(f"{stack.enter_context(web_files())}/blank")
        yield lambda *arguments: Chromium(page, *arguments)


def answers(server: Server, path: str) -> list[int]:
    """The statuses that the server's log has for this address."""
    said = [json.loads(line)["message"] for line in server.log.splitlines()]
    return [int(message.split()[2]) for message in said if message.startswith(f"GET {path} ")]


def test_to_the_end_and_no_further(start_server: StartServer, listen: Listen) -> None:
    """It hears each state and the end once, is told to stay away, and does; no log shows the token."""
    server = start_server(SORA_SIMULATOR_SECONDS="2")
    token = server.sign_in()
    path = f"/api/videos/{server.create(token, **SMALL)}/events"
    heard = listen(server, path, token).end()
    assert [message["type"] for message in heard[:-1]] == ["taskProgress"] * (len(heard) - 1)
    assert heard[-1]["type"] == "taskCompleted"
    ids = [message["id"] for message in heard]
    assert ids == sorted(set(ids)) == [message["payload"]["seq"] for message in heard]
    assert answers(server, path) == [200, 204]
    assert token not in server.log


def test_over_a_death_of_the_server(start_server: StartServer, listen: Listen) -> None:
    """It comes back by itself, no state is older than the one before, and the end comes once."""
    server = start_server(SORA_SIMULATOR_SECONDS="6")
    token = server.sign_in()
    path = f"/api/videos/{server.create(token, **SMALL)}/events"
    listening = listen(server, path, token)
    listening.first()
    server.kill()
    server.start()
    heard = listening.end()
    ids = [message["id"] for message in heard]
    assert ids == sorted(ids)
    assert [m["type"] for m in heard if m["type"] != "taskProgress"] == ["taskCompleted"]
    assert answers(server, path) == [200, 200, 204]


def test_no_second_try_where_there_is_nothing(server: Server, listen: Listen) -> None:
    """For a wrong token and an unknown task it is closed for good."""
    token = server.sign_in()
    path = f"/api/videos/{UNKNOWN}/events"
    assert listen(server, path, token).end() == []
    assert listen(server, "/api/events", "x").end() == []
    assert answers(server, path) == [404]
    assert answers(server, "/api/events") == [401]
