"""Frames against those of the `websockets` package, in both directions, however the bytes are cut."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close as TheirClose
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode as TheirOpcode
from websockets.streams import StreamReader

from sora_ws.push import frames
from sora_ws.push.frames import (
    Binary,
    Close,
    Event,
    Fragment,
    Opcode,
    Parser,
    Ping,
    Pong,
    ProtocolError,
    Text,
)
from sora_ws.push.messages import CloseCode

MESSAGE_MAX = 100_000

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
controls = st.binary(max_size=125)
valid_codes = st.sampled_from([1000, 1001, 1003, 1007, 1011, 1014, 3000, 4400, 4999])


def theirs(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    """A masked frame as the `websockets` client writes it."""
    return TheirFrame(TheirOpcode(opcode), data, fin).serialize(mask=True)


def events(parser: Parser, data: bytes, cut: int = 1 << 30) -> list[Event]:
    """All events but fragments, the bytes fed in pieces of `cut`."""
    found = []
    for start in range(0, len(data), cut):
        parser.feed(data[start : start + cut])
        while (event := parser.next()) is not None:
            found.append(event)
    return [event for event in found if not isinstance(event, Fragment)]


def read_back(data: bytes, *extensions: PerMessageDeflate) -> TheirFrame:
    """The frame as the `websockets` package reads it."""
    reader = StreamReader()
    reader.feed_data(data)
    parsing = TheirFrame.parse(reader.read_exact, mask=False, max_size=None, extensions=extensions)
    try:
        next(parsing)
    except StopIteration as done:
        frame: TheirFrame = done.value
        return frame
    raise AssertionError("not a whole frame")


@given(text=texts, ping=controls, cut=st.integers(1, 50))
def test_whole_messages_however_cut(text: str, ping: bytes, cut: int) -> None:
    """Text, ping, pong and close come out as they went in, whatever the network cut."""
    data = theirs(Opcode.TEXT, text.encode()) + theirs(Opcode.PING, ping) + theirs(Opcode.PONG, ping)
    data += theirs(Opcode.CLOSE, TheirClose(1000, "bye").serialize())
    found = events(Parser(MESSAGE_MAX), data, cut)
    assert found == [Text(text), Ping(ping), Pong(ping), Close(1000)]


@given(pieces=st.lists(st.binary(max_size=40), min_size=2, max_size=6), text=texts)
def test_fragments_with_control_frames_between(pieces: list[bytes], text: str) -> None:
    """A message in fragments is one message, also where they split a character; pings pass between."""
    whole = text.encode()
    size = max(1, len(whole) // len(pieces))
    parts = [whole[i : i + size] for i in range(0, len(whole), size)] or [b""]
    data = b""
    for number, part in enumerate(parts):
        opcode = Opcode.CONTINUATION if number else Opcode.TEXT
        data += theirs(opcode, part, fin=number == len(parts) - 1) + theirs(Opcode.PING, b"x")
    found = events(Parser(MESSAGE_MAX), data, 7)
    assert [event for event in found if isinstance(event, Text)] == [Text(text)]
    assert sum(isinstance(event, Ping) for event in found) == len(parts)


@given(data=st.binary(max_size=70_000))
def test_their_parser_reads_our_frames(data: bytes) -> None:
    """Every length form that we write is read by a parser that is not ours."""
    frame = read_back(frames.frame(Opcode.TEXT, data))
    assert (frame.opcode, bytes(frame.data), frame.fin) == (TheirOpcode.TEXT, data, True)


@given(pieces=st.lists(st.binary(max_size=40), min_size=1, max_size=5), cut=st.integers(1, 30))
def test_binary_messages(pieces: list[bytes], cut: int) -> None:
    """Whole or in fragments, whatever bytes: what becomes of them is not the parser's business."""
    data = b""
    for number, piece in enumerate(pieces):
        opcode = Opcode.CONTINUATION if number else Opcode.BINARY
        data += theirs(opcode, piece, fin=number == len(pieces) - 1)
    assert events(Parser(MESSAGE_MAX), data, cut) == [Binary(b"".join(pieces))]


def test_a_ping_inside_of_a_large_message() -> None:
    """It is no part of the message and does not count against its limit."""
    data = theirs(Opcode.TEXT, b"a" * 990, fin=False) + theirs(Opcode.PING, b"p" * 100)
    data += theirs(Opcode.CONTINUATION, b"b" * 10)
    assert events(Parser(1000), data) == [Ping(b"p" * 100), Text("a" * 990 + "b" * 10)]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_lengths_at_their_edges(size: int) -> None:
    """Both directions at the edges of the three length forms."""
    data = b"a" * size
    assert bytes(read_back(frames.frame(Opcode.TEXT, data)).data) == data
    assert events(Parser(MESSAGE_MAX), theirs(Opcode.TEXT, data)) == [Text(data.decode())]


