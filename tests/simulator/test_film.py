"""The film is a real one, with the prompt's words in it."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageFont

from sora_ws.provider import lettering
from sora_ws.provider.film import main, make_film
from sora_ws.provider.lettering import BUILT_IN, Block, Face, Line, faces, fit, spell, width_of
from tests.services import missing

SIZE = (320, 180)


def frames_of(film: Path) -> list[Image.Image]:
    """All pictures of a film."""
    with av.open(str(film)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]  # type: ignore[no-untyped-call]


def film_of(words: str, folder: Path) -> Path:
    """A small film of a second."""
    target = folder / "film.mp4"
    make_film(words, 1, *SIZE, target)
    return target


def white_part(picture: Image.Image) -> float:
    """How much of the picture, without the signature at its foot, is white: the words."""
    grey = picture.convert("L").crop((0, 0, picture.width, picture.height * 3 // 4))
    return sum(grey.histogram()[235:]) / (grey.width * grey.height)


def text_of(words: list[Line]) -> str:
    """What is left of the words."""
    return "".join(run.text for word in words for run in word)


@pytest.fixture
def latin_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any font."""
    monkeypatch.setattr(lettering, "faces", lambda: iter([BUILT_IN]))


@pytest.fixture(scope="module")
def chinese() -> Face:
    """A font of this machine that has Chinese letters."""
    face = next((face for face in faces() if face.has("猫")), None)
    if face is None:
        missing("no font with Chinese letters is installed (Debian: fonts-noto-cjk)")
    return face


@pytest.mark.parametrize(("width", "height", "seconds"), [(320, 180, 1), (181, 321, 2), (64, 64, 120)])
def test_a_film_is_h264_as_long_and_large_as_asked(
    tmp_path: Path, width: int, height: int, seconds: int
) -> None:
    """H.264 in yuv420p, ready to play before it is whole; odd sides are made even."""
    target = tmp_path / "film.mp4"
    main(["a cat", str(seconds), str(width), str(height), str(target)])
    content = target.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (width // 2 * 2, height // 2 * 2)
        assert stream.time_base
        assert stream.duration
        assert stream.duration * stream.time_base == seconds
        assert sum(1 for _ in container.decode(stream)) == stream.frames


def test_the_picture_moves_in_a_loop(tmp_path: Path) -> None:
    """Frames differ, and the last leads back to the first."""
    frames = frames_of(film_of("a cat", tmp_path))

    def distance(one: Image.Image, other: Image.Image) -> int:
        low_and_high = ImageChops.difference(one, other).resize((8, 8)).getextrema()
        return sum(int(extreme[1]) for extreme in low_and_high if isinstance(extreme, tuple))

    assert distance(frames[0], frames[len(frames) // 2]) > 3 * distance(frames[0], frames[-1])


def test_the_words_are_in_every_frame(tmp_path: Path) -> None:
    """White letters are there from the first frame to the last, and none without words."""
    frames = frames_of(film_of("A cat walks home", tmp_path))
    assert min(map(white_part, frames)) > 0.01
    assert max(map(white_part, frames_of(film_of("", tmp_path)))) == 0


def test_each_prompt_has_its_own_look(tmp_path: Path) -> None:
    """Other words, other colours; the same words, the same film."""
    first, second, again = (film_of(words, tmp_path).read_bytes() for words in ("one", "two", "one"))
    assert first == again
    assert first != second


def test_chinese_is_shown(chinese: Face, tmp_path: Path) -> None:
    """Chinese words are drawn in a font that has them."""
    assert text_of(spell("一只猫, a cat")) == "一只猫, a cat"
    assert white_part(frames_of(film_of("一只猫在雨里走回家", tmp_path))[0]) > 0.01


@pytest.mark.usefixtures("latin_only")
def test_without_a_font_there_are_no_boxes(tmp_path: Path) -> None:
    """What no font has is left out, not drawn as boxes."""
    assert white_part(frames_of(film_of("一只猫在雨里走回家", tmp_path))[0]) == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Café à la crème", "Cafe a la creme"),
        ("ＡＢＣ Ⅳ", "ABC IV"),
        ("一只 cat 猫", " cat "),
        ("a\u0301b \u200dc\x00\x07d", "ab cd"),
        ("สวัสดี 😀 €", "  "),
        ("", ""),
    ],
)
def test_letters_without_a_font_become_plain_or_nothing(text: str, shown: str) -> None:
    """With nothing but the built-in Latin letters, é is e, and the rest is gone."""
    assert text_of(spell(text, [BUILT_IN])) == shown


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_no_letter_is_drawn_as_a_box(text: str) -> None:
    """Whatever the text, each letter that is drawn looks other than the font's mark for "not here"."""
    for run in (run for word in spell(text) for run in word):
        font = run.face.at(31).font_variant(layout_engine=ImageFont.Layout.BASIC)
        box = bytes(font.getmask("\ufffe"))
        assert all(letter == " " or bytes(font.getmask(letter)) != box for letter in run.text)


@settings(max_examples=50)
@given(st.text(max_size=80), st.integers(40, 400), st.integers(20, 200))
def test_words_stay_within_their_place(text: str, width: int, height: int) -> None:
    """No line is wider, and no block higher, than the room that it has."""
    block = fit(spell(text, [BUILT_IN]), width, height, 40)
    assert all(width_of(line, block.size) <= width for line in block.lines)
    assert block.height <= max(height, block.leading)


def test_long_words_are_broken_and_lines_begin_with_no_comma(chinese: Face) -> None:
    """Chinese breaks between any two letters, but a comma stays with the one before it."""
    block = fit(spell("一只猫，一只狗，一只鸟。" * 4, [chinese]), 100, 60, 24)
    lines = ["".join(run.text for run in line) for line in block.lines]
    assert len(lines) > 1
    assert not [line for line in lines if line[0] in "，。"]


def test_a_block_is_drawn_where_it_belongs() -> None:
    """Its letters begin at the left and stand below the top."""
    block: Block = fit(spell("Hi", [BUILT_IN]), 200, 100, 40)
    picture = Image.new("L", (300, 200))
    block.draw(ImageDraw.Draw(picture), 20, 30, 255)
    left, top, right, bottom = picture.getbbox() or (0, 0, 0, 0)
    assert 20 <= left < right <= 220
    assert 30 <= top < bottom <= 30 + block.leading


def test_files_that_are_no_fonts_are_passed_over(tmp_path: Path) -> None:
    """A broken font in the folder is no reason to fail."""
    (tmp_path / "broken.ttc").write_bytes(b"no font")
    (tmp_path / "broken.ttf").write_bytes(b"")
    assert list(faces([str(tmp_path), str(tmp_path / "none")])) == [BUILT_IN]
