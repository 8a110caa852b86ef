"""One slot's stream, packet by packet, in a list instead of on the wire."""

import pytest
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtpPacket, unwrap_rtx
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc import rtcp
from rtc.opus import CLOCK_RATE, FRAME
from rtc.retransmission import HISTORY
from rtc.rtp import Packet, signed
from rtc.sender import ANNOUNCED, REPORT_WHILE, RESEND_BURST, RESEND_RATE, SlotSender
from rtc.transport import MID

SSRC, OTHER, REPAIR = 0x1111_1111, 0x2222_2222, 0x3333_3333
MID_ID = 4
WALL = 1_800_000_000.0


class Wire:
    """What a slot sends; `up` says whether it can."""

    def __init__(self) -> None:
        self.up = True
        self.datagrams: list[bytes] = []
        self.slot = SlotSender("m7", 111, SSRC, self._send)

    def _send(self, datagram: bytes) -> bool:
        if self.up:
            self.datagrams.append(datagram)
        return self.up

    @property
    def sent(self) -> list[RtpPacket]:
        """As aiortc reads them."""
        names = HeaderExtensionsMap()
        names.configure(RTCRtpParameters(headerExtensions=[RTCRtpHeaderExtensionParameters(id=MID_ID, uri=MID)]))
        return [RtpPacket.parse(datagram, names) for datagram in self.datagrams]

    def say(self, *sequences: int, now: float = 100.0) -> None:
        """Packets of a source whose first was at time 0; each says its number."""
        for sequence in sequences:
            self.slot.send(source(sequence), now)


def source(sequence: int, ssrc: int = 1) -> Packet:
    payload = b"%d" % sequence
    return Packet(ssrc, sequence & 0xFFFF, sequence * FRAME & 0xFFFF_FFFF, 0, payload)


@pytest.fixture
def wire() -> Wire:
    return Wire()


# the stream


@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFF_FFFF),
            st.lists(st.integers(-3, 5), min_size=1, max_size=12),
            st.floats(0, 5),
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=40)
def test_whatever_sources_come_it_is_one_stream(sources: list[tuple[int, int, list[int], float]]) -> None:
    """No number stands for two packets; each source keeps its distances; RTP time never stands still at a switch."""
    wire, now = Wire(), 100.0
    by_number: dict[int, bytes] = {}
    last: RtpPacket | None = None
    for index, (start, ticks, steps, passed) in enumerate(sources):
        wire.slot.switch()
        now += passed
        number, said = 0, set()
        for step in [0, *steps]:
            number += step
            if number in said:
                continue  # SRTP takes no packet twice
            said.add(number)
            before = len(wire.datagrams)
            payload = b"%d of %d" % (number, index)
            sequence, timestamp = (start + number) & 0xFFFF, (ticks + number * FRAME) & 0xFFFF_FFFF
            wire.slot.send(Packet(index, sequence, timestamp, 0, payload), now)
            if len(wire.datagrams) == before:
                assert number < 0, "only what is older than the switch is dropped"
                continue
            packet = RtpPacket.parse(wire.datagrams[-1])
            if number == 0:
                assert packet.marker == 1
                first = newest = packet
                if last is not None:
                    assert signed(packet.sequence_number - last.sequence_number, 16) == 1
                    ahead = signed(packet.timestamp - last.timestamp, 32)
                    assert ahead >= FRAME
            assert signed(packet.sequence_number - first.sequence_number, 16) == number
            assert signed(packet.timestamp - first.timestamp, 32) == number * FRAME
            assert by_number.setdefault(packet.sequence_number, payload) == payload
            newest = max(newest, packet, key=lambda one: signed(one.sequence_number - first.sequence_number, 16))
        last = newest
    assert wire.slot.packets == len(wire.datagrams)


def test_a_long_talk_wraps_around(wire: Wire) -> None:
    """Half an hour in one go, single packets late: every one goes out, one number after the other."""
    for sequence in range(0, 100_000, 4):
        wire.say(sequence, sequence + 1, sequence + 3, sequence + 2)
    numbers = [int.from_bytes(datagram[2:4], "big") for datagram in wire.datagrams]
    first, order = numbers[0], [0, 1, 3, 2]
    assert numbers == [(first + n + order[at]) & 0xFFFF for n in range(0, 100_000, 4) for at in range(4)]
    assert wire.slot.dropped == 0


