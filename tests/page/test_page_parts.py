"""The page's pure parts, each by itself in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.page.backend import web_files


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """An empty page that may import the page's modules."""
    with web_files() as address:
        context = browser.new_context(locale="en-US")
        page = context.new_page()
        page.goto(f"{address}/blank")
        yield page
        context.close()


def call(page: Page, module: str, script: str) -> Any:
    """What `script`, a function of the module, returns."""
    return page.evaluate(f"async () => ({script})(await import('/{module}.js'))")


def test_the_bar_never_goes_back_and_never_arrives(page: Page) -> None:
    """Whatever the server says and however long it is silent, the bar stays between what is shown and 99."""
    faults = call(
        page,
        "progress",
        """({ barAt }) => {
          const faults = [];
          for (const progress of [0, 1, 42, 98, 99, 100])
            for (const estimatedTimeRemaining of [null, 0, 1, 30, 100000])
              for (const since of [0, 0.5, 10, 30, 1e9])
                for (const shown of [0, 41, 99]) {
                  const at = barAt({ progress, estimatedTimeRemaining }, since, shown);
                  if (!(at >= shown && at <= 99 && at >= Math.min(progress, 99)))
                    faults.push({ progress, estimatedTimeRemaining, since, shown, at });
                }
          return faults;
        }""",
    )
    assert faults == []


def test_the_bar_starts_with_the_speed_of_the_estimate(page: Page) -> None:
    """Behind a push the bar moves as fast as the estimate says, and stops where another must have come."""
    at = call(
        page,
        "progress",
        """({ barAt }) => [1, 30, 300].map((since) =>
          barAt({ progress: 39, estimatedTimeRemaining: 60 }, since, 0))""",
    )
    assert at[0] == pytest.approx(40, abs=0.05)
    assert at[1] == at[2] < 70


def test_the_bar_waits_without_an_estimate(page: Page) -> None:
    """Without an estimate nothing is guessed."""
    script = "({ barAt }) => barAt({ progress: 20, estimatedTimeRemaining: null }, 60, 0)"
    assert call(page, "progress", script) == 20


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-3, "0:00"), (0, "0:00"), (7.9, "0:07"), (250, "4:10"), (3723, "1:02:03")]
)
def test_clock(page: Page, seconds: float, shown: str) -> None:
    """Seconds as people read a clock."""
    assert call(page, "numbers", f"({{ clock }}) => clock({seconds})") == shown


@pytest.mark.parametrize(
    ("place", "words"), [(1, "Next in line"), (2, "2nd in line"), (3, "3rd in line"), (11, "11th in line")]
)
def test_places_in_line(page: Page, place: int, words: str) -> None:
    """Places in the queue by their ordinals."""
    assert call(page, "words.en", f"({{ english }}) => english.inLine({place})") == words


def test_both_languages_say_the_same_things(page: Page) -> None:
    """Every word of one language is there in the other, of the same kind."""
    shapes = page.evaluate(
        """async () => {
          const shape = (value) => typeof value === "object"
            ? Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shape(inner)]))
            : typeof value;
          const { english } = await import("/words.en.js");
          const { chinese } = await import("/words.zh.js");
          return [shape(english), shape(chinese)];
        }"""
    )
    assert shapes[0] == shapes[1]


def test_older_news_of_a_task_is_dropped(page: Page) -> None:
    """A list that was under way while a push came does not take the push back."""
    progress = call(
        page,
        "tasks",
        """({ Tasks }) => {
          const tasks = new Tasks();
          const task = { videoId: "v", status: "PROCESSING", currentStep: "rendering", createdAt: 1 };
          const push = { type: "taskProgress", videoId: "v", currentStep: "rendering", status: "PROCESSING" };
          tasks.put({ ...task, progress: 10, seq: 1 });
          tasks.push({ ...push, progress: 30, seq: 3 });
          tasks.put({ ...task, progress: 20, seq: 2 });
          const before = tasks.get("v").progress;
          tasks.forgetOrder();
          tasks.put({ ...task, progress: 20, seq: 2 });
          return [before, tasks.get("v").progress];
        }""",
    )
    assert progress == [30, 20]


def test_a_deleted_task_stays_away(page: Page) -> None:
    """An answer that was under way while a task was deleted does not bring it back."""
    script = """({ Tasks }) => {
      const tasks = new Tasks();
      const task = { videoId: "v", status: "FAILED", createdAt: 1, seq: 1 };
      tasks.put(task);
      tasks.remove("v");
      tasks.put(task);
      return tasks.sorted.length;
    }"""
    assert call(page, "tasks", script) == 0


def test_order_of_the_cards(page: Page) -> None:
    """Those under way stand first, then the newest."""
    script = """({ Tasks }) => {
      const tasks = new Tasks();
      const put = (videoId, status, createdAt) => tasks.put({ videoId, status, createdAt, seq: 1 });
      put("old and live", "PROCESSING", 1);
      put("ended", "FAILED", 3);
      put("ended later", "COMPLETED", 4);
      put("live", "QUEUED", 2);
      return tasks.sorted.map(({ videoId }) => videoId);
    }"""
    assert call(page, "tasks", script) == ["live", "old and live", "ended later", "ended"]


def test_links_lose_their_host(page: Page) -> None:
    """A link's path is used, whatever host stands before it."""
    script = "({ pathOf }) => pathOf('https://videos.example:8443/media/v.mp4?sig=a%2Fb')"
    assert call(page, "tasks", script) == "/media/v.mp4?sig=a%2Fb"
