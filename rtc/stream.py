"""One audible source: packets in, subscribers out."""

from rtc.batch import together
from rtc.fan_out import MAX_PAYLOAD, Cohort, Outlet
from rtc.reception import MAX_MISORDER
from rtc.retransmission import MAX_HOLE
from rtc.rtp import Packet, signed
from rtc.slots import StreamKey

ENOUGH = 6
"""Listeners from which on a cohort costs less than packets that are sent one by one."""

MAX_STEP = MAX_HOLE + 1
"""Numbers from one packet to the next. Beyond is an outage, which nobody asks to fill, and handed on it would harm: who
loses packets in which 0x8000 numbers go by can never decrypt that SSRC again (RFC 3711 §3.3.1)."""

_WINDOW = (1 << MAX_MISORDER) - 1


class Stream:
    """A participant's own voice, or that voice in one language, and the slots in which it is heard."""

    def __init__(self, key: StreamKey) -> None:
        self.key = key
        self._slots: list[Outlet] = []
        self._alone: list[Outlet] = []  # those to whom packets are sent one by one
        self._cohort = Cohort(self._alone.append)
        self._ssrc: int | None = None
        self._newest: int | None = None  # sequence number, since the last gap
        self._came = 0  # a bit for each of the last MAX_MISORDER numbers, the newest lowest, but for …
        self._in_order = 0  # … how many came since, one after the other
        self._anew_at: int | None = None  # sequence number that would show the source has begun anew
        self.packets = 0
        """Packets that came in; what went out is this, less those dropped, times the listeners."""
        self.dropped = 0
        """Packets that came twice, or by more than MAX_MISORDER too late."""

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
        self._newest, self._came, self._in_order = None, 0, 0
        for slot in self._slots:
            slot.switch()

    def send(self, packet: Packet, now: float) -> None:
        """Hand the packet to every listener. Nothing is decoded or encoded here."""
        self.packets += 1
        if packet.ssrc != self._ssrc:
            if self._ssrc is not None:  # the source began anew (its client reconnected): no number goes on
                self.gap()
            self._ssrc = packet.ssrc
        ahead = self._ahead(packet.sequence)
        if ahead is None:
            self.dropped += 1
            return
        if len(self._slots) == 1:
            self._slots[0].send(packet, now)
            return
        with together:
            if ahead <= 0 or len(packet.payload) > MAX_PAYLOAD:  # no matter for a cohort
                for slot in self._slots:
                    slot.send(packet, now)
                return
            if self._cohort:
                self._cohort.send(packet, now)
            for slot in self._alone:
                slot.send(packet, now)
        if len(self._slots) >= ENOUGH:
            self._alone[:] = [slot for slot in self._alone if not slot.join(self._cohort)]

    def _ahead(self, sequence: int) -> int | None:
        """By how much the packet is newer than all before it; None if it is not to be sent: in a slot a number stands
        for one packet, or SRTP would use a keystream twice (RFC 3711 §9.1), and no client's SRTP vouches for that once
        the client has connected again."""
        if self._newest is not None and sequence == (self._newest + 1) & 0xFFFF:  # as nearly always
            self._newest, self._in_order = sequence, self._in_order + 1
            return 1
        run, self._in_order = min(self._in_order, MAX_MISORDER), 0
        self._came = (self._came << run | (1 << run) - 1) & _WINDOW
        ahead = 1 if self._newest is None else signed(sequence - self._newest, 16)
        if ahead > MAX_STEP or (ahead <= -MAX_MISORDER and sequence == self._anew_at):  # RFC 3550 A.1
            self.gap()
            ahead = 1
        if ahead > 0:
            self._newest, self._came = sequence, (self._came << ahead | 1) & _WINDOW
            return ahead
        if ahead <= -MAX_MISORDER:
            self._anew_at = (sequence + 1) & 0xFFFF
            return None
        if self._came >> -ahead & 1:
            return None
        self._came |= 1 << -ahead
        return ahead
