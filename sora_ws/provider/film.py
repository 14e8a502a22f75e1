"""A short film for a prompt: soft colours that move, and the prompt's words before them.

``python -m sora_ws.provider.film WORDS SECONDS WIDTH HEIGHT FILE`` writes it as MP4 (H.264).
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import cycle, islice
from pathlib import Path
from typing import Final, TypeAlias

import av
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFilter

from sora_ws.provider.lettering import fit, spell

SIGNATURE: Final = "sora-ws simulator"
LOOP_SECONDS: Final = 4  # the picture comes back to its start, so a longer film costs no more
RATE_MAX: Final = 24
PIXELS_PER_SECOND: Final = 1920 * 1080 * 20  # larger pictures come at a lower rate
CANVAS: Final = 128  # the longer side of what is drawn, before it is made soft and large
GLOWS: Final = 4
RIM: Final = 181  # what Image.radial_gradient has in the middle of its sides

Packet: TypeAlias = "av.Packet[av.stream.Stream]"
Colour: TypeAlias = tuple[int, int, int]
PALETTES: Final[Sequence[tuple[Colour, ...]]] = (
    ((14, 24, 48), (34, 87, 122), (56, 163, 165), (128, 237, 153), (24, 58, 110)),
    ((36, 16, 56), (94, 45, 121), (219, 84, 97), (255, 166, 92), (60, 28, 96)),
    ((12, 30, 38), (20, 92, 100), (233, 196, 106), (231, 111, 81), (38, 70, 83)),
    ((18, 20, 50), (65, 72, 160), (148, 108, 214), (240, 147, 190), (38, 40, 96)),
    ((20, 34, 24), (44, 95, 72), (163, 190, 110), (240, 214, 140), (30, 66, 60)),
    ((28, 18, 34), (110, 40, 80), (190, 80, 110), (244, 180, 150), (52, 34, 84)),
)


def make_film(words: str, seconds: int, width: int, height: int, target: Path) -> None:
    """Write the film to `target`; an odd width or height is made even."""
    width, height = width // 2 * 2, height // 2 * 2
    rate = max(2, min(RATE_MAX, PIXELS_PER_SECOND // (width * height)))
    loop = min(seconds, LOOP_SECONDS) * rate
    with av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = _stream(container, width, height, rate, loop)
        packets = _encoded(stream, _frames(words, width, height, loop))
        for number, packet in enumerate(islice(cycle(packets), seconds * rate)):
            container.mux(_again(packet, number))


def _stream(
    container: av.container.OutputContainer, width: int, height: int, rate: int, loop: int
) -> VideoStream:
    # No B-frames and one keyframe a loop: so the loop's packets can be written again and again.
    options = {
        "preset": "veryfast",
        "crf": "21",
        "x264-params": f"keyint={loop}:scenecut=0:bframes=0:aq-mode=1",
    }
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.thread_count = 1
    return stream


def _encoded(stream: VideoStream, frames: Iterator[Image.Image]) -> list[Packet]:
    packets = []
    for number, picture in enumerate(frames):
        frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
        frame.pts = number
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _again(packet: Packet, number: int) -> Packet:
    """The same picture as the film's `number`th, counted from 0."""
    again = av.Packet(bytes(packet))
    again.stream, again.time_base, again.is_keyframe = packet.stream, packet.time_base, packet.is_keyframe
    again.pts = again.dts = number
    again.duration = 1
    return again


def _frames(words: str, width: int, height: int, loop: int) -> Iterator[Image.Image]:
    scene = Scene.of(words, width, height)
    title, shade = _title(words, width, height)
    box = shade.getbbox() or (0, 0, width, height)
    title, shade = title.crop(box), shade.crop(box)
    for number in range(loop):
        picture = scene.at(number / loop).resize((width, height), Image.Resampling.BICUBIC)
        picture.paste((0, 0, 0), box, shade)
        picture.paste((255, 255, 255), box, title)
        yield picture


