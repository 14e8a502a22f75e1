"""The client's REST calls: what it sends, and how it says that something went wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from sora_ws.client import Client
from sora_ws.client.answers import ClientError, SignInNeeded

pytestmark = pytest.mark.gen_test(timeout=60)

TASK = {"videoId": "video_1", "status": "QUEUED", "somethingNew": [1]}


class Canned(RequestHandler):
    """Answers every call with the server's one answer."""

    def initialize(self, server: CannedServer) -> None:
        self.server = server

    def prepare(self) -> None:
        self.server.requests.append(self.request)
        self.set_status(self.server.status)
        for name, value in self.server.headers.items():
            self.set_header(name, value)
        self.finish(self.server.body)


class CannedServer:
    """A server with one answer to everything; `requests` are what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = json.dumps(TASK)
        self.requests: list[HTTPServerRequest] = []
        sock, port = bind_unused_port()
        self._server = HTTPServer(Application([(r".*", Canned, {"server": self})]))
        self._server.add_sockets([sock])
        self.url = f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()


@pytest.fixture
def canned(io_loop: IOLoop) -> Iterator[CannedServer]:
    server = CannedServer()
    yield server
    io_loop.run_sync(server.close)


async def test_create_sends_the_order_and_the_token(canned: CannedServer) -> None:
    """The order is the body as it is, the token a bearer's; the answer comes typed and whole."""
    async with Client(canned.url, "secret") as client:
        received = await client.create({"prompt": "纸船", "seconds": 4})
    (request,) = canned.requests
    assert (request.method, request.path) == ("POST", "/api/videos")
    assert json.loads(request.body) == {"prompt": "纸船", "seconds": 4}
    assert request.headers["Authorization"] == "Bearer secret"
    assert received.value.video_id == "video_1"
    assert received.document == TASK


async def test_get_quotes_the_id(canned: CannedServer) -> None:
    """An id can't lead to another path."""
    async with Client(canned.url) as client:
        await client.get("../a?b")
    assert canned.requests[0].uri == "/api/videos/..%2Fa%3Fb"
    assert "Authorization" not in canned.requests[0].headers


async def test_list_sends_what_is_given(canned: CannedServer) -> None:
    """None is not asked for."""
    canned.body = json.dumps({"items": [TASK]})
    async with Client(canned.url) as client:
        received = await client.list(status="FAILED", limit=None)
    assert canned.requests[0].uri == "/api/videos?status=FAILED"
    assert [task.status for task in received.value.items] == ["QUEUED"]


async def test_login_makes_the_next_calls_the_users(canned: CannedServer) -> None:
    """The token of a login is used from then on."""
    canned.body = json.dumps({"token": "fresh", "expiresAt": 1, "userId": "u", "username": "U", **TASK})
    async with Client(canned.url) as client:
        await client.login("u", "password")
        await client.get("video_1")
    assert json.loads(canned.requests[0].body) == {"username": "u", "password": "password"}
    assert canned.requests[1].headers["Authorization"] == "Bearer fresh"


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        ({"title": "Gone wrong", "detail": "The disk is full."}, "The disk is full."),
        ({"title": "Gone wrong"}, "Gone wrong"),
        (
            {"detail": "2 fields are wrong.", "errors": [{"field": "size", "message": "too big"}]},
            "2 fields are wrong.; size: too big",
        ),
        (
            {"detail": "size: too big", "errors": [{"field": "size", "message": "too big"}]},
            "size: too big",
        ),
    ],
)
async def test_a_problem_is_one_line(problem: dict[str, Any], line: str, canned: CannedServer) -> None:
    """problem+json (RFC 9457) is said with its detail and fields, each once."""
    canned.status, canned.body = 422, json.dumps(problem)
    async with Client(canned.url) as client:
        with pytest.raises(ClientError) as raised:
            await client.get("video_1")
    assert str(raised.value) == line


async def test_401_asks_for_a_token(canned: CannedServer) -> None:
    """It is an error of its own kind."""
    canned.status = 401
    async with Client(canned.url, "old") as client:
        with pytest.raises(SignInNeeded):
            await client.get("video_1")


async def test_a_proxys_page_is_no_problem(canned: CannedServer) -> None:
    """What isn't JSON is told by its status."""
    canned.status, canned.body = 502, "<html>Bad Gateway</html>"
    async with Client(canned.url) as client:
        with pytest.raises(ClientError, match="answered 502 Bad Gateway"):
            await client.get("video_1")


async def test_a_redirect_is_not_followed(canned: CannedServer) -> None:
    """The token stays with the server that was named; the line says where it lives now."""
    canned.status, canned.headers = 301, {"Location": f"{canned.url}/elsewhere"}
    async with Client(canned.url, "secret") as client:
        with pytest.raises(ClientError, match="/elsewhere: use that address"):
            await client.get("video_1")
    assert len(canned.requests) == 1


@pytest.mark.parametrize("body", ["", "<html></html>", "[]", '{"status": "QUEUED"}', '{"videoId": 7}'])
async def test_another_kind_of_server(body: str, canned: CannedServer) -> None:
    """An answer of another shape is one line that doubts the address."""
    canned.body = body
    async with Client(canned.url) as client:
        with pytest.raises(ClientError, match="is the address right"):
            await client.get("video_1")


async def test_no_server() -> None:
    """Where nobody listens, the line names the address and the cause."""
    sock, port = bind_unused_port()
    sock.close()
    async with Client(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(ClientError, match=f"No server can be reached at http://127.0.0.1:{port}: "):
            await client.get("video_1")
