"""Asking for lost packets, and having them when asked."""

from aiortc.rtp import RtpPacket, unwrap_rtx, wrap_rtx
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc.opus import FRAME
from rtc.retransmission import GIVE_UP, HISTORY, MAX_HOLE, REPAIRED, RETRY, History, Requests, unwrap, wrap
from rtc.rtp import Packet, header, parse

OPUS = b"\x78" + bytes(20)
"""A 20 ms CELT packet by its first byte (RFC 6716 §3.1)."""


def arrive(requests: Requests, *sequences: int, now: float = 0.0) -> Requests:
    for sequence in sequences:
        requests.arrived(sequence & 0xFFFF, now)
    return requests


def packet(sequence: int, payload: bytes = OPUS) -> Packet:
    return Packet(42, sequence, sequence * FRAME, 0, payload)


# asking


def test_nothing_is_missing_in_order() -> None:
    requests = arrive(Requests(), *range(65_500, 65_600))
    assert not requests.missing and requests.due(0.0, 0.0) == []


def test_a_hole_is_asked_for_at_once_and_once_per_round_trip() -> None:
    requests = arrive(Requests(), 65_534, 65_535, 65_538, now=10.0)
    assert requests.due(10.0, 0.1) == [0, 1]
    assert requests.due(10.09, 0.1) == []
    assert requests.due(10.11, 0.1) == [0, 1]
    assert requests.asked == 4


def test_a_short_round_trip_is_no_reason_to_hurry() -> None:
    requests = arrive(Requests(), 1, 3)
    assert requests.due(0.0, 0.001) == [2]
    assert requests.due(RETRY * 0.9, 0.001) == []
    assert requests.due(RETRY * 1.1, 0.001) == [2]


def test_what_came_is_not_asked_for_again() -> None:
    """It counts as filled if it was asked for, not if it was merely late."""
    requests = arrive(Requests(), 1, 4)
    arrive(requests, 3)
    assert requests.due(0.0, 0.0) == [2]
    arrive(requests, 2, 2)
    assert not requests.missing and requests.due(1.0, 0.0) == []
    assert (requests.asked, requests.filled) == (1, 1)


def test_nobody_waits_longer_than_that() -> None:
    requests = arrive(Requests(), 1, 3)
    assert requests.due(GIVE_UP, 0.0) == [2]
    assert requests.due(GIVE_UP * 1.01, 0.0) == []
    assert not requests.missing and not requests.repaired(2, GIVE_UP * 1.01)


def test_an_outage_is_not_asked_for() -> None:
    """However it comes: as one hole, or as many."""
    assert len(arrive(Requests(), 0, MAX_HOLE + 1).due(0.0, 0.0)) == MAX_HOLE
    assert arrive(Requests(), 0, MAX_HOLE + 2).due(0.0, 0.0) == []
    assert arrive(Requests(), 0, 20, 40).due(0.0, 0.0) == []


def test_after_an_outage_single_losses_are_asked_for() -> None:
    requests = arrive(Requests(), 0, 1000, 1002)
    assert requests.due(0.0, 0.0) == [1001]


def test_a_source_that_begins_anew_misses_nothing() -> None:
    """Numbers of long ago, or another source altogether: what was missing before is no use."""
    assert arrive(Requests(), 40_000, 40_002, 5, 6, 8).due(0.0, 0.0) == [7]
    requests = arrive(Requests(), 40_000, 40_002)
    assert requests.due(0.0, 0.0) == [40_001]
    requests.restart()
    assert arrive(requests, 20, 22).due(0.0, 0.0) == [21]
    assert requests.asked == 2, "counters go on"


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 1, 2, 3, 24, 25, 26, 27, 0, -1, -2, -10, -251, 9000]), st.floats(0, 0.3)),
        max_size=60,
    ),
    st.integers(0, 0xFFFF),
    st.floats(0, 0.3),
)
@settings(max_examples=60)
def test_what_is_asked_for_is_sensible(arriving: list[tuple[int, float]], start: int, round_trip: float) -> None:
    """Never what is here, never twice in a round trip, never after its time, never more than a hole's worth."""
    requests, now, sequence = Requests(), 0.0, start
    here: set[int] = set()
    asked: dict[int, float] = {}
    for step, passed in arriving:
        sequence = (sequence + step) & 0xFFFF
        now += passed
        requests.arrived(sequence, now)
        here.add(sequence)
        if abs(step) > 26:
            here, asked = {sequence}, {}
        due = requests.due(now, round_trip)
        assert len(due) == len(set(due)) <= MAX_HOLE and not here & set(due)
        for number in due:
            assert now - asked.get(number, -1.0) >= min(1.0, max(RETRY, round_trip))
            asked[number] = now
    assert requests.filled <= requests.asked
    assert requests.due(now + 1.0, 0.0) == [], "given up"


