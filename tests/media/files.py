"""Videos, and what only claims to be one."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from sora_ws.provider.film import make_film


def write_mp4(target: Path, seconds: int = 2, width: int = 320, height: int = 180) -> Path:
    """H.264, the moov box first."""
    make_film("a cat", seconds, width, height, target)
    return target


def write_video(target: Path, format_name: str, codec: str, **options: str) -> Path:
    """A second of grey in some other container, ten frames of it."""
    with av.open(str(target), "w", format=format_name, options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"  # type: ignore[union-attr]
        for shade in range(10):
            picture = Image.new("RGB", (160, 120), (shade * 20,) * 3)
            frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
            frame.pts = shade
            container.mux(stream.encode(frame))  # type: ignore[union-attr]
        container.mux(stream.encode(None))  # type: ignore[union-attr]
    return target


def write_sound(target: Path) -> Path:
    """An MP4 without pictures."""
    with av.open(str(target), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate, frame.pts = 8000, 0
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target


def write_bomb(target: Path, side: int = 16_000) -> Path:
    """An AVI of a megabyte whose one picture takes a gigabyte."""
    with av.open(str(target), "w", format="avi") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = side, side, "rgba"
        packet = av.Packet(_png(side))
        packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 1), 0, 0
        packet.is_keyframe = True
        container.mux(packet)
    return target


def _png(side: int) -> bytes:
    line = bytes(1 + 4 * side)
    packer = zlib.compressobj(1)
    packed = b"".join([packer.compress(line) for _ in range(side)]) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
