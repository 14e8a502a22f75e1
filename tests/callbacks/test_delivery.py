"""One attempt: where it may go, and what counts as taken."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any, Final

import pytest
from tornado.ioloop import IOLoop

from sora_ws.delivery import REFUSED, FencedResolver, NotDelivered, Sender, WrongAddress, callback_host
from tests.callbacks.receiver import Receiver

HERE: Final = (ip_network("127.0.0.0/8"),)
HEADERS: Final = {"webhook-id": "msg_1"}

INNER: Final = [
    "127.0.0.1",
    "127.0.0.1.",
    "169.254.169.254",
    "10.0.0.1",
    "172.16.5.5",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "0",
    "2130706433",
    "0x7f.1",
    "017700000001",
    "127.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "localhost",
    "LOCALHOST.",
    "db.localhost",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::127.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fc00::1]",
    "[fec0::1]",
    "[ff02::1]",
]
PUBLIC: Final = [
    "example.com",
    "EXAMPLE.com:8443",
    "8.8.8.8",
    "[2606:4700::1111]",
    "[64:ff9b::8.8.8.8]",
    "[::ffff:8.8.8.8]",
    "10.0.0.1.example.com",
]
WRONG: Final = [
    "",
    "example.com/told",
    "file:///etc/passwd",
    "gopher://example.com/",
    "ftp://example.com/",
    "//example.com/",
    "https:///told",
    "https://",
    "https://example.com:0/",
    "https://example.com:99999/",
    "https://example.com:x/",
    "https://[::1/",
    "https://ada:secret@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https://%31%32%37.0.0.1/",
    "https://[fe80::1%25eth0]/",
    "https://１２７.0.0.1/",
    "https://example.com/a b",
    "https://example.com/\n",
    "https://example.com/" + "x" * 2048,
]


@pytest.mark.parametrize("host", INNER)
def test_an_inner_address_is_refused(host: str) -> None:
    """However it is written."""
    with pytest.raises(WrongAddress, match="a public address"):
        callback_host(f"https://{host}/told", ())


@pytest.mark.parametrize("host", PUBLIC)
def test_a_public_address_is_taken(host: str) -> None:
    """Names are judged when they are looked up."""
    assert callback_host(f"https://{host}/told?x=1", ()) in host.lower()


@pytest.mark.parametrize("url", WRONG)
def test_what_is_no_address_is_refused(url: str) -> None:
    """Other schemes, user names, and whatever two readers may read in two ways."""
    with pytest.raises(WrongAddress, match="an address"):
        callback_host(url, HERE)


def test_an_allowed_network() -> None:
    """What CALLBACK_ALLOW names may be reached, and nothing beside it."""
    for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "localhost"):
        assert callback_host(f"http://{host}:3000/", HERE)
    with pytest.raises(WrongAddress):
        callback_host("http://10.0.0.1/", HERE)


@pytest.fixture
def sender(io_loop: IOLoop) -> Iterator[Sender]:
    async def make() -> Sender:
        return Sender(HERE)

    sender: Sender = io_loop.run_sync(make)
    yield sender
    sender.close()


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("answer", ["200", "204", "299", "cut", "endless"])
async def test_a_2xx_is_success(sender: Sender, receiver: Receiver, answer: str) -> None:
    """Whatever becomes of the rest of the answer."""
    await sender.send(f"{receiver.url}/{answer}", HEADERS, b"{}")
    [message] = await receiver.received(1)
    assert message["headers"]["webhook-id"] == "msg_1"
    assert message["headers"]["content-type"] == "application/json"


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("status", ["301", "302", "307", "308", "400", "404", "410", "429", "500", "503"])
async def test_all_else_is_a_failure(sender: Sender, receiver: Receiver, status: str) -> None:
    """A redirect too, and nobody follows it."""
    with pytest.raises(NotDelivered, match=f"answered {status}"):
        await sender.send(f"{receiver.url}/{status}", HEADERS, b"{}")
    assert [message["path"] for message in await receiver.received(1)] == [f"/{status}"]


@pytest.mark.gen_test(timeout=30)
async def test_a_line_that_breaks(sender: Sender, receiver: Receiver) -> None:
    """Reset before an answer, or nobody there."""
    with pytest.raises(NotDelivered, match="the connection failed"):
        await sender.send(f"{receiver.url}/reset", HEADERS, b"{}")
    with pytest.raises(NotDelivered, match="the connection failed"):
        await sender.send("http://127.0.0.1:9/", HEADERS, b"{}")


@pytest.mark.gen_test(timeout=30)
async def test_a_receiver_that_hangs(receiver: Receiver) -> None:
    """It is left after its time."""
    sender = Sender(HERE, attempt_s=0.3)
    with pytest.raises(NotDelivered, match="no answer in time"):
        await sender.send(f"{receiver.url}/hang", HEADERS, b"{}")
    sender.close()


@pytest.mark.gen_test(timeout=30)
async def test_no_tls_where_there_should_be(sender: Sender, receiver: Receiver) -> None:
    """A server of plain HTTP behind an https address."""
    with pytest.raises(NotDelivered, match="no trusted TLS connection"):
        await sender.send(f"https://127.0.0.1:{receiver.port}/204", HEADERS, b"{}")


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "rebound.example"])
async def test_a_name_that_leads_inside(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Nobody is connected to, wherever the name led when the task was created."""
    connections: list[Any] = []
    listening = await asyncio.start_server(lambda *line: connections.append(line), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    answers = {"rebound.example": "127.0.0.1"}
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *more, **how: look_up(answers.get(name, name), *more, **how)
    )
    sender = Sender(())
    with pytest.raises(NotDelivered, match=REFUSED):
        await sender.send(f"http://{host}:{port}/", HEADERS, b"{}")
    sender.close()
    listening.close()
    assert connections == []


@pytest.mark.gen_test
async def test_a_name_that_leads_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what may be reached is handed out, and the name is looked up once."""
    looked_up: list[str] = []

    def look_up(host: str, port: int, *_: Any) -> list[Any]:
        looked_up.append(host)
        kind = (socket.SOCK_STREAM, 6, "")
        return [
            (socket.AF_INET, *kind, ("10.0.0.1", port)),
            (socket.AF_INET6, *kind, ("2606:4700::1111", port, 0, 0)),
            (socket.AF_INET, *kind, ("169.254.169.254", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    resolver = FencedResolver(())
    found = await resolver.resolve("both.example", 443)
    resolver.close()
    assert found == [(socket.AF_INET6, ("2606:4700::1111", 443, 0, 0))]
    assert looked_up == ["both.example"]


@pytest.mark.gen_test(timeout=30)
async def test_no_proxy_is_used(sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind one nobody here would know the address."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await sender.send(f"{receiver.url}/204", HEADERS, b"{}")
