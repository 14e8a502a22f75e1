"""Words as a picture: fonts that have their letters, lines that fit, and never a box.

A letter that no font of the machine has is drawn as its plain Latin base (é as e), or left out.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Final

from PIL import ImageDraw, ImageFont

FONT_FOLDERS: Final = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
)
# Which to try first: the CJK ones have good Latin letters too, so one font does for mixed words.
PREFERRED: Final = (
    "notosanscjk-regular",
    "notosanssc",
    "notosanshans",
    "sourcehansans",
    "pingfang",
    "wqy",
    "droidsansfallback",
    "notosans-regular",
    "dejavusans.",
)
FONTS_MAX: Final = 24
TRIAL_SIZE: Final = 24
SIZE_MIN: Final = 8
LEADING: Final = 1.32  # of the size, from one baseline to the next
# A word of its own is each ideograph, kana or hangul, with the marks that may not begin a line.
_WORD = re.compile(
    r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff01-\uff60\U00020000-\U0003ffff]"
    r"[、。，．：；？！）】》」』”’]*"
    r"|[^\s\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff01-\uff60\U00020000-\U0003ffff]+"
    r"|\s+"
)


@dataclass(frozen=True, slots=True)
class Face:
    """One font of a file, or with no path the one that comes with Pillow."""

    path: str | None
    index: int = 0

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """The font in `size` pixels. Raises OSError where the file is no font of that size."""
        return _sized(self, size)

    def has(self, letter: str) -> bool:
        """Whether it can draw the letter."""
        return letter.isspace() or _has(self, letter)


@lru_cache(maxsize=256)
def _sized(face: Face, size: int) -> ImageFont.FreeTypeFont:
    if face.path is not None:
        return ImageFont.truetype(face.path, size, face.index)
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise OSError("this Pillow was built without FreeType")
    return font


@cache
def _has(face: Face, letter: str) -> bool:
    """Whether the letter looks like anything, and other than the font's mark for "not here"."""
    # Without a layout engine, which would put marks on a circle of its own.
    font = face.at(TRIAL_SIZE).font_variant(layout_engine=ImageFont.Layout.BASIC)
    drawn = bytes(font.getmask(letter))
    return any(drawn) and drawn != bytes(font.getmask("\U0010ffff"))


BUILT_IN: Final = Face(None)


def faces(folders: Sequence[str] = FONT_FOLDERS) -> Iterator[Face]:
    """The built-in face, then those of the machine, the likeliest first."""
    yield BUILT_IN
    for path in _font_files(folders)[:FONTS_MAX]:
        face = _face_of(path)
        if face:
            yield face


def _font_files(folders: Sequence[str]) -> list[Path]:
    found = [
        Path(folder, name)
        for top in folders
        for folder, _, names in os.walk(Path(top).expanduser())
        for name in names
        if name.lower().endswith((".ttf", ".ttc", ".otf"))
    ]
    return sorted(found, key=_rank)


def _rank(path: Path) -> tuple[int, int, str]:
    name = path.name.lower()
    place = next((i for i, known in enumerate(PREFERRED) if name.startswith(known)), len(PREFERRED))
    return place, len(name), name


def _face_of(path: Path) -> Face | None:
    """The face of a file; of a collection the one with the simplified Chinese shapes."""
    try:
        for index in range(8 if path.suffix.lower() == ".ttc" else 1):
            family, _ = Face(str(path), index).at(TRIAL_SIZE).getname()
            if family and family.endswith(" SC"):
                return Face(str(path), index)
    except OSError:
        if index == 0:
            return None  # a bitmap font, or no font
    return Face(str(path))


@dataclass(frozen=True, slots=True)
class Run:
    """Letters in one face."""

    text: str
    face: Face

    def width(self, size: int) -> float:
        return self.face.at(size).getlength(self.text)


Line = tuple[Run, ...]
"""Runs side by side; a word is a line too."""


def width_of(line: Line, size: int) -> float:
    """In pixels."""
    return sum(run.width(size) for run in line)


