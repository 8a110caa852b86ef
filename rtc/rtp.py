"""RTP packets: what of them matters to us, parsed in one pass (RFC 3550 §5.1, RFC 8285). Pure."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

_FIXED = struct.Struct("!BBHII")
_EXTENSION = struct.Struct("!HH")

HEADER_SIZE = _FIXED.size


@dataclass(slots=True)
class Packet:
    """One RTP packet of audio, stripped of what belongs to its connection."""

    ssrc: int
    sequence: int
    timestamp: int
    """Ticks of 1/48000 s."""
    marker: int
    payload: bytes
    level: int | None = None
    """-dBov of the RTP audio-level extension (RFC 6464): 0 is loudest, 127 silence."""


OnPacket = Callable[[Packet, float], None]
"""Takes a packet, and when it came (clock seconds)."""


def signed(difference: int, bits: int) -> int:
    """Difference of two wrapping counters as a signed number (RFC 1982)."""
    half = 1 << (bits - 1)
    return ((difference + half) & ((1 << bits) - 1)) - half


def header(marker: int, payload_type: int, sequence: int, timestamp: int, ssrc: int) -> bytes:
    """A fixed header, without extension and contributing sources. All fields in range."""
    return _FIXED.pack(0x80, marker << 7 | payload_type, sequence, timestamp, ssrc)


def extended_header(
    marker: int, payload_type: int, sequence: int, timestamp: int, ssrc: int, extension: bytes
) -> bytes:
    """The same with a header extension, whole 32-bit words (`one_byte_extension` makes one)."""
    return _FIXED.pack(0x90, marker << 7 | payload_type, sequence, timestamp, ssrc) + extension


def one_byte_extension(identifier: int, value: bytes) -> bytes:
    """A header extension with one element of 1 to 16 bytes (RFC 8285 §4.2)."""
    body = bytes([identifier << 4 | len(value) - 1]) + value
    body += bytes(-len(body) % 4)
    return _EXTENSION.pack(0xBEDE, len(body) // 4) + body


def parse(data: bytes, level_id: int = 0) -> tuple[int, Packet]:
    """Payload type and packet. `level_id`: the audio-level extension's number, 0 if none was negotiated.

    Raises ValueError for what is not whole.
    """
    size = len(data)
    if size < HEADER_SIZE:
        raise ValueError("an RTP packet has at least 12 bytes")
    flags, kind, sequence, timestamp, ssrc = _FIXED.unpack_from(data)
    start = HEADER_SIZE + 4 * (flags & 0x0F)
    level: int | None = None
    if flags & 0x10:
        if size < start + 4:
            raise ValueError("the RTP header extension is cut off")
        profile, words = _EXTENSION.unpack_from(data, start)
        begin, start = start + 4, start + 4 + 4 * words
        if level_id and start <= size:
            level = _level(data, begin, start, profile, level_id)
    end = size
    if flags & 0x20:  # padding: its last byte counts itself
        end -= data[-1]
        if not data[-1]:
            raise ValueError("the RTP padding says that it is empty")
    if start > end:
        raise ValueError("the RTP header is longer than the packet")
    return kind & 0x7F, Packet(ssrc, sequence, timestamp, kind >> 7, data[start:end], level)


def _level(data: bytes, begin: int, end: int, profile: int, level_id: int) -> int | None:
    """The audio level among the extension's elements, in their one-byte or two-byte form (RFC 8285 §4.2, §4.3)."""
    long = profile & 0xFFF0 == 0x1000
    if not long and profile != 0xBEDE:
        return None
    position = begin
    while position < end:
        first = data[position]
        if first == 0:  # padding between elements
            position += 1
            continue
        if long:
            if position + 1 >= end:
                return None
            identifier, length, value = first, data[position + 1], position + 2
        else:
            identifier, length, value = first >> 4, (first & 0x0F) + 1, position + 1
            if identifier in (0, 15):  # §4.2: stop here
                return None
        if identifier == level_id:
            return data[value] & 0x7F if length and value < end else None
        position = value + length
    return None
