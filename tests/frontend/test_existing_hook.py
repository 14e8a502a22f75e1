"""The hook and the player that people have already, unchanged, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.page.browser import GUARD_MS
from tests.server import Server

SMALL = {"seconds": 1, "size": "320x180"}
HAS_A_PICTURE = "video => video.readyState >= 1 && video.videoWidth > 0"
KEEP_ALL_THAT_IS_SHOWN = """
const shown = (window.shown = []);
const look = () => {
  for (const player of document.querySelectorAll('section'))
    shown.push({
      player: player.id,
      status: player.textContent.match(/状态: ([A-Z]+)/)[1],
      progress: Number(player.querySelector('[role=progressbar]').ariaValueNow),
      video: player.querySelector('video')?.src ?? null,
    });
};
const everything = {subtree: true, childList: true, characterData: true, attributes: true};
new MutationObserver(look).observe(document, everything);
"""


@dataclass(frozen=True)
class Shown:
    """What one player showed at one moment."""

    player: str
    status: str
    progress: int
    video: str | None


@dataclass
class Players:
    """The page of players in the browser."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(GUARD_MS)
        self.page.add_init_script(KEEP_ALL_THAT_IS_SHOWN)
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def show(self, token: str, *video_ids: str) -> None:
        """Put a player for each video on the page."""
        self.page.evaluate("([token, ids]) => showPlayers(token, ids)", [token, video_ids])

    def player(self, video_id: str) -> Locator:
        return self.page.locator(f"section#{video_id}")

    def end_as(self, video_id: str, status: str) -> None:
        """Returns when the video's player shows this status."""
        expect(self.player(video_id).get_by_text(f"状态: {status}")).to_be_visible()

    def have_a_picture(self, video_id: str) -> None:
        """Returns when it has loaded its video."""
        video = self.player(video_id).locator("video")
        self.page.wait_for_function(HAS_A_PICTURE, arg=video.element_handle())

    def history(self, video_id: str) -> list[Shown]:
        """All that the video's player showed since the page was opened."""
        everything = [Shown(**moment) for moment in self.page.evaluate("shown")]
        return [moment for moment in everything if moment.player == video_id]


@pytest.fixture
def players(browser: Browser, page_url: str, default_server: Server) -> Iterator[Players]:
    """The page, still without players; until the end nothing may be said to the console."""
    players = Players(browser.new_context().new_page())
    players.page.goto(page_url)
    yield players
    players.page.context.close()
    assert players.faults == []


def test_two_players_on_one_page(players: Players, default_server: Server) -> None:
    """Each goes from QUEUED to COMPLETED and plays its own video, and never shows the other's."""
    token = default_server.sign_in()
    slow = default_server.create(token, "a lighthouse [slow]", **SMALL)
    quick = default_server.create(token, "a paper boat", **SMALL)
    players.show(token, slow, quick)
    players.end_as(quick, "COMPLETED")
    expect(players.player(slow).locator("video")).to_have_count(0)
    players.end_as(slow, "COMPLETED")
    for video_id in (slow, quick):
        players.have_a_picture(video_id)
        history = players.history(video_id)
        statuses = list(dict.fromkeys(moment.status for moment in history))
        assert statuses == ["QUEUED", "PROCESSING", "COMPLETED"]
        progress = [moment.progress for moment in history]
        assert progress == sorted(progress)
        assert progress[-1] == 100
        assert any(0 < percent < 100 for percent in progress)
        (url,) = {moment.video for moment in history if moment.video}
        assert url.startswith(f"http://localhost:3001/media/{video_id}.mp4?sig=")


def test_a_player_that_comes_late(players: Players, default_server: Server) -> None:
    """On a page that is opened after the end, a player shows the end and its video all the same."""
    token = default_server.sign_in()
    video_id = default_server.create(token, "a paper boat", **SMALL)
    players.show(token, video_id)
    players.end_as(video_id, "COMPLETED")
    players.page.reload()
    players.show(token, video_id)
    players.end_as(video_id, "COMPLETED")
    players.have_a_picture(video_id)


def test_a_failure_in_one_player(players: Players, default_server: Server) -> None:
    """The task that failed shows FAILED and no video, the one beside it plays."""
    token = default_server.sign_in()
    failing = default_server.create(token, "a paper boat [fail]", **SMALL)
    beside = default_server.create(token, "a paper boat", **SMALL)
    players.show(token, failing, beside)
    players.end_as(failing, "FAILED")
    players.end_as(beside, "COMPLETED")
    players.have_a_picture(beside)
    assert players.history(failing)[-1].status == "FAILED"
    assert {moment.video for moment in players.history(failing)} == {None}
