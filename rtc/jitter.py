"""Puts a sender's packets in order for a decoder, and says what to do about those that do not come. Pure; time is an
argument.

A model needs order and a sample clock that never lies, not a steady beat: so nothing waits while packets come in order.
A missing packet is waited for until `depth` after it should have arrived; then it is recovered from the copy in its
successor, or concealed. `depth` follows the network's jitter both ways, within seconds. (aiortc's own buffer holds 80
ms always, loses five frames for each lost packet and grows for the rest of the call: aiortc issue #543.)
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

import numpy.typing as npt

from rtc.opus import CLOCK_RATE, FRAME, Decoder, Sample, duration, fec_duration
from rtc.rtp import signed

MIN_DEPTH, MAX_DEPTH = 0.02, 0.3
"""Seconds for which a missing packet is waited for."""

MAX_CONCEALED = CLOCK_RATE // 5
"""Ticks (200 ms) made up for one hole; concealment beyond that is noise, so the rest is silence."""

MAX_SILENCE = CLOCK_RATE // 5
"""Ticks (200 ms) of silence given out for one gap: it comes when the gap is over, all at once. A longer pause is known
by the clock, not by samples."""

MAX_WAITING = 128
"""Packets held behind a hole: more than MAX_DEPTH of the shortest ones (2.5 ms)."""

MAX_DROPOUT = 3000
"""A jump of the sequence number beyond this (one minute) is a new beginning, not a loss (RFC 3550 A.1)."""

MAX_MISORDER = 100
"""A packet older than this (2 s) is a stray, unless the next one follows on it: then the sender has begun anew."""

MAX_AHEAD, MAX_RATE = 3 * CLOCK_RATE, 1.1
"""Ticks by which a sender may outrun the clock (a burst after an outage), and how fast it may go for ever."""

_UNIT = 120
"""Ticks of 2.5 ms, of which all Opus durations are multiples."""


class Source(Enum):
    """Where a stretch of audio comes from."""

    PACKET = auto()
    FEC = auto()  # `payload` is the packet after the lost one
    CONCEALED = auto()
    SILENCE = auto()  # the sender paused (DTX, RFC 7587 §3.1.3), or a hole was too long to be made up


@dataclass(frozen=True, slots=True)
class Piece:
    """What the decoder does next."""

    source: Source
    ticks: int
    """Length in 1/48000 s, a multiple of 2.5 ms; of a packet that is no Opus, what it is taken for."""
    payload: bytes = b""
    begins: bool = False
    """It does not follow on what came before: another source, or the same after a gap on purpose."""


def render(piece: Piece, decoder: Decoder[Sample]) -> npt.NDArray[Sample]:
    """The piece as mono PCM at the decoder's rate. Raises OpusError if its payload is not Opus."""
    if piece.begins:
        decoder.reset()
    match piece.source:
        case Source.PACKET:
            return decoder.decode(piece.payload)
        case Source.FEC:
            return decoder.recover(piece.payload, piece.ticks)
        case Source.CONCEALED:
            return decoder.conceal(piece.ticks)
        case Source.SILENCE:
            return decoder.silence(piece.ticks)


class NetworkDelay:
    """How much longer than on the fastest path packets take (WebRTC's relative arrival delay).

    The fastest of the last seconds is the base, so that a drift between the sender's clock and ours (200 ppm are 2 ms
    in 10 s) is no delay. A forgetting histogram (WebRTC's DelayManager) turns delays into the depth.
    """

    WINDOW = 5.0
    """The base is the fastest of the last one to two times this (seconds)."""
    STEP = 0.005
    """Seconds of one bucket."""
    QUANTILE = 0.99
    """Late is lost, and waiting costs only where something is missing: at 5 % loss and 30 ms of jitter 0.5 MOS (PESQ)
    more than 0.97, for 10 ms of the 95th percentile of delay."""
    FORGET = 1 - 1 / 120
    """Each packet counts this much of the one after it: as short a memory as lets no single packet decide."""
    FIRST_DEPTH, FIRST_WEIGHT = 0.06, 2.0
    """Before anything is known it is as if that many packets had been that late."""

    def __init__(self) -> None:
        self._weights = [0.0] * (round(MAX_DEPTH / self.STEP) + 1)
        self._weights[round(self.FIRST_DEPTH / self.STEP) - 1] = self._total = self.FIRST_WEIGHT
        self._weight = 1.0
        self._fastest = self._fastest_before = (
            math.inf
        )  # seconds between the sender's clock and ours: in this window, …
        self._since = -math.inf

    def rebase(self) -> None:
        """The sender's clock was set anew. What is known of the network stays."""
        self._fastest = self._fastest_before = math.inf

    def observe(self, timestamp: int, now: float) -> None:
        """A packet of this (unwrapped) timestamp arrived."""
        if now - self._since >= self.WINDOW:
            self._fastest_before = self._fastest if now - self._since < 2 * self.WINDOW else math.inf
            self._fastest, self._since = math.inf, now
        transit = now - timestamp / CLOCK_RATE
        self._fastest = min(self._fastest, transit)
        bucket = int((transit - min(self._fastest, self._fastest_before)) / self.STEP)
        self._weights[min(bucket, len(self._weights) - 1)] += self._weight
        self._total += self._weight
        self._weight /= self.FORGET  # instead of multiplying all of the others
        if self._weight > 1e9:
            self._weights = [weight / self._weight for weight in self._weights]
            self._total, self._weight = self._total / self._weight, 1.0

    def expected(self, timestamp: int) -> float:
        """When the packet of this timestamp arrives on the fastest path. Something was observed since `rebase`."""
        return timestamp / CLOCK_RATE + min(self._fastest, self._fastest_before)

    @property
    def depth(self) -> float:
        """Seconds of delay that all but a few packets stay below, within MIN_DEPTH and MAX_DEPTH."""
        allowed = (1 - self.QUANTILE) * self._total
        bucket = len(self._weights)
        while bucket and allowed >= 0:
            bucket -= 1
            allowed -= self._weights[bucket]
        return min(max((bucket + 1) * self.STEP, MIN_DEPTH), MAX_DEPTH)


