"""RTP headers, held against aiortc's own and against anything at all."""

import struct

import pytest
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, RtpPacket
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtc.rtp import HEADER_SIZE, Packet, extended_header, header, one_byte_extension, parse, signed
from rtc.transport import LEVEL, MID

bits = st.integers(0, 1)
types = st.integers(0, 127)
numbers = st.integers(0, 0xFFFF)
few = settings(max_examples=50)
words = st.integers(0, 0xFFFF_FFFF)

LEVEL_ID, MID_ID = 1, 4
EXTENSIONS = HeaderExtensionsMap()
EXTENSIONS.configure(
    RTCRtpParameters(
        headerExtensions=[
            RTCRtpHeaderExtensionParameters(id=LEVEL_ID, uri=LEVEL),
            RTCRtpHeaderExtensionParameters(id=MID_ID, uri=MID),
        ]
    )
)


def with_extension(profile: int, body: bytes, payload: bytes = b"opus") -> bytes:
    """A packet with a header extension, byte by byte (RFC 3550 §5.3.1)."""
    body += bytes(-len(body) % 4)
    return struct.pack("!BBHIIHH", 0x90, 111, 1, 2, 3, profile, len(body) // 4) + body + payload


# anything


@few
@given(st.binary(max_size=80), st.integers(0, 255))
def test_any_bytes_are_a_packet_or_a_valueerror(data: bytes, level_id: int) -> None:
    """Nothing else is raised, and a packet never has more payload than there were bytes after the header."""
    try:
        payload_type, packet = parse(data, level_id)
    except ValueError:
        return
    assert 0 <= payload_type < 128
    assert len(packet.payload) <= len(data) - HEADER_SIZE
    assert packet.payload in data
    assert packet.level is None or 0 <= packet.level < 128


@few
@given(st.integers(0x80, 0xBF), st.binary(min_size=11, max_size=60), st.integers(0, 15))
@example(0x90, bytes(11) + b"\xbe\xde\x00\x01\x10", 1)
@example(0x9F, bytes(11) + bytes(60) + b"\xbe\xde\xff\xff", 1)
def test_whatever_aiortc_reads_we_read_alike(first: int, rest: bytes, level_id: int) -> None:
    """Extensions, contributing sources and padding cut at the same places."""
    data = bytes([first]) + rest
    try:
        theirs = RtpPacket.parse(data)
    except ValueError:
        return
    payload_type, ours = parse(data, level_id)
    assert (payload_type, ours.marker) == (theirs.payload_type, theirs.marker)
    assert (ours.ssrc, ours.sequence, ours.timestamp) == (theirs.ssrc, theirs.sequence_number, theirs.timestamp)
    assert ours.payload == theirs.payload


# what was built


@few
@given(bits, types, numbers, words, words, st.binary(max_size=200))
def test_our_header_says_what_it_was_given(m: int, pt: int, sequence: int, ticks: int, ssrc: int, opus: bytes) -> None:
    """To our parser and to aiortc's."""
    data = header(m, pt, sequence, ticks, ssrc) + opus
    assert parse(data) == (pt, Packet(ssrc, sequence, ticks, m, opus))
    theirs = RtpPacket.parse(data)
    assert (theirs.marker, theirs.payload_type, theirs.payload) == (m, pt, opus)
    assert (theirs.sequence_number, theirs.timestamp, theirs.ssrc) == (sequence, ticks, ssrc)


@few
@given(st.text("abcdefgh0123456789", min_size=1, max_size=16), st.integers(1, 14), st.binary(max_size=40))
def test_our_header_names_its_m_line(mid: str, identifier: int, opus: bytes) -> None:
    """RFC 8843 §9.2, RFC 8285 §4.2: aiortc reads the name, we read past it."""
    data = extended_header(1, 111, 7, 960, 42, one_byte_extension(identifier, mid.encode())) + opus
    names = HeaderExtensionsMap()
    names.configure(RTCRtpParameters(headerExtensions=[RTCRtpHeaderExtensionParameters(id=identifier, uri=MID)]))
    theirs = RtpPacket.parse(data, names)
    assert (theirs.extensions.mid, theirs.payload) == (mid, opus)
    assert parse(data) == (111, Packet(42, 7, 960, 1, opus))


@few
@given(
    st.builds(RtpPacket, types, bits, numbers, words, words, st.binary(max_size=100)),
    st.lists(words, max_size=15),
    st.none() | st.tuples(st.booleans(), st.integers(0, 127)),
    st.none() | st.text("abc123", min_size=1, max_size=16),
    st.integers(0, 255),
)
def test_we_read_what_aiortc_writes(
    theirs: RtpPacket, csrc: list[int], level: tuple[bool, int] | None, mid: str | None, padding: int
) -> None:
    """With contributing sources, audio level, name of the m-line and padding, in any combination."""
    theirs.csrc, theirs.padding_size = csrc, padding
    theirs.extensions = HeaderExtensions(audio_level=level, mid=mid)
    payload_type, ours = parse(theirs.serialize(EXTENSIONS), LEVEL_ID)
    assert payload_type == theirs.payload_type
    expected = Packet(theirs.ssrc, theirs.sequence_number, theirs.timestamp, theirs.marker, theirs.payload)
    expected.level = None if level is None else level[1]
    assert ours == expected


# the audio level


@pytest.mark.parametrize(
    ("profile", "body", "level"),
    [
        (0xBEDE, b"\x10\xa5", 0x25),
        (0xBEDE, b"\x10\x25", 0x25),
        (0xBEDE, b"\x00\x00\x10\x7f", 127),
        (0xBEDE, b"\x32abc\x10\x00", 0),
        (0xBEDE, b"\x22\x10\x05\x05\x10\x09", 9),
        (0xBEDE, b"\xf0\x00\x10\x25", None),
        (0xBEDE, b"\x02\x00\x00\x00\x10\x25", None),
        (0xBEDE, b"\x40x\x40y", None),
        (0xBEDE, b"", None),
        (0x1000, b"\x01\x01\xa5", 0x25),
        (0x100F, b"\x00\x07\x02ab\x01\x01\x33", 0x33),
        (0x1000, b"\x01\x00\x01\x01\x33", None),
        (0x1000, b"\x00\x00\x00\x01", None),
        (0x1000, b"\x02\xff\x01\x01", None),
        (0xABCD, b"\x10\x25", None),
    ],
    ids=[
        "one byte, voice",
        "one byte, no voice",
        "after padding",
        "after another",
        "not the inside of another",
        "nothing counts after 15",
        "nothing counts after 0 with a length",
        "only others",
        "no element",
        "two bytes",
        "two bytes, appbits, after others",
        "two bytes, without a value",
        "two bytes, cut off",
        "two bytes, longer than the extension",
        "neither form",
    ],
)
def test_the_level_is_found_in_either_form(profile: int, body: bytes, level: int | None) -> None:
    """RFC 8285 §4.2 and §4.3, RFC 6464 §3; what cannot be read costs the level, never the packet."""
    _, packet = parse(with_extension(profile, body), LEVEL_ID)
    assert (packet.level, packet.payload) == (level, b"opus")


def test_a_level_beyond_the_extension_is_payload() -> None:
    """The element says that it goes on where the extension is over: a byte of audio is no level."""
    assert parse(with_extension(0xBEDE, b"\x00\x00\x00\x10", b"\x25opus"), LEVEL_ID)[1].level is None


def test_the_level_is_read_only_where_it_was_negotiated() -> None:
    assert parse(with_extension(0xBEDE, b"\x10\x25"))[1].level is None
    assert parse(with_extension(0xBEDE, b"\x10\x25"), 2)[1].level is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        header(0, 111, 1, 2, 3)[:-1],
        b"\x81" + header(0, 111, 1, 2, 3)[1:],
        b"\x90" + header(0, 111, 1, 2, 3)[1:] + b"\xbe\xde\x00",
        b"\x90" + header(0, 111, 1, 2, 3)[1:] + b"\xbe\xde\x00\x02" + bytes(7),
        b"\xa0" + header(0, 111, 1, 2, 3)[1:] + b"\x00",
        b"\xa0" + header(0, 111, 1, 2, 3)[1:] + b"\x02",
        b"\xb0" + header(0, 111, 1, 2, 3)[1:] + b"\xbe\xde\x00\x01\x10\x25\x00\x05",
    ],
    ids=[
        "nothing",
        "eleven bytes",
        "no room for its source",
        "no room for the extension's length",
        "extension cut off",
        "no padding, it says",
        "more padding than packet",
        "padding in the extension",
    ],
)
def test_what_is_not_whole_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="RTP"):
        parse(data, LEVEL_ID)


def test_a_packet_of_padding_alone_is_empty() -> None:
    """RFC 3550 §5.1: a number was used, nothing was said."""
    data = b"\xa0" + header(0, 111, 1, 2, 3)[1:] + b"\x00\x00\x00\x04"
    assert parse(data)[1].payload == b""


@few
@given(st.sampled_from([8, 16, 32]), words, st.data())
def test_signed_undoes_wrapping(size: int, start: int, data: st.DataObject) -> None:
    """RFC 1982: whatever lies within half the number space comes out with its sign."""
    step = data.draw(st.integers(-(1 << size - 1), (1 << size - 1) - 1))
    mask = (1 << size) - 1
    assert signed(((start + step) & mask) - (start & mask), size) == step
