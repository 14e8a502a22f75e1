"""`Bus` over Redis pub/sub: one server, one behind Sentinels, or a Cluster.

To this file they are the same: nodes, each with its hash slots, and a channel belongs to the node of
its slot. One server is a node with all of them. A Cluster has sharded pub/sub, whose messages stay on
the node of their channel.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sora_ws.bus import BusEar
from sora_ws.bus.redis_nodes import OPEN_S, SLOTS, Span, find_nodes, greet, slot_of, tls_of
from sora_ws.bus.redis_url import Address, RedisUrl
from sora_ws.bus.resp import RedisRefused, RespLine, Subscribing

log = logging.getLogger(__name__)

PING_EVERY_S: Final = 1.0
SILENT_PINGS: Final = 3  # in a row: the line is dead
WAIT_MIN_S: Final = 0.05
WAIT_MAX_S: Final = 2.0
STEADY_S: Final = 10.0  # what went well for so long is tried again at once
AT_ONCE: Final = 500  # publications in a turn of the loop
OWED_MAX: Final = 20_000
"""Messages that wait for one node; the oldest goes first."""

ELSEWHERE: Final = ("MOVED", "CLUSTERDOWN", "TRYAGAIN", "LOADING")
"""Errors that say: not here, or not now."""


class _Verbs(NamedTuple):
    subscribe: bytes
    unsubscribe: bytes
    publish: bytes


PLAIN: Final = _Verbs(b"subscribe", b"unsubscribe", b"publish")
SHARDED: Final = _Verbs(b"ssubscribe", b"sunsubscribe", b"spublish")

_Key = tuple[str, bytes]
_Command = tuple[tuple[bytes, ...], Callable[[Any], None]]


class _Said(NamedTuple):
    """A message, and the how manyth it was: of one key the later one counts."""

    number: int
    data: bytes


class _Node:
    """One server: its line, what is said to it next, and what it was asked for.

    `address` is None for the one that stands for all until the first is found.
    """

    def __init__(self, bus: RedisBus, address: Address | None) -> None:
        self.address = address
        self.line: RespLine | None = None
        self.channels: set[bytes] = set()  # that somebody wants
        self.changes: dict[bytes, bool] = {}  # to subscribe, or not to any more
        self.owed: OrderedDict[_Key, _Said] = OrderedDict()
        self.is_wrong = False  # it has said that something is another node's; until that is found
        self._bus = bus
        self._asked: dict[bytes, Subscribing] = {}  # the last one for each channel
        self._refused: set[bytes] = set()
        self._silent_pings = 0
        self._bytes_in = 0

    # --- what is said ---

    def owe(self, key: _Key, said: _Said) -> None:
        """Say it as soon as that can be, unless something newer of its key waits for that."""
        if key in self.owed and self.owed[key].number > said.number:
            return
        self.owed[key] = said
        self.owed.move_to_end(key)
        if len(self.owed) > OWED_MAX:
            self.owed.popitem(last=False)
            self._bus.dropped += 1

    def want(self, channel: bytes) -> None:
        self.channels.add(channel)
        self.changes[channel] = True

    def leave(self, channel: bytes) -> None:
        self.forget(channel)
        self.changes[channel] = False

    def forget(self, channel: bytes) -> None:
        """It is another node's now."""
        self.channels.discard(channel)
        self.changes.pop(channel, None)
        self._refused.discard(channel)
        self._asked.pop(channel, None)

    def flush(self) -> None:
        """Everything that waits, in one write; subscriptions first."""
        line = self.line
        if line is None or self.is_wrong or not line.is_writable or not (self.changes or self.owed):
            return
        line.ask([*self._subscriptions(), *self._publications()])

    def _subscriptions(self) -> list[tuple[tuple[bytes, ...], Subscribing]]:
        verbs = self._bus.verbs
        changes, self.changes = self.changes, {}
        commands = []
        for verb, is_wanted in ((verbs.subscribe, True), (verbs.unsubscribe, False)):
            channels = [channel for channel, wanted in changes.items() if wanted is is_wanted]
            # Sharded, one command's channels must be of one slot.
            groups = [[channel] for channel in channels] if verbs is SHARDED else [channels]
            for group in filter(None, groups):
                asked = Subscribing(verb, group, self._not_confirmed)
                commands.append(((verb, *group), asked))
                if is_wanted:
                    self._asked.update(dict.fromkeys(group, asked))
        return commands

    def _publications(self) -> list[_Command]:
        verb = self._bus.verbs.publish
        commands: list[_Command] = []
        while self.owed and len(commands) < AT_ONCE:
            key, said = self.owed.popitem(last=False)
            commands.append(((verb, key[1], said.data), self._published(key, said)))
        if self.owed:
            self._bus.flush_soon()
        return commands

    def _published(self, key: _Key, said: _Said) -> Callable[[Any], None]:
        def answered(reply: Any) -> None:
            if not isinstance(reply, Exception):
                self._bus.sent += 1
            elif isinstance(reply, OSError) or self._is_elsewhere(reply):
                self._bus.owe(key, said)
            else:
                self._bus.dropped += 1
                self._bus.tell_refused(reply)

        return answered

    # --- what is heard ---

    def heard(self, channel: bytes, data: bytes) -> None:
        self._bus.ear.heard(channel, data)

    def confirmed(self, asked: Subscribing, channel: bytes) -> None:
        if self._asked.get(channel) is asked:  # else it was left meanwhile, and perhaps asked for again
            del self._asked[channel]
            self._bus.ear.joined(channel)

    def dropped(self, channel: bytes) -> None:
        if channel in self.channels:
            self.changes[channel] = True
            self._bus.ear.parted([channel])
            self._bus.relocate()

    def _not_confirmed(self, asked: Subscribing, reply: Any) -> None:
        again = [channel for channel in asked.left if self._asked.get(channel) is asked]
        for channel in again:
            del self._asked[channel]
        if isinstance(reply, OSError):
            return  # with the line all are asked for again
        if self._is_elsewhere(reply):
            self.changes.update(dict.fromkeys(again, True))
        else:
            self._refused.update(again)
            self._bus.tell_refused(reply)

    def _is_elsewhere(self, reply: Exception) -> bool:
        """Whether another node has to be found for it; nothing more is said to this one before."""
        is_elsewhere = str(reply).startswith(ELSEWHERE)
        if is_elsewhere:
            self.is_wrong = True
            self._bus.relocate()
        return is_elsewhere

    def writable(self) -> None:
        self._bus.flush_soon()

    def lost(self) -> None:
        if self.line is None:
            return  # it never came to be ready
        self.line = None
        self._asked.clear()
        self._bus.ear.parted(self.channels)
        self._bus.relocate()

    # --- whether it is there ---

    async def open(self, address: Address) -> Mapping[bytes, Any]:
        """Connect; what HELLO answers. Raises OSError, RedisRefused."""
        line = await RespLine.open(address, self._bus.tls, self)
        try:
            hello = await greet(line, self._bus.url)
        except BaseException:
            line.abort()
            raise
        self.line = line
        self._silent_pings = 0
        self.changes = dict.fromkeys(self.channels, True)
        self._refused.clear()
        return hello

    def let_go(self) -> None:
        """Of a line that is to the wrong server."""
        line, self.line, self.changes = self.line, None, {}
        if line is not None:
            line.abort()

    def ping(self) -> None:
        """Ask for a sign of life, and let go of a line that has given none for too long."""
        if self.line is None:
            return
        # By pings and not by the clock: a loop that hung itself has yet to read what came.
        is_silent = self.line.bytes_in == self._bytes_in
        self._silent_pings = self._silent_pings + 1 if is_silent else 0
        self._bytes_in = self.line.bytes_in
        if self._silent_pings >= SILENT_PINGS:
            self.line.abort()
            return
        self.line.ask([((b"PING",), lambda reply: None)])
        self.changes.update(dict.fromkeys(self._refused, True))
        self._refused.clear()


