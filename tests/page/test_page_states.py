"""Every state of a card, also those that take a simulator too long to reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.conftest import StartServer
from tests.page.browser import Visitor
from tests.page.conftest import Visit

Show = Callable[..., Locator]

PROMPT = "A well in the desert"
MINUTE = 60_000


@pytest.fixture
def show(visit: Visit, start_server: StartServer) -> Show:
    """`show(field=value, …)`: the card of a real task whose fields are these where the list gives it."""
    server = start_server(SORA_SIMULATOR_SECONDS="3600")
    server.create(server.sign_in(), PROMPT, size="1280x720", seconds=8)
    visitor = visit(server)

    def show(**fields: Any) -> Locator:
        visitor.page.route("**/api/videos?*", lambda route: answer(route, fields))
        # Only the list speaks here.
        visitor.page.route_web_socket("**/ws", lambda socket: socket.on_message(lambda message: None))
        come_in(visitor)
        card = visitor.card(PROMPT)
        expect(card).to_be_visible()
        return card

    return show


def answer(route: Route, fields: dict[str, Any]) -> None:
    page = route.fetch().json()
    page["items"] = [task | fields | times_of(task) for task in page["items"]]
    route.fulfill(json=page)


def times_of(task: dict[str, Any]) -> dict[str, int]:
    """Asked for five minutes ago, begun four minutes ago, ended two minutes ago."""
    asked = task["createdAt"] - 5 * MINUTE
    return {
        "createdAt": asked,
        "startedAt": asked + MINUTE,
        "finishedAt": asked + 3 * MINUTE,
    }


def come_in(visitor: Visitor) -> None:
    visitor.page.get_by_label("Username").fill("admin")
    visitor.page.get_by_label("Password").fill(visitor.server.password or "")
    visitor.button("Sign in").click()


def live(step: str, progress: int, **more: Any) -> dict[str, Any]:
    status = "QUEUED" if step in ("submitting", "queued") else "PROCESSING"
    return {"status": status, "currentStep": step, "progress": progress, **more}


def failed(code: str, details: str | None, *, retryable: bool) -> dict[str, Any]:
    error = {"code": code, "message": "", "details": details, "retryable": retryable}
    return {"status": "CANCELLED" if code == "CANCELLED" else "FAILED", "error": error}


VIDEO = {
    "videoUrl": "http://elsewhere.example/media/none.mp4?sig=0",
    "thumbnailUrl": None,
    "duration": 8.0,
    "fileSize": 1_000_000,
    "resolution": "1280x720",
    "expired": True,
}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (live("submitting", 0), ["Sending", "Not begun yet"]),
        (live("submitting", 0, queuePosition=3), ["Waiting", "3rd in line"]),
        (live("submitting", 0, queuePosition=1), ["Waiting", "Next in line"]),
        (live("queued", 0), ["Waiting", "Not begun yet"]),
        (live("rendering", 42, estimatedTimeRemaining=125), ["42%", "About 2 min left"]),
        (live("rendering", 42, estimatedTimeRemaining=None), ["42%", "Rendering"]),
        (live("rendering", 97, estimatedTimeRemaining=2), ["97%", "A few seconds left"]),
        (live("rendering", 63, progressSource="estimated"), ["≈63%"]),
        (live("rendering", 88, message="Taking longer than usual..."), ["Taking longer than usual (4:0"]),
        (
            live("rendering", 88, message="生成时间比平时长，请耐心等待..."),
            ["Taking longer than usual (4:0"],
        ),
        (live("archiving", 99), ["Saving", "Almost there"]),
    ],
)
def test_under_way(show: Show, fields: dict[str, Any], words: list[str]) -> None:
    """A live card says where it stands and how long it will take, has a progress bar and Cancel."""
    card = show(**fields)
    for text in words:
        expect(card).to_contain_text(text)
    bar = card.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", str(fields["progress"]))
    expect(card.get_by_role("button", name="Cancel")).to_be_visible()
    expect(card).to_contain_text("5:0")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            failed("GENERATION_FAILED", "The model is overloaded", retryable=True),
            ["Failed", "The model is overloaded", "Trying again may help."],
        ),
        (
            failed("MODERATION_BLOCKED", None, retryable=False),
            ["Failed", "The content check did not let this through.", "won’t help"],
        ),
        (failed("PROVIDER_LOST_TASK", None, retryable=True), ["lost track of this one"]),
        (failed("CANCELLED", None, retryable=True), ["Cancelled", "2 min ago"]),
        ({"status": "COMPLETED", "result": VIDEO}, ["No longer stored", "make room"]),
    ],
)
def test_ended_without_a_video(show: Show, fields: dict[str, Any], words: list[str]) -> None:
    """A card without a video says why, has no bar, and offers Retry and Delete."""
    card = show(**fields)
    for text in words:
        expect(card).to_contain_text(text)
    expect(card.get_by_role("progressbar")).to_be_hidden()
    expect(card.locator("video")).to_have_count(0)
    for name in ("Retry", "Delete"):
        expect(card.get_by_role("button", name=name)).to_be_visible()


def test_what_was_written_is_text(show: Show) -> None:
    """A prompt or a reason with markup in it is shown as it is."""
    markup = f"{PROMPT} <img src=x onerror=alert(1)>"
    card = show(prompt=markup, **failed("GENERATION_FAILED", "<b>no</b>", retryable=False))
    expect(card).to_contain_text(markup)
    expect(card).to_contain_text("<b>no</b>")
    expect(card.locator("img")).to_have_count(0)
