"""Asking for lost packets again, and sending them again (RFC 4585 §6.2.1, RFC 4588). Pure.

Only where the peer negotiated it: browsers do for audio when their SDP says `a=rtcp-fb:111 nack`.
"""

from collections import deque
from math import inf

from rtc.opus import duration
from rtc.rtp import Packet, signed

RETRY = 0.04
"""Seconds at least until a packet is asked for again."""

GIVE_UP = 0.2
"""Seconds after which a missing packet is of no use any more: nobody waits that long for it."""

MAX_HOLE = 25
"""Packets missing at a time: more is an outage, which retransmission would only make worse."""

MAX_MISORDER = 250
"""Packets: one that is older than this shows that the source began anew."""

REPAIRED = 64
"""Repairs remembered, lest their originals are used too: more than come in any GIVE_UP, and who is later than that was
lost."""

HISTORY = 64
"""Packets (1.3 s) kept for those who ask: longer than GIVE_UP and any round trip worth waiting for."""


class Requests:
    """What to ask the sender of one stream for."""

    def __init__(self) -> None:
        self._highest: int | None = None
        self._missing: dict[int, tuple[float, float]] = {}  # sequence number → (missed at, asked at)
        self._repaired: deque[int] = deque(maxlen=REPAIRED)
        self.asked = self.filled = self.needless = 0
        """Packets asked for; those that came then; originals that came after all, when their repairs were in use."""

    def restart(self) -> None:
        """Another source: nothing is missing."""
        self._highest = None
        self._missing.clear()
        self._repaired.clear()

    def arrived(self, sequence: int, now: float) -> bool:
        """A packet is here, sent for the first time or again as it was. `now`: clock seconds. False: its number is used
        already, by a repair."""
        if self._highest is not None and sequence == (self._highest + 1) & 0xFFFF:  # as nearly always
            self._highest = sequence
            return True
        ahead = 1 if self._highest is None else signed(sequence - self._highest, 16)
        if ahead <= 0 and sequence in self._repaired:
            self.needless += 1
            return False
        if ahead > 0:
            self._highest = sequence
            if len(self._missing) + ahead - 1 > MAX_HOLE:
                self._missing.clear()
            else:
                self._missing.update({(sequence - back) & 0xFFFF: (now, -inf) for back in range(ahead - 1, 0, -1)})
        elif ahead < -MAX_MISORDER:
            self._highest = sequence
            self._missing.clear()
        elif (missed := self._missing.pop(sequence, None)) is not None and missed[1] > -inf:
            self.filled += 1
        return True

    def repaired(self, sequence: int, now: float) -> bool:
        """A packet came on the stream for repairs. False: it is not missing, or given up. SRTP does not see a wrapped
        number come twice, and ours must not be used twice."""
        if sequence not in self._missing:
            return False
        self.arrived(sequence, now)
        self._repaired.append(sequence)
        return True

    @property
    def missing(self) -> bool:
        """Something is."""
        return bool(self._missing)

    def due(self, now: float, round_trip: float) -> list[int]:
        """Sequence numbers to ask for now, each once in a round trip (seconds)."""
        for sequence in [key for key, (missed, _) in self._missing.items() if now - missed > GIVE_UP]:
            del self._missing[sequence]
        pause = max(RETRY, round_trip)
        due = [key for key, (_, asked) in self._missing.items() if now - asked >= pause]
        for sequence in due:
            self._missing[sequence] = (self._missing[sequence][0], now)
        self.asked += len(due)
        return due


Sent = tuple[int, int, int, bytes]
"""Sequence number, timestamp and marker as they were sent; payload."""


class History:
    """The last packets sent."""

    def __init__(self) -> None:
        self._sent: deque[Sent] = deque(maxlen=HISTORY)
        self.keep = self._sent.append
        """Remember one that was sent."""

    def by_number(self) -> dict[int, Sent]:
        """What is kept, by sequence number."""
        return {sent[0]: sent for sent in self._sent}


def unwrap(packet: Packet, ssrc: int) -> Packet | None:
    """The original in a retransmission packet: two bytes of it are its number (RFC 4588 §4). None if it is empty."""
    if len(packet.payload) < 3 or not duration(packet.payload[2:]):
        return None
    original = int.from_bytes(packet.payload[:2], "big")
    return Packet(ssrc, original, packet.timestamp, packet.marker, packet.payload[2:], packet.level)


def wrap(packet: Packet, ssrc: int, sequence: int) -> Packet:
    """A retransmission packet on its own stream."""
    payload = packet.sequence.to_bytes(2, "big") + packet.payload
    return Packet(ssrc, sequence, packet.timestamp, packet.marker, payload)