def test_the_first_number_leaves_room_to_wrap() -> None:
    """RFC 3711 §3.3.1: a listener that misses the first wrap-around could never decrypt again."""
    for _ in range(50):
        wire = Wire()
        wire.say(60_000)
        assert wire.sent[0].sequence_number <= 0x8000


def test_time_that_was_promised_is_kept(wire: Wire) -> None:
    """Captions name the RTP time of a voice before it is sent, and for a packet that is to come."""
    wire.say(1, 2, now=100.0)
    wire.slot.switch()
    soon = wire.slot.rtp_time(5000 * FRAME, 103.0)
    later = wire.slot.rtp_time(5010 * FRAME, 103.0)
    wire.say(5000, now=103.5)
    wire.say(5010, now=103.7)
    assert [packet.timestamp for packet in wire.sent[2:]] == [soon, later]
    assert signed(soon - wire.sent[1].timestamp, 32) == 3 * CLOCK_RATE


def test_a_promise_does_not_outlive_its_source(wire: Wire) -> None:
    wire.slot.rtp_time(0, 99.0)
    wire.say(1, now=100.0)
    wire.slot.switch()
    wire.slot.rtp_time(700 * FRAME, 101.0)
    wire.slot.carry("somebody else")
    wire.say(90, now=102.0)
    assert signed(wire.sent[1].timestamp - wire.sent[0].timestamp, 32) == 2 * CLOCK_RATE


def test_a_promise_for_later_does_not_set_time_back(wire: Wire) -> None:
    """A voice comes into the slot in the midst of what it says, and a phrase that waits is promised before its next
    packet: the packet comes after what was sent last, not three seconds before."""
    wire.say(1, now=100.0)
    wire.slot.switch()
    wire.slot.rtp_time(5150 * FRAME, 100.02)
    wire.say(5000, 5001, now=100.04)
    assert [signed(packet.timestamp - wire.sent[0].timestamp, 32) for packet in wire.sent[1:]] == [2 * FRAME, 3 * FRAME]


def test_what_could_not_be_sent_is_counted_and_its_number_is_gone(wire: Wire) -> None:
    """It looks like any other loss."""
    wire.say(1)
    wire.up = False
    wire.say(2, 3)
    wire.up = True
    wire.say(4)
    first, second = wire.sent
    assert signed(second.sequence_number - first.sequence_number, 16) == 3
    assert (wire.slot.packets, wire.slot.octets, wire.slot.dropped) == (2, 2, 2)


# another SSRC


def test_a_new_ssrc_says_which_m_line_it_is(wire: Wire) -> None:
    """RFC 8843 §9.2: for long enough to be heard, on the same numbers; the old one is not named at all."""
    wire.slot.name_by(MID_ID)
    wire.say(1)
    wire.slot.change_ssrc(OTHER)
    wire.say(*range(2, ANNOUNCED + 4))
    old, *new = wire.sent
    assert (old.ssrc, old.extensions.mid) == (SSRC, None)
    assert {packet.ssrc for packet in new} == {OTHER}
    assert [packet.extensions.mid for packet in new] == ["m7"] * ANNOUNCED + [None] * 2
    assert [packet.payload for packet in new] == [b"%d" % n for n in range(2, ANNOUNCED + 4)]
    assert signed(new[0].sequence_number - old.sequence_number, 16) == 1
    assert wire.slot.packets == len(new), "a sender report counts what its SSRC sent"


def test_what_is_sent_again_is_what_was_sent(wire: Wire) -> None:
    """By one number and SSRC goes one datagram: another under the same nonce would break SRTP (RFC 7714 §8.1). So those
    that name their m-line are not sent again."""
    wire.slot.name_by(MID_ID)
    wire.slot.resend_on_request(None)
    wire.slot.change_ssrc(OTHER)
    wire.say(*range(1, ANNOUNCED + 3), now=100.0)
    sent = list(wire.datagrams)
    wire.slot.resend(tuple(packet.sequence_number for packet in wire.sent), 100.0)
    assert wire.datagrams[len(sent) :] == sent[ANNOUNCED:]


def test_without_the_extension_the_new_ssrc_has_to_speak_for_itself(wire: Wire) -> None:
    wire.slot.name_by(0)
    wire.slot.change_ssrc(OTHER)
    wire.say(1)
    assert (wire.sent[0].ssrc, wire.sent[0].extensions.mid, wire.datagrams[0][0]) == (OTHER, None, 0x80)


