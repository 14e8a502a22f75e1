"""Errors, tokens and headers: what holds for every request."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Any

import pytest

from sora_ws.store import StoreFull, StoreUnavailable
from sora_ws.store.sqlite import SqliteStore
from tests.rest.server import RestServer

ADDRESSES = [
    ("GET", "/api/videos"),
    ("POST", "/api/videos"),
    ("GET", "/api/videos/x"),
    ("DELETE", "/api/videos/x"),
    ("POST", "/api/videos/x/cancel"),
    ("POST", "/api/videos/x/retry"),
    ("POST", "/api/auth/refresh"),
    ("GET", "/api/stats"),
]


def check_problem(answer: Any, status: int) -> None:
    """The answer is a problem of this status: RFC 9457."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert set(body) <= {"type", "title", "status", "detail", "errors"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in answer.headers


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
@pytest.mark.gen_test
async def test_every_address_wants_a_token(rest: RestServer, method: str, path: str) -> None:
    """Without a token, or with a wrong one, it is 401, and always the same one."""
    wrong = ["", "Bearer", "Bearer x", "Basic YW5uOng=", f"Token {rest.token()}", "eyJ"]
    answers = [
        await rest.call(method, path, user=None, headers={"Authorization": header} if header else {})
        for header in wrong
    ]
    for answer in answers:
        check_problem(answer, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert len({answer.body for answer in answers}) == 1


@pytest.mark.gen_test
async def test_disabled_user_is_shut_out(rest: RestServer) -> None:
    """The token of a disabled user is 401."""
    rest.tokens.refresh_disabled(frozenset({"ann"}))
    check_problem(await rest.call("GET", "/api/videos"), 401)
    assert (await rest.call("GET", "/api/videos", user="bob")).status == 200


@pytest.mark.gen_test
async def test_two_tokens_that_differ(rest: RestServer) -> None:
    """Two credentials that disagree are 400; the same one twice is one."""
    ann, bob = rest.token("ann"), rest.token("bob")
    answer = await rest.call(
        "GET", f"/api/videos?access_token={bob}", headers={"Authorization": f"Bearer {ann}"}
    )
    check_problem(answer, 400)
    same = await rest.call(
        "GET", f"/api/videos?access_token={ann}", user=None, headers={"Authorization": f"Bearer {ann}"}
    )
    assert same.status == 200
    raw = f"GET /api/videos HTTP/1.0\r\nAuthorization: Bearer {ann}\r\nAuthorization: Bearer {bob}\r\n\r\n"
    assert (await rest.send_raw(raw.encode())).startswith(b"HTTP/1.1 400")


@pytest.mark.gen_test
async def test_token_in_the_query_is_no_token(rest: RestServer) -> None:
    """Only streams take a token in the query, because there is no other way for them."""
    check_problem(await rest.call("GET", f"/api/videos?access_token={rest.token()}", user=None), 401)


@pytest.mark.gen_test
async def test_bearer_in_any_case(rest: RestServer) -> None:
    """The scheme is a word without case: RFC 9110 section 11.1."""
    answer = await rest.call(
        "GET", "/api/videos", user=None, headers={"Authorization": f"bEARER {rest.token()}"}
    )
    assert answer.status == 200


@pytest.mark.gen_test
async def test_every_error_is_a_problem(rest: RestServer) -> None:
    """Tornado's own errors look like ours."""
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("GET", "/api/videos/", 404),
        ("GET", "/api", 404),
        ("POST", "/nowhere", 404),
        ("GET", "/media/x.png", 404),
        ("PUT", "/api/videos", 405),
        ("PATCH", "/api/videos/x", 405),
        ("GET", "/api/auth/login", 405),
        ("DELETE", "/healthz", 405),
        ("BREW", "/api/videos", 405),
        ("GET", "/api/videos/%ff", 400),
        ("GET", "/api/videos?status=%ff", 400),
        ("GET", "/media/video_x.mp4?sig=%ff", 400),
    ):
        check_problem(await rest.call(method, path), status)


