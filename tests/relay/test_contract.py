"""What `Bus` promises, held against every service that carries messages."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import pytest

from sora_ws.bus.redis import AT_ONCE, OWED_MAX
from tests.redisd import Redisd
from tests.relay.conftest import Carrier
from tests.relay.ear import a_bus

Hurt = Callable[[Redisd], None]


def channels(count: int) -> list[bytes]:
    """Of nobody else, and on a Cluster of every node."""
    mine = uuid.uuid4().hex
    return [f"tests:{mine}:{n}".encode() for n in range(count)]


@pytest.mark.gen_test(timeout=30)
async def test_all_who_joined_hear_it_and_nobody_else(carrier: Carrier) -> None:
    """Once for each channel that somebody joined, at home too, and none of what is said elsewhere."""
    one, other, third = channels(3)
    async with a_bus(carrier.url) as (a, ear_a), a_bus(carrier.url) as (b, ear_b):
        assert a.is_up
        assert b.is_up
        a.subscribe(one)
        b.subscribe(one)
        b.subscribe(other)
        await ear_a.joins(one)
        await ear_b.joins(one, other)
        a.publish("k", [one, other, third], b"said")
        a.publish("l", [one], b"last")
        await ear_a.hears(b"last")
        await ear_b.until(lambda: len(ear_b.messages) == 3)
        assert ear_a.messages == [(one, b"said"), (one, b"last")]
        assert sorted(ear_b.messages) == sorted([(one, b"said"), (one, b"last"), (other, b"said")])


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize(
    "name",
    ["a {b} c", "{}", "{a}{b}", "}{", "团队 👩🏽‍🚀", "\r\n*1\r\n$4\r\nPING\r\n", "x" * 40_000, "\ud800"],
)
async def test_any_name_is_a_channel(carrier: Carrier, name: str) -> None:
    """Names come from people: nothing in them is more than a name."""
    [start] = channels(1)
    channel = start + name.encode(errors="surrogatepass")
    async with a_bus(carrier.url) as (bus, ear):
        bus.subscribe(channel)
        await ear.joins(channel)
        bus.publish("k", [channel], b"\0\xff")
        await ear.hears(b"\0\xff")
        assert ear.messages == [(channel, b"\0\xff")]


@pytest.mark.gen_test(timeout=30)
async def test_they_come_in_order(carrier: Carrier) -> None:
    """What was said before on a channel is heard before, in any number."""
    [channel] = channels(1)
    said = [b"%d" % n for n in range(3 * AT_ONCE)]
    async with a_bus(carrier.url) as (a, _), a_bus(carrier.url) as (b, ear):
        b.subscribe(channel)
        await ear.joins(channel)
        for n, each in enumerate(said):
            a.publish(f"k{n}", [channel], each)
            if n % 7 == 0:
                await asyncio.sleep(0)
        await ear.hears(said[-1])
        assert ear.data == said


@pytest.mark.gen_test(timeout=30)
async def test_of_a_key_the_newest_goes(carrier: Carrier) -> None:
    """What was overtaken before it left is not sent; another channel of the key has its own."""
    one, other = channels(2)
    async with a_bus(carrier.url) as (bus, ear):
        bus.subscribe(one)
        bus.subscribe(other)
        await ear.joins(one, other)
        bus.publish("k", [one, other], b"old")
        bus.publish("k", [one], b"new")
        await ear.until(lambda: len(ear.messages) == 2)
        assert sorted(ear.messages) == sorted([(one, b"new"), (other, b"old")])


@pytest.mark.gen_test(timeout=30)
async def test_who_left_hears_nothing_more(carrier: Carrier) -> None:
    """And what was left and joined again at once is heard from when that is told."""
    left, kept = channels(2)
    async with a_bus(carrier.url) as (bus, ear):
        for channel in (left, kept):
            bus.subscribe(channel)
        await ear.joins(left, kept)
        bus.unsubscribe(left)
        bus.unsubscribe(kept)
        ear.channels.clear()
        await asyncio.sleep(0)
        bus.subscribe(kept)
        await ear.joins(kept)
        bus.publish("k", [left, kept], b"said")
        await ear.hears(b"said")
        assert ear.messages == [(kept, b"said")]


@pytest.mark.gen_test(timeout=30)
async def test_only_the_last_of_several_joins_counts(carrier: Carrier) -> None:
    """One that was left meanwhile is not told as joined while its own end is still to come."""
    [channel] = channels(1)
    async with a_bus(carrier.url) as (bus, ear):
        for _ in range(5):
            bus.subscribe(channel)
            await asyncio.sleep(0)
            bus.unsubscribe(channel)
            await asyncio.sleep(0)
        bus.subscribe(channel)
        await ear.joins(channel)
        bus.publish("k", [channel], b"said")
        await ear.hears(b"said")


@pytest.mark.gen_test(timeout=30)
async def test_thousands_are_joined_together(carrier: Carrier) -> None:
    """As when all clients of a server come back."""
    many = channels(5_000)
    async with a_bus(carrier.url) as (bus, ear):
        for channel in many:
            bus.subscribe(channel)
        await ear.joins(*many)
        bus.publish("k", many, b"all")
        await ear.until(lambda: len(ear.messages) == len(many))
        assert {channel for channel, _ in ear.messages} == set(many)


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("hurt", [Redisd.kill, Redisd.pause], ids=["killed", "hangs"])
async def test_a_break_is_told_and_mended(own_carrier: Carrier, hurt: Hurt) -> None:
    """Within seconds, and of itself it is as before; who is told so reads what was missed."""
    many = channels(30)
    channel = many[0]
    async with a_bus(own_carrier.url) as (a, _), a_bus(own_carrier.url) as (b, ear):
        for each in many:
            b.subscribe(each)
        await ear.joins(*many)
        node = own_carrier.node_of(channel)
        hurt(node)
        await ear.parts(channel)
        if hurt is Redisd.kill:
            own_carrier.mend(node)
        else:
            node.resume()
        await ear.joins(*many)
        a.publish("k", [channel], b"said")
        await ear.hears(b"said")


@pytest.mark.gen_test(timeout=30)
async def test_too_much_drops_the_oldest(start_redis: Callable[..., Redisd]) -> None:
    """While nothing can leave a bounded number waits, and what is dropped is counted."""
    server = start_redis()
    [channel] = channels(1)
    server.kill()
    async with a_bus(server.url) as (bus, ear):
        assert not bus.is_up
        bus.subscribe(channel)
        for n in range(OWED_MAX + 10):
            bus.publish(f"k{n}", [channel], b"%d" % n)
        assert bus.dropped == 10
        server.start()
        await ear.hears(b"%d" % (OWED_MAX + 9))
        assert ear.data == [b"%d" % n for n in range(10, OWED_MAX + 10)]
