"""A browser for each module, and visitors who end without a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.conftest import StartServer
from tests.page.browser import Visitor, chromium, open_visitor
from tests.server import Server

Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module; Playwright keeps an event loop in this thread while it is open."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, start_server: StartServer) -> Iterator[Visit]:
    """`visit(server, **context)` opens the page; afterwards no visitor may have seen a fault.

    It asks for `start_server` so that the visitors leave before their servers do.
    """
    visitors: list[Visitor] = []

    def visit(server: Server, **context: Any) -> Visitor:
        visitors.append(open_visitor(browser, server, **context))
        return visitors[-1].arrive()

    yield visit
    for visitor in visitors:
        visitor.page.context.close()
    for visitor in visitors:
        visitor.assert_no_faults()
