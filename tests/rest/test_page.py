"""The page and its files, and a server that still waits for its database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port
from tornado.web import Application

from sora_ws.rest import UnderWay, waiting_routes
from sora_ws.rest.page import CONTENT_SECURITY_POLICY, load_assets
from sora_ws.settings import Settings
from tests.rest.server import Answer, RestServer, fetch


@pytest.mark.gen_test
async def test_page_comes_with_its_walls(rest: RestServer) -> None:
    """The page is HTML under a policy that lets nothing in from elsewhere."""
    answer = await rest.call("GET", "/", user=None)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.body == load_assets()["index.html"].content


@pytest.mark.gen_test
async def test_every_file_is_served(rest: RestServer) -> None:
    """What the package holds of the page is under /static/, each file by its own type."""
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    for path, asset in load_assets().items():
        answer = await rest.call("GET", f"/static/{path}", user=None)
        assert (answer.status, answer.body) == (200, asset.content)
        expected = types.get(Path(path).suffix)
        if expected is not None:
            assert answer.headers["Content-Type"].partition(";")[0] == expected


@pytest.mark.gen_test
async def test_browser_client_has_its_own_address(rest: RestServer) -> None:
    """/sora-ws.js is a module that pages of other ports may import."""
    origin = "http://127.0.0.1:5173"
    answer = await rest.call("GET", "/sora-ws.js", user=None, headers={"Origin": origin})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert answer.headers["Access-Control-Allow-Origin"] == origin


@pytest.mark.gen_test
async def test_file_is_asked_for_and_not_sent_again(rest: RestServer) -> None:
    """Browsers ask each time; who holds the newest gets 304."""
    for path in ("/", "/sora-ws.js"):
        answer = await rest.call("GET", path, user=None)
        assert answer.headers["Cache-Control"] == "no-cache"
        held = await rest.call("GET", path, user=None, headers={"If-None-Match": answer.headers["ETag"]})
        assert (held.status, held.body) == (304, b"")
        head = await rest.call("HEAD", path, user=None)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(answer.body))


OUTSIDE = [
    "/static/..%2f..%2fauth.py",
    "/static/../auth.py",
    "/static/%2e%2e/auth.py",
    "/static/..%2f..%2f..%2f..%2fetc/passwd",
    "/static//etc/passwd",
    "/static/%00",
    "/static/index.html%00.js",
    "/static/",
    "/static",
    "/index.html",
    "/static/css",
]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.gen_test
async def test_nothing_else_is_served(rest: RestServer, path: str) -> None:
    """No path leads out of the page's own files."""
    assert (await rest.call("GET", path, user=None)).status == 404


def test_files_are_read_once(tmp_path: Path) -> None:
    """Folders are walked, and each file gets a type and a tag of its own."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.js").write_text("1")
    (tmp_path / "b.unknown").write_text("2")
    assets = load_assets(tmp_path)
    assert set(assets) == {"deep/er/a.js", "b.unknown"}
    assert assets["deep/er/a.js"].content_type == "text/javascript; charset=utf-8"
    assert assets["b.unknown"].content_type == "text/plain; charset=utf-8"
    assert len({asset.etag for asset in assets.values()}) == 2


@dataclass
class Waiting:
    """A server whose database has not come yet."""

    port: int

    async def call(self, method: str, path: str, **headers: str) -> Answer:
        return await fetch(f"http://127.0.0.1:{self.port}{path}", method, headers)


@pytest.fixture
def waiting(io_loop: IOLoop, settings: Settings) -> Iterator[Waiting]:
    sock, port = bind_unused_port()
    server = HTTPServer(Application(waiting_routes(settings), under_way=UnderWay()))
    server.add_socket(sock)
    yield Waiting(port)
    server.stop()
    io_loop.run_sync(server.close_all_connections)


@pytest.mark.gen_test
async def test_server_without_its_database(waiting: Waiting) -> None:
    """It is alive and shows the page; all else is 503 with a time to come again, readable for pages."""
    for path in ("/", "/sora-ws.js", "/healthz"):
        assert (await waiting.call("GET", path)).status == 200
    for method, path in (
        ("GET", "/readyz"),
        ("POST", "/api/videos"),
        ("POST", "/api/auth/login"),
        ("GET", "/ws"),
        ("GET", "/media/video_x.mp4"),
    ):
        answer = await waiting.call(method, path, Origin="http://127.0.0.1:5173")
        assert answer.status == 503
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Access-Control-Allow-Origin"] == "http://127.0.0.1:5173"
