"""One audible source: packets in, subscribers out."""

from rtc.batch import together
from rtc.fan_out import MAX_PAYLOAD, Cohort, Outlet
from rtc.rtp import Packet
from rtc.slots import StreamKey

ENOUGH = 6
"""Listeners from which on a cohort costs less than packets that are sent one by one."""


class Stream:
    """A participant's own voice, or that voice in one language, and the slots in which it is heard."""

    def __init__(self, key: StreamKey) -> None:
        self.key = key
        self._slots: list[Outlet] = []
        self._alone: list[Outlet] = []  # those to whom packets are sent one by one
        self._cohort = Cohort(self._alone.append)
        self._ssrc: int | None = None
        self._newest: int | None = None  # sequence number, since the last gap
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
        self._alone.append(slot)

    def detach(self, slot: Outlet) -> None:
        """Stop sending into the slot. Harmless if it was not attached."""
        if slot in self._slots:
            self._slots.remove(slot)
            slot.leave()
            self._alone.remove(slot)

    def gap(self) -> None:
        """The next packet does not follow on the last (mute, a new sender): listeners must not take it for loss."""
        self._newest = None
        for slot in self._slots:
            slot.switch()

    def send(self, packet: Packet, now: float) -> None:
        """Hand the packet to every listener. Nothing is decoded or encoded here."""
        self.packets += 1
        if packet.ssrc != self._ssrc:
            if self._ssrc is not None:  # the source began anew (its client reconnected): no number goes on
                self.gap()
            self._ssrc = packet.ssrc
        late = self._newest is not None and not 0 < (packet.sequence - self._newest) & 0xFFFF < 0x8000
        if not late:
            self._newest = packet.sequence
        if len(self._slots) == 1:
            self._slots[0].send(packet, now)
            return
        with together:
            if late or len(packet.payload) > MAX_PAYLOAD:  # no matter for a cohort
                for slot in self._slots:
                    slot.send(packet, now)
                return
            if self._cohort:
                self._cohort.send(packet, now)
            for slot in self._alone:
                slot.send(packet, now)
        if len(self._slots) >= ENOUGH:
            self._alone[:] = [slot for slot in self._alone if not slot.join(self._cohort)]
