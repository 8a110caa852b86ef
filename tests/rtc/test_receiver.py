"""A microphone's packets and what is told about them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc import rtcp
from rtc.opus import FRAME
from rtc.receiver import MAX_BURST, MAX_RATE, Microphone
from rtc.retransmission import wrap
from rtc.rtp import Packet, extended_header, header, one_byte_extension

OPUS = b"\x78" + bytes(20)
ANA, EVA, REPAIR = 0xA, 0xE, 0xF
LEVEL_ID = 1


class Heard:
    """A microphone, and what it hands on."""

    def __init__(self, repair_type: int | None = None, again: bool = False) -> None:
        self.packets: list[Packet] = []
        self.sources: list[int] = []
        self.microphone = Microphone(111, LEVEL_ID, self._packet, self.sources.append)
        if again or repair_type is not None:
            self.microphone.ask_again(repair_type)

    def _packet(self, packet: Packet, now: float) -> None:
        self.packets.append(packet)

    def receive(self, *sequences: int, ssrc: int = ANA, now: float = 10.0) -> None:
        for sequence in sequences:
            self.microphone.received(rtp(sequence, ssrc), now)

    def repair(self, *sequences: int, now: float = 10.0) -> None:
        """From the stream for it."""
        for number, sequence in enumerate(sequences):
            packet = wrap(Packet(ANA, sequence & 0xFFFF, sequence * FRAME & 0xFFFF_FFFF, 0, OPUS), REPAIR, number)
            head = header(0, 112, packet.sequence, packet.timestamp, packet.ssrc)
            self.microphone.received(head + packet.payload, now)

    @property
    def numbers(self) -> list[int]:
        return [packet.sequence for packet in self.packets]


def rtp(sequence: int, ssrc: int = ANA, payload_type: int = 111) -> bytes:
    return header(0, payload_type, sequence & 0xFFFF, sequence * FRAME & 0xFFFF_FFFF, ssrc) + OPUS


# packets


def test_packets_are_handed_on_as_they_came() -> None:
    """In their order, with their level; the source is known before its first packet."""
    order: list[object] = []
    microphone = Microphone(111, LEVEL_ID, lambda *arrival: order.append(arrival), order.append)
    level = one_byte_extension(LEVEL_ID, b"\xa5")
    for sequence in (2, 1):
        microphone.received(extended_header(1, 111, sequence, 960, ANA, level) + OPUS, 10.0 + sequence)
    assert order == [ANA, (Packet(ANA, 2, 960, 1, OPUS, 0x25), 12.0), (Packet(ANA, 1, 960, 1, OPUS, 0x25), 11.0)]
    assert (microphone.ssrc, microphone.level) == (ANA, 0x25)


def test_what_is_not_ours_is_dropped_and_counted() -> None:
    """Neither a payload type that nobody agreed on nor half a header changes whose microphone it is."""
    heard = Heard()
    heard.receive(1)
    for junk in (b"", b"\x80", rtp(2)[:11], b"\x9f" + rtp(2)[1:]):
        heard.microphone.received(junk, 10.0)
    for payload_type in (0, 112, 127):
        heard.microphone.received(rtp(2, EVA, payload_type), 10.0)
    assert heard.numbers == [1] and heard.sources == [ANA]
    assert (heard.microphone.malformed, heard.microphone.strange) == (4, 3)


@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from([None, 112]))
@settings(max_examples=50)
def test_whatever_comes_something_can_be_said_about_it(datagrams: list[bytes], repair_type: int | None) -> None:
    """Nothing raises; every report can be sent."""
    heard = Heard(repair_type, again=True)
    for number, datagram in enumerate(datagrams):
        heard.microphone.received(b"\x80" + bytes([(111, 112)[number % 2]]) + datagram, 10.0 + number)
        if (block := heard.microphone.report(11.0 + number)) is not None:
            assert list(rtcp.parse(rtcp.receiver_report(1, [block]))) == [block]
        heard.microphone.wanted(11.0 + number, 0.1)
    counted = len(heard.packets) + heard.microphone.malformed + heard.microphone.strange
    assert counted <= len(datagrams)


# sources


def test_a_new_ssrc_takes_over() -> None:
    """And nothing of the old one's numbers is held against it."""
    heard = Heard(again=True)
    heard.receive(1, 3)
    heard.receive(40_000, 40_001, ssrc=EVA)
    assert heard.sources == [ANA, EVA]
    assert not heard.microphone.incomplete
    block = heard.microphone.report(11.0)
    assert block is not None
    assert (block.ssrc, block.packets_lost, block.highest_sequence) == (EVA, 0, 40_001)
    assert heard.microphone.packets_lost == 1, "an operator sees all that was lost"