class RedisBus:
    """`Bus` over the Redis that the URL names."""

    def __init__(self, url: RedisUrl) -> None:
        self.url = url
        self.tls = tls_of(url)
        self.verbs = SHARDED if url.is_cluster else PLAIN
        self.sent = 0
        self.dropped = 0
        self.ear: BusEar
        self._nodes: dict[Address | None, _Node] = {None: _Node(self, None)}
        self._slots: list[Address | None] = [None] * SLOTS
        self._trouble = asyncio.Event()
        self._is_flushing = False
        self._said = 0
        self._is_told_away = False
        self._told_refused: str | None = None
        self._running: Sequence[asyncio.Task[None]] = ()

    @property
    def is_up(self) -> bool:
        return all(node.line is not None for node in self._nodes.values())

    async def start(self, ear: BusEar) -> None:
        """Returns when it is up, or has found that it is not."""
        self.ear = ear
        first_try = asyncio.Event()
        self._running = (
            asyncio.create_task(self._keep_up(first_try)),
            asyncio.create_task(self._keep_pinging()),
        )
        await first_try.wait()

    async def stop(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for node in self._nodes.values():
            node.flush()
            line, node.line = node.line, None
            if line is not None:
                line.close()

    def publish(self, key: str, channels: Iterable[bytes], data: bytes) -> None:
        self._said += 1
        for channel in channels:
            self.owe((key, channel), _Said(self._said, data))

    def owe(self, key: _Key, said: _Said) -> None:
        self._node_of(key[1]).owe(key, said)
        self.flush_soon()

    def subscribe(self, channel: bytes) -> None:
        self._node_of(channel).want(channel)
        self.flush_soon()

    def unsubscribe(self, channel: bytes) -> None:
        self._node_of(channel).leave(channel)
        self.flush_soon()

    def flush_soon(self) -> None:
        """What this turn of the loop brings leaves in one write."""
        if not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def relocate(self) -> None:
        """Find out again which node is where."""
        self._trouble.set()

    def tell_refused(self, reply: Exception) -> None:
        """Once for each text in a row; it is no use to try the same at once again."""
        text = str(reply)[:200]
        if text != self._told_refused:
            log.error("Redis refuses: %s", text, extra={"action": "redis_refuses"})
        self._told_refused = text

    def _flush(self) -> None:
        self._is_flushing = False
        for node in self._nodes.values():
            node.flush()

    def _node_of(self, channel: bytes) -> _Node:
        return self._nodes[self._slots[slot_of(channel)]]

    # --- which node is where ---

    async def _keep_pinging(self) -> None:
        while True:
            await asyncio.sleep(PING_EVERY_S)
            for node in tuple(self._nodes.values()):
                node.ping()
            self.flush_soon()

    async def _keep_up(self, first_try: asyncio.Event) -> None:
        steady = asyncio.get_running_loop().time
        wait = WAIT_MIN_S
        while True:
            began = steady()
            self._trouble.clear()
            try:
                await self._settle()
            except (OSError, RedisRefused, TimeoutError) as error:
                self._tell_away(_words(error))
            except Exception:  # an answer that no Redis gives
                log.exception("Redis can't be understood", extra={"action": "fault"})
            else:
                self._tell_back()
                first_try.set()
                await self._trouble.wait()
            first_try.set()
            await asyncio.sleep(random.uniform(wait / 2, wait))  # noqa: S311 no secret
            wait = WAIT_MIN_S if steady() - began > STEADY_S else min(wait * 2, WAIT_MAX_S)

    async def _settle(self) -> None:
        """Find the nodes, and open a line to each. Raises OSError, RedisRefused, TimeoutError."""
        lines = {node.address: node.line for node in self._nodes.values() if node.address and node.line}
        self._take(await find_nodes(self.url, self.verbs is SHARDED, self.tls, lines))
        opening = [
            self._open(node, address)
            for address, node in self._nodes.items()
            if address and node.line is None
        ]
        results = await asyncio.gather(*opening, return_exceptions=True)
        for node in self._nodes.values():
            node.is_wrong = False
        self._flush()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _open(self, node: _Node, address: Address) -> None:
        async with asyncio.timeout(OPEN_S):
            hello = await node.open(address)
        mode = hello.get(b"mode")
        if mode == b"cluster" and self.verbs is PLAIN:
            self.verbs = SHARDED  # by what it says, as it was named like one server
            node.let_go()
            raise ConnectionResetError("it is a Redis Cluster")
        if self.url.master is not None and hello.get(b"role") != b"master":
            node.let_go()
            raise ConnectionResetError(f"{address} is no longer the master")
        if mode == b"sentinel":
            node.let_go()
            raise RedisRefused("this is a Sentinel: write redis+sentinel://HOST:PORT/MASTER")

    def _take(self, found: Sequence[Span]) -> None:
        """These are the nodes now: what was owed to others, or wanted of them, goes to them."""
        before = self._nodes
        self._nodes = {address: before.get(address) or _Node(self, address) for _, _, address in found}
        anywhere = next(iter(self._nodes))
        self._slots = [anywhere] * SLOTS  # a slot that nobody has is asked for again when it refuses
        for first, last, address in found:
            self._slots[first : last + 1] = [address] * (last + 1 - first)
        for node in before.values():
            self._hand_over(node)
            if node.address not in self._nodes:
                line, node.line = node.line, None
                if line is not None:
                    line.close()

    def _hand_over(self, node: _Node) -> None:
        moved = [channel for channel in node.channels if self._node_of(channel) is not node]
        for channel in moved:
            node.forget(channel)
            self._node_of(channel).want(channel)
        if moved:
            self.ear.parted(moved)
        for key in [key for key in node.owed if self._node_of(key[1]) is not node]:
            self._node_of(key[1]).owe(key, node.owed.pop(key))

    def _tell_away(self, why: str) -> None:
        if not self._is_told_away:
            log.warning(
                "Redis is away, changes of other instances come late: %s", why, extra={"action": "redis_away"}
            )
        self._is_told_away = True

    def _tell_back(self) -> None:
        if self._is_told_away:
            log.warning("Redis is back", extra={"action": "redis_back"})
        self._is_told_away = False


def _words(error: BaseException) -> str:
    return "it does not answer" if isinstance(error, TimeoutError) else str(error)
