"""Who may come in, in which language and theme, on which screen; what is said where something is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import WebSocket, expect

from tests.conftest import StartServer
from tests.page.conftest import Visit
from tests.server import Server

REFUSED = "Failed to load resource"


def test_a_wrong_password(visit: Visit, server: Server) -> None:
    """A wrong password is told in words, and the right one still works."""
    visitor = visit(server)
    visitor.expected.append(REFUSED)
    visitor.button("Sign in").click()
    expect(visitor.page.get_by_text("Both are needed.")).to_be_visible()
    visitor.page.get_by_label("Username").fill("admin")
    visitor.page.get_by_label("Password").fill("not this")
    visitor.button("Sign in").click()
    expect(visitor.page.get_by_text("don’t go together")).to_be_visible()
    visitor.sign_in()


def test_sign_out(visit: Visit, server: Server) -> None:
    """Sign out forgets the token and what was half written, also in another tab."""
    visitor = visit(server).sign_in()
    visitor.page.get_by_label("Prompt").fill("A secret")
    other = visitor.page.context.new_page()
    other.goto(server.url)
    expect(other.get_by_label("Prompt")).to_be_visible()
    visitor.button("Sign out").click()
    for page in (visitor.page, other):
        expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
        expect(page.get_by_label("Prompt")).to_be_hidden()
    assert visitor.page.evaluate("localStorage.getItem('sora-ws.session')") is None
    visitor.sign_in()
    expect(visitor.page.get_by_label("Prompt")).to_have_value("")


def test_a_session_stays(visit: Visit, server: Server) -> None:
    """Who comes back is still signed in."""
    visitor = visit(server).sign_in()
    visitor.page.reload()
    visitor.is_connected()
    expect(visitor.page.get_by_label("Prompt")).to_be_visible()


def test_a_token_is_renewed(visit: Visit, start_server: StartServer) -> None:
    """While the page is open its token is renewed, before its end and on the same line."""
    visitor = visit(start_server(JWT_EXPIRES_IN="62000"))
    sockets: list[WebSocket] = []

    def note(socket: WebSocket) -> None:  # Playwright can't take a built-in method
        sockets.append(socket)

    visitor.page.on("websocket", note)
    with visitor.page.expect_response("**/api/auth/refresh") as renewal:
        visitor.sign_in()
    assert renewal.value.status == 200
    assert len(sockets) == 1


def test_a_session_that_is_over(visit: Visit, start_server: StartServer) -> None:
    """A token that is no longer good leads back to the way in, with words that say why."""
    server = start_server()
    visitor = visit(server).sign_in()
    visitor.expected += [REFUSED, "WebSocket connection to"]
    visitor.page.evaluate(
        """() => {
          const key = "sora-ws.session";
          const session = JSON.parse(localStorage.getItem(key));
          localStorage.setItem(key, JSON.stringify({ ...session, token: "stale" }));
        }"""
    )
    visitor.page.reload()
    expect(visitor.page.get_by_text("Your session has ended.")).to_be_visible()
    visitor.sign_in()


def test_a_disabled_user(visit: Visit, server: Server) -> None:
    """Whoever is switched off while the page is open is told so at once."""
    visitor = visit(server).sign_in()
    disable = [sys.executable, "-m", "sora_ws", "user", "disable", "admin"]
    subprocess.run(disable, env=server.environment, check=True, stdout=subprocess.DEVNULL)
    expect(visitor.page.get_by_text("This account has been switched off.")).to_be_visible()


def test_too_many(visit: Visit, start_server: StartServer) -> None:
    """429 says how long to wait and keeps the prompt."""
    visitor = visit(start_server(MAX_TASKS_PER_USER="1", SORA_SIMULATOR_SECONDS="120")).sign_in()
    visitor.expected.append(REFUSED)
    visitor.generate("The first")
    visitor.page.get_by_label("Prompt").fill("The second")
    visitor.button("Generate").click()
    expect(visitor.page.get_by_text("Try again in 30 s")).to_be_visible()
    expect(visitor.page.get_by_label("Prompt")).to_have_value("The second")


def test_too_big(visit: Visit, start_server: StartServer, tmp_path: Path) -> None:
    """413 says that the image is too large."""
    visitor = visit(start_server(MAX_BODY_BYTES="65536")).sign_in()
    visitor.expected.append(REFUSED)
    picture = tmp_path / "big.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100_000))
    visitor.page.locator("input[type=file]").set_input_files(picture)
    visitor.page.get_by_label("Prompt").fill("From a big picture")
    visitor.button("Generate").click()
    expect(visitor.page.get_by_text("too large")).to_be_visible()


def test_a_field_that_is_wrong(visit: Visit, server: Server, tmp_path: Path) -> None:
    """422 names the field and what the server says of it."""
    visitor = visit(server).sign_in()
    visitor.expected.append(REFUSED)
    picture = tmp_path / "no.png"
    picture.write_text("no picture")
    visitor.page.locator("input[type=file]").set_input_files(picture)
    visitor.page.get_by_label("Prompt").fill("From no picture")
    visitor.button("Generate").click()
    expect(visitor.page.get_by_text("inputReference: ")).to_be_visible()


def test_an_empty_prompt(visit: Visit, server: Server) -> None:
    """A blank prompt is not sent; a sentence says what is missing."""
    visitor = visit(server).sign_in()
    visitor.page.get_by_label("Prompt").fill("   ")
    visitor.button("Generate").click()
    expect(visitor.page.get_by_text("Write what the video should show.")).to_be_visible()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "You may not do that."),
        (500, "Something went wrong on the server (500)."),
        (503, "Try again in 7 s."),
        (507, "no room left"),
    ],
)
def test_other_refusals(visit: Visit, server: Server, status: int, words: str) -> None:
    """Each status has its sentence, and what the server says of it stands below."""
    visitor = visit(server).sign_in()
    visitor.expected.append(REFUSED)
    problem = {"title": "x", "status": status, "detail": "The server’s own words."}
    visitor.page.route(
        "**/api/videos",
        lambda route: route.fulfill(
            status=status,
            json=problem,
            headers={"Retry-After": "7", "Content-Type": "application/problem+json"},
        ),
    )
    visitor.page.get_by_label("Prompt").fill("Anything")
    visitor.button("Generate").click()
    expect(visitor.page.get_by_text(words)).to_be_visible()
    expect(visitor.page.get_by_text("The server’s own words.")).to_be_visible()


def test_chinese(visit: Visit, server: Server) -> None:
    """A Chinese browser gets Chinese words, controls keep their accessible names, and the choice stays."""
    visitor = visit(server, locale="zh-CN").sign_in()
    assert visitor.page.evaluate("document.documentElement.lang") == "zh-CN"
    expect(visitor.button("Generate")).to_have_text("生成")
    expect(visitor.page.get_by_text("不妨从这里开始")).to_be_visible()
    card = visitor.generate("一只橘猫在窗台上打盹")
    expect(card.locator("video")).to_be_visible()
    for name in ("Delete", "Sign out"):
        expect(visitor.button(name)).to_be_visible()
    visitor.page.get_by_role("button", name="English").click()
    expect(visitor.button("Generate")).to_have_text("Generate")
    visitor.page.reload()
    expect(visitor.button("Generate")).to_have_text("Generate")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_themes(visit: Visit, server: Server, scheme: str) -> None:
    """The theme follows the system until another is chosen, which stays over a reload."""
    visitor = visit(server, color_scheme=scheme)
    other = {"light": "dark", "dark": "light"}[scheme]
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    own = visitor.page.evaluate(ground)
    visitor.page.get_by_role("button", name="Theme: as the system").click()
    chosen = visitor.page.evaluate(ground)
    assert chosen != own
    visitor.page.reload()
    expect(visitor.page.get_by_role("button", name=f"Theme: {other}")).to_be_visible()
    assert visitor.page.evaluate(ground) == chosen


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_a_small_phone(visit: Visit, server: Server, locale: str) -> None:
    """At 360 px nothing scrolls sideways, and what can be pressed is at least 44 px high."""
    visitor = visit(server, viewport={"width": 360, "height": 740}, locale=locale, has_touch=True)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert visitor.page.evaluate(fits)
    visitor.sign_in()
    assert visitor.page.evaluate(fits)
    long_word = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
    card = visitor.generate(long_word)
    expect(card.locator("video")).to_be_visible()
    assert visitor.page.evaluate(fits)
    card.get_by_role("button", name=long_word).click()
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    assert visitor.page.evaluate(fits)
    small = visitor.page.evaluate(
        """() => [...document.querySelectorAll("button, a[download], select, input, textarea")]
          .filter((control) => control.checkVisibility() && !control.classList.contains("open"))
          .filter((control) => Math.round(control.getBoundingClientRect().height) < 44)
          .map((control) => control.outerHTML)"""
    )
    assert small == []


def test_by_keyboard_alone(visit: Visit, server: Server) -> None:
    """From sign-in to the open detail and back without a pointer; the focus returns to its card."""
    visitor = visit(server)
    keyboard = visitor.page.keyboard
    expect(visitor.page.get_by_label("Username")).to_be_focused()
    keyboard.type("admin")
    keyboard.press("Tab")
    keyboard.type(server.password or "")
    keyboard.press("Enter")
    expect(visitor.page.get_by_label("Prompt")).to_be_focused()
    keyboard.type("A quiet harbour")
    keyboard.press("Control+Enter")
    card = visitor.card("A quiet harbour")
    opener = card.get_by_role("button", name="A quiet harbour")
    expect(card.locator("video")).to_be_visible()
    expect(visitor.page.get_by_label("Prompt")).to_be_focused()
    while not opener.evaluate("opener => opener === document.activeElement"):
        keyboard.press("Tab")
    keyboard.press("Enter")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    keyboard.press("Escape")
    expect(opener).to_be_focused()


def test_calm_for_those_who_ask(visit: Visit, start_server: StartServer) -> None:
    """With reduced motion nothing moves by itself."""
    visitor = visit(start_server(SORA_SIMULATOR_SECONDS="120"), reduced_motion="reduce").sign_in()
    card = visitor.generate("A still life")
    expect(card.get_by_text("%")).to_be_visible()
    assert visitor.page.evaluate("document.getAnimations().length") == 0


def test_by_another_name(visit: Visit, start_server: StartServer) -> None:
    """Opened by another name than the links carry, the page still plays: it uses their path alone."""
    server = start_server(PUBLIC_URL="http://videos.example")
    visitor = visit(server).sign_in()
    card = visitor.generate("A door ajar")
    video = card.locator("video")
    expect(video).to_be_visible()
    visitor.page.wait_for_function("video => video.readyState >= 1", arg=video.element_handle())
    source = video.get_attribute("src")
    assert source is not None
    assert source.startswith("/media/")


def test_no_script_from_elsewhere_runs(server: Server) -> None:
    """The page forbids everything but its own files."""
    policy = server.request("GET", "/").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
