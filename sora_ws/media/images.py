"""Images by their first bytes."""

from __future__ import annotations


def sniff_image(content: bytes) -> str | None:
    """The media type by the first bytes: PNG, JPEG, WebP or GIF; None for everything else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    return None