@dataclass(frozen=True, slots=True)
class Glow:
    """A round light: where it is in the middle of its way, how far it strays, and how large it is,
    all in parts of the picture's longer side; `phase` is where on its way it starts.
    """

    colour: Colour
    x: float
    y: float
    stray: float
    radius: float
    phase: float


@dataclass(frozen=True, slots=True)
class Scene:
    """The small picture behind the words."""

    ground: Image.Image
    glows: tuple[Glow, ...]
    light: Image.Image

    @classmethod
    def of(cls, words: str, width: int, height: int) -> Scene:
        """Always the same for the same words."""
        chance = random.Random(blake2b(words.encode()).digest())  # noqa: S311 - only for looks
        longer = max(width, height)
        size = max(2, CANVAS * width // longer), max(2, CANVAS * height // longer)
        dark, middle, *bright = chance.choice(PALETTES)
        ground = Image.new("RGB", size, dark)
        ground.paste(middle, None, _slope(chance.uniform(20, 70)).resize(size))
        glows = tuple(_glow(bright[number % len(bright)], size, chance) for number in range(GLOWS))
        return cls(ground, glows, _light())

    def at(self, when: float) -> Image.Image:
        """The picture at `when`, from 0 to 1, where 1 looks like 0."""
        picture = self.ground.copy()
        for glow in self.glows:
            picture.paste(glow.colour, None, self._lit(glow, when))
        return picture

    def _lit(self, glow: Glow, when: float) -> Image.Image:
        angle = 2 * math.pi * (when + glow.phase)
        x = CANVAS * (glow.x + glow.stray * math.cos(angle))
        y = CANVAS * (glow.y + glow.stray * math.sin(angle))
        radius = CANVAS * glow.radius
        scale = self.light.width / 2 / radius
        place = (scale, 0, (radius - x) * scale, 0, scale, (radius - y) * scale)
        return self.light.transform(
            self.ground.size, Image.Transform.AFFINE, place, Image.Resampling.BILINEAR
        )


def _glow(colour: Colour, size: tuple[int, int], chance: random.Random) -> Glow:
    width, height = size
    return Glow(
        colour,
        x=chance.uniform(0.05, 0.95) * width / CANVAS,
        y=chance.uniform(0.05, 0.95) * height / CANVAS,
        stray=chance.uniform(0.05, 0.12),
        radius=chance.uniform(0.3, 0.55),
        phase=chance.random(),
    )


def _light() -> Image.Image:
    """How much of a glow's colour is seen, from its middle to its rim."""
    return Image.radial_gradient("L").point([round(200 * _smooth(max(0, 1 - d / RIM))) for d in range(256)])


def _slope(degrees: float) -> Image.Image:
    """From black to white, across; without the empty corners of a picture that was turned."""
    turned = Image.linear_gradient("L").rotate(degrees, Image.Resampling.BICUBIC)
    return turned.crop((38, 38, 218, 218))


def _smooth(part: float) -> float:
    return part * part * (3 - 2 * part)


def _title(words: str, width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """Where the picture is white with words, and where it is darkened beneath them."""
    shorter = min(width, height)
    margin = shorter // 10
    small = fit(spell(SIGNATURE), width - 2 * margin, margin, shorter // 36)
    large = fit(spell(words), width - 2 * margin, height - 4 * margin, shorter // 8)
    title = Image.new("L", (width, height))
    pen = ImageDraw.Draw(title)
    large.draw(pen, margin, (height - large.height) // 2, 255)
    small.draw(pen, margin, height - margin - small.height // 2, 190)
    shade = title.filter(ImageFilter.GaussianBlur(shorter / 28)).point(
        [min(120, value * 3 // 2) for value in range(256)]
    )
    return title, shade


def main(arguments: Sequence[str]) -> None:
    """WORDS SECONDS WIDTH HEIGHT FILE"""
    words, seconds, width, height, target = arguments
    make_film(words, int(seconds), int(width), int(height), Path(target))


if __name__ == "__main__":
    main(sys.argv[1:])