def test_counters_never_go_back() -> None:
    """Whatever SSRC the client takes next."""
    heard = Heard(112)
    heard.receive(1, 3)
    assert heard.microphone.wanted(10.0, 0.0) == [2]
    heard.repair(2)
    heard.receive(9, ssrc=EVA)
    assert heard.microphone.retransmissions == (1, 1)
    heard.microphone.heard_from(rtcp.Bye(EVA), 10.0)
    assert heard.microphone.retransmissions == (1, 1)


def test_losses_before_a_jump_stay_counted() -> None:
    """A report to the client begins anew with its numbers (RFC 3550 A.1); an operator sees all that was lost."""
    heard = Heard()
    heard.receive(*range(0, 100, 2), 5000, 5001, 5003)
    block = heard.microphone.report(11.0)
    assert block is not None and (block.packets_lost, block.highest_sequence) == (1, 5003)
    assert heard.microphone.packets_lost == 49 + 1
    heard.receive(1, 3, ssrc=EVA)
    assert heard.microphone.packets_lost == 49 + 1 + 1


def test_an_operator_sees_what_is_wrong() -> None:
    """Packet 3 is lost for good, 5 came when asked for; 6 was 16 ms late, so that its spacing and the next one's are
    off by as much (RFC 3550 A.8)."""
    heard = Heard(112)
    for sequence, late in ((1, 0.0), (2, 0.0), (4, 0.0), (6, 0.016), (7, 0.0)):
        heard.receive(sequence, now=10.0 + sequence * 0.02 + late)
        heard.microphone.wanted(10.0 + sequence * 0.02 + late, 0.0)
    heard.repair(5, now=10.15)
    stats = heard.microphone.stats()
    assert (stats["packets_received"], stats["packets_lost"]) == (5, 2)
    assert stats["jitter_ms"] == pytest.approx(15 / 16 + 1, abs=0.1)
    assert (stats["retransmissions_asked"], stats["retransmissions_received"]) == (3, 1)


def test_what_is_missing_is_asked_for_once_in_a_round_trip() -> None:
    """However often packets come meanwhile."""
    heard = Heard(112)
    heard.receive(1, 3, now=10.0)
    asked = [now for now in range(0, 180, 10) if heard.microphone.wanted(10.0 + now / 1000, round_trip=0.075)]
    assert asked == [0, 80, 160]


def test_an_ssrc_for_each_packet() -> None:
    """Every one is a source of its own: forwarded, and none is lost."""
    heard = Heard(again=True)
    for ssrc in range(300):
        heard.receive(ssrc * 7, ssrc=ssrc)
    assert heard.sources == list(range(300)) and len(heard.packets) == 300
    assert heard.microphone.packets_lost == 0 and not heard.microphone.incomplete


def test_a_goodbye_ends_the_statistics() -> None:
    """There is nothing to report on until somebody speaks again; the goodbye of another means nothing."""
    heard = Heard()
    heard.receive(1, 2, 4)
    heard.microphone.heard_from(rtcp.Bye(EVA), 10.0)
    assert heard.microphone.report(10.0) is not None
    heard.microphone.heard_from(rtcp.Bye(ANA), 10.0)
    assert heard.microphone.ssrc is None and heard.microphone.report(10.0) is None
    heard.receive(500)
    assert heard.sources == [ANA, ANA]
    block = heard.microphone.report(10.0)
    assert block is not None and (block.packets_lost, block.highest_sequence) == (0, 500)


# reports


def test_a_report_tells_when_the_client_last_reported() -> None:
    """RFC 3550 §6.4.1: from LSR and DLSR the client knows how far away we are."""
    heard = Heard()
    assert heard.microphone.report(9.0) is None
    heard.receive(1)
    block = heard.microphone.report(10.0)
    assert block is not None and (block.last_sender_report, block.delay_since) == (0, 0)
    ntp = rtcp.ntp(1.8e9)
    heard.microphone.heard_from(rtcp.SenderReport(ANA, ntp, 0, 1, 1), 10.0)
    heard.microphone.heard_from(rtcp.SenderReport(EVA, ntp + (5 << 32), 0, 1, 1), 10.5)
    block = heard.microphone.report(11.5)
    assert block is not None
    assert (block.last_sender_report, block.delay_since) == (rtcp.middle(ntp), 3 << 15)