def spell(text: str, available: Sequence[Face] | None = None) -> list[Line]:
    """The text as words (and spaces between them), each letter in a face that has it.

    `available` faces are tried in order, by default those of the machine. What none of them
    has is not there.
    """
    letters = unicodedata.normalize("NFC", text)
    chosen = _chosen(frozenset(letters), faces() if available is None else available)
    words = (_in_faces(word, chosen) for word in _WORD.findall(letters))
    return [word for word in words if word]


def _chosen(letters: frozenset[str], available: Iterable[Face]) -> list[Face]:
    """The one face that has all the letters; else all, the one that has most of them first."""
    tried = []
    for face in available:
        if all(face.has(letter) for letter in letters):
            return [face]
        tried.append(face)
    return sorted(tried, key=lambda face: -sum(face.has(letter) for letter in letters))


def _in_faces(word: str, chosen: Sequence[Face]) -> Line:
    if word.isspace():
        return (Run(" ", chosen[0]),)
    placed = [found for letter in _letters(word) for found in _placed(letter, chosen)]
    return tuple(
        Run("".join(letter for letter, _ in group), face)
        for face, group in groupby(placed, key=lambda found: found[1])
    )


def _letters(word: str) -> list[str]:
    """Each with the marks above and below it, which alone would be drawn on a dotted circle."""
    letters: list[str] = []
    for character in word:
        if letters and _is_mark(character):
            letters[-1] += character
        else:
            letters.append(character)
    return letters


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _placed(letter: str, chosen: Sequence[Face]) -> list[tuple[str, Face]]:
    """The letter and its face; or what it is made of ("é" of "e"), as far as there is a face for that."""
    face = _face_with(letter, chosen)
    if face:
        return [(letter, face)]
    parts = [part for part in unicodedata.normalize("NFKD", letter) if not _is_mark(part)]
    return [(part, face) for part in parts if (face := _face_with(part, chosen))]


def _face_with(letter: str, chosen: Sequence[Face]) -> Face | None:
    return next((face for face in chosen if all(face.has(part) for part in letter)), None)


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of one size, in pixels."""

    lines: tuple[Line, ...]
    size: int

    @property
    def leading(self) -> int:
        """From one baseline to the next."""
        return round(self.size * LEADING)

    @property
    def height(self) -> int:
        return self.leading * len(self.lines)

    def draw(self, picture: ImageDraw.ImageDraw, left: int, top: int, fill: int) -> None:
        """Onto a picture of grey, the first line's top left corner at (left, top)."""
        for number, line in enumerate(self.lines):
            x = float(left)
            for run in line:
                baseline = top + number * self.leading + self.size
                picture.text((x, baseline), run.text, fill, run.face.at(self.size), anchor="ls")
                x += run.width(self.size)


def fit(words: Sequence[Line], width: int, height: int, largest: int) -> Block:
    """The words in the largest size in which they fit, at most `largest`.

    Where even the smallest legible size is too large, words are broken and the rest is cut off.
    """
    size = max(largest, SIZE_MIN)
    while size > SIZE_MIN:
        block = Block(tuple(_wrapped(words, width, size)), size)
        if block.height <= height and all(width_of(line, size) <= width for line in block.lines):
            return block
        size = max(SIZE_MIN, size * 9 // 10)
    lines = tuple(_wrapped([part for word in words for part in _broken(word, width)], width, SIZE_MIN))
    return Block(lines[: max(1, height // round(SIZE_MIN * LEADING))], SIZE_MIN)


def _wrapped(words: Sequence[Line], width: int, size: int) -> Iterator[Line]:
    line: Line = ()
    for word in words:
        if line and width_of(line + word, size) > width:
            yield _trimmed(line)
            line = ()
        if not (_is_space(word) and _is_space(line[-1:])):
            line += word
    if line:
        yield _trimmed(line)


def _trimmed(line: Line) -> Line:
    return line[:-1] if _is_space(line[-1:]) else line


def _is_space(word: Line) -> bool:
    """True of nothing at all, too."""
    return all(run.text.isspace() for run in word)


def _broken(word: Line, width: int) -> list[Line]:
    if width_of(word, SIZE_MIN) <= width:
        return [word]
    return [(Run(letter, run.face),) for run in word for letter in run.text]
