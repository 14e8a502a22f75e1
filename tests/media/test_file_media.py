"""A folder of files as the archive."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

from sora_ws.media import CHUNK, MediaGone, MediaStore
from sora_ws.media.files import FileMedia

TASK = "video_" + "0123456789abcdef" * 2
OTHER = "video_" + "f" * 32


@pytest.fixture
def media(tmp_path: Path) -> FileMedia:
    """An empty archive."""
    return FileMedia(tmp_path / "media")


async def keep(media: MediaStore, name: str, content: bytes) -> None:
    """Archive these bytes."""
    media.partial(TASK).write_bytes(content)
    await media.keep(name, media.partial(TASK))


async def read(media: MediaStore, name: str, start: int, stop: int) -> bytes:
    """All pieces as one."""
    return b"".join([piece async for piece in media.read(name, start, stop)])


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        f"../{TASK}.mp4",
        f"{TASK}.mp4/../../x",
        f"{TASK}.mp4\0",
        f"{TASK}.mp4\n",
        f"{TASK}.reference",
        f"{TASK}.MP4",
        f"{TASK.upper()}.mp4",
        TASK,
        "",
        ".mp4",
        f"/{TASK}.mp4",
        f"partial/{TASK}",
    ],
)
@pytest.mark.gen_test
async def test_no_path_comes_from_outside(media: FileMedia, name: str) -> None:
    """A name that is not exactly a task's video or thumbnail reaches no file."""
    with pytest.raises(ValueError, match="not a name in the archive"):
        await media.size(name)
    with pytest.raises(ValueError, match="not a name in the archive"):
        await read(media, name, 0, 1)
    with pytest.raises(ValueError, match="not a name in the archive"):
        await media.keep(name, media.partial(TASK))


@pytest.mark.parametrize("task_id", ["../x", "video_1", f"{TASK}.mp4", f"{TASK}/..", "*"])
@pytest.mark.gen_test
async def test_no_path_comes_from_an_id(media: FileMedia, task_id: str) -> None:
    """An id that is not exactly one reaches no file either."""
    with pytest.raises(ValueError, match="not a name in the archive"):
        media.partial(task_id)
    with pytest.raises(ValueError, match="not a name in the archive"):
        await media.reference(task_id)
    with pytest.raises(ValueError, match="not a name in the archive"):
        await media.delete(task_id)


@pytest.mark.gen_test
async def test_a_link_in_the_folder_leads_nowhere(media: FileMedia, tmp_path: Path) -> None:
    """A symbolic link is not followed."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "media" / f"{TASK}.mp4").symlink_to(tmp_path / "secret")
    assert await media.size(f"{TASK}.mp4") is None
    with pytest.raises(OSError, match="symbolic links"):
        await read(media, f"{TASK}.mp4", 0, 6)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 3 * CHUNK), (1, 2), (CHUNK - 1, CHUNK + 1), (5, 5), (3 * CHUNK - 1, 9 * CHUNK)]
)
@pytest.mark.gen_test
async def test_a_part_can_be_read(media: FileMedia, start: int, stop: int) -> None:
    """Any part, in pieces; what is asked for beyond the end is not there."""
    content = os.urandom(3 * CHUNK)
    await keep(media, f"{TASK}.mp4", content)
    assert await read(media, f"{TASK}.mp4", start, stop) == content[start:stop]


@pytest.mark.gen_test
async def test_a_video_may_go_while_it_is_read(media: FileMedia) -> None:
    """Who has begun to read reads to the end; who comes later is told that it is gone."""
    content = os.urandom(3 * CHUNK)
    await keep(media, f"{TASK}.mp4", content)
    pieces = media.read(f"{TASK}.mp4", 0, len(content))
    begun = await anext(pieces)
    await media.delete(TASK)
    assert begun + b"".join([piece async for piece in pieces]) == content
    with pytest.raises(MediaGone):
        await read(media, f"{TASK}.mp4", 0, 1)


@pytest.mark.gen_test
async def test_what_is_kept_is_the_owners_alone(media: FileMedia, tmp_path: Path) -> None:
    """Folders are 0700, files 0600."""
    await keep(media, f"{TASK}.mp4", b"video")
    await media.save_reference(TASK, b"image")
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "media").iterdir()}
    assert modes == {f"{TASK}.mp4": "0o600", f"{TASK}.reference": "0o600", "partial": "0o700"}
    assert (tmp_path / "media").stat().st_mode & 0o777 == 0o700


@pytest.mark.gen_test
async def test_a_reference_comes_back(media: FileMedia) -> None:
    """The input image is there for a retry, until its task is deleted."""
    assert await media.reference(TASK) is None
    await media.save_reference(TASK, b"image")
    assert await media.reference(TASK) == b"image"
    await media.delete(TASK)
    assert await media.reference(TASK) is None


@pytest.mark.gen_test
async def test_delete_takes_all_of_one_task(media: FileMedia, tmp_path: Path) -> None:
    """Video, thumbnail, image and download of the task go, and nothing of another; twice is no error."""
    await keep(media, f"{TASK}.mp4", b"video")
    await keep(media, f"{TASK}.jpg", b"picture")
    await keep(media, f"{OTHER}.mp4", b"other")
    await media.save_reference(TASK, b"image")
    media.partial(TASK).write_bytes(b"half")
    await media.delete(TASK)
    await media.delete(TASK)
    left = [path.name for path in (tmp_path / "media").rglob("*") if path.is_file()]
    assert left == [f"{OTHER}.mp4"]


@pytest.mark.gen_test
async def test_a_start_sweeps_what_was_broken_off(media: FileMedia, tmp_path: Path) -> None:
    """Half downloads of a killed process go, finished videos stay."""
    await keep(media, f"{TASK}.mp4", b"video")
    media.partial(OTHER).write_bytes(b"half")
    again = FileMedia(tmp_path / "media")
    await again.prepare()
    assert not again.partial(OTHER).exists()
    assert await again.size(f"{TASK}.mp4") == 5


@pytest.mark.gen_test
async def test_bytes_are_on_the_disk_before_the_name(
    media: FileMedia, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves a whole video or none: the file, its new name, the folder, in this order."""
    steps = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(number: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        fsync(number)

    def note_replace(self: Path, target: Path) -> Path:
        steps.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    await keep(media, f"{TASK}.mp4", b"video")
    assert steps == ["file", "name", "folder"]


def videos_in(folder: Path) -> list[bytes]:
    """All that can be watched, by name."""
    return [video.read_bytes() for video in sorted(folder.glob("*.mp4"))]


@pytest.mark.gen_test(timeout=60)
async def test_a_kill_leaves_whole_videos_only(tmp_path: Path) -> None:
    """Killed in the middle of archiving, a process leaves no video that is not whole."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.media.inmates",
        "keep_without_end",
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    for _ in range(20):
        await process.stdout.readline()
    process.kill()
    await process.wait()
    videos = videos_in(tmp_path)
    assert len(videos) >= 20
    assert videos == [bytes([number % 256]) * 1024**2 for number in range(len(videos))]
