"""The one file that touches aiortc's insides.

We keep aiortc for ICE, DTLS and negotiation, and take the packets ourselves: what arrives is handed over before
aiortc's jitter buffer and decoder thread, what leaves is written with a header of our own, protected and sent at once.

Private names used, all checked by `tests/rtc/test_transport.py`:

- `RTCRtpReceiver.receive`, `_handle_rtp_packet`, `_handle_rtcp_packet`: replaced on the instance, so that no decoder
  thread and no RTCP task start. `stop()` does nothing for a receiver whose own `receive` never ran.
- `RTCRtpSender.send`, `_handle_rtcp_packet`: the same for senders; `_ssrc` is what the answer announced.
- `RTCDtlsTransport._register_rtp_receiver`, `_register_rtp_sender`: what the replaced methods did besides.
- `RTCDtlsTransport._tx_srtp`: protects what we send. `RTCIceTransport._connection._nominated`: where to send it.
- `RTCRtpTransceiver._codecs`: cut down to Opus.
"""

import random
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pylibsrtp
from aiortc import RTCDtlsTransport, RTCRtpReceiver, RTCRtpTransceiver
from aiortc.clock import current_ntp_time
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters, RTCRtpSendParameters
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import (
    AnyRtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    RtpPacket,
)

from rtc.opus import CLOCK_RATE, FRAME