@pytest.mark.gen_test
async def test_405_names_what_is_allowed(rest: RestServer) -> None:
    """RFC 9110 section 15.5.6."""
    for path, allowed in (
        ("/api/videos", "GET, HEAD, POST, OPTIONS"),
        ("/api/videos/x", "GET, HEAD, DELETE, OPTIONS"),
        ("/api/videos/x/cancel", "POST, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ):
        assert (await rest.call("PUT", path)).headers["Allow"] == allowed


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Lets every read of a task in the store fail with an error."""

    def break_(error: BaseException) -> None:
        async def find(self: SqliteStore, task_id: str) -> None:
            raise error

        monkeypatch.setattr(SqliteStore, "find", find)

    return break_


@pytest.mark.gen_test
async def test_store_away(rest: RestServer, broken: Callable[[BaseException], None]) -> None:
    """503, when to come again, and nothing of what the driver said."""
    broken(StoreUnavailable("mongodb://admin:hunter2@db"))
    answer = await rest.call("GET", "/api/videos/x")
    check_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert b"hunter2" not in answer.body


@pytest.mark.parametrize("error", [StoreFull("full"), OSError(errno.ENOSPC, "no space left")])
@pytest.mark.gen_test
async def test_disk_full(
    rest: RestServer, broken: Callable[[BaseException], None], error: BaseException
) -> None:
    """507, whoever found it full."""
    broken(error)
    check_problem(await rest.call("GET", "/api/videos/x"), 507)


@pytest.mark.gen_test
async def test_own_fault_is_logged_and_not_told(
    rest: RestServer, broken: Callable[[BaseException], None], caplog: pytest.LogCaptureFixture
) -> None:
    """500 without a word of it; the log has the traceback, and no query."""
    broken(RuntimeError("the inner secret"))
    answer = await rest.call("GET", "/api/videos/x?access_token=")
    check_problem(answer, 400)
    answer = await rest.call("GET", "/api/videos/x?q=eyJhidden")
    check_problem(answer, 500)
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert "the inner secret" in caplog.text
    assert "eyJhidden" not in caplog.text


@pytest.mark.gen_test
async def test_log_has_a_line_a_request(rest: RestServer, caplog: pytest.LogCaptureFixture) -> None:
    """Method, path, status and time, and nothing behind a question mark."""
    with caplog.at_level(logging.INFO, "sora_ws.rest.access_log"):
        await rest.call("GET", f"/api/videos?access_token={rest.token()}")
        await rest.call("GET", "/media/video_x.mp4?sig=secret", user=None)
    lines = [record.getMessage() for record in caplog.records if record.name == "sora_ws.rest.access_log"]
    assert len(lines) == 2
    assert lines[0].startswith("GET /api/videos 200 ")
    assert lines[1].startswith("GET /media/video_x.mp4 404 ")
    assert "eyJ" not in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.gen_test
async def test_health_and_readiness(rest: RestServer) -> None:
    """Alive as long as it answers; ready unless something stands against it, then with the reason."""
    assert (await rest.call("GET", "/healthz", user=None)).json == {"status": "ok"}
    assert (await rest.call("GET", "/readyz", user=None)).json == {"status": "ready"}
    rest.not_ready = "the database is away"
    answer = await rest.call("GET", "/readyz", user=None)
    check_problem(answer, 503)
    assert answer.json["detail"] == "the database is away"
    assert int(answer.headers["Retry-After"]) > 0
    assert (await rest.call("GET", "/healthz", user=None)).status == 200


@pytest.mark.gen_test
async def test_a_provider_in_trouble(rest: RestServer) -> None:
    """It is told where operators look, and takes the server from no load balancer."""
    rest.provider_trouble = "HTTP 401: no such key"
    answer = await rest.call("GET", "/readyz", user=None)
    assert (answer.status, answer.json) == (200, {"status": "ready", "provider": "HTTP 401: no such key"})
