"""A store for the length of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sora_ws.store.sqlite import SqliteStore


@asynccontextmanager
async def opened(store: SqliteStore) -> AsyncIterator[SqliteStore]:
    """The store, open; closed behind the block."""
    await store.open()
    try:
        yield store
    finally:
        await store.close()