_HEADER = struct.Struct("!BBHII")


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet of audio, stripped of what belongs to its connection."""

    ssrc: int
    sequence: int
    timestamp: int
    """Ticks of 1/48000 s."""
    marker: int
    payload: bytes
    level: int | None = None
    """-dBov of the RTP audio-level extension (RFC 6464): 0 is loudest, 127 silence."""


def take_opus_only(transceiver: RTCRtpTransceiver) -> None:
    """Leave nothing but Opus in what the answer will offer back. The offer was checked to have it."""
    transceiver._codecs = [codec for codec in transceiver._codecs if codec.mimeType.lower() == "audio/opus"]


class Microphone:
    """The receiving end of a client's first m-line."""

    def __init__(self, receiver: RTCRtpReceiver, on_packet: Callable[[Packet], None]) -> None:
        self._receiver = receiver
        self._on_packet = on_packet
        self._payload_types: set[int] = set()
        self._statistics: dict[int, StreamStatistics] = {}
        self._last_sender_report: dict[int, tuple[int, float]] = {}  # ssrc → (middle NTP bits, our clock)
        target: Any = receiver  # mypy: methods of the instance are replaced on purpose
        target.receive = self._receive
        target._handle_rtp_packet = self._handle_rtp
        target._handle_rtcp_packet = self._handle_rtcp

    @property
    def transport(self) -> RTCDtlsTransport:
        """The (bundled) transport of the connection."""
        return self._receiver.transport

    @property
    def packets_lost(self) -> int:
        """Cumulative, over all sources (RFC 3550 A.3)."""
        return sum(statistics.packets_lost for statistics in self._statistics.values())

    async def _receive(self, parameters: RTCRtpReceiveParameters) -> None:
        self._payload_types = {codec.payloadType for codec in parameters.codecs if codec.payloadType is not None}
        self._receiver.transport._register_rtp_receiver(self._receiver, parameters)

    async def _handle_rtp(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        if packet.payload_type not in self._payload_types:
            return
        if packet.ssrc not in self._statistics:
            self._statistics.clear()  # one microphone: a new SSRC replaces the old one
            self._statistics[packet.ssrc] = StreamStatistics(CLOCK_RATE)
        self._statistics[packet.ssrc].add(packet)
        level = packet.extensions.audio_level
        self._on_packet(
            Packet(
                packet.ssrc,
                packet.sequence_number,
                packet.timestamp,
                packet.marker,
                packet.payload,
                level[1] if level is not None else None,
            )
        )

    async def _handle_rtcp(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket):
            middle = (packet.sender_info.ntp_timestamp >> 16) & 0xFFFFFFFF
            self._last_sender_report[packet.ssrc] = (middle, time.monotonic())

    def reports(self) -> list[RtcpReceiverInfo]:
        """Reception reports (RFC 3550 §6.4.1); Chromium steers its FEC by them."""
        reports = []
        for ssrc, statistics in self._statistics.items():
            middle, arrived = self._last_sender_report.get(ssrc, (0, 0.0))
            reports.append(
                RtcpReceiverInfo(
                    ssrc=ssrc,
                    fraction_lost=statistics.fraction_lost,
                    packets_lost=statistics.packets_lost,
                    highest_sequence=statistics.max_seq or 0,
                    jitter=min(statistics.jitter, 0xFFFFFFFF),
                    lsr=middle,
                    dlsr=min(int((time.monotonic() - arrived) * 65536), 0xFFFFFFFF) if middle else 0,
                )
            )
        return reports


class SlotSender:
    """The sending end of one slot: rewrites packets of whatever source is in it into one continuous RTP stream."""

    def __init__(self, transceiver: RTCRtpTransceiver) -> None:
        self._sender = transceiver.sender
        self._transport = transceiver.sender.transport
        self.mid = str(transceiver.mid)
        self._payload_type: int | None = None  # known once connected
        self._new_source = True  # the next packet decides on the sequence offset …
        self._anchored = False  # … and, unless somebody asked for the RTP time before, on the timestamp offset
        self.ssrc: int = self._sender._ssrc
        self._sequence = random.randrange(0x8000)  # lower half: an early wrap-around confuses SRTP (RFC 3711 §3.3.1)
        self._timestamp = random.getrandbits(32)  # RFC 3550 §5.1: unpredictable
        self._sent_at = 0.0
        self._sequence_offset = self._timestamp_offset = 0
        self._oldest = 0  # sequence number of the source below which packets are older than the switch
        self.packets = self.octets = self.dropped = 0
        """Counters; dropped: the connection was not up, or the packet was older than the switch, or far too late."""
        self.fraction_lost = 0.0
        """Of the last interval, from the listener's receiver report."""
        target: Any = self._sender  # mypy: methods of the instance are replaced on purpose
        target.send = self._start
        target._handle_rtcp_packet = self._handle_rtcp

    @property
    def transport(self) -> RTCDtlsTransport:
        """The (bundled) transport of the connection."""
        return self._transport

    async def _start(self, parameters: RTCRtpSendParameters) -> None:
        if self._payload_type is None:
            self._transport = self._sender.transport  # bundling may have replaced it
            self._transport._register_rtp_sender(self._sender, parameters)
            self._payload_type = parameters.codecs[0].payloadType

    async def _handle_rtcp(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            for report in packet.reports:
                if report.ssrc == self.ssrc:
                    self.fraction_lost = report.fraction_lost / 256

    def carry(self, key: object) -> None:
        """The next packet comes from another source; which one does not matter here."""
        self.switch()

    def switch(self) -> None:
        """The next packet comes from another source, or from the same one after a gap on purpose."""
        self._new_source, self._anchored = True, False

    def rtp_time(self, timestamp: int, now: float) -> int:
        """The RTP time at which a packet of the present source with `timestamp` is, or will be, sent."""
        if not self._anchored:
            self._anchor(timestamp, now)
        return (timestamp + self._timestamp_offset) & 0xFFFFFFFF

    def send(self, packet: Packet, now: float) -> None:
        """Send one packet. Losses of the source stay visible as gaps; a switch keeps RTP time continuous, so that the
        browser's jitter buffer sees a pause, not a jump. `now`: clock seconds."""
        if self._payload_type is None:
            self.dropped += 1
            return
        sequence, marker = packet.sequence, packet.marker
        if self._new_source:
            self._new_source = False
            self._sequence_offset = (self._sequence + 1 - sequence) & 0xFFFF
            self._oldest = sequence
            marker = 1  # RFC 3551 §4.1: first packet of a talkspurt
        elif (sequence - self._oldest) & 0xFFFF >= 0x8000:
            self.dropped += 1  # older than the switch: its place is taken
            return
        elif (sequence - self._oldest) & 0xFFFF > 0x4000:
            self._oldest = (sequence - 0x2000) & 0xFFFF  # keep the mark within half the number space
        if not self._anchored:
            self._anchor(packet.timestamp, now)
        sequence = (sequence + self._sequence_offset) & 0xFFFF
        timestamp = (packet.timestamp + self._timestamp_offset) & 0xFFFFFFFF
        if (sequence - self._sequence) & 0xFFFF < 0x8000:  # a late one must not set us back: numbers are used once
            self._sequence, self._timestamp, self._sent_at = sequence, timestamp, now
        header = _HEADER.pack(0x80, marker << 7 | self._payload_type, sequence, timestamp, self.ssrc)
        if _send(self._transport, header + packet.payload):
            self.packets += 1
            self.octets += len(packet.payload)
        else:
            self.dropped += 1

    def _anchor(self, timestamp: int, now: float) -> None:
        passed = max(FRAME, round((now - self._sent_at) * CLOCK_RATE)) if self._sent_at else 0
        self._timestamp_offset = (self._timestamp + passed - timestamp) & 0xFFFFFFFF
        self._anchored = True

    def report(self, now: float) -> RtcpSrPacket | None:
        """A sender report for the wall clock's present (RFC 3550 §6.4.1), or None while nothing was sent lately."""
        silent_for = now - self._sent_at
        if not self.packets or silent_for > 10:
            return None
        return RtcpSrPacket(
            ssrc=self.ssrc,
            sender_info=RtcpSenderInfo(
                ntp_timestamp=current_ntp_time(),
                rtp_timestamp=(self._timestamp + round(silent_for * CLOCK_RATE)) & 0xFFFFFFFF,
                packet_count=self.packets & 0xFFFFFFFF,
                octet_count=self.octets & 0xFFFFFFFF,
            ),
        )


def send_reports(microphone: Microphone | None, slots: list[SlotSender], cname: str, now: float) -> None:
    """Everything RTCP owes the peer, as one compound packet (RFC 3550 §6.1)."""
    senders = [report for slot in slots if (report := slot.report(now)) is not None]
    packets: list[AnyRtcpPacket] = [*senders]
    if microphone is not None and (receptions := microphone.reports()):
        packets.insert(0, RtcpRrPacket(ssrc=slots[0].ssrc if slots else 1, reports=receptions))
    if senders:
        packets.append(RtcpSdesPacket([RtcpSourceInfo(report.ssrc, [(1, cname.encode())]) for report in senders]))
    if packets:
        transport = microphone.transport if microphone is not None else slots[0].transport
        _send(transport, b"".join(bytes(packet) for packet in packets), rtcp=True)


def _send(transport: Any, data: bytes, rtcp: bool = False) -> bool:
    """Protect and send one datagram now, without a task or a queue. False: the connection is not up, or the packet is
    so late that SRTP refuses its number."""
    srtp, pair = transport._tx_srtp, transport.transport._connection._nominated.get(1)
    if srtp is None or pair is None or transport.state != "connected":
        return False
    try:
        datagram = srtp.protect_rtcp(data) if rtcp else srtp.protect(data)
    except pylibsrtp.Error:
        return False
    pair.protocol.transport.sendto(datagram, pair.remote_addr)
    return True
