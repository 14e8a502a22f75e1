"""A real Chromium, and a visitor in it who notices what a person at the console would."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

from tests.server import Server
from tests.services import missing

GUARD_MS = 30_000

expect.set_options(timeout=GUARD_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    path = shutil.which("chromium")
    if path is None:
        missing("there is no chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody with the page open. `expected` are faults that a test provokes, as parts of their text."""

    page: Page
    server: Server
    expected: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(GUARD_MS)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._on_request)

    def arrive(self) -> Visitor:
        """Open the page."""
        self.page.goto(self.server.url)
        return self

    def sign_in(self) -> Visitor:
        """Come in as admin; returns when the list has been asked for and the line is open."""
        self.page.get_by_label("Username").fill("admin")
        self.page.get_by_label("Password").fill(self.server.password or "")
        self.button("Sign in").click()
        expect(self.page.get_by_label("Prompt")).to_be_visible()
        self.is_connected()
        return self

    def is_connected(self) -> None:
        """The header says that the line is open."""
        expect(self.page.locator("#line")).to_have_attribute("data-state", "connected")

    def generate(self, prompt: str) -> Locator:
        """Ask for a video; its card."""
        self.page.get_by_label("Prompt").fill(prompt)
        self.button("Generate").click()
        card = self.card(prompt)
        expect(card).to_be_visible()
        return card

    def card(self, prompt: str) -> Locator:
        """The newest card with these words."""
        return self.page.get_by_role("listitem").filter(has_text=prompt).first

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def assert_no_faults(self) -> None:
        """No error in the console, and no request to another host."""
        unexpected = [fault for fault in self.faults if not any(part in fault for part in self.expected)]
        assert unexpected == []

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.text} ({message.location.get('url', '')})")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.server.url).netloc:
            self.faults.append(f"a request to {request.url}")


def open_visitor(browser: Browser, server: Server, **context: Any) -> Visitor:
    """A visitor with a browser profile of their own, in English unless `context` says otherwise."""
    settings = {"locale": "en-US", "viewport": {"width": 1280, "height": 900}} | context
    return Visitor(browser.new_context(**settings).new_page(), server)
