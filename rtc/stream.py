"""One audible source: packets in, subscribers out."""

from rtc.slots import StreamKey
from rtc.transport import Packet, SlotSender


class Stream:
    """A participant's own voice, or that voice in one language, and the slots in which it is heard."""

    def __init__(self, key: StreamKey) -> None:
        self.key = key
        self._slots: list[SlotSender] = []
        self.packets = 0
        """Packets that came in; what went out is this times the listeners."""

    @property
    def listeners(self) -> int:
        """Slots that carry this stream now."""
        return len(self._slots)

    def attach(self, slot: SlotSender) -> None:
        """Begin to send into the slot."""
        slot.switch()
        self._slots.append(slot)

    def detach(self, slot: SlotSender) -> None:
        """Stop sending into the slot. Harmless if it was not attached."""
        if slot in self._slots:
            self._slots.remove(slot)

    def gap(self) -> None:
        """Packets are being withheld on purpose (mute): listeners must not take it for loss."""
        for slot in self._slots:
            slot.switch()

    def send(self, packet: Packet, now: float) -> None:
        """Hand the packet to every listener. Nothing is decoded or encoded here."""
        self.packets += 1
        for slot in self._slots:
            slot.send(packet, now)
