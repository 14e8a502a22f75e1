"""The README's commands and JavaScript, as they stand, against a real server; what else is to be typed."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page

from sora_ws.settings import Settings, setting_name
from tests.docs.markdown import CHECKOUT, CONTRIBUTING, README, blocks, column, section
from tests.page.backend import web_files
from tests.page.browser import GUARD_MS, chromium
from tests.ports import USUAL_PORT, free_port, is_taken, usual_port
from tests.server import Server
from tests.services import missing

SHELL_GUARD_S: Final = 120

RUN_HERE: Final = {"With curl", "On the command line"}
RUN_BY: Final = {  # these need root, a service, or to be the server themselves
    "Run it": "tests/system/test_make.py",
    "As a service": "tests/system/test_service.py",
    "Behind Nginx": "tests/system/test_nginx.py",
    "MongoDB": "tests/e2e/test_deaths.py",
}
UNITS: Final = {"sora-ws", "nginx"}
SETTINGS: Final = {setting_name(f) for f in fields(Settings)}

SCRIPTS: Final = [block.text for block in blocks(README) if block.language == "js"]
PAGE: Final = "<progress id=bar max=100></progress><p id=note></p><video id=player></video>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On the port that the README names, where that is free; with time to cancel a task."""
    settings = {"SORA_SIMULATOR_SECONDS": "4"}
    with usual_port() as usual:
        port = free_port() if is_taken(usual) else usual
        running = Server(tmp_path_factory.mktemp("readme") / "state", settings, port=port)
        yield running.start()
        running.kill()


def _at(server: Server, text: str) -> str:
    """The text with the server's port; on the usual port as it stands."""
    return text.replace(f"localhost:{USUAL_PORT}", f"localhost:{server.port}")


def test_curl_and_command_line(server: Server, tmp_path: Path) -> None:
    """Pasted one after the other, the blocks take tasks through their lives and leave the video."""
    if not shutil.which("curl"):
        missing("the README's commands need curl")
    script = "".join(
        block.text for block in blocks(README) if block.language == "sh" and block.heading in RUN_HERE
    )
    (tmp_path / ".curlrc").write_text("fail-with-body\n")  # an answer that is an error ends the script
    pasted = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", _at(server, script)],
        input=f"{server.password}\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=server.environment | {"HOME": str(tmp_path), "SORA_WS_URL": server.url, "PATH": _path()},
        timeout=SHELL_GUARD_S,
        check=False,
    )
    assert pasted.returncode == 0, pasted.stdout + pasted.stderr
    assert (tmp_path / "boat.mp4").read_bytes()[4:8] == b"ftyp"
    tasks = server.request("GET", "/api/videos", token=server.sign_in()).json["items"]
    statuses = {task["prompt"]: task["status"] for task in tasks}
    assert statuses.pop("a paper boat at night") in ("QUEUED", "PROCESSING", "COMPLETED")
    assert statuses == {"a paper boat": "CANCELLED", "a lighthouse in the fog": "COMPLETED"}
    assert "a lighthouse in the fog" in pasted.stdout


def _path() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def test_each_shell_block_is_run() -> None:
    """Here, or by the test that is named for its heading."""
    assert {block.heading for block in blocks(README) if block.language == "sh"} == RUN_HERE | RUN_BY.keys()
    assert all((CHECKOUT / test).is_file() for test in RUN_BY.values())


def _commands() -> list[str]:
    """What the pages want to have typed and what is not run here, each once."""
    shell = [block for page in (README, CONTRIBUTING) for block in blocks(page) if block.language == "sh"]
    lines = [line for block in shell if block.heading not in RUN_HERE for line in block.text.splitlines()]
    return list(dict.fromkeys(command.strip() for line in lines for command in line.split("&&")))


@pytest.mark.parametrize("command", _commands())
def test_what_a_command_names_exists(command: str) -> None:
    """Targets, units, scripts, files and settings are there."""
    words = shlex.split(command, comments=True)
    while "=" in words[0]:
        assert words.pop(0).partition("=")[0] in SETTINGS
    match words:
        case ["make", target]:
            assert re.search(rf"^{target}:", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
        case ["make", "test", arguments]:
            assert (CHECKOUT / arguments.removeprefix("PYTEST_ARGS=").split()[0]).exists()
        case ["systemctl", _, unit] | ["journalctl", "-u", unit, "-f"]:
            assert unit in UNITS
        case ["cp", source, _]:
            assert (CHECKOUT / source).is_file()
        case ["cat", "/var/lib/sora-ws/password"]:
            assert "StateDirectory=sora-ws\n" in (CHECKOUT / "systemd/sora-ws.service").read_text()
        case [".venv/bin/python", "-m", module, *_]:
            assert importlib.util.find_spec(module)
        case [".venv/bin/python", script]:
            assert (CHECKOUT / script).is_file()
        case _:
            assert words == ["nginx", "-t"]


@pytest.mark.parametrize("text", [block.text for block in blocks(README) if block.language == "ini"])
def test_settings_blocks_are_settings(text: str, tmp_path: Path) -> None:
    """What is shown as a file of settings is read without an error or a warning."""
    file = tmp_path / "sora-ws.env"
    file.write_text(text)
    assert Settings.load({}, file)[1] == []


def test_settings_table_names_settings() -> None:
    """The short table holds no setting that there is not."""
    shown = {name for cell in column(section(README, "Settings")) for name in cell.split(", ")}
    assert shown <= SETTINGS


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of another origin, with the three elements that the scripts speak of."""
    with web_files() as origin:
        page = browser.new_page()
        page.set_default_timeout(GUARD_MS)
        page.goto(f"{origin}/blank")
        page.evaluate("html => { document.body.innerHTML = html }", PAGE)
        yield page
        page.close()


def _run(page: Page, server: Server, script: str, prompt: str) -> None:
    token = server.sign_in()
    names = {"token": token, "videoId": server.create(token, prompt)}
    page.evaluate("names => { Object.assign(globalThis, names) }", names)
    page.add_script_tag(type="module", content=_at(server, script))


@pytest.mark.parametrize("script", SCRIPTS, ids=["WebSocket", "client"])
def test_javascript_plays_the_video(page: Page, server: Server, script: str) -> None:
    """The bar moves, and at the end the player has a video that it can play."""
    _run(page, server, script, "a paper boat")
    page.wait_for_function("bar.value > 0")
    page.wait_for_function("player.readyState >= HTMLMediaElement.HAVE_METADATA")
    assert page.evaluate("player.duration") > 0


@pytest.mark.parametrize("script", SCRIPTS, ids=["WebSocket", "client"])
def test_javascript_shows_the_failure(page: Page, server: Server, script: str) -> None:
    """Where no video comes, the note says why."""
    _run(page, server, script, "a paper boat [fail]")
    page.wait_for_function("note.textContent.startsWith('The model is overloaded')")
