"""What a video file is, and a small picture of it.

``python -m sora_ws.probe VIDEO THUMBNAIL`` prints the facts as one line of JSON, then writes
the thumbnail (JPEG). What has no facts is no video; what fails after them has no thumbnail.
It reads a stranger's bytes, so the server runs it inside a fence.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

THUMBNAIL_WIDTH: Final = 640
THUMBNAIL_QUALITY: Final = 85
THUMBNAIL_PLACE: Final = 3  # at a third of the film
FRAMES_MAX: Final = 600  # decoded at most, on the way from a keyframe to the thumbnail's place
_MP4_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_MP4_BOXES_THAT_MATTER: Final = (b"moov", b"mdat", b"moof")


class NoVideo(Exception):
    """The file can't be played; the text says why."""


def probe(video: Path, thumbnail: Path) -> None:
    """Print what the video is, then write the thumbnail.

    Raises NoVideo or FFmpegError: before it has printed anything, for a file that can't be
    played; afterwards for one that there is no thumbnail of.
    """
    with video.open("rb") as file, _opened(file) as container:
        stream = _stream(container)
        _check_start(container, stream)
        duration = _duration(container, stream)
        facts = {"duration": duration, "width": stream.width, "height": stream.height}
        print(json.dumps(facts), flush=True)
        _draw(_frame(container, stream, duration), thumbnail)


def _opened(file: BinaryIO) -> InputContainer:
    # Never by guess: among FFmpeg's formats are lists that name other files and addresses to read.
    format_name = _format(file.read(16))
    if format_name == "mp4":
        _check_length(file)
    file.seek(0)
    return av.open(file, "r", format=format_name)


def _format(head: bytes) -> str:
    """FFmpeg's name for the container that begins with these bytes. Raises NoVideo."""
    if head[4:8] in _MP4_BOXES:
        return "mp4"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    raise NoVideo("it begins like no video")


def _check_length(file: BinaryIO) -> None:
    """Raise NoVideo where an MP4 (ISO/IEC 14496-12, section 4.2) was cut off: FFmpeg opens such a one."""
    size = file.seek(0, os.SEEK_END)
    place = 0
    while place + 8 <= size:
        file.seek(place)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if kind in _MP4_BOXES_THAT_MATTER and place + length > size:
            raise NoVideo("it is cut short")
        if length < 8:  # the last box, which is as long as the file, or no box
            return
        place += length


def _stream(container: InputContainer) -> VideoStream:
    covers = av.stream.Disposition.attached_pic
    stream = next((stream for stream in container.streams.video if not stream.disposition & covers), None)
    if stream is None or not stream.width or not stream.height:
        raise NoVideo("there are no pictures in it")
    stream.codec_context.thread_count = 1
    return stream


def _check_start(container: InputContainer, stream: VideoStream) -> None:
    """Raise NoVideo where the file has a table of contents, and nothing else."""
    if not any(packet.size for packet in islice(container.demux(stream), 1)):
        raise NoVideo("there are no pictures in it")


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """In seconds: as the file says, or as its packets show."""
    if stream.duration and stream.time_base:
        duration = float(stream.duration * stream.time_base)
    elif container.duration:
        duration = container.duration / av.time_base
    else:
        duration = max((_end(packet) for packet in container.demux(stream) if packet.size), default=0.0)
    if duration <= 0:
        raise NoVideo("it is over before it begins")
    return round(duration, 3)


def _end(packet: av.Packet[VideoStream]) -> float:
    return float(((packet.pts or 0) + (packet.duration or 0)) * packet.time_base)


def _frame(container: InputContainer, stream: VideoStream, duration: float) -> VideoFrame:
    place = (stream.start_time or 0) + int(duration / THUMBNAIL_PLACE / (stream.time_base or 1))
    container.seek(place, stream=stream)
    frame = None
    for frame in islice(container.decode(stream), FRAMES_MAX):
        if frame.pts is not None and frame.pts >= place:
            break
    if frame is None:
        raise NoVideo("no picture can be decoded")
    return frame


def _draw(frame: VideoFrame, target: Path) -> None:
    width = min(THUMBNAIL_WIDTH, frame.width)
    height = max(1, round(frame.height * width / frame.width))
    small = frame.reformat(width=width, height=height, format="rgb24")
    small.to_image().save(  # type: ignore[no-untyped-call]
        target, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True
    )


def main(arguments: Sequence[str]) -> None:
    """VIDEO THUMBNAIL"""
    video, thumbnail = arguments
    try:
        probe(Path(video), Path(thumbnail))
    except NoVideo as error:
        sys.exit(str(error))
    except av.FFmpegError as error:
        sys.exit(error.strerror)


if __name__ == "__main__":
    main(sys.argv[1:])
