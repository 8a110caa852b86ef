"""RTCP: what we say and what we understand (RFC 3550 §6, RFC 4585 §6.2.1). Pure.

aiortc has these too, but one malformed packet costs it the whole compound packet, its SDES chunks are not padded one by
one (§6.5), and its NACK breaks where sequence numbers wrap around.
"""

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SENDER_REPORT, RECEIVER_REPORT, SOURCE_DESCRIPTION, BYE, TRANSPORT_FEEDBACK = 200, 201, 202, 203, 205
_GENERIC_NACK = 1
_CNAME = 1

MAX_ASKED = 256
"""Packets that one NACK may ask for (five seconds of voice): a datagram has room for six thousand, which nobody keeps
and which take long to read."""

_HEADER = struct.Struct("!BBH")
_SENDER = struct.Struct("!IQIII")
_BLOCK = struct.Struct("!IB3sIIII")
_NTP_EPOCH = 2_208_988_800
"""Seconds from 1900 to 1970."""


@dataclass(frozen=True, slots=True)
class Block:
    """A reception report block (§6.4.1)."""

    ssrc: int
    fraction_lost: int
    """Of 256."""
    packets_lost: int
    highest_sequence: int
    jitter: int
    """RTP ticks."""
    last_sender_report: int
    """Middle 32 bits of its NTP time; 0: none was received."""
    delay_since: int
    """1/65536 s from its arrival to this block."""


@dataclass(frozen=True, slots=True)
class SenderReport:
    """That a source sends, and when (§6.4.1)."""

    ssrc: int
    ntp: int
    """Wall clock, 32.32 bits since 1900 (§4)."""
    timestamp: int
    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class Bye:
    """A source has left (§6.6)."""

    ssrc: int


@dataclass(frozen=True, slots=True)
class Nack:
    """Packets of `ssrc` are wanted again (RFC 4585 §6.2.1)."""

    ssrc: int
    sequences: tuple[int, ...]


Message = Block | SenderReport | Bye | Nack


def ntp(wall: float) -> int:
    """Wall clock (Unix seconds) as an NTP timestamp."""
    return round((wall + _NTP_EPOCH) * 65536) << 16


def middle(ntp_time: int) -> int:
    """The middle 32 bits of an NTP timestamp: 1/65536 s."""
    return (ntp_time >> 16) & 0xFFFFFFFF


def sender_report(report: SenderReport) -> bytes:
    """Without report blocks: ours go in a receiver report of their own."""
    values = (report.ssrc, report.ntp, report.timestamp, report.packets & 0xFFFFFFFF, report.octets & 0xFFFFFFFF)
    return _HEADER.pack(0x80, SENDER_REPORT, 6) + _SENDER.pack(*values)


def receiver_report(ssrc: int, blocks: Sequence[Block]) -> bytes:
    """At most 31 blocks; `ssrc`: ours."""
    body = b"".join(
        _BLOCK.pack(
            block.ssrc,
            block.fraction_lost,
            block.packets_lost.to_bytes(3, "big", signed=True),
            block.highest_sequence,
            block.jitter,
            block.last_sender_report,
            block.delay_since,
        )
        for block in blocks
    )
    return _HEADER.pack(0x80 | len(blocks), RECEIVER_REPORT, 1 + len(body) // 4) + ssrc.to_bytes(4, "big") + body


def source_description(cname: str, ssrcs: Sequence[int]) -> bytes:
    """Who we are (§6.5.1), the same for each of at most 31 sources."""
    item = bytes([_CNAME, len(cname)]) + cname.encode()
    item += bytes(4 - len(item) % 4)  # ends with at least one zero, at a 32-bit boundary
    body = b"".join(ssrc.to_bytes(4, "big") + item for ssrc in ssrcs)
    return _HEADER.pack(0x80 | len(ssrcs), SOURCE_DESCRIPTION, len(body) // 4) + body


def bye(ssrcs: Sequence[int]) -> bytes:
    """At most 31 sources."""
    body = b"".join(ssrc.to_bytes(4, "big") for ssrc in ssrcs)
    return _HEADER.pack(0x80 | len(ssrcs), BYE, len(ssrcs)) + body


def nack(ssrc: int, of: int, sequences: Sequence[int]) -> bytes:
    """Ask the source `of` for packets, in the order of their numbers, which may wrap around."""
    pairs: list[tuple[int, int]] = []
    for sequence in sequences:
        behind = (sequence - pairs[-1][0] - 1) & 0xFFFF if pairs else 16
        if behind < 16:
            pairs[-1] = (pairs[-1][0], pairs[-1][1] | 1 << behind)
        else:
            pairs.append((sequence, 0))
    body = b"".join(struct.pack("!HH", *pair) for pair in pairs)
    head = _HEADER.pack(0x80 | _GENERIC_NACK, TRANSPORT_FEEDBACK, 2 + len(body) // 4)
    return head + struct.pack("!II", ssrc, of) + body


def parse(data: bytes) -> Iterator[Message]:
    """What a compound packet says, as far as it is whole. Never raises; what we do not understand is passed over."""
    position = 0
    while position + 4 <= len(data):
        first, kind, words = _HEADER.unpack_from(data, position)
        end = position + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            return
        body = data[position + 4 : end]
        if first & 0x20 and body:
            body = body[: max(0, len(body) - body[-1])]
        yield from _read(kind, first & 0x1F, body)
        position = end


def _read(kind: int, count: int, body: bytes) -> Iterator[Message]:
    if kind == SENDER_REPORT and len(body) >= _SENDER.size:
        yield SenderReport(*_SENDER.unpack_from(body))
        yield from _blocks(body[_SENDER.size :], count)
    elif kind == RECEIVER_REPORT:
        yield from _blocks(body[4:], count)
    elif kind == BYE:
        for index in range(min(count, len(body) // 4)):
            yield Bye(int.from_bytes(body[4 * index : 4 * index + 4], "big"))
    elif kind == TRANSPORT_FEEDBACK and count == _GENERIC_NACK and len(body) >= 12:
        pairs = struct.iter_unpack("!HH", body[8 : len(body) - len(body) % 4])
        asked = ((first + n) & 0xFFFF for first, mask in pairs for n in range(17) if n == 0 or mask >> (n - 1) & 1)
        yield Nack(int.from_bytes(body[4:8], "big"), tuple(itertools.islice(asked, MAX_ASKED)))


def _blocks(body: bytes, count: int) -> Iterator[Block]:
    for index in range(min(count, len(body) // _BLOCK.size)):
        ssrc, fraction, lost, *rest = _BLOCK.unpack_from(body, index * _BLOCK.size)
        yield Block(ssrc, fraction, int.from_bytes(lost, "big", signed=True), *rest)