def test_an_m_line_has_its_name_however_long(wire: Wire) -> None:
    """Sixteen bytes are the most that a one-byte header has room for."""
    wire.slot.mid = "a" * 16
    wire.slot.name_by(MID_ID)
    wire.slot.change_ssrc(OTHER)
    wire.say(1)
    assert (wire.sent[0].extensions.mid, wire.sent[0].payload) == ("a" * 16, b"1")


# sending again


def test_without_agreement_nothing_is_sent_again(wire: Wire) -> None:
    wire.say(1, 2)
    wire.slot.resend((wire.sent[0].sequence_number,), 100.0)
    assert len(wire.sent) == 2 and wire.slot.resent == 0


def test_packets_are_sent_again_as_they_were(wire: Wire) -> None:
    """Where there is no stream for it; what was never sent stays lost."""
    wire.slot.resend_on_request(None)
    wire.say(1, 2, 3, 4)
    first = wire.sent[0].sequence_number
    wire.slot.resend(tuple((first + n) & 0xFFFF for n in (1, 3, 4, 900)), 100.0)
    assert wire.datagrams[4:] == [wire.datagrams[1], wire.datagrams[3]]
    assert (wire.slot.resent, wire.slot.packets) == (2, 4)


def test_packets_are_sent_again_on_their_own_stream(wire: Wire) -> None:
    """RFC 4588: its own numbers, the original's time and marker."""
    wire.slot.resend_on_request((112, REPAIR))
    wire.say(1, 2, 3)
    first = wire.sent[0].sequence_number
    wire.slot.resend((first, first + 2), 100.0)
    *_, one, two = wire.sent
    assert (one.ssrc, one.payload_type, two.ssrc) == (REPAIR, 112, REPAIR)
    assert signed(two.sequence_number - one.sequence_number, 16) == 1
    for repair, original in ((one, wire.sent[0]), (two, wire.sent[2])):
        assert unwrap_rtx(repair, 111, SSRC).serialize() == original.serialize()


def test_a_packet_asked_for_a_thousand_times_is_sent_once(wire: Wire) -> None:
    """A request costs a listener four bytes; it must not make us flood them."""
    wire.slot.resend_on_request(None)
    wire.say(1)
    wire.slot.resend((wire.sent[0].sequence_number,) * 1000, 100.0)
    assert (len(wire.sent), wire.slot.resent) == (2, 1)


def test_what_is_sent_again_has_a_limit(wire: Wire) -> None:
    """However often a listener asks for it; and in time there is more."""
    wire.slot.resend_on_request((112, REPAIR))
    wire.say(*range(HISTORY))
    every = tuple(packet.sequence_number for packet in wire.sent)
    for tick in range(1000):
        wire.slot.resend(every, 100.0 + 0.001 * tick)
    assert wire.slot.resent == len(wire.sent) - HISTORY == pytest.approx(RESEND_BURST + RESEND_RATE, abs=2)
    assert wire.slot.stats()["resends_excessive"] == 1000 * HISTORY - wire.slot.resent
    wire.slot.resend(every[:3], 102.0)
    assert [unwrap_rtx(packet, 111, SSRC).sequence_number for packet in wire.sent[-3:]] == list(every[:3])


def test_of_more_than_are_kept_the_newest_are_looked_for(wire: Wire) -> None:
    """After an outage a browser asks for hundreds, the oldest first."""
    wire.slot.resend_on_request(None)
    wire.say(*range(HISTORY))
    first = wire.sent[0].sequence_number
    wire.slot.resend(tuple((first + n) & 0xFFFF for n in range(-500, HISTORY)), 100.0)
    assert wire.datagrams[HISTORY:] == wire.datagrams[:HISTORY]


def test_what_is_long_gone_stays_lost(wire: Wire) -> None:
    wire.slot.resend_on_request(None)
    wire.say(*range(1000))
    wire.slot.resend(tuple(packet.sequence_number for packet in wire.sent), 100.0)
    assert wire.slot.resent == HISTORY


