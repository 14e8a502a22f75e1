"""Makes the pictures of the page in docs/images anew: `python -m tests.page.pictures`.

They show what there is: a real server, its simulator's films, and bars that really run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, expect

from tests.page.browser import Visitor, chromium, open_visitor
from tests.server import Server

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"

DESK: Final[dict[str, Any]] = {"viewport": {"width": 1280, "height": 928}}
PHONE: Final[dict[str, Any]] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 1.75,
    "has_touch": True,
}

FINISHED: Final = [
    ("Moss on an old stair, light moving over it", "720x1280", 4),
    ("Lanterns rising over a quiet river at night", "1280x720", 8),
    ("Desert dunes under a violet sky, wind carrying sand over the ridge", "1280x720", 12),
    ("The sea at dusk, long swell, a gull crossing the frame", "1280x720", 8),
]
LIVE: Final = [
    ("Night train crossing a frozen lake, aurora overhead, slow pan", 55),
    ("Close-up of a watchmaker’s hands setting a tiny gear, warm lamp", 30),
    ("A paper boat drifts down a rainy street, neon in the water", 8),
]
RENDERING_S: Final = "60"


def main() -> None:
    """All pictures, one after the other."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        state = Path(folder)
        server = Server(state, {"SORA_SIMULATOR_SECONDS": "0"}).start()
        try:
            empty(browser, server)
            finish(browser, server)
            server.stop()
            server.settings["SORA_SIMULATOR_SECONDS"] = RENDERING_S
            server.start()
            run(browser, server)
        finally:
            server.kill()


def empty(browser: Browser, server: Server) -> None:
    """The first screen of all."""
    visitor = come(browser, server, **DESK)
    expect(visitor.page.locator("#examples")).to_be_visible()
    take(visitor, "page-empty")


def finish(browser: Browser, server: Server) -> None:
    """Some videos that are done."""
    token = server.sign_in()
    for prompt, size, seconds in FINISHED:
        server.create(token, prompt, size=size, seconds=seconds)
    visitor = come(browser, server, **DESK)
    expect(visitor.page.locator("video")).to_have_count(len(FINISHED))


def run(browser: Browser, server: Server) -> None:
    """Bars at different places, on every screen and in both themes."""
    watcher = come(browser, server)
    for prompt, until in LIVE:
        card = watcher.generate(prompt)
        bar = card.get_by_role("progressbar").element_handle()
        watcher.page.wait_for_function("([bar, at]) => Number(bar.ariaValueNow) >= at", arg=[bar, until // 3])
    for name, context in {
        "page-desk": DESK,
        "page-desk-dark": DESK | {"color_scheme": "dark"},
        "page-phone": PHONE,
        "page-phone-dark": PHONE | {"color_scheme": "dark", "locale": "zh-CN"},
    }.items():
        take(come(browser, server, **context), name)
    detail(browser, server)


def detail(browser: Browser, server: Server) -> None:
    """One video in full."""
    visitor = come(browser, server, **DESK, color_scheme="dark")
    prompt = FINISHED[-1][0]
    visitor.page.get_by_role("button", name=prompt).click()
    player = visitor.page.locator("dialog video").element_handle()
    visitor.page.wait_for_function("player => player.currentTime > 1", arg=player)
    take(visitor, "page-detail")


def come(browser: Browser, server: Server, **context: Any) -> Visitor:
    """A visitor who has signed in and sees what there is."""
    visitor = open_visitor(browser, server, **context).arrive().sign_in()
    visitor.page.get_by_label("Prompt").blur()
    return visitor


def take(visitor: Visitor, name: str) -> None:
    """The picture, once every poster and every frame of a player is there."""
    visitor.page.wait_for_function(
        "() => [...document.querySelectorAll('video')].every((video) => video.readyState >= 1)"
    )
    visitor.page.wait_for_load_state("networkidle")
    visitor.page.screenshot(path=IMAGES / f"{name}.png")
    visitor.page.context.close()


if __name__ == "__main__":
    main()
