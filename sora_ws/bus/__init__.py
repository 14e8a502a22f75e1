"""The port to what carries words between instances; its adapter, which speaks to Redis, stands beside."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol


class BusEar(Protocol):
    """Who is told what comes by a bus; nothing of it may raise."""

    def heard(self, channel: bytes, data: bytes) -> None: ...

    def joined(self, channel: bytes) -> None:
        """From now on no message on the channel is missed, until it is parted."""
        ...

    def parted(self, channels: Collection[bytes]) -> None:
        """Messages on these may be missed from now on, and were perhaps for some seconds before.

        They are joined again as soon as that can be. It may name channels that never were.
        """
        ...


class Bus(Protocol):
    """Channels that all instances share. No call waits, and none fails."""

    sent: int
    """Messages that the bus has taken."""
    dropped: int
    """Messages that were given up."""

    @property
    def is_up(self) -> bool:
        """Whether what is published now leaves now, and what is subscribed is joined."""
        ...

    async def start(self, ear: BusEar) -> None:
        """Returns when it is up, or is known not to be; it comes up by itself then."""
        ...

    async def stop(self) -> None: ...

    def subscribe(self, channel: bytes) -> None:
        """`joined` tells when; may be asked again, and then tells again."""
        ...

    def unsubscribe(self, channel: bytes) -> None: ...

    def publish(self, key: str, channels: Iterable[bytes], data: bytes) -> None:
        """To all who have joined one of the channels, once for each of these.

        What can't leave yet waits, of one key the newest alone, and of all keys a bounded number. It
        may come twice.
        """
        ...
