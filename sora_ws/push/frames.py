"""WebSocket frames, read and written by RFC 6455. Pure: no socket, no clock.

Bytes go in by `Parser.feed`, events come out of `Parser.next`. What a peer may not send raises
`ProtocolError` with the close code that says so; after that the parser is done.
"""

from __future__ import annotations

import codecs
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from sora_ws.push.messages import CloseCode

CONTROL_BYTES_MAX: Final = 125  # section 5.5
DEFLATE_TAIL: Final = b"\x00\x00\xff\xff"  # RFC 7692 section 7.2.1
LAST_BLOCK: Final = b"\x01" + DEFLATE_TAIL  # RFC 1951 section 3.2.4, empty
LAST_BLOCKS_MAX: Final = 16  # each takes a decompressor of its own
WINDOW_BYTES_MAX: Final = 1 << zlib.MAX_WBITS
WINDOW_BITS: Final = 12  # 15 clears 256 KB for every message: 52 µs instead of 7


class Opcode(IntEnum):
    """Section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class ProtocolError(Exception):
    """The peer broke the protocol; `code` is what to close with."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Text:
    data: str


@dataclass(frozen=True, slots=True)
class Binary:
    data: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    data: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """`code` is None where the peer gave none."""

    code: int | None


@dataclass(frozen=True, slots=True)
class Fragment:
    """Of a message whose end has not come; an event too, so that no flood of them is read in one go."""


Event = Text | Binary | Ping | Pong | Close | Fragment


class Parser:
    """The frames of one client, as events. `bytes_max` bounds a message, also when inflated."""

    __slots__ = (
        "_ahead",
        "_buffer",
        "_bytes_max",
        "_compressed",
        "_deflate",
        "_is_text",
        "_message",
        "_seen",
        "_utf8",
    )

    def __init__(self, bytes_max: int, *, deflate: bool = False) -> None:
        self._buffer = bytearray()
        self._bytes_max = bytes_max
        self._deflate = deflate
        self._message: bytearray | None = None  # of a fragmented message, so far
        self._compressed = False
        self._is_text = True
        self._utf8: codecs.IncrementalDecoder | None = None  # over the fragments so far
        self._ahead: codecs.IncrementalDecoder | None = None  # over a frame that is not whole yet
        self._seen = 0

    @property
    def is_idle(self) -> bool:
        """Whether it stands between two messages, with nothing of the next."""
        return not self._buffer and self._message is None

    def feed(self, data: bytes) -> None:
        """More bytes of the peer, cut wherever the network cut them."""
        self._buffer += data

    def next(self) -> Event | None:
        """The next whole event, None where more bytes are needed. Raises ProtocolError."""
        frame = self._frame()
        return None if frame is None else self._event(*frame)

    def _frame(self) -> tuple[int, int, bytes] | None:
        """One frame off the buffer as (first byte, opcode, unmasked payload)."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        self._check_head(first, second)
        head, form, least = _LENGTHS.get(second & 0x7F, (2, "", 0))
        if len(buffer) < head:
            return None
        length = struct.unpack_from(form, buffer, 2)[0] if form else second & 0x7F
        if not least <= length < 1 << 63:  # 5.2
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a length has its shortest form")
        # Refused by the length alone, before a byte of it is waited for. A control frame between
        # the fragments of a message is no part of it.
        so_far = 0 if first & 0x8 else len(self._message or b"")
        if so_far + length > max(self._bytes_max, CONTROL_BYTES_MAX):
            raise ProtocolError(CloseCode.MESSAGE_TOO_BIG, f"a message has at most {self._bytes_max} bytes")
        end = head + 4 + length
        if len(buffer) < end:
            self._look_ahead(first, head)
            return None
        self._ahead = None
        payload = unmask(bytes(buffer[head : head + 4]), bytes(buffer[head + 4 : end]))
        del buffer[:end]
        return first, first & 0x0F, payload

    def _look_ahead(self, first: int, head: int) -> None:
        """Refuse wrong text as soon as it can be seen, also in a frame that is not whole yet."""
        is_continued = first & 0x0F == Opcode.CONTINUATION
        if (self._utf8 is None) if is_continued else first & 0x4F != Opcode.TEXT:
            return
        if self._ahead is None:
            self._ahead = codecs.getincrementaldecoder("utf-8")()
            self._seen = 0
            if is_continued and self._utf8 is not None:
                self._ahead.setstate(self._utf8.getstate())
        start = head + 4 + self._seen
        fresh = bytes(self._buffer[start:])
        turn = self._seen % 4
        mask = bytes(self._buffer[head : head + 4])
        self._seen += len(fresh)
        self._check_text(self._ahead, unmask(mask[turn:] + mask[:turn], fresh), final=False)

    def _check_text(self, decoder: codecs.IncrementalDecoder, data: bytes, *, final: bool) -> None:
        try:
            decoder.decode(data, final)
        except UnicodeDecodeError:
            raise ProtocolError(CloseCode.INVALID_TEXT, "not UTF-8") from None

    def _check_head(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if opcode not in _OPCODES:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "reserved opcode")
        compressed = first & 0x70
        if compressed and not (
            compressed == 0x40 and self._deflate and opcode in (Opcode.TEXT, Opcode.BINARY)
        ):
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "reserved bit")
        if not second & 0x80:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a client's frame must be masked")  # 5.1
        if opcode & 0x8:
            if not first & 0x80 or second & 0x7F > CONTROL_BYTES_MAX:
                raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a control frame is short and whole")  # 5.5
            return
        if (opcode == Opcode.CONTINUATION) is (self._message is None):
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "fragments out of order")  # 5.4

    def _event(self, first: int, opcode: int, payload: bytes) -> Event:
        if opcode == Opcode.PING:
            return Ping(payload)
        if opcode == Opcode.PONG:
            return Pong(payload)
        if opcode == Opcode.CLOSE:
            return Close(_close_code(payload))
        final = bool(first & 0x80)
        if opcode != Opcode.CONTINUATION:
            self._begin(opcode, compressed=bool(first & 0x40))
            if final:
                return self._end(payload)
        return self._continue(payload, final=final)

    def _begin(self, opcode: int, *, compressed: bool) -> None:
        self._is_text = opcode == Opcode.TEXT
        self._compressed = compressed
        self._message = bytearray()
        # Wrong text is refused where it begins (section 8.1); deflated, it can't be seen before the end.
        checks = self._is_text and not compressed
        self._utf8 = codecs.getincrementaldecoder("utf-8")() if checks else None

    def _continue(self, payload: bytes, *, final: bool) -> Event:
        if self._message is None:  # pragma: no cover -- _check_head has refused it
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "fragments out of order")
        self._message += payload
        if self._utf8 is not None:
            self._check_text(self._utf8, payload, final=final)
        return self._end(bytes(self._message)) if final else Fragment()

    def _end(self, payload: bytes) -> Text | Binary:
        """The message is whole."""
        self._message = None
        self._utf8 = None
        if self._compressed:
            payload = inflate(payload, self._bytes_max)
        if not self._is_text:
            return Binary(payload)
        try:
            return Text(payload.decode())
        except UnicodeDecodeError:
            raise ProtocolError(CloseCode.INVALID_TEXT, "not UTF-8") from None


_OPCODES: Final = frozenset(Opcode)
_LENGTHS: Final = {126: (4, ">H", 126), 127: (10, ">Q", 0x10000)}
"""Section 5.2: to where the head reaches, how the length stands in it, and the least that it may be."""


def unmask(mask: bytes, payload: bytes) -> bytes:
    """Section 5.3, as one XOR of two long numbers: Python has nothing faster without C."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def frame(opcode: Opcode, payload: bytes, *, compressed: bool = False) -> bytes:
    """One whole frame of the server, unmasked (section 5.1)."""
    first = 0x80 | (0x40 if compressed else 0) | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 0x10000:
        return struct.pack(">BBH", first, 126, size) + payload
    return struct.pack(">BBQ", first, 127, size) + payload


