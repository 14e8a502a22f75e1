"""Which pages may read our answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tornado.ioloop import IOLoop

from sora_ws.settings import Settings
from tests.rest.server import Answer, RestServer

OURS = "https://app.example.com"


@pytest.fixture
def listed(io_loop: IOLoop, settings: Settings) -> Iterator[RestServer]:
    """A server with a list of origins."""
    settings = replace(settings, allowed_origins=(OURS,))
    server = io_loop.run_sync(lambda: RestServer.start(settings))
    yield server
    io_loop.run_sync(server.stop)


async def preflight(rest: RestServer, origin: str, path: str = "/api/videos") -> Answer:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    return await rest.call("OPTIONS", path, user=None, headers=headers)


@pytest.mark.gen_test
async def test_own_host_on_any_port_by_default(rest: RestServer) -> None:
    """Without a list a page of the same hostname may read, whatever its port."""
    for origin in ("http://127.0.0.1:5173", "https://127.0.0.1", f"http://127.0.0.1:{rest.port}"):
        answer = await rest.call("GET", "/api/videos", headers={"Origin": origin})
        assert answer.headers["Access-Control-Allow-Origin"] == origin


EVIL = ["null", "https://evil.example.com", "http://127.0.0.1.evil.example.com", "http://127.0.0.1@evil", "x"]


@pytest.mark.parametrize("origin", EVIL)
@pytest.mark.gen_test
async def test_others_may_not(rest: RestServer, listed: RestServer, origin: str) -> None:
    """A page elsewhere gets no permission, in no kind of answer, and caches are told why."""
    for server in (rest, listed):
        answers = [
            await server.call("GET", "/api/videos", headers={"Origin": origin}),
            await server.call("GET", "/api/videos", user=None, headers={"Origin": origin}),
            await preflight(server, origin),
        ]
        for answer in answers:
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert "Origin" in answer.headers["Vary"]


@pytest.mark.gen_test
async def test_list_is_the_whole_truth(listed: RestServer) -> None:
    """With a list only its origins may read, not even our own host on another port."""
    allowed = await listed.call("GET", "/api/videos", headers={"Origin": OURS})
    assert allowed.headers["Access-Control-Allow-Origin"] == OURS
    own = await listed.call("GET", "/api/videos", headers={"Origin": f"http://127.0.0.1:{listed.port}"})
    assert "Access-Control-Allow-Origin" not in own.headers


@pytest.mark.gen_test
async def test_preflight_needs_no_token(listed: RestServer) -> None:
    """A preflight tells which verbs and headers are fine, on every address of the API."""
    for path in ("/api/videos", "/api/auth/login", "/api/videos/x/cancel", "/media/video_x.mp4"):
        answer = await preflight(listed, OURS, path)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == OURS
    answer = await preflight(listed, OURS)
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    wanted = {"authorization", "content-type", "idempotency-key", "if-none-match"}
    assert wanted <= set(answer.headers["Access-Control-Allow-Headers"].lower().split(", "))


@pytest.mark.gen_test
async def test_errors_can_be_read_too(listed: RestServer) -> None:
    """A page that may read answers may read errors, and the headers that matter."""
    for user, method, path in (
        (None, "GET", "/api/videos"),
        ("ann", "GET", "/api/videos/x"),
        ("ann", "POST", "/api/videos"),
        ("ann", "GET", "/nowhere"),
    ):
        answer = await listed.call(method, path, user=user, headers={"Origin": OURS})
        assert answer.status >= 400
        assert answer.headers["Access-Control-Allow-Origin"] == OURS
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]


@pytest.mark.gen_test
async def test_no_cookie_is_ever_set(rest: RestServer) -> None:
    """There is nothing that a foreign page could ride on."""
    for path in ("/", "/api/videos", "/healthz"):
        assert "Set-Cookie" not in (await rest.call("GET", path)).headers
