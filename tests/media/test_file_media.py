"""A folder of files as the archive."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

from sora_ws.media.files import FileMedia
from tests.media.conftest import TASK, keep, read


@pytest.fixture
def media(tmp_path: Path) -> FileMedia:
    """An empty archive."""
    return FileMedia(tmp_path / "media")


@pytest.mark.gen_test
async def test_a_link_in_the_folder_leads_nowhere(media: FileMedia, tmp_path: Path) -> None:
    """A symbolic link is not followed."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "media" / f"{TASK}.mp4").symlink_to(tmp_path / "secret")
    assert await media.size(f"{TASK}.mp4") is None
    with pytest.raises(OSError, match="symbolic links"):
        await read(media, f"{TASK}.mp4", 0, 6)


@pytest.mark.gen_test
async def test_what_is_kept_is_the_owners_alone(media: FileMedia, tmp_path: Path) -> None:
    """Folders are 0700, files 0600."""
    await keep(media, f"{TASK}.mp4", b"video")
    await media.save_reference(TASK, b"image")
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "media").iterdir()}
    assert modes == {f"{TASK}.mp4": "0o600", f"{TASK}.reference": "0o600", "partial": "0o700"}
    assert (tmp_path / "media").stat().st_mode & 0o777 == 0o700


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
