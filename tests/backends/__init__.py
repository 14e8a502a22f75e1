"""Backends that speak the videos format, to test against: our own, LiteLLM's proxy and aimock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backend:
    """A running backend. `base_url` goes up to and with its version, `key` is its bearer token."""

    base_url: str
    key: str
