"""The web page and the browser client, from the package itself."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from sora_ws.rest.base import Handler
from sora_ws.rest.problem import Problem
from sora_ws.settings import Settings

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self' ws: wss:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

_TYPES: Final = mimetypes.MimeTypes()
_TYPES.add_type("text/javascript", ".js")  # RFC 9239


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page."""

    content: bytes
    content_type: str
    etag: str


def load_assets(folder: Traversable | None = None) -> Mapping[str, Asset]:
    """All files of the page by their paths in it, read once: nothing else can ever be asked for."""
    folder = files("sora_ws") / "web" if folder is None else folder
    return {path: _asset(path, file.read_bytes()) for path, file in _walk(folder, "")}


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry


def _asset(path: str, content: bytes) -> Asset:
    content_type = _TYPES.guess_type(path)[0] or "text/plain"
    is_text = content_type.startswith("text/")
    return Asset(
        content,
        f"{content_type}; charset=utf-8" if is_text else content_type,
        f'"{sha256(content).hexdigest()[:32]}"',
    )


class AssetHandler(Handler):
    """One file of the page: that of the address, or the one that is named when the route is made."""

    def initialize(  # type: ignore[override]
        self, settings: Settings, assets: Mapping[str, Asset], path: str | None = None
    ) -> None:
        super().initialize(settings)
        self._assets = assets
        self._path = path

    def get(self, path: str = "") -> None:
        """The file; a browser asks each time, and gets it once."""
        asset = self._assets.get(self._path or path)
        if asset is None:
            raise Problem(404, "There is nothing at this address.")
        self.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.set_header("Content-Type", asset.content_type)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Etag", asset.etag)
        if self.check_etag_header():
            self.set_status(304)
            return
        self.write(asset.content)
