"""What one source's packets tell about its network: loss and jitter (RFC 3550 A.1, A.3, A.8). Pure."""

from dataclasses import dataclass

from rtc.opus import CLOCK_RATE
from rtc.rtp import signed

MAX_DROPOUT, MAX_MISORDER = 3000, 100
"""Packets: a jump beyond either is a stray, or a new beginning if the next packet follows on it (RFC 3550 A.1)."""

_HALF = 1 << 31  # ticks


@dataclass(frozen=True, slots=True)
class Reported:
    """A reception report block (RFC 3550 §6.4.1), less what belongs to sender reports."""

    fraction_lost: int
    """Of 256, since the last report."""
    packets_lost: int
    """Since the beginning."""
    highest_sequence: int
    """32 bits, cycles of the sequence number included."""
    jitter: int
    """RTP ticks."""


class Reception:
    """One SSRC's packets, counted."""

    def __init__(self) -> None:
        self._base = self._highest = 0  # extended sequence numbers
        self._received = 0
        self._lost_before = 0  # until the source began anew
        self._anew_at: int | None = None  # sequence number that would show the source has begun anew
        self._before = (0, 0)  # expected and received at the last report
        self._transit = 0
        self._jitter = 0.0  # ticks

    def add(self, sequence: int, timestamp: int, now: float) -> None:
        """Count one packet. `now`: its arrival, clock seconds."""
        transit = int(now * CLOCK_RATE) - timestamp
        ahead = (sequence - self._highest) & 0xFFFF
        if 0 < ahead < MAX_DROPOUT and self._received:
            change = abs(transit - self._transit)
            if change >= _HALF:  # the sender's time has wrapped around
                change = abs(signed(change, 32))
            self._jitter += (change - self._jitter) / 16
            self._highest += ahead
            self._transit = transit
            self._received += 1
            return
        jumped = MAX_DROPOUT <= ahead <= 0x10000 - MAX_MISORDER
        if not self._received or (jumped and sequence == self._anew_at):
            self._lost_before += self.packets_lost
            self._base = self._highest = sequence
            self._received, self._before, self._anew_at = 0, (0, 0), None
            self._transit = transit
        elif jumped:
            self._anew_at = (sequence + 1) & 0xFFFF
            return
        self._received += 1  # those that come late or again, perhaps because we asked, tell nothing about spacing

    @property
    def packets_lost(self) -> int:
        """Since the source began (anew); negative when packets come twice."""
        return self._expected - self._received

    @property
    def packets_lost_in_all(self) -> int:
        """Also before the source began anew."""
        return self._lost_before + self.packets_lost

    @property
    def _expected(self) -> int:
        return self._highest - self._base + 1 if self._received else 0

    @property
    def jitter(self) -> float:
        """Seconds: the mean deviation of the spacing of packets."""
        return self._jitter / CLOCK_RATE

    def report(self) -> Reported:
        """The block for the next receiver report; its interval ends here."""
        expected = self._expected
        interval = expected - self._before[0]
        lost = interval - (self._received - self._before[1])
        self._before = (expected, self._received)
        return Reported(
            fraction_lost=min(255, max(0, (lost << 8) // interval)) if interval > 0 else 0,
            packets_lost=max(-0x800000, min(0x7FFFFF, self.packets_lost)),
            highest_sequence=self._highest & 0xFFFFFFFF,
            jitter=min(int(self._jitter), 0xFFFFFFFF),
        )