def test_what_the_old_ssrc_sent_is_not_sent_again(wire: Wire) -> None:
    """It belongs to somebody else now; and the repair stream was announced for the old one only."""
    wire.slot.resend_on_request((112, REPAIR))
    wire.say(1)
    wire.slot.change_ssrc(OTHER)
    wire.say(2)
    wire.slot.resend(tuple(packet.sequence_number for packet in wire.sent), 100.0)
    assert [packet.ssrc for packet in wire.sent] == [SSRC, OTHER, OTHER]
    assert wire.sent[2].payload == b"2"


def test_what_cannot_be_sent_again_is_not_counted(wire: Wire) -> None:
    wire.slot.resend_on_request(None)
    wire.say(1)
    wire.up = False
    wire.slot.resend((wire.sent[0].sequence_number,), 100.0)
    assert wire.slot.resent == 0


# reports


def test_a_sender_report_is_about_the_present(wire: Wire) -> None:
    """RFC 3550 §6.4.1: the RTP time of the NTP time, not of the last packet."""
    wire.say(1, 2, 3, now=100.0)
    ntp = rtcp.ntp(WALL)
    report = wire.slot.report(100.5, ntp)
    assert report is not None
    assert (report.ssrc, report.ntp, report.packets, report.octets) == (SSRC, ntp, 3, 3)
    assert signed(report.timestamp - wire.sent[-1].timestamp, 32) == CLOCK_RATE // 2


def test_a_late_packet_does_not_set_the_report_back(wire: Wire) -> None:
    wire.say(1, 3, now=100.0)
    wire.say(2, now=100.04)
    report = wire.slot.report(100.04, 0)
    assert report is not None
    assert signed(report.timestamp - wire.sent[1].timestamp, 32) == round(0.04 * CLOCK_RATE)


def test_who_is_silent_has_nothing_to_report(wire: Wire) -> None:
    assert wire.slot.report(100.0, 0) is None
    wire.say(1, now=100.0)
    assert wire.slot.report(100.0 + REPORT_WHILE, 0) is not None
    assert wire.slot.report(100.1 + REPORT_WHILE, 0) is None


def heard(last_sender_report: int, delay: float = 0.0) -> rtcp.Block:
    return rtcp.Block(SSRC, 64, 12, 0, 480, last_sender_report, round(delay * 65_536))


def test_a_receiver_report_tells_how_far_the_listener_is(wire: Wire) -> None:
    """RFC 3550 §6.4.1: A - LSR - DLSR, and what they miss."""
    wire.slot.reported(heard(rtcp.middle(rtcp.ntp(WALL)), delay=2.0), rtcp.ntp(WALL + 2.08))
    assert wire.slot.round_trip == pytest.approx(0.08, abs=1e-3)
    assert (wire.slot.fraction_lost, wire.slot.packets_lost, wire.slot.jitter) == (0.25, 12, 0.01)


@settings(max_examples=30)
@given(st.floats(1.6e9, 2.08e9), st.floats(0, 20), st.floats(0, 5))
def test_the_round_trip_is_right_at_any_time(wall: float, delay: float, trip: float) -> None:
    """The 16 bits of seconds in LSR wrap around every 18 hours."""
    slot = Wire().slot
    slot.reported(heard(rtcp.middle(rtcp.ntp(wall)), delay), rtcp.ntp(wall + delay + trip))
    assert slot.round_trip == pytest.approx(trip, abs=1e-3) or trip < 1e-3


def test_before_any_sender_report_came_nothing_is_known(wire: Wire) -> None:
    wire.slot.reported(heard(0), rtcp.ntp(WALL))
    assert wire.slot.round_trip is None and wire.slot.fraction_lost == 0.25


def test_a_clock_set_back_spoils_nothing(wire: Wire) -> None:
    """The last round trip that made sense stays."""
    wire.slot.reported(heard(rtcp.middle(rtcp.ntp(WALL))), rtcp.ntp(WALL + 0.05))
    wire.slot.reported(heard(rtcp.middle(rtcp.ntp(WALL + 10))), rtcp.ntp(WALL - 3600))
    assert wire.slot.round_trip == pytest.approx(0.05, abs=1e-3)


def test_our_own_clock_set_back_never_stops_the_stream(wire: Wire) -> None:
    """Clock seconds only ever grow; where they do not, time goes forward all the same."""
    wire.say(1, now=100.0)
    wire.slot.switch()
    wire.say(50, now=90.0)
    assert signed(wire.sent[1].timestamp - wire.sent[0].timestamp, 32) == FRAME
