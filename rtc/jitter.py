"""Puts a sender's packets in order for a decoder that feeds a model. Pure.

A model needs order and a sample clock that never lies, not a steady beat: so nothing waits while packets come in order,
and a hole is waited for only until `patience` newer packets are there. (aiortc's own buffer holds 80 ms always and
loses five frames for each lost packet: aiortc issue #543.)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from rtc.opus import FRAME, duration


class Source(Enum):
    """Where 20 ms of audio come from."""

    PACKET = auto()
    FEC = auto()  # `payload` is the packet after the lost one
    CONCEALED = auto()
    SILENCE = auto()  # the sender paused (DTX, RFC 7587 §3.1.3)


@dataclass(frozen=True, slots=True)
class Piece:
    """What the decoder does next."""

    source: Source
    payload: bytes = b""


MAX_CONCEALED = 10
"""Packets (200 ms) made up for one hole; concealment beyond that is noise, so the rest is silence."""

MAX_SILENCE = 50
"""Packets (1 s) of silence given out for one jump; a longer pause is known by the clock, not by samples."""

RESTART = 3000
"""A jump of the sequence number beyond this (one minute) is a new beginning, not a loss (RFC 3550 A.1)."""

MAX_MISORDER = 100
"""A packet older than this (2 s) is a stray, unless the next one follows on it: then the sender has begun anew."""


class ReorderBuffer:
    """Packets in, pieces in order out."""

    def __init__(self, patience: int = 3) -> None:
        self._patience = patience
        self._waiting: dict[int, tuple[int, bytes]] = {}  # sequence number → (timestamp, payload)
        self._ssrc: int | None = None
        self._next = 0  # sequence number
        self._next_timestamp = 0
        self._anew_at: int | None = None  # sequence number that would show the sender has begun anew
        self.received = self.recovered = self.concealed = self.late = 0
        """Counters of packets."""

    def push(self, ssrc: int, sequence: int, timestamp: int, payload: bytes) -> Iterator[Piece]:
        """Take one packet; give what can be decoded now. Empty payloads (padding, RFC 3550 §5.1) take a number, but
        no time."""
        ahead = _signed(sequence - self._next, 16)
        if ssrc != self._ssrc or abs(ahead) > RESTART or self._begins_anew(ahead, sequence):
            self._ssrc, self._next, self._next_timestamp = ssrc, sequence, timestamp
            self._waiting.clear()
            self._anew_at, ahead = None, 0
        if ahead < 0 or sequence in self._waiting:
            self.late += 1
            return
        self.received += 1
        self._waiting[sequence] = (timestamp, payload)
        while self._waiting:
            if self._next in self._waiting:
                yield from self._take()
            elif len(self._waiting) >= self._patience:
                yield from self._give_up()
            else:
                return

    def _begins_anew(self, ahead: int, sequence: int) -> bool:
        """Two packets in a row that are far too old (RFC 3550 A.1): otherwise nothing is heard until it catches up."""
        if ahead >= -MAX_MISORDER:
            return False
        anew, self._anew_at = sequence == self._anew_at, (sequence + 1) & 0xFFFF
        return anew

    def _take(self) -> Iterator[Piece]:
        timestamp, payload = self._waiting.pop(self._next)
        self._next = (self._next + 1) & 0xFFFF
        if not payload:
            return
        pause = _signed(timestamp - self._next_timestamp, 32) // FRAME
        for _ in range(min(max(pause, 0), MAX_SILENCE)):
            yield Piece(Source.SILENCE)
        self._next_timestamp = (timestamp + (duration(payload) or FRAME)) & 0xFFFFFFFF
        yield Piece(Source.PACKET, payload)

    def _give_up(self) -> Iterator[Piece]:
        """The hole before the oldest waiting packet will not be filled."""
        first = min(self._waiting, key=lambda sequence: _signed(sequence - self._next, 16))
        timestamp, payload = self._waiting[first]
        missing = _signed(timestamp - self._next_timestamp, 32) // FRAME
        lost = min(_signed(first - self._next, 16), max(missing, 0))
        for index in range(min(lost, MAX_CONCEALED)):
            if index == lost - 1 and payload:
                self.recovered += 1
                yield Piece(Source.FEC, payload)
            else:
                self.concealed += 1
                yield Piece(Source.CONCEALED)
        self._next = first
        self._next_timestamp = (self._next_timestamp + min(lost, MAX_CONCEALED) * FRAME) & 0xFFFFFFFF


def _signed(difference: int, bits: int) -> int:
    """Difference of two wrapping counters as a signed number (RFC 1982)."""
    half = 1 << (bits - 1)
    return ((difference + half) & ((1 << bits) - 1)) - half