def test_memory_has_a_bound_whatever_comes() -> None:
    """A sender that leaves out most of its numbers, faster than anything is given up."""
    requests = Requests()
    most = 0
    for n in range(20_000):
        requests.arrived(n * 7 & 0xFFFF, 5.0)
        most = max(most, len(requests._missing))
    assert 0 < most <= MAX_HOLE


def test_a_repair_takes_the_number_of_what_it_repairs() -> None:
    """Until the numbers have gone round, when another packet has it; or until another source comes."""
    requests = arrive(Requests(), 10, 12)
    assert requests.repaired(11, 0.0) and not requests.repaired(11, 0.0) and not requests.repaired(12, 0.0)
    assert [requests.arrived(sequence, 0.0) for sequence in (11, 11, 13)] == [False, False, True]
    assert requests.needless == 2
    arrive(requests, *range(14, 65_546))
    assert requests.arrived(11, 0.0)
    arrive(requests, 20, 22)
    assert requests.repaired(21, 0.0)
    requests.restart()
    assert all(requests.arrived(sequence, 0.0) for sequence in (30, 21))


def test_repairs_are_remembered_up_to_a_bound() -> None:
    """Every second packet is repaired, for a while."""
    requests = arrive(Requests(), 0)
    for sequence in range(2, 1000, 2):
        arrive(requests, sequence)
        assert requests.repaired(sequence - 1, 0.0)
    assert len(requests._repaired) == REPAIRED
    late = [sequence for sequence in range(997, 0, -2) if not requests.arrived(sequence, 0.0)]
    assert late == list(range(997, 997 - 2 * REPAIRED, -2))


# sending again


def test_what_was_sent_is_kept_for_a_while() -> None:
    history = History()
    for number in range(65_000, 66_000):
        history.keep((number & 0xFFFF, number * FRAME, 0, OPUS))
    kept = history.by_number()
    assert list(kept) == [number & 0xFFFF for number in range(66_000 - HISTORY, 66_000)]
    assert kept[65_999 & 0xFFFF] == (65_999 & 0xFFFF, 65_999 * FRAME, 0, OPUS)
    assert HISTORY * 0.02 > 2 * GIVE_UP, "whoever asks in time finds it"


# the stream for it


@given(st.integers(0, 0xFFFF), st.integers(0, 1), st.binary(max_size=100).map(lambda rest: b"\x78" + rest))
def test_a_repair_packet_holds_the_original(sequence: int, marker: int, payload: bytes) -> None:
    """RFC 4588 §4, through the parser and aiortc's own wrapping."""
    original = Packet(42, sequence, 960, marker, payload)
    wrapped = wrap(original, ssrc=43, sequence=7)
    data = header(wrapped.marker, 112, wrapped.sequence, wrapped.timestamp, wrapped.ssrc) + wrapped.payload
    theirs = RtpPacket(111, marker, sequence, 960, 42, payload)
    assert data == wrap_rtx(theirs, payload_type=112, sequence_number=7, ssrc=43).serialize()
    _, arrived = parse(data)
    assert unwrap(arrived, 42) == original
    again = unwrap_rtx(RtpPacket.parse(data), payload_type=111, ssrc=42)
    assert (again.sequence_number, again.payload) == (sequence, payload)


def test_a_repair_packet_without_audio_is_none() -> None:
    """Padding that a sender probes its bandwidth with, and junk."""
    for payload in (b"", b"\x00", b"\x00\x07", b"\x00\x07\xff\xff", b"\x00\x07" + b"\x7b\xbf" + bytes(30)):
        assert unwrap(packet(1, payload), 42) is None


@given(st.binary(max_size=60))
def test_any_repair_packet_is_audio_or_none(payload: bytes) -> None:
    found = unwrap(packet(1, payload), 42)
    assert found is None or (found.ssrc == 42 and found.payload == payload[2:] and found.payload)
