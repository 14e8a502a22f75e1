"""Worlds as end-to-end tests have them."""

from __future__ import annotations

from tests.e2e.conftest import transport, world

__all__ = ["transport", "world"]
