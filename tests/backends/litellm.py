"""LiteLLM's proxy, which speaks the videos format in front of everybody else's."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.backends import Backend
from tests.backends.install import installed, python_packages
from tests.backends.process import running
from tests.ports import free_port

VERSION: Final = "1.106.2"
QUIET: Final = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}


@contextmanager
def litellm(upstreams: Mapping[str, tuple[str, str]], folder: Path) -> Iterator[Backend]:
    """A running proxy, about ten seconds after the call; the first one ever installs it (740 MB).

    `upstreams`: by the name of a model here, LiteLLM's name for it (``openai/sora-2``) and the
    upstream's base URL. `folder` takes its files.
    """
    package = installed(f"litellm-{VERSION}", lambda at: python_packages(at, f"litellm[proxy]=={VERSION}"))
    key = f"sk-{secrets.token_hex(24)}"  # with a short one it does not start
    config = folder / "litellm.yaml"
    config.write_text(json.dumps(_config(upstreams, key)))  # JSON is YAML
    port = free_port()
    command = [str(package / "bin" / "litellm"), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    origin = f"http://127.0.0.1:{port}"
    with running(command, folder / "litellm.log", f"{origin}/health/liveliness", QUIET):
        yield Backend(f"{origin}/v1", key)


def _config(upstreams: Mapping[str, tuple[str, str]], key: str) -> dict[str, Any]:
    return {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {"model": model, "api_base": base_url, "api_key": "sk-upstream"},
            }
            for name, (model, base_url) in upstreams.items()
        ],
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }
