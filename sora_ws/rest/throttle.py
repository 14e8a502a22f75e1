"""How often somebody may be wrong about a password."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

KEYS_MAX: Final = 10_000
SECOND: Final = 1_000_000_000  # the clock counts in ns


class Throttle:
    """Each key has `burst` tries; one comes back every `interval_s`.

    A key's bucket is one number, the time at which it is full again, so a full one is no
    entry at all. At most `KEYS_MAX` keys are remembered; the longest unused are forgotten.
    """

    def __init__(self, burst: int, interval_s: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._burst = burst
        self._interval = interval_s * SECOND
        self._clock = clock
        self._full_at: dict[Hashable, int] = {}

    def wait_s(self, key: Hashable) -> float:
        """Seconds until the key has a try, 0 where it has one."""
        until_full = self._full_at.get(key, 0) - self._clock()
        return max(0, until_full - (self._burst - 1) * self._interval) / SECOND

    def spend(self, key: Hashable) -> None:
        """Take one try away."""
        now = self._clock()
        self._full_at[key] = max(now, self._full_at.pop(key, now)) + self._interval
        if len(self._full_at) > KEYS_MAX:
            del self._full_at[next(iter(self._full_at))]

    def refund(self, key: Hashable) -> None:
        """Give one try back."""
        if key in self._full_at:
            self._full_at[key] -= self._interval


class LoginThrottle:
    """Slows guessing at passwords, without letting a stranger lock a user out.

    An address has a budget of failures, whatever names it tries, and a name has one, wherever
    it is tried from. Who guesses at a name from many addresses uses the name's budget up; its
    user still comes in from any address where they signed in before, because such a pair is
    not measured by the name's budget. `tell` is told (name, source, is done) of each try, for the other
    instances, which count it too.
    """

    def __init__(
        self,
        clock: Callable[[], int] = time.monotonic_ns,
        tell: Callable[[str, str, bool], None] = lambda name, source, is_done: None,
    ) -> None:
        self._tell = tell
        self._addresses = Throttle(10, 6, clock)
        self._names = Throttle(30, 2, clock)
        self._known: dict[tuple[str, str], None] = {}

    def begin(self, name: str, address: str) -> float:
        """Spend one try, and return 0; or how many seconds to wait for the next one.

        A try is spent before its password is compared: a thousand sent at once are no way around.
        """
        source = _source(address)
        is_known = (name, source) in self._known
        wait_s = max(self._addresses.wait_s(source), 0.0 if is_known else self._names.wait_s(name))
        if wait_s > 0:
            return wait_s
        self.tried(name, source)
        self._tell(name, source, False)
        return 0.0

    def succeeded(self, name: str, address: str) -> None:
        """It was the right password: the try costs nothing, and the two belong together."""
        source = _source(address)
        self.done(name, source)
        self._tell(name, source, True)

    def tried(self, name: str, source: str) -> None:
        """Count a try, here or at another instance."""
        self._addresses.spend(source)
        if (name, source) not in self._known:
            self._names.spend(name)

    def done(self, name: str, source: str) -> None:
        """Count a try that went well, here or at another instance."""
        self._addresses.refund(source)
        if (name, source) not in self._known:
            self._names.refund(name)
        self._known.pop((name, source), None)
        self._known[name, source] = None
        if len(self._known) > KEYS_MAX:
            del self._known[next(iter(self._known))]


def _source(address: str) -> str:
    """What one party commonly holds: an IPv4 address, or a /64 of IPv6."""
    try:
        ip = ip_address(address)
    except ValueError:  # a Unix socket has none
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ip_network((ip.packed, 64), strict=False))
