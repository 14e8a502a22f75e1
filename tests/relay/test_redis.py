"""Redis as it is: lines that are lost, slots that move, servers that refuse, and what is no Redis."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sora_ws.bus.redis_nodes import slot_of
from tests.certificates import certify
from tests.e2e.world import logged
from tests.ports import free_port
from tests.redisd import Cluster, Redisd, Watched, running
from tests.relay.ear import GUARD_S, a_bus

CHANNEL = b"tests:channel"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(Cluster) as servers:
        assert isinstance(servers, Cluster)
        yield servers


@pytest.mark.parametrize(
    "channel", [b"123456789", b"a{b}c", b"{}{b}", b"a{}", b"{", b"}{a}", b"{a}{b}", b"{{a}}", "团队".encode()]
)
def test_a_slot_is_what_the_cluster_says(cluster: Cluster, channel: bytes) -> None:
    """By the text in the first braces, where there is one."""
    assert str(slot_of(channel)) == cluster.servers[0].ask("CLUSTER", "KEYSLOT", channel.decode())


@pytest.mark.gen_test(timeout=30)
async def test_a_slot_that_moves_takes_its_channels_along(cluster: Cluster) -> None:
    """Who was subscribed is told of the gap and subscribed at the new node; the others notice nothing."""
    channels = [b"tests:%d" % n for n in range(50)]
    async with a_bus(cluster.url) as (a, _), a_bus(cluster.url) as (b, ear):
        for channel in channels:
            b.subscribe(channel)
        await ear.joins(*channels)
        slot = slot_of(channels[0])
        owner = cluster.owner(slot)
        cluster.move(slot, next(server for server in cluster.servers if server is not owner))
        await ear.until(lambda: ear.partings == 1 and len(ear.channels) == len(channels))
        a.publish("k", channels, b"said")
        await ear.until(lambda: {channel for channel, _ in ear.messages} == set(channels))
        assert b.is_up


@pytest.mark.gen_test(timeout=30)
async def test_any_node_of_a_cluster_will_do(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """A URL of one server that is a node of a Cluster finds the others; in a list dead ones are passed."""
    with caplog.at_level(logging.WARNING):
        async with a_bus(cluster.servers[1].url) as (bus, ear):
            bus.subscribe(CHANNEL)
            await ear.joins(CHANNEL)
        async with a_bus(f"redis+cluster://127.0.0.1:{free_port()},{cluster.servers[2].address}") as (
            bus,
            ear,
        ):
            assert bus.is_up


@pytest.mark.gen_test(timeout=60)
async def test_a_lost_line_loses_no_message(start_redis: Callable[..., Redisd]) -> None:
    """What Redis has not acknowledged is sent again, and may come twice."""
    server = start_redis()
    async with a_bus(server.url) as (a, _), a_bus(server.url) as (b, ear):
        b.subscribe(CHANNEL)
        await ear.joins(CHANNEL)
        for n in range(1_000):
            a.publish(f"k{n}", [CHANNEL], b"%d" % n)
            if n % 250 == 0:
                await asyncio.to_thread(kill_publishers, server)
        a.publish("last", [CHANNEL], b"1000")
        await ear.until(lambda: {int(data) for data in ear.data} == set(range(1_001)))
        assert ear.partings == 0


@pytest.mark.gen_test(timeout=60)
async def test_a_lost_line_turns_nothing_round(start_redis: Callable[..., Redisd]) -> None:
    """Of one key never an older one comes behind a newer, and the newest comes."""
    server = start_redis()
    async with a_bus(server.url) as (a, _), a_bus(server.url) as (b, ear):
        b.subscribe(CHANNEL)
        await ear.joins(CHANNEL)
        server.pause()
        for said in (b"1", b"2"):
            a.publish("a", [CHANNEL], b"a" + said)
            a.publish("b", [CHANNEL], b"b" + said)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        for node in a._nodes.values():
            node.let_go()  # while all this is under way
        a.publish("b", [CHANNEL], b"b3")
        a.relocate()
        server.resume()
        await ear.until(lambda: len(ear.data) >= 6)
        for key in (b"a", b"b"):
            heard = [data for data in ear.data if data.startswith(key)]
            assert heard == sorted(heard)
        assert {b"a2", b"b3"} <= set(ear.data)


@pytest.mark.gen_test(timeout=30)
async def test_who_left_and_came_back_has_joined_when_the_last_word_is_confirmed(
    start_redis: Callable[..., Redisd],
) -> None:
    """And not by the answer to the first, behind which messages are missed yet."""
    server = start_redis()
    async with a_bus(server.url) as (bus, ear):
        sent_at_joins: list[int] = []
        joined = ear.joined

        def join(channel: bytes) -> None:
            sent_at_joins.append(bus.sent)
            joined(channel)

        ear.joined = join  # type: ignore[method-assign]
        server.pause()
        bus.subscribe(CHANNEL)
        await asyncio.sleep(0)
        bus.unsubscribe(CHANNEL)
        bus.publish("k", [CHANNEL], b"missed")
        await asyncio.sleep(0)
        bus.subscribe(CHANNEL)
        await asyncio.sleep(0)
        server.resume()
        await ear.joins(CHANNEL)
        assert sent_at_joins == [1]
        bus.publish("k", [CHANNEL], b"heard")
        await ear.hears(b"heard")
        assert ear.data == [b"heard"]


def kill_publishers(server: Redisd) -> None:
    for client in server.ask("CLIENT", "LIST").splitlines():
        fields = dict(field.split("=", 1) for field in client.split())
        if fields["name"] == "sora-ws" and fields["sub"] == "0":
            server.ask("CLIENT", "KILL", "ID", fields["id"])


@pytest.mark.gen_test(timeout=30)
async def test_what_it_refuses_is_told_once_and_tried_again(
    start_redis: Callable[..., Redisd], caplog: pytest.LogCaptureFixture
) -> None:
    """A user without the rights stays connected; when they come, channels are joined."""
    server = start_redis()
    server.ask("ACL", "SETUSER", "sora", "on", ">pass", "+hello", "+ping", "+subscribe", "+publish", "&none")
    refused = logged("sora_ws.bus.redis", "refuses")
    with caplog.at_level(logging.INFO):
        async with a_bus(f"redis://sora:pass@{server.address}") as (bus, ear):
            assert bus.is_up
            bus.publish("k", [CHANNEL], b"lost")
            bus.subscribe(CHANNEL)
            await asyncio.wait_for(refused.wait(), GUARD_S)
            server.ask("ACL", "SETUSER", "sora", "allchannels")
            await ear.joins(CHANNEL)
            bus.publish("k", [CHANNEL], b"said")
            await ear.hears(b"said")
    assert [record.getMessage()[:24] for record in caplog.records] == ["Redis refuses: NOPERM th"]


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"+OK\r\n" * 3, b"$-1\r\n"])
async def test_what_is_no_redis_is_away(answer: bytes) -> None:
    """Whatever answers there: nothing is up, and nothing breaks."""
    async with something_else(answer) as port, a_bus(f"redis://127.0.0.1:{port}") as (bus, _):
        assert not bus.is_up


@asynccontextmanager
async def something_else(answer: bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.gen_test(timeout=30)
async def test_a_sentinel_is_no_server(caplog: pytest.LogCaptureFixture) -> None:
    """One that is named as if it were is told apart; one that knows no such master, too."""
    with running(Watched) as servers:
        assert isinstance(servers, Watched)
        for url in (servers.sentinel.url, f"redis+sentinel://{servers.sentinel.address}/{uuid.uuid4().hex}"):
            async with a_bus(url) as (bus, _):
                assert not bus.is_up
    assert "this is a Sentinel: write redis+sentinel" in caplog.text
    assert "knows no master of this name" in caplog.text


@pytest.mark.gen_test(timeout=30)
async def test_tls_checks_who_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the authorities of the system; whom none of them vouches for is away."""
    certificate, key = certify(tmp_path)
    port = free_port()
    files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate]
    tls = ["--tls-port", str(port), "--tls-auth-clients", "no", *map(str, files)]
    with running(lambda folder: Redisd(folder, *tls)):
        async with a_bus(f"rediss://localhost:{port}") as (bus, _):
            assert not bus.is_up
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with a_bus(f"rediss://localhost:{port}") as (bus, ear):
            bus.subscribe(CHANNEL)
            await ear.joins(CHANNEL)


@pytest.mark.gen_test(timeout=30)
async def test_a_password_opens(start_redis: Callable[..., Redisd], caplog: pytest.LogCaptureFixture) -> None:
    """The right one; a wrong one, or none, is told and not shown."""
    server = start_redis(password="p:a@s/s w%rd")
    async with a_bus(f"redis://:p%3Aa%40s%2Fs%20w%25rd@{server.address}") as (bus, _):
        assert bus.is_up
    for url in (f"redis://:hunter2@{server.address}", f"redis://{server.address}"):
        async with a_bus(url) as (bus, _):
            assert not bus.is_up
    assert "WRONGPASS" in caplog.text
    assert "NOAUTH" in caplog.text
    assert "hunter2" not in caplog.text