class _Arrived(NamedTuple):
    timestamp: int  # unwrapped
    payload: bytes
    at: float


class JitterBuffer:
    """Packets in, pieces in order out: `push` each packet, then `pull`, and `pull` again at `due`."""

    def __init__(self) -> None:
        self._delay = NetworkDelay()
        self._waiting: dict[int, _Arrived] = {}  # by unwrapped sequence number
        self._ssrc: int | None = None
        self._next = self._next_timestamp = 0  # unwrapped
        self._anew_at: int | None = None  # sequence number that would show that the sender has begun anew
        self._given_up: dict[int, None] = {}  # the last numbers that were not waited for any longer, oldest first
        self._duration = FRAME  # of the last packet
        self._begins = True  # the next piece does
        self._made_up = self._paused = 0  # ticks of concealment and of silence since the last packet
        self._credit, self._credited_at = float(MAX_AHEAD), math.inf
        self.ticks: Counter[Source] = Counter()
        """Length of all that was given out, by source."""
        self.recovered = self.concealed = 0
        """Packets lost: rebuilt from FEC; made up."""
        self.late = self.duplicate = self.excess = 0
        """Packets refused: came after they were given up (or from long ago); came twice; outran the clock."""

    @property
    def depth(self) -> float:
        """Seconds after it should have arrived for which a packet is waited for."""
        return self._delay.depth

    @property
    def due(self) -> float | None:
        """When `pull` has something to give even if no packet comes; None while nothing waits."""
        if self._next in self._waiting:
            return self._waiting[self._next].at
        first = self._first_waiting()
        return None if first is None else self._deadline(first)

    def gap(self) -> None:
        """The next packet comes after a gap on purpose (mute, a switch): nothing is made up for what lies between."""
        self._ssrc = None
        self._waiting.clear()

    def push(self, ssrc: int, sequence: int, timestamp: int, payload: bytes, now: float) -> bool:
        """Take one packet; False if it is of no use any more. Empty payloads (padding, RFC 3550 §5.1) take a number,
        but no time."""
        self._credit += max(0.0, now - self._credited_at) * CLOCK_RATE * MAX_RATE
        self._credit, self._credited_at = min(self._credit, MAX_AHEAD), now
        if self._credit <= 0:
            self.excess += 1
            self.gap()  # what is made up for those refused would use up the credit of those that follow
            return False
        ahead = signed(sequence - self._next, 16)
        stray = not -MAX_MISORDER <= ahead <= MAX_DROPOUT
        if ssrc != self._ssrc or (stray and sequence == self._anew_at):
            self._begin(ssrc, sequence, timestamp)
            ahead, stray = 0, False
        if stray:  # two in a row are a new beginning (RFC 3550 A.1): else nothing is heard until the numbers meet again
            self._anew_at = (sequence + 1) & 0xFFFF
            self.late += 1
            return False
        number = self._next + ahead
        unwrapped = self._next_timestamp + signed(timestamp - self._next_timestamp, 32)
        if number in self._waiting or (ahead < 0 and number not in self._given_up):
            self.duplicate += 1
            return False
        if payload:
            self._delay.observe(unwrapped, now)
        if ahead < 0:
            del self._given_up[number]
            self.late += 1
            return False
        self._waiting[number] = _Arrived(unwrapped, payload, now)
        return True

    def pull(self, now: float) -> Iterator[Piece]:
        """Everything that can be decoded at `now`."""
        while self._waiting:
            if self._next in self._waiting:
                yield from self._take()
            elif (first := self._first_waiting()) is not None and now >= self._deadline(first):
                yield from self._give_up(first, now)
            else:
                return

    def spoilt(self, piece: Piece) -> Piece:
        """What to do instead of `piece`, whose payload is not Opus."""
        self.ticks[piece.source] -= piece.ticks
        self.ticks[Source.SILENCE] += piece.ticks
        return Piece(Source.SILENCE, piece.ticks)

    def _begin(self, ssrc: int, sequence: int, timestamp: int) -> None:
        self._ssrc, self._next, self._next_timestamp, self._anew_at = ssrc, sequence, timestamp, None
        self._waiting.clear()
        self._given_up = dict.fromkeys(range(sequence - MAX_MISORDER, sequence))  # those that this one has overtaken
        self._delay.rebase()
        self._made_up = self._paused = 0
        self._begins = True

    def _first_waiting(self) -> int | None:
        """The number of the oldest packet with audio that waits behind a hole."""
        return min((number for number, packet in self._waiting.items() if packet.payload), default=None)

    def _lost(self, first: int) -> int:
        """How many are missing before the packet `first`; those that wait there are padding."""
        return first - self._next - sum(number < first for number in self._waiting)

    def _hole(self, first: int) -> int:
        """The timestamp at which the audio begins that is missing before the packet `first`. What lies between it and
        the last packet is a pause (DTX), if it is longer than those missing can have been."""
        packet = self._waiting[first]
        longest = max(self._duration, duration(packet.payload))
        return max(self._next_timestamp, packet.timestamp - self._lost(first) * longest)

    def _deadline(self, first: int) -> float:
        """Until when the next packet is waited for; its successors up to `first` have their own."""
        packet = self._waiting[first]
        if len(self._waiting) > MAX_WAITING:
            return packet.at
        # Its own arrival bounds it, should the sender's timestamps make no sense.
        return min(self._delay.expected(self._hole(first)), packet.at) + self._delay.depth

    def _take(self) -> Iterator[Piece]:
        packet = self._waiting.pop(self._next)
        self._next += 1
        if not packet.payload:
            return
        gap = packet.timestamp - self._next_timestamp
        if gap < 0:  # the sender's clock was set back, or stands still
            self._delay.rebase()
            self._delay.observe(packet.timestamp, packet.at)
        yield from self._pause(gap)
        self._duration = duration(packet.payload) or FRAME
        self._next_timestamp = packet.timestamp + self._duration
        self._made_up = self._paused = 0
        yield self._give(Source.PACKET, self._duration, packet.payload)

    def _give_up(self, first: int, now: float) -> Iterator[Piece]:
        """Fill in for those packets before the oldest waiting one whose time is over."""
        packet, lost = self._waiting[first], self._lost(first)
        hole, paused = self._hole(first), self._next_timestamp
        overdue = now - self.depth - self._delay.expected(hole)
        over, last = lost, self._deadline(first) if len(self._waiting) > MAX_WAITING else packet.at + self.depth
        missing = max(0, packet.timestamp - hole) // _UNIT * _UNIT
        each = -(-missing // (lost * _UNIT)) * _UNIT
        if each and now < last:
            over = min(lost, 1 + int(max(0.0, overdue) * CLOCK_RATE / each))
        self._forget(first if over == lost else self._next + over)
        ticks = min(missing, over * each)
        recoverable = fec_duration(packet.payload) if over == lost else 0
        if recoverable > ticks:
            recoverable = 0
        self._next_timestamp = hole + ticks
        yield from self._pause(hole - paused)
        yield from self._conceal(ticks - recoverable, each)
        if recoverable:
            self.recovered += 1
            yield self._give(Source.FEC, recoverable, packet.payload)

    def _forget(self, until: int) -> None:
        """Go on to later numbers; the last of those given up are remembered, to tell late packets from duplicates."""
        begin, self._next = self._next, until
        for number in [number for number in self._waiting if number < self._next]:
            del self._waiting[number]  # padding
        self._given_up.update(dict.fromkeys(range(max(begin, self._next - MAX_MISORDER), self._next)))
        while len(self._given_up) > MAX_MISORDER:
            del self._given_up[next(iter(self._given_up))]

    def _conceal(self, ticks: int, each: int) -> Iterator[Piece]:
        made_up = min(ticks, MAX_CONCEALED - self._made_up)
        self._made_up += made_up
        for start in range(0, made_up, FRAME):
            yield self._give(Source.CONCEALED, min(FRAME, made_up - start))
        if made_up:
            self.concealed += -(-made_up // each)
        yield from self._pause(ticks - made_up)

    def _pause(self, ticks: int) -> Iterator[Piece]:
        silence = min(ticks // _UNIT * _UNIT, MAX_SILENCE - self._paused)
        if silence > 0:
            self._paused += silence
            yield self._give(Source.SILENCE, silence)

    def _give(self, source: Source, ticks: int, payload: bytes = b"") -> Piece:
        self.ticks[source] += ticks
        self._credit -= ticks
        begins, self._begins = self._begins, False
        return Piece(source, ticks, payload, begins)
