"""Who is at the other end: of a request, behind proxies; of an address that we shall call."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from sora_ws.settings import Network

KNOWN_MAX: Final = 1024
NAT64: Final = ip_network("64:ff9b::/96")  # RFC 6052


def client_address(peer: str, headers: Mapping[str, str], trusted: Collection[Network]) -> str:
    """The client's address: the peer's own, unless that is a trusted proxy which tells another.

    X-Real-IP is taken as it is; of X-Forwarded-For the last address that is no trusted proxy,
    since everything left of it was written by strangers.
    """
    if not _is_among(peer, trusted):
        return peer
    if told := headers.get("X-Real-IP"):
        return told.strip() if _is_address(told.strip()) else peer
    for hop in reversed(headers.get("X-Forwarded-For", "").split(",")):
        address = hop.strip()
        if not _is_address(address):
            return peer
        if not _is_among(address, trusted):
            return address
    return peer


def origin_is_allowed(origin: str, host: str, allowed: Collection[str] | None) -> bool:
    """Whether a browser's page of this origin may talk to us; `host` is the Host header.

    Without a list it is the hostname that counts, on any port.
    """
    if allowed is not None:
        return origin.lower() in allowed
    try:
        own = urlsplit(f"//{host}").hostname
        return own is not None and urlsplit(origin).hostname == own
    except ValueError:
        return False


def is_loopback(address: str) -> bool:
    """Whether it is this machine that asks; "" is a Unix socket."""
    return address == "" or (_is_address(address) and ip_address(address).is_loopback)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Anybody's address on the internet: no loopback, private, link-local or other special one.

    An IPv4 address that is wrapped into an IPv6 one is judged as what it is.
    """
    inner = _unwrapped(address)
    is_special = inner.is_multicast or inner.is_reserved
    return inner.is_global and not is_special and not (inner.version == 6 and inner.is_site_local)


def may_be_reached(address: IPv4Address | IPv6Address, allowed: Collection[Network]) -> bool:
    """Whether a callback may go there: to a public address, or into a network that is allowed."""
    return is_public(address) or any(_unwrapped(address) in network for network in allowed)


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address in a mapped, 6to4 or NAT64 one; else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_address(text: str) -> bool:
    return _parsed(text) is not None


@lru_cache(KNOWN_MAX)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """None where it is no address. The same few proxies ask again and again, and to read one takes 5 µs."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_among(address: str, networks: Collection[Network]) -> bool:
    known = _parsed(address)
    if known is None:
        return address == ""  # a Unix socket: whoever may open it is a proxy of ours
    return any(known in network for network in networks)
