"""A backend that speaks any dialect, and clients for it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from sora_ws.provider.openai_videos import OpenAIVideos
from sora_ws.settings import Secret
from tests.backends.dialects import DialectServer

MakeClient = Callable[..., OpenAIVideos]


@pytest.fixture
def backend(io_loop: IOLoop) -> Iterator[DialectServer]:
    """A server of the plain format; `backend.jobs.dialect` changes what it speaks."""
    server = DialectServer()
    io_loop.run_sync(server.start)
    yield server
    io_loop.run_sync(server.stop)


@pytest.fixture
def client_of(io_loop: IOLoop) -> Iterator[MakeClient]:
    """Makes clients of a base URL, and closes them; to be called on the loop."""
    clients = []

    def make(base_url: str, key: str | None = None, **options: Any) -> OpenAIVideos:
        clients.append(OpenAIVideos(base_url, Secret(key) if key else None, **options))
        return clients[-1]

    yield make
    for client in clients:
        io_loop.run_sync(client.close)


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that is taken and where nobody listens."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