@given(text=texts)
def test_deflated_both_ways(text: str) -> None:
    """Compressed without context, our frames are read by their decoder and theirs by ours."""
    extension = PerMessageDeflate(True, True, 15, 15)
    ours = frames.frame(Opcode.TEXT, frames.deflate(text.encode()), compressed=True)
    assert bytes(read_back(ours, extension).data) == text.encode()
    theirs = TheirFrame(TheirOpcode.TEXT, text.encode()).serialize(mask=True, extensions=[extension])
    assert events(Parser(MESSAGE_MAX, deflate=True), theirs, 11) == [Text(text)]


def deflated(payload: bytes) -> list[Event]:
    """What a compressed message with this payload is."""
    frame = theirs(Opcode.TEXT, payload)
    return events(Parser(MESSAGE_MAX, deflate=True), bytes([frame[0] | 0x40]) + frame[1:])


def ended(data: bytes, before: bytes = b"") -> bytes:
    """Deflated, its last block marked as the last; it may refer to what came before."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=before)
    return compressor.compress(data) + compressor.flush()


@given(text=texts)
def test_what_follows_a_last_block(text: str) -> None:
    """RFC 7692 sections 7.2.1 and 7.2.3.5: it belongs to the message, whatever it refers to."""
    data = text.encode()
    assert deflated(ended(data) + b"\0") == [Text(text)]
    assert deflated(ended(data) + frames.deflate(b"end")) == [Text(text + "end")]
    assert deflated(ended(data) + ended(data, before=data) + b"\0") == [Text(text * 2)]


@pytest.mark.parametrize(
    ("level", "strategy"), [(0, zlib.Z_DEFAULT_STRATEGY), (9, zlib.Z_FIXED), (9, zlib.Z_DEFAULT_STRATEGY)]
)
def test_a_compressed_message_that_is_cut_off(level: int, strategy: int) -> None:
    """By each of RFC 1951's kinds of blocks: it is refused, and not taken for a shorter one."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15, strategy=strategy)
    numbers = " ".join(str(number**2) for number in range(200)).encode()
    whole = compressor.compress(numbers) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert deflated(whole[:-4]) == [Text(numbers.decode())]
    for size in range(2, len(whole) - 4):  # one byte of a stored block is an empty message
        with pytest.raises(ProtocolError) as caught:
            deflated(whole[:size])
        assert caught.value.code == CloseCode.INVALID_TEXT


@pytest.mark.parametrize(
    "payload",
    [ended(b"hi"), ended(b"hi") + b"\0\0\0\xff\xff", frames.deflate(b"hi") + b"\xff", ended(b"") * 10_000],
)
def test_too_much_or_too_little_behind_a_message(payload: bytes) -> None:
    """Its end is section 7.2.1's empty block without its last four bytes; many last blocks hold nobody up."""
    with pytest.raises(ProtocolError) as caught:
        deflated(payload)
    assert caught.value.code == CloseCode.INVALID_TEXT


def mask_frame(head: bytes, payload: bytes = b"") -> bytes:
    """A frame by hand, for what no library writes."""
    return head + b"\0\0\0\0" + payload


