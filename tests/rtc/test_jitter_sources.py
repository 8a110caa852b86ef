"""What senders do to a jitter buffer: they begin anew, set their clocks, fall silent, and send too much at once."""

import pytest

from rtc.jitter import MAX_AHEAD, MAX_DEPTH, MAX_RATE, MAX_SILENCE, MIN_DEPTH, JitterBuffer, Piece, Source
from rtc.opus import CLOCK_RATE, FRAME
from tests.rtc.test_jitter import MAX_PACKET, PTIME, Sender, payload


@pytest.mark.parametrize("jump", [5000, 40_000, -200, -2999, -3001, -40_000, 55_515])
def test_a_sender_that_begins_anew_is_heard(jump: int) -> None:
    """A jump in numbers and time, forwards or back, to 65,535 too, costs one packet."""
    first, second = Sender(sequence=10_000), Sender(sequence=10_000 + jump, timestamp=123_456_789)
    second.buffer = first.buffer
    for index in range(20):
        first.send(index)
    for index in range(20, 50):
        second.send(index)
    assert second.packets == [payload(index) for index in range(21, 50)]
    assert set(second.sources) == {Source.PACKET}


@pytest.mark.parametrize("step", [0, -FRAME, -500 * FRAME, 20 * FRAME])
def test_timestamps_that_make_no_sense_do_not_stop_the_voice(step: int) -> None:
    """The numbers go on, the time stands still, runs back, jumps back, or leaps with each packet."""
    sender = Sender()
    for index in range(50):
        sender.buffer.push(1, index, 2_000_000_000 + index * step & 0xFFFFFFFF, payload(index), index * PTIME)
        sender.pull(index * PTIME)
    assert sender.packets == [payload(index) for index in range(50)] or step > 0
    sender.buffer.push(1, 51, 2_000_000_000 + 50 * step & 0xFFFFFFFF, payload(51), 51 * PTIME)
    assert step > 0 or (sender.buffer.due or 0.0) <= 51 * PTIME + MAX_DEPTH


def test_a_clock_set_back_is_not_taken_for_jitter() -> None:
    """The sender's time stamps begin ten seconds lower, its numbers go on: the depth stays."""
    sender = Sender()
    for index in range(900):
        timestamp = (index if index < 600 else index - 500) * FRAME & 0xFFFFFFFF
        sender.buffer.push(1, index, timestamp, payload(index), index * PTIME)
        sender.pull(index * PTIME)
        assert index < 400 or sender.buffer.depth == MIN_DEPTH
    assert len(sender.packets) == 900


def test_another_source_is_heard_at_once() -> None:
    """A new SSRC has numbers of its own, and what waited for the old one is nothing to it."""
    sender = Sender(sequence=500)
    for index in (0, 1, 2, 4):
        sender.send(index)
    before = len(sender.given)
    for index in range(200, 203):
        sender.send(index, ssrc=2)
    assert sender.sources[before + 2 :] == [Source.PACKET] * 3  # after the FEC and the packet that were due before


def test_after_a_gap_on_purpose_nothing_is_made_up() -> None:
    """Muted for ten seconds: no concealment, no silence."""
    sender = Sender()
    sender.send(0)
    sender.buffer.gap()
    sender.send(500)
    sender.send(501)
    assert sender.sources == [Source.PACKET] * 3


def test_a_decoder_is_told_where_another_source_begins() -> None:
    """The first piece of all, of a new SSRC, after a gap on purpose, and of a sender that begins anew."""
    sender = Sender(sequence=10_000)
    for index in (0, 1, 3, 4):
        sender.send(index)
    sender.send(5, ssrc=2)
    sender.send(6, ssrc=2)
    sender.buffer.gap()
    for index in (7, 8, 30_000, 30_001, 30_002):
        sender.send(index, ssrc=2)
    sender.end()
    begun = [piece.payload for _, piece in sender.given if piece.begins]
    assert begun == [payload(index) for index in (0, 5, 7, 30_001)]


def test_a_source_that_begins_while_a_hole_is_open_leaves_nothing_of_the_old_one() -> None:
    """Numbers that waited behind the hole do not come out among those of the new source."""
    sender = Sender()
    sender.send(0)
    sender.send(2)
    for index in range(3):
        sender.buffer.push(2, index, index * FRAME, payload(100 + index), 0.05 + index * PTIME)
        sender.pull(0.05 + index * PTIME)
    assert sender.packets == [payload(0), *(payload(100 + index) for index in range(3))]
    assert sender.buffer.depth < 0.1  # another clock is no delay


def test_a_stray_old_packet_changes_nothing() -> None:
    """One packet from long ago is late, not a new beginning."""
    sender = Sender()
    for index in [*range(300), 20, 300, 301]:
        sender.send(index, max(index, 299) * PTIME if index in (20, 300, 301) else None)
    assert sender.packets == [payload(index) for index in range(302)]
    assert sender.buffer.late == 1


def test_a_sender_at_ten_times_the_rate_does_not_get_ten_times_the_time() -> None:
    """Ten seconds: what comes out is bounded by the clock, not by what comes in."""
    buffer, given = JitterBuffer(), 0
    for index in range(5000):
        buffer.push(1, index, index * FRAME, payload(index), index * PTIME / 10)
        given += sum(piece.ticks for piece in buffer.pull(index * PTIME / 10))
    assert buffer.excess > 3000
    live = [Piece(Source.PACKET, FRAME, payload(index)) for index in range(1000)]
    heard = list[Piece]()
    for index, piece in enumerate(live):
        now = 10 + index * PTIME
        buffer.push(1, 5000 + index, (5000 + index) * FRAME, piece.payload, now)
        heard += buffer.pull(now)
    assert heard[-990:] == live[-990:]  # at the right rate it is heard again, whole
    assert given <= 10 * CLOCK_RATE * MAX_RATE + MAX_AHEAD + MAX_SILENCE + MAX_PACKET


@pytest.mark.parametrize("outage", [3.5, 5.0, 6.0])
def test_after_an_outage_delivered_at_once_the_live_voice_is_heard(outage: float) -> None:
    """Of what was held back three seconds are taken; of what follows nothing is lost but the packet in between."""
    sender = Sender(fec=False)
    end = 100 + round(outage / PTIME)
    for index in range(end + 500):
        sender.send(index, max(index, end) * PTIME if index >= 100 else None)
    heard = [int.from_bytes(packet[2:], "big") for packet in sender.packets]
    assert heard[-499:] == list(range(end + 1, end + 500))
    assert len([index for index in heard if 100 <= index < end]) >= 0.9 * MAX_AHEAD / FRAME