def test_a_report_from_a_client_long_silent_can_be_sent() -> None:
    heard = Heard()
    heard.receive(1)
    heard.microphone.heard_from(rtcp.SenderReport(ANA, rtcp.ntp(1.8e9), 0, 1, 1), 10.0)
    block = heard.microphone.report(10.0 + 30 * 24 * 3600)
    assert block is not None and rtcp.receiver_report(1, [block])


# asking again


def test_without_agreement_nothing_is_asked() -> None:
    heard = Heard()
    heard.receive(1, 5)
    assert not heard.microphone.incomplete and heard.microphone.wanted(10.0, 0.0) == []
    heard.repair(2)
    assert heard.numbers == [1, 5] and heard.microphone.strange == 1


def test_what_is_sent_again_on_the_same_stream_is_used() -> None:
    heard = Heard(again=True)
    heard.receive(65_534, 65_537)
    assert heard.microphone.incomplete
    assert heard.microphone.wanted(10.0, 0.0) == [65_535, 0]
    heard.receive(65_535, 65_536)
    assert heard.numbers == [65_534, 1, 65_535, 0]
    assert not heard.microphone.incomplete
    assert (heard.microphone.retransmissions, heard.microphone.packets_lost) == ((2, 2), 0)


def test_what_is_sent_again_on_its_own_stream_is_used() -> None:
    """RFC 4588 §4: under the number, time and source of the original; the loss itself stays counted."""
    heard = Heard(112)
    heard.receive(65_534, 65_537)
    heard.microphone.wanted(10.0, 0.0)
    heard.repair(65_535, 65_536)
    assert heard.packets[2:] == [Packet(ANA, n & 0xFFFF, n * FRAME, 0, OPUS) for n in (65_535, 65_536)]
    assert heard.sources == [ANA] and not heard.microphone.incomplete
    assert (heard.microphone.retransmissions, heard.microphone.packets_lost) == ((2, 2), 2)


def test_a_repair_that_nobody_misses_is_not_used() -> None:
    """Wrapped, it passes SRTP's replay check; forwarded, its number would be used twice on the way to listeners."""
    heard = Heard(112)
    heard.repair(1)
    heard.receive(1, 2, 4)
    heard.repair(1, 2, 4, 5, 900, 40_000)
    assert heard.numbers == [1, 2, 4]
    heard.repair(3, 3)
    assert heard.numbers == [1, 2, 4, 3]
    heard.receive(5, 6)
    assert not heard.microphone.incomplete


def test_an_original_that_was_only_late_is_not_used_beside_its_repair() -> None:
    """Its number would be used twice; it was not lost, though."""
    heard = Heard(112)
    heard.receive(10, 12)
    assert heard.microphone.wanted(10.0, 0.0) == [11]
    heard.repair(11)
    heard.receive(11, 13)
    assert heard.numbers == [10, 12, 11, 13]
    assert (heard.microphone.packets, heard.microphone.packets_lost) == (4, 0)
    assert heard.microphone.stats()["retransmissions_needless"] == 1


def test_a_repair_without_audio_is_nothing() -> None:
    """Chromium probes its bandwidth with such."""
    heard = Heard(112)
    heard.receive(1, 3)
    heard.microphone.received(header(0, 112, 1, 0, REPAIR) + b"\x00\x02", 10.0)
    assert heard.numbers == [1, 3] and heard.microphone.incomplete


def test_a_flood_is_not_passed_on() -> None:
    """Ten times the usual rate, for ten seconds: what goes on is bounded, the rest is counted; then all is well."""
    heard = Heard()
    for number in range(5000):
        heard.receive(number, now=number * 0.002)
    passed = len(heard.packets)
    assert passed <= MAX_BURST + 10 * MAX_RATE + 1
    assert passed + heard.microphone.excessive == 5000
    for number in range(5000, 5050):
        heard.receive(number, now=11 + (number - 5000) * 0.02)
    assert len(heard.packets) == passed + 50


def test_what_an_outage_held_back_is_taken_at_once() -> None:
    """Five seconds of packets in the same moment."""
    heard = Heard()
    for number in range(250):
        heard.receive(number, now=5.0)
    assert len(heard.packets) == 250 and heard.microphone.excessive == 0
