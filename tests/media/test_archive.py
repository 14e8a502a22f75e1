"""From a downloaded file to an archived video."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sora_ws.fence import Fence
from sora_ws.media.archive import PROBE, Unplayable, archive
from sora_ws.media.files import FileMedia
from sora_ws.task import Video
from tests.media.files import write_bomb, write_mp4, write_sound, write_video

TASK = "video_" + "0123456789abcdef" * 2
Write = Callable[[Path], Path]


@pytest.fixture
def media(tmp_path: Path) -> FileMedia:
    """An empty archive."""
    return FileMedia(tmp_path / "media")


def thumbnail_of(media: FileMedia) -> Image.Image:
    """The task's thumbnail, decoded."""
    picture = Image.open(media._path(f"{TASK}.jpg"))
    picture.load()
    return picture


@pytest.mark.gen_test(timeout=60)
async def test_a_video_is_kept_with_its_facts_and_a_thumbnail(media: FileMedia) -> None:
    """Duration, size and resolution come from the file; the thumbnail is a JPEG of at most 640 pixels."""
    partial = write_mp4(media.partial(TASK), seconds=3, width=1280, height=720)
    size = partial.stat().st_size
    assert await archive(media, TASK, partial) == Video(3.0, size, 1280, 720, has_thumbnail=True)
    assert await media.size(f"{TASK}.mp4") == size
    picture = thumbnail_of(media)
    assert (picture.format, picture.size) == ("JPEG", (640, 360))
    assert not partial.exists()


@pytest.mark.gen_test(timeout=60)
async def test_a_small_video_has_a_small_thumbnail(media: FileMedia) -> None:
    """A thumbnail is never larger than the video."""
    await archive(media, TASK, write_mp4(media.partial(TASK), width=64, height=128))
    assert thumbnail_of(media).size == (64, 128)


@pytest.mark.gen_test(timeout=60)
async def test_a_thumbnail_is_from_a_third_of_the_film(media: FileMedia) -> None:
    """The first frame is often black; the thumbnail is a later one."""
    await archive(media, TASK, write_video(media.partial(TASK), "mp4", "libx264"))
    grey = thumbnail_of(media).convert("L").getpixel((80, 60))
    assert isinstance(grey, int)
    assert 60 <= grey <= 100  # the fourth of ten frames, each 20 lighter than the one before


@pytest.mark.parametrize(
    ("format_name", "codec", "options"),
    [
        ("avi", "mpeg4", {}),
        ("webm", "libvpx", {}),
        ("matroska", "libx264", {}),
        ("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("mov", "mpeg4", {}),
    ],
)
@pytest.mark.gen_test(timeout=60)
async def test_other_containers_are_kept_as_they_are(
    media: FileMedia, format_name: str, codec: str, options: dict[str, str]
) -> None:
    """What some backends serve instead of a plain MP4 counts too, byte for byte."""
    partial = write_video(media.partial(TASK), format_name, codec, **options)
    content = partial.read_bytes()
    video = await archive(media, TASK, partial)
    assert (video.width, video.height, video.has_thumbnail) == (160, 120, True)
    assert video.duration == pytest.approx(1.0, abs=0.11)
    assert b"".join([piece async for piece in media.read(f"{TASK}.mp4", 0, 10**9)]) == content


def write_bytes(content: bytes) -> Write:
    """Writes just that."""

    def write(target: Path) -> Path:
        target.write_bytes(content)
        return target

    return write


def write_cut(part: float) -> Write:
    """Writes the beginning of a good MP4."""

    def write(target: Path) -> Path:
        whole = write_mp4(target).read_bytes()
        target.write_bytes(whole[: int(len(whole) * part)])
        return target

    return write


def write_contents(target: Path) -> Path:
    """Writes an MP4's table of contents alone, without the pictures that it tells of."""
    whole = write_mp4(target).read_bytes()
    target.write_bytes(whole[: whole.index(b"mdat") - 4])
    return target


def write_playlist(target: Path) -> Path:
    """Writes an HLS playlist whose one piece is a real video beside it."""
    other = write_mp4(target.with_name("other.mp4"))
    target.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n", encoding="utf-8"
    )
    return target


def write_picture(target: Path) -> Path:
    """Writes a PNG."""
    Image.new("RGB", (64, 64)).save(target, "PNG")
    return target


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(write_bytes(b""), id="nothing"),
        pytest.param(write_bytes(b"<!doctype html><title>502 Bad Gateway</title>"), id="html"),
        pytest.param(write_bytes(b'{"error": {"message": "not ready"}}'), id="json"),
        pytest.param(write_bytes(os.urandom(65_536)), id="garbage"),
        pytest.param(write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(4096)), id="an mp4's head alone"),
        pytest.param(write_bytes(b"RIFF\xff\xff\xff\x7fAVI " + bytes(4096)), id="an avi's head alone"),
        pytest.param(write_bytes(b"\x1aE\xdf\xa3" + bytes(4096)), id="a webm's head alone"),
        pytest.param(write_cut(0.999), id="cut at the end"),
        pytest.param(write_cut(0.5), id="cut in the middle"),
        pytest.param(write_cut(0.01), id="cut at the beginning"),
        pytest.param(write_contents, id="table of contents"),
        pytest.param(write_playlist, id="playlist"),
        pytest.param(write_picture, id="picture"),
        pytest.param(write_sound, id="sound"),
    ],
)
@pytest.mark.gen_test(timeout=60)
async def test_what_is_no_video_is_not_kept(media: FileMedia, write: Write) -> None:
    """Whatever else comes is unplayable, with a reason, and leaves nothing behind."""
    partial = write(media.partial(TASK))
    with pytest.raises(Unplayable, match="no playable video: "):
        await archive(media, TASK, partial)
    assert await media.size(f"{TASK}.mp4") is None
    assert not partial.exists()


@pytest.mark.gen_test(timeout=60)
async def test_a_picture_too_large_for_the_fence_costs_the_thumbnail_alone(media: FileMedia) -> None:
    """A bomb that unpacks to a gigabyte stays within the fence, and is kept for what it says it is."""
    video = await archive(media, TASK, write_bomb(media.partial(TASK)))
    assert (video.width, video.height, video.has_thumbnail) == (16_000, 16_000, False)
    assert await media.size(f"{TASK}.jpg") is None
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert kilobytes * 1024 < PROBE.memory


@pytest.mark.gen_test(timeout=60)
async def test_a_file_that_never_ends_is_given_up(media: FileMedia, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading without an end is ended by the clock."""
    monkeypatch.setattr("sora_ws.media.archive.PROBE", Fence(seconds=1, memory=1024**3, file_size=1024**2))
    os.mkfifo(media.partial(TASK))
    with pytest.raises(Unplayable, match="ended: "):
        await archive(media, TASK, media.partial(TASK))


@pytest.mark.gen_test(timeout=60)
async def test_the_loop_goes_on_meanwhile(media: FileMedia) -> None:
    """A probe holds up nothing else."""
    task = asyncio.create_task(archive(media, TASK, write_mp4(media.partial(TASK))))
    turns = 0
    while not task.done():
        turns += 1
        await asyncio.sleep(0)
    assert (await task).has_thumbnail
    assert turns > 100


@pytest.mark.gen_test(timeout=60)
async def test_a_second_archive_replaces_the_first(media: FileMedia) -> None:
    """After a crash between archiving and saying so, the next start does it again."""
    await archive(media, TASK, write_mp4(media.partial(TASK), seconds=1))
    video = await archive(media, TASK, write_mp4(media.partial(TASK), seconds=2))
    assert await media.size(f"{TASK}.mp4") == video.size
