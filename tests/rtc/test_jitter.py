"""Order, a sample clock that never lies, and as little waiting as the network allows."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtc.jitter import (
    MAX_AHEAD,
    MAX_CONCEALED,
    MAX_DEPTH,
    MAX_MISORDER,
    MAX_RATE,
    MAX_SILENCE,
    MAX_WAITING,
    MIN_DEPTH,
    JitterBuffer,
    NetworkDelay,
    Piece,
    Source,
)
from rtc.opus import CLOCK_RATE, FRAME

PTIME = 0.02
MAX_PACKET = 6 * FRAME
"""120 ms (RFC 6716 §3.1)."""
TOC_OF = {480: 8, 960: 9, 1920: 10, 2880: 11, 120: 28, 240: 29}
"""Ticks → Opus configuration (RFC 6716 §3.1)."""


def payload(index: int, fec: bool = True, ticks: int = FRAME) -> bytes:
    """A packet that can be told from the others."""
    return bytes([TOC_OF[ticks] << 3, 0x40 if fec else 0]) + index.to_bytes(4, "big")


class Sender:
    """Pushes packets of 20 ms into a buffer, and pulls when something is due."""

    def __init__(self, sequence: int = 0, timestamp: int = 0, fec: bool = True) -> None:
        self.buffer = JitterBuffer()
        self._sequence, self._timestamp, self._fec = sequence, timestamp, fec
        self.given: list[tuple[float, Piece]] = []

    def pull(self, now: float) -> None:
        self.given += [(now, piece) for piece in self.buffer.pull(now)]

    def send(self, index: int, now: float | None = None, ssrc: int = 1) -> None:
        """Packet `index` arrives, on time or at `now`; before that, whatever is due."""
        now = index * PTIME if now is None else now
        while (due := self.buffer.due) is not None and due <= now:
            self.pull(due)
        sequence, timestamp = (self._sequence + index) & 0xFFFF, (self._timestamp + index * FRAME) & 0xFFFFFFFF
        self.buffer.push(ssrc, sequence, timestamp, payload(index, self._fec), now)
        self.pull(now)

    def end(self) -> None:
        while (due := self.buffer.due) is not None:
            self.pull(due)

    @property
    def sources(self) -> list[Source]:
        return [piece.source for _, piece in self.given]

    @property
    def packets(self) -> list[bytes]:
        return [piece.payload for _, piece in self.given if piece.source is Source.PACKET]

    @property
    def ticks(self) -> int:
        return sum(piece.ticks for _, piece in self.given)


@given(st.lists(st.floats(0, 0.055), min_size=1, max_size=60), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF))
def test_reordering_within_the_depth_costs_nothing(late: list[float], sequence: int, timestamp: int) -> None:
    """Packets come out once each, in order, across both wrap-arounds, none later than the last it had to wait for."""
    sender = Sender(sequence, timestamp)
    sender.send(0)
    arrivals = sorted((index * PTIME + delay, index) for index, delay in enumerate(late, 1))
    for at, index in arrivals:
        sender.send(index, at)
    assert sender.sources == [Source.PACKET] * (len(late) + 1)
    assert sender.packets == [payload(index) for index in range(len(late) + 1)]
    came = {index: at for at, index in arrivals} | {0: 0.0}
    waited_for = itertools.accumulate((came[index] for index in range(len(late) + 1)), max)
    assert [now for now, _ in sender.given] == list(waited_for)


@given(st.lists(st.booleans(), min_size=1, max_size=80), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF))
def test_losses_do_not_stop_the_sample_clock(kept: list[bool], sequence: int, timestamp: int) -> None:
    """What comes out lasts exactly as long as what was sent, whichever packets were lost on the way."""
    sender = Sender(sequence, timestamp)
    order = [0, *(index for index, keep in enumerate(kept, 1) if keep), len(kept) + 1]
    for index in order:
        sender.send(index)
    sender.end()
    holes = [b - a - 1 for a, b in itertools.pairwise(order) if b - a > 1]
    if all(hole * FRAME <= MAX_CONCEALED + MAX_SILENCE for hole in holes):
        assert sender.ticks == (len(kept) + 2) * FRAME
    assert sender.packets == [payload(index) for index in order]
    assert sender.buffer.recovered == len(holes)
    assert sum(sender.buffer.ticks.values()) == sender.ticks


def test_of_two_lost_the_first_is_concealed_and_the_second_recovered() -> None:
    """Only the packet right after a hole carries a copy, of the one before it."""
    sender = Sender()
    for index in (0, 1, 4, 5):
        sender.send(index)
    sender.end()
    assert sender.sources == [Source.PACKET] * 2 + [Source.CONCEALED, Source.FEC] + [Source.PACKET] * 2
    assert sender.given[3][1] == Piece(Source.FEC, FRAME, payload(4))
    assert (sender.buffer.concealed, sender.buffer.recovered) == (1, 1)


def test_without_a_copy_nothing_counts_as_recovered() -> None:
    """A sender that uses no FEC: the same length, concealed."""
    sender = Sender(fec=False)
    for index in (0, 1, 3):
        sender.send(index)
    sender.end()
    assert Source.FEC not in sender.sources and sender.ticks == 4 * FRAME
    assert (sender.buffer.concealed, sender.buffer.recovered) == (1, 0)


def test_a_hole_is_waited_for_as_long_as_the_depth_says() -> None:
    """`due` names the moment, counted from when the packet should have come. Nothing is made up before."""
    sender = Sender()
    jitter(sender, range(400), 0.1)
    depth, before = sender.buffer.depth, len(sender.given)
    sender.send(401, 401 * PTIME)
    assert len(sender.given) == before
    assert sender.buffer.due == pytest.approx(400 * PTIME + depth, abs=0.005)
    sender.pull(sender.buffer.due - 1e-6)
    assert len(sender.given) == before
    sender.pull(sender.buffer.due)
    assert sender.sources[before:] == [Source.FEC, Source.PACKET]


def jitter(sender: Sender, indices: range, late: float, seed: int = 1) -> None:
    dice = random.Random(seed)
    for at, index in sorted((index * PTIME + dice.uniform(0, late), index) for index in indices):
        sender.send(index, at)


def test_the_depth_grows_with_jitter_and_comes_back() -> None:
    """Within a second of a network turning bad late packets are few; a burst is forgotten within seconds."""
    sender = Sender()
    jitter(sender, range(300), 0.0)
    assert sender.buffer.depth == MIN_DEPTH
    jitter(sender, range(300, 350), 0.1)
    assert 0.06 < sender.buffer.depth <= 0.11
    late = sender.buffer.late
    jitter(sender, range(350, 650), 0.1)
    assert sender.buffer.late - late < 0.06 * 300 and 0.085 < sender.buffer.depth <= 0.11
    jitter(sender, range(650, 1250), 0.0)
    assert sender.buffer.depth == MIN_DEPTH


def test_an_outage_deepens_for_seconds_only() -> None:
    """A second of packets at once: as deep as it gets, and 12 s later shallow again."""
    sender = Sender()
    jitter(sender, range(300), 0.0)
    for index in range(300, 350):
        sender.send(index, 350 * PTIME)
    assert sender.buffer.depth == MAX_DEPTH
    jitter(sender, range(351, 951), 0.0)
    assert sender.buffer.depth == MIN_DEPTH


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_an_hour_of_clock_drift_is_no_delay(drift: float) -> None:
    """The sender's clock gains or loses 0.7 s; the depth stays, nothing is late, nothing is made up."""
    buffer, dice = JitterBuffer(), random.Random(2)
    depths = []
    for index in range(3600 * 1000 // 60):
        now = index * 0.06 * (1 + drift) + dice.uniform(0, 0.01)
        assert buffer.push(1, index & 0xFFFF, index * 2880 & 0xFFFFFFFF, payload(index, ticks=2880), now)
        assert len(list(buffer.pull(now))) == 1
        if index % 1000 == 999:
            depths.append(buffer.depth)
    assert depths == [MIN_DEPTH] * 60
    assert buffer.excess == 0


def test_another_path_is_got_used_to() -> None:
    """50 ms longer from now on: late for some seconds, then the way it is."""
    delay = NetworkDelay()
    for index in range(3000):
        delay.observe(index * FRAME, index * PTIME + (0.05 if index > 1000 else 0.0))
        if index == 1200:
            assert 0.05 <= delay.depth <= 0.06
    assert delay.depth == MIN_DEPTH


def test_a_long_call_forgets_as_fast_as_a_short_one() -> None:
    """Ten late packets after 33 minutes: 12 s later as shallow as before."""
    delay = NetworkDelay()
    for index in range(100_700):
        late = 0.2 if 100_000 <= index < 100_010 else 0.0
        delay.observe(index * FRAME, index * PTIME + late)
        assert index != 100_010 or delay.depth > 0.2
    assert delay.depth == MIN_DEPTH


def test_each_of_the_missing_is_waited_for() -> None:
    """Three are missing; the time of the first is over, and the second comes just then."""
    sender = Sender(fec=False)
    jitter(sender, range(400), 0.1)
    before = sender.buffer.late, sender.buffer.concealed
    sender.send(403)
    first = sender.buffer.due
    assert first is not None
    sender.send(401, first)
    sender.end()
    assert sender.packets[-2:] == [payload(index, fec=False) for index in (401, 403)]
    assert (sender.buffer.late, sender.buffer.concealed) == (before[0], before[1] + 2)


def test_each_hole_is_made_up_for_anew() -> None:
    """200 ms of concealment are for one hole, not for a call."""
    sender = Sender(fec=False)
    for index in range(0, 55, 11):
        sender.send(index)
    sender.end()
    assert sender.sources.count(Source.CONCEALED) == 4 * 10


def test_what_waits_and_what_is_remembered_is_bounded() -> None:
    """More packets behind a hole than can be waited for end it at once; of a thousand holes the last are known."""
    buffer, many = JitterBuffer(), MAX_WAITING + 2
    for index in range(many):
        buffer.push(1, index + (index > 0), (index + (index > 0)) * 120, payload(index, fec=False, ticks=120), 0.0)
    assert [piece.source for piece in buffer.pull(0.0)].count(Source.PACKET) == many
    for index in range(many + 1, 3000, 2):
        buffer.push(1, index, index * FRAME, payload(index), index * PTIME)
        list(buffer.pull(index * PTIME + 1.0))
    assert len(buffer._given_up) <= MAX_MISORDER


def test_late_and_doubled_packets_are_counted_apart_and_dropped() -> None:
    """One comes after it was given up, and again; another comes twice."""
    sender = Sender()
    for index in (0, 1, 2, 4, 5, 6, 7, 8, 9, 9, 3, 3):
        sender.send(index, max(0.5, index * PTIME))
        sender.pull(1.0)
    assert (sender.buffer.late, sender.buffer.duplicate) == (1, 2)
    assert sender.ticks == 10 * FRAME
    assert sender.packets == [payload(index) for index in range(10) if index != 3]


def test_a_long_hole_is_concealed_for_200_ms_and_then_silent() -> None:
    """Concealment beyond that is noise; and beyond 200 ms more, who has listened for it has counted the time."""
    sender = Sender(fec=False)
    sender.send(0)
    sender.send(16)
    sender.end()
    given = Counter[Source]()
    for _, piece in sender.given:
        given[piece.source] += piece.ticks
    assert given[Source.CONCEALED] == MAX_CONCEALED == sender.buffer.concealed * FRAME
    assert given[Source.SILENCE] == 15 * FRAME - MAX_CONCEALED
    sender.send(100)
    sender.end()
    assert sum(piece.ticks for _, piece in sender.given if piece.source is Source.SILENCE) == 5 * FRAME + MAX_SILENCE


@pytest.mark.parametrize(("pause", "silence"), [(5 * FRAME, 5 * FRAME), (3600 * CLOCK_RATE, MAX_SILENCE)])
def test_a_pause_of_the_sender_is_silence_not_loss(pause: int, silence: int) -> None:
    """DTX: the numbers go on, the time jumps. Nobody gets an hour of zeros to chew on."""
    sender = Sender()
    sender.send(0)
    sender.buffer.push(1, 1, FRAME + pause, payload(1), PTIME + pause / CLOCK_RATE)
    sender.pull(PTIME + pause / CLOCK_RATE)
    assert [piece for _, piece in sender.given][1:] == [
        Piece(Source.SILENCE, silence),
        Piece(Source.PACKET, FRAME, payload(1)),
    ]
    sender.buffer.push(1, 2, 2 * FRAME + 2 * pause, payload(2), 2 * (PTIME + pause / CLOCK_RATE))
    sender.pull(2 * (PTIME + pause / CLOCK_RATE))
    assert sender.given[-2][1] == Piece(Source.SILENCE, silence)  # each pause has its own
    assert sender.buffer.concealed == sender.buffer.recovered == 0


@pytest.mark.parametrize("pause", [2 * FRAME, 5 * FRAME, 50 * FRAME])
@pytest.mark.parametrize("fec", [False, True])
def test_the_first_packet_after_a_pause_is_waited_for_and_made_up_like_any_other(pause: int, fec: bool) -> None:
    """It may be behind its successor; if it is lost, the pause stays silent and only the packet is made up."""
    sender = Sender(fec=fec)
    jitter(sender, range(300), 0.06)
    depth, begin = sender.buffer.depth, 300 * FRAME + pause
    for lost in (False, True):
        before, at = len(sender.given), begin / CLOCK_RATE + 2.0 * lost
        number, timestamp = (301, begin) if not lost else (304, begin + 2 * CLOCK_RATE)
        sender.buffer.push(1, number, timestamp + FRAME, payload(number, fec), at + PTIME)
        sender.pull(at + PTIME)
        assert sender.buffer.due == pytest.approx(at + depth, abs=0.01) and len(sender.given) == before
        if not lost:
            sender.buffer.push(1, number - 1, timestamp, payload(number - 1, fec), at + PTIME + 0.005)
        sender.buffer.push(1, number + 1, timestamp + 2 * FRAME, payload(number + 1, fec), at + 2 * PTIME)
        sender.end()
        made = Source.PACKET if not lost else Source.FEC if fec else Source.CONCEALED
        silence = min(pause if not lost else 2 * CLOCK_RATE - 3 * FRAME, MAX_SILENCE)
        assert [(piece.source, piece.ticks) for _, piece in sender.given[before:]] == [
            (Source.SILENCE, silence), (made, FRAME), (Source.PACKET, FRAME), (Source.PACKET, FRAME)
        ]  # fmt: skip
    assert sender.buffer.late == 0


@pytest.mark.parametrize("ticks", sorted(TOC_OF))
def test_holes_are_as_long_as_the_packets_were(ticks: int) -> None:
    """2.5 to 60 ms: the time stamps tell."""
    buffer, given = JitterBuffer(), list[Piece]()
    for index in (0, 1, 2, 5, 6):
        buffer.push(1, index, index * ticks, payload(index, fec=False, ticks=ticks), index * ticks / CLOCK_RATE)
        given += buffer.pull(index * ticks / CLOCK_RATE)
    given += buffer.pull(1.0)
    assert sum(piece.ticks for piece in given if piece.source is Source.CONCEALED) == 2 * ticks
    assert sum(piece.ticks for piece in given) == 7 * ticks


def test_padding_takes_a_number_but_no_time() -> None:
    """Empty packets repeat the last timestamp; neither loss nor silence comes of them, nor do they hide a loss."""
    sender = Sender()
    for sequence, timestamp, content in ((1, 0, payload(0)), (2, 0, b""), (3, FRAME, payload(1)), (5, FRAME, b"")):
        sender.buffer.push(1, sequence, timestamp, content, sequence * PTIME)
        sender.pull(sequence * PTIME)
    assert sender.buffer.due is None
    sender.buffer.push(1, 6, 3 * FRAME, payload(3), 0.1)
    sender.end()
    assert sender.sources == [Source.PACKET, Source.PACKET, Source.FEC, Source.PACKET]
    assert sender.ticks == 4 * FRAME


packet = st.tuples(
    st.integers(0, 1),
    st.one_of(st.integers(0, 150), st.integers(0, 0xFFFF)),
    st.one_of(st.integers(0, 150 * FRAME), st.integers(0, 150).map(lambda n: n * FRAME), st.integers(0, 0xFFFFFFFF)),
    st.one_of(st.binary(max_size=4), st.integers(0, 5).map(payload)),
    st.floats(0, 0.5),
)


@given(st.lists(packet, max_size=60))
def test_any_packets_at_all_are_bounded(stream: list[tuple[int, int, int, bytes, float]]) -> None:
    """Any order of anything: no exception, memory and waiting bounded, no more time given out than went by."""
    buffer, now, given = JitterBuffer(), 0.0, 0
    for ssrc, sequence, timestamp, content, passed in stream:
        now += passed
        buffer.push(ssrc, sequence, timestamp, content, now)
        for piece in buffer.pull(now):
            assert 0 < piece.ticks <= max(MAX_SILENCE, MAX_PACKET) and piece.ticks % 120 == 0
            given += piece.ticks
        assert buffer.due is None or now < buffer.due <= now + MAX_DEPTH + 1e-9
        assert MIN_DEPTH <= buffer.depth <= MAX_DEPTH
        assert len(buffer._waiting) <= MAX_WAITING + 1
        assert given <= now * CLOCK_RATE * MAX_RATE + MAX_AHEAD + 2 * (MAX_SILENCE + MAX_CONCEALED + MAX_PACKET) + (
            MAX_WAITING * MAX_PACKET
        )
    while (due := buffer.due) is not None:
        list(buffer.pull(due))
        assert buffer.due is None or buffer.due > due
