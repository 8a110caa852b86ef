"""Loss and jitter, held against RFC 3550's own words."""

from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtc.opus import CLOCK_RATE, FRAME
from rtc.reception import Reception

SEQUENCES = 1 << 16


@dataclass
class Oracle:
    """RFC 3550 A.1, A.3 and A.8 as they stand there, without the probation of new sources: SRTP vouches for ours."""

    max_seq: int
    cycles: int = 0
    base_seq: int = 0
    bad_seq: int = SEQUENCES + 1
    received: int = 0
    expected_prior: int = 0
    received_prior: int = 0
    transit: int = 0
    jitter: float = 0.0

    def init_seq(self, seq: int) -> None:
        self.base_seq = self.max_seq = seq
        self.bad_seq = SEQUENCES + 1
        self.cycles = self.received = self.expected_prior = self.received_prior = 0

    def update_seq(self, seq: int, timestamp: int, arrival: int) -> None:
        udelta = (seq - self.max_seq) % SEQUENCES
        in_order = False
        if self.received == 0:
            self.init_seq(seq)
            self.transit = arrival - timestamp
        elif udelta < 3000:
            if seq < self.max_seq:
                self.cycles += SEQUENCES
            self.max_seq = seq
            in_order = udelta > 0
        elif udelta <= SEQUENCES - 100:
            if seq != self.bad_seq:
                self.bad_seq = (seq + 1) % SEQUENCES
                return
            self.init_seq(seq)
            self.transit = arrival - timestamp
        self.received += 1
        if in_order:  # A.8 counts all: sent again, a packet would count as very late
            d = abs((arrival - timestamp - self.transit + (1 << 31)) % (1 << 32) - (1 << 31))
            self.transit = arrival - timestamp
            self.jitter += (d - self.jitter) / 16

    @property
    def extended_max(self) -> int:
        return self.cycles + self.max_seq

    @property
    def lost(self) -> int:
        return self.extended_max - self.base_seq + 1 - self.received

    def fraction(self) -> int:
        expected = self.extended_max - self.base_seq + 1
        expected_interval = expected - self.expected_prior
        received_interval = self.received - self.received_prior
        self.expected_prior, self.received_prior = expected, self.received
        lost_interval = expected_interval - received_interval
        if expected_interval == 0 or lost_interval <= 0:
            return 0
        return min(255, (lost_interval << 8) // expected_interval)


steps = st.sampled_from([1, 1, 1, 1, 2, 5, 0, -1, -3, 7, 300, -99, -100, 2999, 3000, -8000, 32_768, 65_535])
arrivals = st.lists(st.tuples(steps, st.integers(-960, 5000), st.sampled_from([0, 0, 0, 1])), max_size=60)


@settings(max_examples=50)
@given(st.integers(0, SEQUENCES - 1), st.integers(0, 0xFFFF_FFFF), arrivals)
@example(65_530, 0xFFFF_F000, [(1, 0, n % 5 == 4) for n in range(20)])
@example(10, 0, [(-8000, 0, 0), (1, 0, 1), (1, 0, 1)])
def test_it_counts_as_the_rfc_does(start: int, ticks: int, arriving: list[tuple[int, int, int]]) -> None:
    """Whatever is lost, late, doubled or begins anew, and whenever one asks."""
    ours, oracle = Reception(), Oracle(start)
    sequence, now = start, 1000.0
    for step, late, ask in [(0, 0, 0), *arriving]:
        sequence = (sequence + step) % SEQUENCES
        now += 0.02
        timestamp = (ticks + int(now * CLOCK_RATE) - late) & 0xFFFF_FFFF
        ours.add(sequence, timestamp, now)
        oracle.update_seq(sequence, timestamp, int(now * CLOCK_RATE))
        assert ours.packets_lost == oracle.lost
        if ask:
            report = ours.report()
            assert report.fraction_lost == oracle.fraction()
            assert (report.packets_lost, report.highest_sequence) == (oracle.lost, oracle.extended_max)
            assert report.jitter == pytest.approx(oracle.jitter, abs=1)
    assert ours.jitter == pytest.approx(oracle.jitter / CLOCK_RATE)


def receive(reception: Reception, *sequences: int) -> None:
    """Each at the time that its number stands for."""
    for sequence in sequences:
        reception.add(sequence % SEQUENCES, sequence * FRAME & 0xFFFF_FFFF, 50.0 + sequence * 0.02)


def test_nothing_came_nothing_is_lost() -> None:
    report = Reception().report()
    assert (report.fraction_lost, report.packets_lost, report.jitter) == (0, 0, 0)


def test_a_quarter_is_lost() -> None:
    """As 64 of 256, of the interval; the next one is whole."""
    reception = Reception()
    receive(reception, *(n for n in range(65_500, 65_600) if n % 4))
    report = reception.report()
    assert (report.fraction_lost, report.packets_lost) == (pytest.approx(64, abs=2), 24)
    assert report.highest_sequence == 65_599
    receive(reception, *range(65_600, 65_650))
    assert reception.report().fraction_lost == 0
    assert reception.packets_lost == 24


def test_what_comes_late_was_not_lost() -> None:
    reception = Reception()
    receive(reception, 1, 2, 4, 5)
    assert reception.packets_lost == 1
    receive(reception, 3)
    assert reception.packets_lost == 0


def test_packets_that_come_twice_make_loss_negative() -> None:
    """RFC 3550 §6.4.1: and the fraction 0."""
    reception = Reception()
    receive(reception, 1, 2, 2, 2, 3)
    report = reception.report()
    assert (report.packets_lost, report.fraction_lost) == (-2, 0)


def test_loss_fits_into_24_bits() -> None:
    """However long the call and however bad: the number stays at its end."""
    reception = Reception()
    for start in range(0, 9_000_000, 2500):
        reception.add(start % SEQUENCES, 0, 1.0)
    assert reception.report().packets_lost == 0x7F_FFFF


def test_all_but_one_lost_fits_into_8_bits() -> None:
    reception = Reception()
    receive(reception, 1)
    reception.report()
    receive(reception, 2900)
    assert reception.report().fraction_lost == 255


def test_a_stray_changes_nothing() -> None:
    """One packet of long ago, or of far ahead, is neither loss nor a beginning."""
    reception = Reception()
    receive(reception, *range(1000, 1010), *range(1011, 1020))
    before = reception.packets_lost, reception.jitter
    for stray in (700, 9000):
        reception.add(stray, 0, 60.0)
    assert (reception.packets_lost, reception.jitter) == before
    receive(reception, *range(1020, 1030))
    report = reception.report()
    assert (report.packets_lost, report.fraction_lost, report.highest_sequence) == (1, 256 // 30, 1029)


def test_a_source_that_begins_anew_is_counted_anew() -> None:
    """With its second packet; nothing that lies between is lost."""
    reception = Reception()
    receive(reception, *range(10_000, 10_010))
    receive(reception, *range(50, 60))
    report = reception.report()
    assert (report.packets_lost, report.highest_sequence) == (0, 59)


def test_a_steady_sender_has_no_jitter() -> None:
    reception = Reception()
    receive(reception, *range(100))
    assert reception.jitter < 1e-4


def test_jitter_is_the_mean_deviation() -> None:
    """Every other packet 10 ms late: the spacing is off by 10 ms each time."""
    reception = Reception()
    for n in range(300):
        reception.add(n, n * FRAME, 50.0 + n * 0.02 + (n % 2) * 0.01)
    assert reception.jitter == pytest.approx(0.01, rel=0.01)


def test_what_was_sent_again_has_no_jitter() -> None:
    """A packet that comes 100 ms late because we asked for it tells nothing about the path."""
    reception = Reception()
    receive(reception, *range(50), *range(51, 56))
    reception.add(50, 50 * FRAME, 50.0 + 55 * 0.02)
    receive(reception, *range(56, 60))
    assert reception.jitter < 1e-4


def test_a_timestamp_that_wraps_around_is_no_jitter() -> None:
    reception = Reception()
    for n in range(50):
        reception.add(n, (0xFFFF_FFFF - 20 * FRAME + n * FRAME) & 0xFFFF_FFFF, 50.0 + n * 0.02)
    assert reception.jitter < 1e-4
