"""Links that are their own permission, and images told by their first bytes."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from sora_ws.media.images import sniff_image
from sora_ws.media.links import Links

TASK = "video_" + "0123456789abcdef" * 2
OTHER = "video_" + "f" * 32
LINKS = Links(b"k" * 32, "https://videos.example.com/app/")


def signature_of(link: str) -> str:
    """The sig of a link."""
    [signature] = parse_qs(urlsplit(link).query)["sig"]
    return signature


def test_links_have_the_public_front() -> None:
    """PUBLIC_URL, /media, the name, the signature."""
    assert LINKS.video(TASK).startswith(f"https://videos.example.com/app/media/{TASK}.mp4?sig=")
    assert LINKS.thumbnail(TASK).startswith(f"https://videos.example.com/app/media/{TASK}.jpg?sig=")


def test_a_link_opens_its_own_name_only() -> None:
    """A signature holds for the one file of the one task."""
    signature = signature_of(LINKS.video(TASK))
    assert LINKS.holds(f"{TASK}.mp4", signature)
    assert not LINKS.holds(f"{TASK}.jpg", signature)
    assert not LINKS.holds(f"{OTHER}.mp4", signature)


@pytest.mark.parametrize(
    "change", [lambda s: s[:-2], lambda s: s + "A", lambda s: s.swapcase(), lambda s: "", lambda s: "é"]
)
def test_a_changed_signature_opens_nothing(change) -> None:  # type: ignore[no-untyped-def]
    """All of it counts."""
    assert not LINKS.holds(f"{TASK}.mp4", change(signature_of(LINKS.video(TASK))))


def test_the_key_makes_the_signature() -> None:
    """Another key's links don't open here; the same key's do, whatever their front."""
    assert not LINKS.holds(f"{TASK}.mp4", signature_of(Links(b"x" * 32, "http://a").video(TASK)))
    assert LINKS.holds(f"{TASK}.mp4", signature_of(Links(b"k" * 32, "http://a").video(TASK)))


def test_a_signature_is_long_enough() -> None:
    """At least 128 bits, 6 in each letter."""
    assert len(signature_of(LINKS.video(TASK))) * 6 >= 128


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0...", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"GIF89a...", "image/gif"),
        (b"GIF87a...", "image/gif"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"\x89PNG", None),
        (b"", None),
    ],
)
def test_images_are_known_by_their_bytes(content: bytes, kind: str | None) -> None:
    """PNG, JPEG, WebP and GIF; anything else is no image."""
    assert sniff_image(content) == kind