def close_frame(code: int | None, reason: str = "") -> bytes:
    """Section 5.5.1; without a code the frame is empty. The reason is cut to what fits."""
    if code is None:
        return frame(Opcode.CLOSE, b"")
    cut = reason.encode()[: CONTROL_BYTES_MAX - 2].decode(errors="ignore")
    return frame(Opcode.CLOSE, struct.pack(">H", code) + cut.encode())


def deflate(payload: bytes, window_bits: int = WINDOW_BITS) -> bytes:
    """The payload compressed without reference to earlier ones (RFC 7692 section 7.2.1).

    So one result serves every reader with at least this window, whatever it keeps.
    """
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -window_bits, memLevel=8)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(DEFLATE_TAIL)]


def inflate(payload: bytes, bytes_max: int) -> bytes:
    """The payload of a client that keeps no context (RFC 7692 section 7.2.2).

    More may follow behind a block that says it is the last (section 7.2.1). One of our own shows
    whether the payload was whole. Raises ProtocolError.
    """
    data, rest = b"", payload + DEFLATE_TAIL + LAST_BLOCK
    for _ in range(LAST_BLOCKS_MAX):
        decompressor = zlib.decompressobj(-zlib.MAX_WBITS, zdict=data[-WINDOW_BYTES_MAX:])
        try:
            data += decompressor.decompress(rest, bytes_max + 1 - len(data))
        except zlib.error:
            break
        if len(data) > bytes_max:
            raise ProtocolError(CloseCode.MESSAGE_TOO_BIG, f"a message has at most {bytes_max} bytes")
        rest = decompressor.unused_data
        if decompressor.eof and not rest:
            return data
    raise ProtocolError(CloseCode.INVALID_TEXT, "not deflated")


def _close_code(payload: bytes) -> int | None:
    if not payload:
        return None
    if len(payload) == 1:
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, "half a close code")
    (code,) = struct.unpack_from(">H", payload)
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):  # section 7.4
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, "no such close code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolError(CloseCode.INVALID_TEXT, "not UTF-8") from None
    return int(code)
