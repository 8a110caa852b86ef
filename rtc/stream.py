"""One audible source: packets in, subscribers out."""

from typing import Protocol

from rtc.batch import together
from rtc.rtp import Packet
from rtc.slots import StreamKey


class Outlet(Protocol):
    """Where a listener hears a stream: a slot of theirs, or a place in their mix."""

    mid: str
    packets: int
    dropped: int
    fraction_lost: float

    def carry(self, key: StreamKey) -> None:
        """From now on packets of this stream come."""

    def switch(self) -> None:
        """The next packet comes after a gap on purpose."""

    def send(self, packet: Packet, now: float) -> None:
        """Never blocks. `now`: clock seconds."""

    def stats(self) -> dict[str, float | None]:
        """What was sent, and what the listener says of it, for operators."""

    def rtp_time(self, timestamp: int, now: float) -> int | None:
        """The RTP time at which the listener gets the packet with the stream's `timestamp`, if that can be said."""


class Stream:
    """A participant's own voice, or that voice in one language, and the slots in which it is heard."""

    def __init__(self, key: StreamKey) -> None:
        self.key = key
        self._slots: list[Outlet] = []
        self._ssrc: int | None = None
        self.packets = 0
        """Packets that came in; what went out is this times the listeners."""

    @property
    def listeners(self) -> int:
        """Slots that carry this stream now."""
        return len(self._slots)

    @property
    def fraction_lost(self) -> float:
        """What the listener who loses most reported last, 0 to 1. The worst, not the average: FEC costs those who lose
        nothing little that they could hear, and the one who does lose is why it exists."""
        return max((slot.fraction_lost for slot in self._slots), default=0.0)

    def attach(self, slot: Outlet) -> None:
        """Begin to send into the slot."""
        slot.carry(self.key)
        self._slots.append(slot)

    def detach(self, slot: Outlet) -> None:
        """Stop sending into the slot. Harmless if it was not attached."""
        if slot in self._slots:
            self._slots.remove(slot)

    def gap(self) -> None:
        """The next packet does not follow on the last (mute, a new sender): listeners must not take it for loss."""
        for slot in self._slots:
            slot.switch()

    def send(self, packet: Packet, now: float) -> None:
        """Hand the packet to every listener. Nothing is decoded or encoded here."""
        self.packets += 1
        if self._ssrc not in (None, packet.ssrc):  # the source began anew (its client reconnected): no number goes on
            self.gap()
        self._ssrc = packet.ssrc
        if len(self._slots) == 1:
            self._slots[0].send(packet, now)
            return
        with together:
            for slot in self._slots:
                slot.send(packet, now)
