"""The sending end of one slot: packets of whatever source is in it, rewritten into one RTP stream. No I/O."""

import random
from collections.abc import Callable

from rtc import rtcp
from rtc.allowance import Allowance
from rtc.fan_out import Cohort, Lane, Row
from rtc.opus import CLOCK_RATE, FRAME
from rtc.retransmission import HISTORY, History, wrap
from rtc.rtp import Packet, extended_header, header, one_byte_extension, signed

REPORT_WHILE = 10.0
"""Seconds after its last packet for which a stream still has sender reports."""

ANNOUNCED = 50
"""Packets that name their m-line after the SSRC had to change (RFC 8843 §9.2): the answer named another."""

RESEND_RATE, RESEND_BURST = 100, 2 * HISTORY
"""Packets sent again a second for long, and at once: each packet of 10 ms once, or all that are kept twice. A request
costs a listener two bits for each."""


class SlotSender:
    """One receiving m-line of a listener."""

    def __init__(
        self,
        mid: str,
        payload_type: int,
        ssrc: int,
        send: Callable[[bytes], bool],
        lane: Callable[[], Lane | None] = lambda: None,
    ) -> None:
        """`send` protects and sends one RTP packet; False if it could not. `lane`: the way past it, if there is one
        now."""
        self.mid = mid
        self.ssrc = ssrc
        self._payload_type = payload_type
        self._send = send
        self._lane = lane
        self._cohort: Cohort | None = None  # by which packets go on the lane
        self._entered = 0  # how many it had sent then
        self._settled = (0, 0)  # how many, and octets, are in our own counters
        self._new_source = True  # the next packet decides on the sequence offset …
        self._anchored = False  # … and, unless somebody asked for the RTP time before, on the timestamp offset
        self._sequence = random.randrange(0x8000)  # lower half: an early wrap-around confuses SRTP (RFC 3711 §3.3.1)
        self._timestamp = random.getrandbits(32)  # RFC 3550 §5.1: unpredictable
        self._sent_at = 0.0
        self._sequence_offset = self._timestamp_offset = 0
        self._oldest = 0  # our number below which packets are older than the switch
        self._mid_extension = b""
        self._announce = 0
        self._history: History | None = None
        self._repair: tuple[int, int] | None = None  # payload type and SSRC of the retransmission stream
        self._repair_sequence = random.randrange(0x8000)
        self._resends = Allowance(RESEND_RATE, RESEND_BURST)
        self._packets = self._octets = 0
        self.dropped = self.resent = 0
        """Packets not sent: the connection was not up, or they were older than the switch, or far too late; sent
        again."""
        self.fraction_lost = 0.0
        """Of the last interval, from the listener's receiver report; so are the following."""
        self.packets_lost = 0
        self.jitter = 0.0
        """Seconds."""
        self.round_trip: float | None = None
        """Seconds."""

    def name_by(self, extension_id: int) -> None:
        """The number of the header extension that says which m-line a packet is for, if one was negotiated."""
        if extension_id:
            self._mid_extension = one_byte_extension(extension_id, self.mid.encode()[:16])

    def resend_on_request(self, repair: tuple[int, int] | None) -> None:
        """Keep what is sent for a while. `repair`: payload type and SSRC of a stream for it (RFC 4588), if there is
        one; otherwise packets are sent again as they were."""
        self._history, self._repair = History(), repair

    def carry(self, key: object) -> None:
        """The next packet comes from another source; which one does not matter here."""
        self.switch()

    def switch(self) -> None:
        """The next packet comes from another source, or from the same one after a gap on purpose."""
        self.leave()
        self._new_source, self._anchored = True, False

    def rtp_time(self, timestamp: int, now: float) -> int:
        """The RTP time at which a packet of the present source with `timestamp` is, or will be, sent."""
        if not self._anchored:
            self._anchor(timestamp, now)
        return (timestamp + self._timestamp_offset) & 0xFFFFFFFF

    def send(self, packet: Packet, now: float) -> None:
        """Send one packet. Losses of the source stay visible as gaps; a switch keeps RTP time continuous, so that the
        browser's jitter buffer sees a pause, not a jump. `now`: clock seconds."""
        if self._cohort is not None:
            self._settle()
        marker = packet.marker
        if not self._anchored:
            self._anchor(packet.timestamp, now)
        if self._new_source:
            self._new_source = False
            if self._sent_at and signed(packet.timestamp + self._timestamp_offset - self._timestamp, 32) <= 0:
                self._anchor(packet.timestamp, now)  # what was promised began later in the source: time goes on instead
            self._oldest = (self._sequence + 1) & 0xFFFF
            self._sequence_offset = self._oldest - packet.sequence
            marker = 1  # RFC 3551 §4.1: first packet of a talkspurt
        sequence = (packet.sequence + self._sequence_offset) & 0xFFFF
        since = (sequence - self._oldest) & 0xFFFF
        if since > 0x4000:
            if since >= 0x8000:
                self.dropped += 1  # older than the switch: its place is taken
                return
            self._oldest = (sequence - 0x2000) & 0xFFFF  # keep the mark within half the number space
        timestamp = (packet.timestamp + self._timestamp_offset) & 0xFFFFFFFF
        if (sequence - self._sequence) & 0xFFFF < 0x8000:  # a late one must not set us back: numbers are used once
            self._sequence, self._timestamp, self._sent_at = sequence, timestamp, now
        payload, history = packet.payload, self._history
        if self._announce:
            self._announce -= 1
            head = extended_header(
                marker, self._payload_type, sequence, timestamp, self.ssrc, extension=self._mid_extension
            )
            history = None  # it would be sent again with another header, by the same number
        else:
            head = header(marker, self._payload_type, sequence, timestamp, self.ssrc)
        if not self._send(head + payload):
            self.dropped += 1
            return
        self._packets += 1
        self._octets += len(payload)
        if history is not None:
            history.keep((sequence, timestamp, marker, payload))

    def join(self, cohort: Cohort) -> bool:
        """If nothing stands in the way, the following packets come by the cohort."""
        if self._new_source or not self._anchored or self._announce or (lane := self._lane()) is None:
            return False
        self._cohort = cohort
        self._entered, self._settled = cohort.sent, (cohort.sent, cohort.octets)
        cohort.enter(self, lane, Row(self._payload_type, self._sequence_offset, self._timestamp_offset, self.ssrc))
        return True

    def leave(self) -> None:
        """Packets come by `send` again. Idempotent."""
        cohort = self._cohort
        if cohort is None:
            return
        self._settle()
        if self._history is not None:
            for packet in cohort.recent(cohort.sent - self._entered):
                ours = self._ours(packet)
                self._history.keep((ours.sequence, ours.timestamp, ours.marker, ours.payload))
        self._cohort = None
        cohort.leave(self)

    def _settle(self) -> None:
        """Know what the cohort has sent for us."""
        cohort = self._cohort
        if cohort is None or cohort.sent == self._settled[0]:
            return
        packets, octets = self._settled
        self._packets += cohort.sent - packets
        self._octets += cohort.octets - octets
        self._settled = cohort.sent, cohort.octets
        last = self._ours(cohort.last)
        self._sequence, self._timestamp, self._sent_at = last.sequence, last.timestamp, cohort.sent_at
        if cohort.sent - self._entered > 0x100:  # the switch is long ago
            self._oldest = (self._sequence - 0x2000) & 0xFFFF

    def _ours(self, packet: Packet) -> Packet:
        """A packet of the present source, as it is sent."""
        sequence = (packet.sequence + self._sequence_offset) & 0xFFFF
        timestamp = (packet.timestamp + self._timestamp_offset) & 0xFFFFFFFF
        return Packet(self.ssrc, sequence, timestamp, packet.marker, packet.payload)

    @property
    def packets(self) -> int:
        """Sent since the SSRC is what it is; what was sent again not counted."""
        self._settle()
        return self._packets

    @property
    def octets(self) -> int:
        """Bytes of their payload."""
        self._settle()
        return self._octets

    def _anchor(self, timestamp: int, now: float) -> None:
        passed = max(FRAME, round((now - self._sent_at) * CLOCK_RATE)) if self._sent_at else 0
        self._timestamp_offset = self._timestamp + passed - timestamp
        self._anchored = True

    def resend(self, sequences: tuple[int, ...], now: float) -> None:
        """The listener misses packets (RFC 4585 §6.2.1). What is not kept any more stays lost. `now`: clock seconds."""
        if self._history is None:
            return
        self._settle()
        cohort, offset = self._cohort, self._sequence_offset
        shared = [] if cohort is None else cohort.recent(cohort.sent - self._entered)
        kept, alone = {(packet.sequence + offset) & 0xFFFF: packet for packet in shared}, self._history.by_number()
        wanted = list(dict.fromkeys(sequences))  # a NACK may name one a thousand times; the newest last
        for sequence in wanted[-HISTORY:]:
            if not (sequence in kept or sequence in alone) or not self._resends.take(now):
                continue
            packet = self._ours(kept[sequence]) if sequence in kept else Packet(self.ssrc, *alone[sequence])
            number = self._payload_type
            if self._repair is not None:
                number, ssrc = self._repair
                self._repair_sequence = (self._repair_sequence + 1) & 0xFFFF
                packet = wrap(packet, ssrc, self._repair_sequence)
            head = header(packet.marker, number, packet.sequence, packet.timestamp, packet.ssrc)
            self.resent += self._send(head + packet.payload)

    def change_ssrc(self, ssrc: int) -> None:
        """The peer uses ours too (RFC 3550 §8.2). Who says goodbye to the old one is the caller."""
        self.leave()
        self.ssrc = ssrc
        self._announce = ANNOUNCED if self._mid_extension else 0
        self._packets = self._octets = 0
        if self._history is not None:  # what was sent is not ours any more; the answer tied its repair to the old SSRC
            self.resend_on_request(None)

    def reported(self, block: rtcp.Block, ntp: int) -> None:
        """What the listener's receiver report says. `ntp`: the wall clock on its arrival."""
        self.fraction_lost = block.fraction_lost / 256
        self.packets_lost = block.packets_lost
        self.jitter = block.jitter / CLOCK_RATE
        if block.last_sender_report:  # RFC 3550 §6.4.1: A - LSR - DLSR
            ticks = (rtcp.middle(ntp) - block.last_sender_report - block.delay_since) & 0xFFFFFFFF
            if ticks < 60 << 16:  # a clock that was set back gives nonsense
                self.round_trip = ticks / 65536

    def stats(self) -> dict[str, float | None]:
        """What was sent, and what the listener says of it."""
        return {
            "packets": self.packets,
            "dropped": self.dropped,
            "resent": self.resent,
            "resends_excessive": self._resends.excessive,
            "fraction_lost": round(self.fraction_lost, 3),
            "packets_lost": self.packets_lost,
            "jitter_ms": round(self.jitter * 1000, 1),
            "round_trip_ms": None if self.round_trip is None else round(self.round_trip * 1000, 1),
        }

    def report(self, now: float, ntp: int) -> rtcp.SenderReport | None:
        """A sender report for the present (RFC 3550 §6.4.1), or None while nothing was sent lately. `ntp`: the wall
        clock at `now`."""
        self._settle()
        silent_for = now - self._sent_at
        if not self._packets or silent_for > REPORT_WHILE:
            return None
        present = (self._timestamp + round(silent_for * CLOCK_RATE)) & 0xFFFFFFFF
        return rtcp.SenderReport(self.ssrc, ntp, present, self._packets, self._octets)
