"""A real, tiny video to serve."""

from __future__ import annotations

import io
from functools import cache

import av

SIDE = 64
FRAMES = 12
RATE = 12


@cache
def film() -> bytes:
    """One second of H.264 in an MP4, 64x64, getting brighter."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame(SIDE, SIDE, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([number * 20]) * plane.buffer_size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
