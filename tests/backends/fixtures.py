"""Backends that nobody here wrote, each started once for a whole run of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends import Backend
from tests.backends.aimock import aimock
from tests.backends.litellm import litellm
from tests.backends.upstreams import Upstreams, upstreams


@pytest.fixture(scope="session")
def upstream_servers() -> Iterator[Upstreams]:
    """Our own servers, which the others stand in front of."""
    with upstreams() as running:
        yield running


@pytest.fixture(scope="session")
def aimock_backend(
    upstream_servers: Upstreams, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """aimock; the words that steer it stand in `tests.backends.aimock`."""
    with aimock(upstream_servers.film_url, tmp_path_factory.mktemp("aimock")) as backend:
        yield backend


@pytest.fixture(scope="session")
def litellm_backend(
    upstream_servers: Upstreams, aimock_backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """LiteLLM with the models `sora-2` (the simulator: a second), `omni` (vLLM-Omni), `veo` (aimock)."""
    models = {
        "sora-2": ("openai/sora-2", upstream_servers.simulator),
        "omni": ("hosted_vllm/wan2.2", upstream_servers.failing),
        "veo": ("gemini/veo-3.1-generate-preview", aimock_backend.base_url.removesuffix("/v1")),
    }
    with litellm(models, tmp_path_factory.mktemp("litellm")) as backend:
        yield backend
