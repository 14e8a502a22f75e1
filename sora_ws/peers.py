"""Who is at the other end of a request: its address behind proxies, and the page it comes from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from sora_ws.settings import Network


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


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_among(address: str, networks: Collection[Network]) -> bool:
    try:
        known = ip_address(address)
    except ValueError:
        return address == ""  # a Unix socket: whoever may open it is a proxy of ours
    return any(known in network for network in networks)
