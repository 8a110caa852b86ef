"""RTCP, held against aiortc's own and against anything at all."""

import itertools

import pytest
from aiortc.rtp import (
    RtcpByePacket,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtc.rtcp import (
    MAX_ASKED,
    Block,
    Bye,
    Nack,
    SenderReport,
    bye,
    middle,
    nack,
    ntp,
    parse,
    receiver_report,
    sender_report,
    source_description,
)

few = settings(max_examples=40)
words = st.integers(0, 0xFFFF_FFFF)
ssrcs = st.lists(words, min_size=1, max_size=6) | words.map(lambda ssrc: [ssrc] * 31)
blocks = st.builds(Block, words, st.integers(0, 255), st.integers(-0x800000, 0x7FFFFF), words, words, words, words)
reports = st.builds(SenderReport, words, st.integers(0, (1 << 64) - 1), words, words, words)
lost = st.sets(st.integers(0, 300), min_size=1, max_size=60).map(sorted)


def told(block: Block) -> RtcpReceiverInfo:
    """The same in aiortc's words."""
    return RtcpReceiverInfo(
        block.ssrc,
        block.fraction_lost,
        block.packets_lost,
        block.highest_sequence,
        block.jitter,
        block.last_sender_report,
        block.delay_since,
    )


# anything


@few
@given(st.binary(max_size=120))
def test_any_bytes_say_something_or_nothing(data: bytes) -> None:
    """Never an exception; what is understood has values that were there."""
    for message in parse(data):
        assert 0 <= message.ssrc <= 0xFFFF_FFFF


@few
@given(st.lists(st.sampled_from([200, 201, 202, 203, 205, 206, 207]), max_size=4), st.data())
def test_any_bytes_in_the_form_of_rtcp(kinds: list[int], data: st.DataObject) -> None:
    """Headers that hold, with whatever count, padding and body; cut off anywhere."""
    packets = b""
    for kind in kinds:
        body = data.draw(st.binary(max_size=60).map(lambda body: body + bytes(-len(body) % 4)))
        flags = data.draw(st.integers(0x80, 0xBF))
        packets += bytes([flags, kind]) + (len(body) // 4).to_bytes(2, "big") + body
    whole = list(parse(packets))
    cut = list(parse(packets[: data.draw(st.integers(0, len(packets)))]))
    assert cut == whole[: len(cut)], "what is whole does not depend on what comes after"


@few
@given(reports, st.lists(blocks, max_size=2), st.binary(min_size=1, max_size=40))
def test_junk_at_the_end_costs_nothing_before_it(report: SenderReport, told: list[Block], junk: bytes) -> None:
    """aiortc would drop the whole compound packet."""
    good = sender_report(report) + receiver_report(report.ssrc, told)
    assert list(parse(good + b"\x00" + junk)) == [report, *told]


# ours to them


@few
@given(reports)
def test_sender_reports(report: SenderReport) -> None:
    assert list(parse(sender_report(report))) == [report]
    info = RtcpSenderInfo(report.ntp, report.timestamp, report.packets, report.octets)
    assert RtcpPacket.parse(sender_report(report)) == [RtcpSrPacket(report.ssrc, info)]


def test_counters_of_a_long_call_wrap_around() -> None:
    """32 bits of octets are 12 days of speech at 32 kb/s."""
    (report,) = parse(sender_report(SenderReport(1, 2, 3, (1 << 32) + 4, (1 << 33) + 5)))
    assert report == SenderReport(1, 2, 3, 4, 5)


@few
@given(words, st.lists(blocks, max_size=4))
@example(1, [Block(2, 255, -1, 3, 4, 5, 6)] * 31)
def test_receiver_reports(ssrc: int, about: list[Block]) -> None:
    data = receiver_report(ssrc, about)
    assert list(parse(data)) == about
    assert RtcpPacket.parse(data) == [RtcpRrPacket(ssrc, [told(block) for block in about])]


@few
@given(ssrcs)
def test_goodbyes(leaving: list[int]) -> None:
    assert list(parse(bye(leaving))) == [Bye(ssrc) for ssrc in leaving]
    assert RtcpPacket.parse(bye(leaving)) == [RtcpByePacket(leaving)]


@few
@given(st.text("abcdefgh-0123456789", min_size=1, max_size=40), words)
def test_the_name_of_one_source(cname: str, ssrc: int) -> None:
    """aiortc reads it; for more than one its own parser is wrong (RFC 3550 §6.5), so those are read by hand."""
    (packet,) = RtcpPacket.parse(source_description(cname, [ssrc]))
    assert isinstance(packet, RtcpSdesPacket)
    assert [(chunk.ssrc, chunk.items) for chunk in packet.chunks] == [(ssrc, [(1, cname.encode())])]


@few
@given(st.text("abcdefgh-0123456789", min_size=1, max_size=40), ssrcs)
def test_the_name_of_many_sources(cname: str, named: list[int]) -> None:
    """RFC 3550 §6.5: each chunk begins at a 32-bit boundary, its items end with one to four zeros."""
    data = source_description(cname, named)
    assert (data[0], data[1], int.from_bytes(data[2:4], "big")) == (0x80 | len(named), 202, len(data) // 4 - 1)
    position, read = 4, []
    while position < len(data):
        kind, length = data[position + 4], data[position + 5]
        read.append((int.from_bytes(data[position : position + 4], "big"), kind, data[position + 6 :][:length]))
        end = position + 6 + length
        position = end + 4 - end % 4
        assert not any(data[end:position])
    assert read == [(ssrc, 1, cname.encode()) for ssrc in named]


@few
@given(words, words, lost)
def test_asking_again(ssrc: int, of: int, missing: list[int]) -> None:
    data = nack(ssrc, of, missing)
    assert list(parse(data)) == [Nack(of, tuple(missing))]
    assert RtcpPacket.parse(data) == [RtcpRtpfbPacket(1, ssrc, of, missing)]


@few
@given(lost, st.integers(0, 0xFFFF))
@example([0, 1, 16, 17], 65_535)
def test_asking_again_where_numbers_wrap_around(missing: list[int], start: int) -> None:
    """RFC 4585 §6.2.1: aiortc breaks here, in either direction."""
    wrapped = [(start + number) & 0xFFFF for number in missing]
    (message,) = parse(nack(1, 2, wrapped))
    assert message == Nack(2, tuple(wrapped))


def test_a_request_for_more_than_anybody_keeps_is_cut() -> None:
    """As many as may be asked for are read, those that are named first."""
    (message,) = parse(nack(1, 2, range(6000)))
    assert message == Nack(2, tuple(range(MAX_ASKED)))


@few
@given(lost, st.integers(0, 0xFFFF))
def test_asking_again_is_short(missing: list[int], start: int) -> None:
    """17 numbers in each pair of 16 bits, as far as they lie together."""
    data = nack(1, 2, [(start + number) & 0xFFFF for number in missing])
    pairs = 0
    while missing:
        missing, pairs = [number for number in missing if number - missing[0] > 16], pairs + 1
    assert len(data) == 12 + 4 * pairs


# theirs to us


@few
@given(st.lists(st.tuples(reports, st.lists(blocks, max_size=3)), min_size=1, max_size=3), words, ssrcs, lost)
def test_a_compound_packet_of_a_browser(
    sending: list[tuple[SenderReport, list[Block]]], ssrc: int, leaving: list[int], missing: list[int]
) -> None:
    """Everything of it, in order; names and picture losses are passed over."""
    data = b"".join(
        bytes(
            RtcpSrPacket(
                report.ssrc,
                RtcpSenderInfo(report.ntp, report.timestamp, report.packets, report.octets),
                [told(block) for block in about],
            )
        )
        for report, about in sending
    )
    data += source_description("somebody", leaving) + bytes(RtcpPsfbPacket(1, ssrc, ssrc))
    data += bytes(RtcpRtpfbPacket(1, 9, ssrc, missing)) + bytes(RtcpByePacket(leaving))
    heard = list(parse(data))
    first = list(itertools.chain.from_iterable([report, *about] for report, about in sending))
    assert heard == [*first, Nack(ssrc, tuple(missing)), *map(Bye, leaving)]


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (b"", []),
        (bye([1])[:-1], []),
        (b"\x40" + bye([1])[1:], []),
        (bytes([0x85]) + bye([1])[1:], [Bye(1)]),
        (b"\xa1\xcb\x00\x02\x00\x00\x00\x01\x00\x00\x00\x04", [Bye(1)]),
        (b"\xa1\xcb\x00\x01\x00\x00\x00\xff" + bye([2]), [Bye(2)]),
        (bye([1]) + b"\x81\xcb\x00", [Bye(1)]),
        (b"\x81\xcb\x00\x03\x00\x00\x00\x01\x03bye", []),
        (b"\x81\xcd\x00\x02" + bytes(8), []),
        (b"\x8f\xcd\x00\x03" + bytes(12), []),
        (b"\x80\xc8\x00\x01" + bytes(4) + bye([1]), [Bye(1)]),
        (b"\x81\xc9\x00\x01" + bytes(4), []),
    ],
    ids=[
        "nothing",
        "cut off",
        "another version",
        "more sources announced than there are",
        "padded",
        "more padding than packet",
        "a second one cut off",
        "a reason that is cut off",
        "asking for nothing",
        "other feedback",
        "a sender report without its values",
        "a block announced and not there",
    ],
)
def test_what_is_half_right_is_read_as_far_as_it_is(data: bytes, messages: list[object]) -> None:
    assert list(parse(data)) == messages


# time


def test_ntp_time_counts_from_1900() -> None:
    """RFC 5905 §6: 1 January 1970 is 2 208 988 800 s; the middle is seconds and their 65536ths."""
    assert ntp(0.0) == 2_208_988_800 << 32
    assert ntp(1.5) - ntp(0.0) == 3 << 31
    assert middle(ntp(1.5)) - middle(ntp(0.0)) == 3 << 15


@few
@given(st.floats(1.6e9, 2.08e9), st.floats(0, 60))
def test_the_middle_of_ntp_time_measures_a_minute(wall: float, passed: float) -> None:
    """To 1/65536 s, however the 16 bits of seconds wrap around."""
    ticks = (middle(ntp(wall + passed)) - middle(ntp(wall))) & 0xFFFF_FFFF
    assert ticks / 65_536 == pytest.approx(passed, abs=2 / 65_536)