WRONG = {
    "unmasked": (b"\x81\x02hi", CloseCode.PROTOCOL_ERROR),
    "reserved opcode 3": (mask_frame(b"\x83\x80"), CloseCode.PROTOCOL_ERROR),
    "reserved opcode 11": (mask_frame(b"\x8b\x80"), CloseCode.PROTOCOL_ERROR),
    "reserved bit 1 without deflate": (mask_frame(b"\xc1\x80"), CloseCode.PROTOCOL_ERROR),
    "reserved bit 2": (mask_frame(b"\xa1\x80"), CloseCode.PROTOCOL_ERROR),
    "fragmented ping": (mask_frame(b"\x09\x80"), CloseCode.PROTOCOL_ERROR),
    "ping of 126 bytes": (mask_frame(b"\x89\xfe\x00\x7e", b"a" * 126), CloseCode.PROTOCOL_ERROR),
    "continuation of nothing": (mask_frame(b"\x80\x80"), CloseCode.PROTOCOL_ERROR),
    "text inside of a text": (mask_frame(b"\x01\x80") + mask_frame(b"\x81\x80"), CloseCode.PROTOCOL_ERROR),
    "half a close code": (mask_frame(b"\x88\x81", b"\x03"), CloseCode.PROTOCOL_ERROR),
    "close reason not UTF-8": (mask_frame(b"\x88\x83", b"\x03\xe8\xff"), CloseCode.INVALID_TEXT),
    "text not UTF-8": (mask_frame(b"\x81\x82", b"\xff\xff"), CloseCode.INVALID_TEXT),
    "not UTF-8 in a first fragment": (mask_frame(b"\x01\x82", b"\xff\xff"), CloseCode.INVALID_TEXT),
    "cut character at the end": (
        mask_frame(b"\x01\x81", b"\xc3") + mask_frame(b"\x80\x80"),
        CloseCode.INVALID_TEXT,
    ),
    "too long by its length alone": (b"\x81\xff" + struct.pack(">Q", 2**63 - 1), CloseCode.MESSAGE_TOO_BIG),
    "a length of 64 bits": (b"\x81\xff" + struct.pack(">Q", 2**63), CloseCode.PROTOCOL_ERROR),
    "125 in two bytes": (b"\x81\xfe" + struct.pack(">H", 125), CloseCode.PROTOCOL_ERROR),
    "65535 in eight bytes": (b"\x81\xff" + struct.pack(">Q", 65_535), CloseCode.PROTOCOL_ERROR),
    "too long in fragments": (
        mask_frame(b"\x01\xfe\xc3\x50", b"a" * 50_000) * 1
        + mask_frame(b"\x80\xfe" + struct.pack(">H", 60_000)),
        CloseCode.MESSAGE_TOO_BIG,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_client_may_not_send(name: str) -> None:
    """Each ends with the close code that RFC 6455 section 7.4.1 gives it."""
    data, code = WRONG[name]
    with pytest.raises(ProtocolError) as caught:
        events(Parser(MESSAGE_MAX), data)
    assert caught.value.code == code


@pytest.mark.parametrize("before", [b"", "κόσμε".encode(), "κόσμε".encode()[:3]])
def test_wrong_text_is_refused_before_the_frame_is_whole(before: bytes) -> None:
    """Byte by byte, at the first that can't be UTF-8; not sooner, and with whatever mask."""
    for start in (b"", theirs(Opcode.TEXT, before, fin=False)):
        opcode = Opcode.CONTINUATION if start else Opcode.TEXT
        whole = "κόσμε".encode()
        rest = whole[len(before) % len(whole) :] if start else whole
        wrong = theirs(opcode, rest + b"\xf4\x90" + b"a" * 100)
        parser = Parser(MESSAGE_MAX)
        assert events(parser, start) == []
        good = len(wrong) - 101
        assert events(parser, wrong[:good], 1) == []
        with pytest.raises(ProtocolError) as caught:
            events(parser, wrong[good : good + 1])
        assert caught.value.code == CloseCode.INVALID_TEXT


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_close_codes_that_may_not_be_sent(code: int) -> None:
    """Section 7.4: they are a protocol error."""
    with pytest.raises(ProtocolError):
        events(Parser(MESSAGE_MAX), mask_frame(b"\x88\x82", struct.pack(">H", code)))


@given(code=valid_codes, reason=texts)
def test_close_frames_fit(code: int, reason: str) -> None:
    """A reason is cut at a whole character to what a control frame holds."""
    data = frames.close_frame(code, reason)
    assert len(data) <= 127
    close = TheirClose.parse(bytes(read_back(data).data))
    assert close.code == code
    assert reason.startswith(close.reason)


def test_a_deflate_bomb_stays_small() -> None:
    """100 KB that would inflate to 100 MB are refused at the message limit."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = compressor.compress(b"\0" * 100_000_000) + compressor.flush(zlib.Z_SYNC_FLUSH)
    parser = Parser(len(bomb), deflate=True)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError) as caught:
            events(parser, mask_frame(b"\xc1\xff" + struct.pack(">Q", len(bomb)), bomb))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.code == CloseCode.MESSAGE_TOO_BIG


@given(data=st.binary(max_size=500), cut=st.integers(1, 20))
def test_any_bytes_raise_nothing_else(data: bytes, cut: int) -> None:
    """Whatever comes, it is events, a wait for more, or a ProtocolError."""
    with suppress(ProtocolError):
        events(Parser(1000, deflate=True), data, cut)
