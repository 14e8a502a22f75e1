"""docs/callbacks.md: its receivers receive, and its tables are those of the types."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec
import pytest

from sora_ws.rest.views import CallbackBody, CallbackView
from tests.backends.node import node
from tests.callbacks.receiver import SECRET, npm_environment
from tests.conftest import StartServer
from tests.docs.markdown import DOCS, blocks, names, section, table
from tests.ports import free_port

PAGE: Final = DOCS / "callbacks.md"
EXAMPLES: Final = {block.language: block.text for block in blocks(PAGE) if block.heading == "How to receive"}


@contextmanager
def example(language: str, folder: Path, port: int) -> Iterator[IO[str]]:
    """What the page's receiver in this language prints; it is killed afterwards."""
    file = folder / {"js": "receiver.cjs", "python": "receiver.py"}[language]
    file.write_text(EXAMPLES[language])
    program = node().node if language == "js" else sys.executable
    environment = npm_environment() | {"PORT": str(port), "CALLBACK_SECRET": SECRET}
    process = subprocess.Popen([program, str(file)], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("language", ["js", "python"])
def test_a_receiver(start_server: StartServer, tmp_path: Path, language: str) -> None:
    """It takes what the server sends, also where it starts later, and refuses what a stranger does."""
    server = start_server(
        CALLBACK_ALLOW="127.0.0.1", CALLBACK_SECRET=SECRET, SORA_SIMULATOR_SECONDS="0", DRAIN_SECONDS="0"
    )
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    with example(language, tmp_path, port) as printed:
        video_id = server.create(server.sign_in(), size="128x128", seconds=1, callbackUrl=address)
        assert printed.readline().split() == ["video.completed", video_id]
        headers = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,eA=="}
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(urllib.request.Request(address, b"{}", headers), timeout=20)


@pytest.mark.parametrize(
    ("heading", "type_"), [("What comes", CallbackBody), ("What became of it", CallbackView)]
)
def test_the_fields(heading: str, type_: type[msgspec.Struct]) -> None:
    """The table has exactly the fields of the type."""
    documented = [name for row in table(section(PAGE, heading)) for name in names(row[0])]
    assert sorted(documented) == sorted(field.encode_name for field in msgspec.structs.fields(type_))
