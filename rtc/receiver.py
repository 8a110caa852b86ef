"""The receiving end of a client's microphone: RTP in, packets and reception reports out. No I/O."""

from collections.abc import Callable

from rtc import rtcp
from rtc.allowance import Allowance
from rtc.reception import Reception
from rtc.retransmission import Requests, unwrap
from rtc.rtp import OnPacket, parse

MAX_RATE, MAX_BURST = 150, 400
"""Packets a second that are taken for long, and at once: packets of 10 ms come at 100 a second, and what an outage of
6 s held back may be delivered in one go."""


class Microphone:
    """One sending m-line. One source at a time: a new SSRC replaces the old one."""

    def __init__(
        self,
        payload_type: int,
        level_id: int,
        on_packet: OnPacket,
        on_source: Callable[[int], None],
    ) -> None:
        """`level_id`: number of the audio-level header extension, 0 if there is none. `on_source` gets each new SSRC
        before the first packet from it."""
        self._payload_type = payload_type
        self._level_id = level_id
        self._on_packet = on_packet
        self._on_source = on_source
        self._ssrc: int | None = None
        self._reception = Reception()
        self._requests: Requests | None = None
        self._repair_type: int | None = None
        self._sender_report = (0, 0.0)  # middle bits of its NTP time, its arrival
        self._lost_before = 0  # of sources that are gone
        self.level: int | None = None
        """-dBov of the last packet (RFC 6464), if the client says."""
        self.packets = 0
        """Of audio, received."""
        self.malformed = self.strange = 0
        """Packets dropped: not RTP; of a payload type that was not negotiated."""
        self._allowance = Allowance(MAX_RATE, MAX_BURST)  # a client must not multiply its packets by a room's listeners

    def ask_again(self, repair_type: int | None) -> None:
        """The client sends lost packets again when asked. `repair_type`: payload type of its retransmission stream
        (RFC 4588), if it has one."""
        self._requests, self._repair_type = Requests(), repair_type

    @property
    def ssrc(self) -> int | None:
        """Of the source that sends now."""
        return self._ssrc

    @property
    def packets_lost(self) -> int:
        """Cumulative, over all sources (RFC 3550 A.3)."""
        return self._lost_before + self._reception.packets_lost_in_all

    @property
    def jitter(self) -> float:
        """Interarrival jitter (RFC 3550 §6.4.1), seconds."""
        return self._reception.jitter

    def stats(self) -> dict[str, int | float | None]:
        """What came, and what is wrong with it, for operators."""
        asked, filled = self.retransmissions
        return {
            "level_dbov": None if self.level is None else -self.level,
            "packets_received": self.packets,
            "packets_lost": self.packets_lost,
            "jitter_ms": round(self._reception.jitter * 1000, 1),
            "packets_malformed": self.malformed,
            "packets_of_unknown_type": self.strange,
            "packets_excessive": self.excessive,
            "retransmissions_asked": asked,
            "retransmissions_received": filled,
            "retransmissions_needless": self._requests.needless if self._requests else 0,
        }

    @property
    def excessive(self) -> int:
        """Packets dropped: more than MAX_RATE."""
        return self._allowance.excessive

    @property
    def retransmissions(self) -> tuple[int, int]:
        """Packets asked for again, and those of them that came."""
        return (self._requests.asked, self._requests.filled) if self._requests else (0, 0)

    def received(self, data: bytes, now: float) -> None:
        """One RTP packet. `now`: its arrival, clock seconds."""
        if not self._allowance.take(now):
            return
        try:
            payload_type, packet = parse(data, self._level_id)
        except ValueError:
            self.malformed += 1
            return
        if payload_type == self._payload_type:
            if packet.ssrc != self._ssrc:
                self._begin(packet.ssrc)
                self._on_source(packet.ssrc)
            self.packets += 1
            self._reception.add(packet.sequence, packet.timestamp, now)
            self.level = packet.level
            if self._requests is not None and not self._requests.arrived(packet.sequence, now):
                return
        elif payload_type == self._repair_type and self._ssrc is not None:
            repaired = unwrap(packet, self._ssrc)
            if repaired is None or self._requests is None or not self._requests.repaired(repaired.sequence, now):
                return
            packet = repaired
        else:
            self.strange += 1
            return
        self._on_packet(packet, now)

    def _begin(self, ssrc: int | None) -> None:
        self._lost_before += self._reception.packets_lost_in_all
        self._ssrc, self._reception, self._sender_report = ssrc, Reception(), (0, 0.0)
        if self._requests is not None:
            self._requests.restart()

    @property
    def incomplete(self) -> bool:
        """Packets are missing that the client would send again."""
        return self._requests is not None and self._requests.missing

    def wanted(self, now: float, round_trip: float) -> list[int]:
        """Sequence numbers to ask for again now. `round_trip`: seconds, as far as it is known."""
        return self._requests.due(now, round_trip) if self._requests is not None else []

    def heard_from(self, message: rtcp.SenderReport | rtcp.Bye, now: float) -> None:
        """The client's sender report, or its goodbye."""
        if message.ssrc != self._ssrc:
            return
        if isinstance(message, rtcp.Bye):
            self._begin(None)
        else:
            self._sender_report = (rtcp.middle(message.ntp), now)

    def report(self, now: float) -> rtcp.Block | None:
        """A reception report (RFC 3550 §6.4.1), None while nothing was received. Chromium steers its FEC by them."""
        if self._ssrc is None:
            return None
        middle, arrived = self._sender_report
        reception = self._reception.report()
        return rtcp.Block(
            self._ssrc,
            reception.fraction_lost,
            reception.packets_lost,
            reception.highest_sequence,
            reception.jitter,
            middle,
            min(int((now - arrived) * 65536), 0xFFFFFFFF) if middle else 0,
        )
