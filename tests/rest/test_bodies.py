"""How a body comes in, or is refused before it does."""

from __future__ import annotations

import asyncio
import json
from typing import NoReturn

import pytest

from sora_ws.rest import base
from tests.rest.server import RestServer


def head(rest: RestServer, path: str, *more: str, token: str | None = None) -> bytes:
    """The head of a POST."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {token or rest.token()}",
        "Content-Type: application/json",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def problem(answer: bytes) -> tuple[int, int]:
    """The status of an answer's first line, and the one in its body."""
    first, _, rest = answer.partition(b"\r\n")
    headers, _, body = rest.partition(b"\r\n\r\n")
    assert b"application/problem+json" in headers
    length = int(headers.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(first.split()[1]), json.loads(body[:length])["status"]


async def flood(writer: asyncio.StreamWriter, chunk: bytes) -> NoReturn:
    """Send until the line breaks."""
    while True:
        writer.write(chunk)
        await writer.drain()


@pytest.mark.gen_test
async def test_largest_body_is_taken(rest: RestServer) -> None:
    """A create of exactly MAX_BODY_BYTES is read, one byte more is 413."""
    limit = rest.settings.max_body_bytes
    body = json.dumps({"prompt": "x", "pad": ""}).encode()
    for length, status in ((limit, 202), (limit + 1, 413)):
        padded = body.replace(b'"pad": "', b'"pad": "' + b"p" * (length - len(body)))
        assert len(padded) == length
        answer = await rest.call("POST", "/api/videos", padded, headers={"Content-Type": "application/json"})
        assert answer.status == status
    assert str(limit) in answer.json["detail"]


@pytest.mark.gen_test
async def test_other_bodies_are_small(rest: RestServer) -> None:
    """Beyond 64 KiB everything but a create is 413, wherever it goes."""
    for method, path in (
        ("POST", "/api/auth/login"),
        ("POST", "/api/videos/x/retry"),
        ("DELETE", "/api/videos/x"),
        ("GET", "/api/videos"),
        ("POST", "/nowhere"),
        ("POST", "/healthz"),
    ):
        answer = await rest.call(method, path, b"x" * (64 * 1024 + 1))
        assert (answer.status, answer.json["status"]) == (413, 413), path


@pytest.mark.gen_test
async def test_announced_length_is_enough(rest: RestServer) -> None:
    """Who announces too much gets 413 at once, before a byte of it is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rest.port)
    writer.write(head(rest, "/api/videos", "Content-Length: 110000000"))
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 20)
    assert problem(answer) == (413, 413)
    writer.close()


@pytest.mark.gen_test(timeout=30)
async def test_answer_survives_a_body_that_is_too_big(rest: RestServer) -> None:
    """A client that sends all of it first still reads the 413, and its line goes on."""
    sent = head(rest, "/api/videos", "Content-Length: 30000000") + b"x" * 30_000_000
    answer = await rest.send_raw(
        sent, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert problem(answer) == (413, 413)
    assert answer.endswith(b'{"status":"ok"}')


@pytest.mark.gen_test(timeout=30)
async def test_body_without_an_end_is_cut(rest: RestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks, without a length, the 413 comes when the limit is passed; some way on the line is closed."""
    monkeypatch.setattr(base, "LINGER_BYTES", 1_000_000)
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", rest.port)
    writer.write(head(rest, "/api/videos", "Transfer-Encoding: chunked"))
    for _ in range(5):
        writer.write(chunk)
    assert problem(await asyncio.wait_for(reader.readuntil(b"}"), 20)) == (413, 413)
    with pytest.raises(ConnectionError):
        await flood(writer, chunk)
    writer.close()


@pytest.mark.gen_test
async def test_body_in_chunks_is_a_body(rest: RestServer) -> None:
    """A create in chunks is as good as one with a length."""
    body = b'6\r\n{"prom\r\n7\r\npt":"x"\r\n1\r\n}\r\n0\r\n\r\n'
    sent = head(rest, "/api/videos", "Transfer-Encoding: chunked", "Connection: close") + body
    assert (await rest.send_raw(sent)).startswith(b"HTTP/1.1 202")


@pytest.mark.gen_test
async def test_stranger_sends_no_body(rest: RestServer) -> None:
    """A wrong token is refused by the headers; the body passes by, and the line goes on."""
    sent = head(rest, "/api/videos", "Content-Length: 150000", token="wrong") + b"x" * 150_000
    answer = await rest.send_raw(
        sent, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert problem(answer) == (401, 401)
    assert answer.endswith(b'{"status":"ok"}')


@pytest.mark.gen_test
async def test_refused_body_is_not_asked_for(rest: RestServer) -> None:
    """With `Expect: 100-continue` a refusal comes instead of the 100."""
    expecting = ("Content-Length: 100", "Expect: 100-continue")
    for path, more, token, status in (
        ("/api/videos", expecting, "wrong", 401),
        ("/api/videos", ("Content-Length: 110000000", "Expect: 100-continue"), None, 413),
        ("/nowhere", expecting, None, 404),
    ):
        answer = await rest.send_raw(head(rest, path, *more, token=token))
        assert b" 100 " not in answer
        assert problem(answer) == (status, status)


@pytest.mark.gen_test
async def test_good_body_is_asked_for(rest: RestServer) -> None:
    """With `Expect: 100-continue` a good head gets the 100, and then the answer."""
    more = ("Content-Length: 14", "Expect: 100-continue", "Connection: close")
    answer = await rest.send_raw(head(rest, "/api/videos", *more), b'{"prompt":"x"}')
    assert answer.startswith(b"HTTP/1.1 100")
    assert b"HTTP/1.1 202" in answer


SMUGGLED = {
    "length and chunks": "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "two lengths": "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "negative length": "Content-Length: -1\r\n\r\n",
    "length no number": "Content-Length: 1x\r\n\r\nx",
    "length beyond all": f"Content-Length: {'9' * 30}\r\n\r\n",
    "folded header": "X-A: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "second host": "Host: evil.example.com\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("rest_of_head", SMUGGLED.values(), ids=SMUGGLED.keys())
@pytest.mark.gen_test
async def test_ambiguous_requests_are_refused(rest: RestServer, rest_of_head: str) -> None:
    """A request that two readers could cut differently is refused, and creates nothing."""
    start = f"POST /api/videos HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {rest.token()}\r\n"
    answer = await rest.send_raw((start + "Connection: close\r\n" + rest_of_head).encode())
    assert int(answer.split()[1]) in {400, 413}
    assert await rest.store.count_live() == 0
