"""One client's media connection: callbacks of aiortc turned into things one can await."""

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCDtlsTransport,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError
from aiortc.sdp import candidate_from_sdp

from rtc import rtcp
from rtc.allowance import Allowance
from rtc.channel import Channel
from rtc.fan_out import Outlet
from rtc.mixer import Mixer
from rtc.ports import Ports
from rtc.receiver import Microphone
from rtc.rtp import OnPacket
from rtc.sdp import MAX_CANDIDATES, Admission, BadOffer, admit, complete, is_usable
from rtc.sender import SlotSender
from rtc.ticker import Ticker
from rtc.transport import (
    LEVEL,
    MID,
    Transport,
    extension_id,
    guard,
    new_ssrc,
    payload_type,
    share,
    ssrc,
    take_over,
)

log = logging.getLogger(__name__)

REPORT_BATCH = 12
"""Sender reports in one compound packet: with the names that go with them they fit into the smallest path's MTU."""

RTCP_RATE, RTCP_BURST = 100, 200
"""Compound packets of a client that are read a second for long, and at once: a browser sends some ten a second, and
50 requests for packets in a bad network."""

CLOSE_TIMEOUT = 3.0
"""Seconds to wait for a connection to close; it goes on closing afterwards. A TURN server that is gone is asked to let
go for 63 s (aioice's retries), for which nobody's next connection, and no server's end, should wait."""


class MediaFailed(Exception):
    """ICE or DTLS did not come up in time, or broke."""


class PeerConnection:
    """`accept` an offer, `run` until it fails, `close`. One offer per connection: aiortc has no ICE restart, so a
    client whose path broke comes back with a new one."""

    def __init__(
        self,
        ice_servers: list[dict[str, Any]],
        max_slots: int,
        on_packet: OnPacket,
        ticker: Ticker,
        ports: Ports | None = None,
        channel: Channel | None = None,
    ) -> None:
        """`ice_servers`: RTCIceServer dictionaries (W3C WebRTC §4.2.4); the first STUN and the first TURN count.
        `ticker` times what goes out by the clock: reports, and the mix of a thin client. `ports` are shared with other
        connections; without, there are some of its own. `channel`: what the client may open; without it, data channels
        are rejected."""
        servers = [RTCIceServer(**server) for server in ice_servers]
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._max_slots = max_slots
        self._on_packet = on_packet
        self._ticker = ticker
        self._channel = channel
        self._ports = ports or Ports()
        self._ended = asyncio.Event()
        self._settled = asyncio.Event()  # connected, or will never be
        self._admission: Admission | None = None
        self._candidates = self._candidates_excessive = 0  # of the client: taken, and passed over beyond MAX_CANDIDATES
        self._compounds = Allowance(RTCP_RATE, RTCP_BURST)
        self._negotiation: asyncio.Future[str] | None = None
        self._closing: asyncio.Task[None] | None = None
        self.microphone: Microphone | None = None
        self.slots: dict[str, Outlet] = {}
        """Where the client hears, in the order of the offer: by mid, or the voices of its mix."""
        self._cname = secrets.token_urlsafe(9)  # RFC 7022 §4.2: short, unique, and tells nothing
        self._transports: dict[RTCDtlsTransport, Transport] = {}  # one, unless the client cannot bundle
        self._upstream: Transport | None = None  # the microphone's
        self._senders: dict[SlotSender, Transport] = {}
        self._mixer: Mixer | None = None  # for a thin client, which receives on its only m-line
        self._pc.on("connectionstatechange", self._on_state)
        self._pc.on("datachannel", self._on_channel)

    def _on_state(self) -> None:
        if self._pc.connectionState == "connected":
            self._settled.set()
        elif self._pc.connectionState in ("failed", "closed"):
            self._finish()

    def _finish(self) -> None:
        for transport in self._transports.values():
            transport.end()
        self._ended.set()
        self._settled.set()

    def _on_channel(self, raw: RTCDataChannel) -> None:
        assert self._channel is not None, "the m-line is rejected otherwise"
        if not self._channel.adopt(raw):
            self.end()

    @property
    def state(self) -> str:
        """As RTCPeerConnection.connectionState (W3C WebRTC §4.3.3)."""
        return str(self._pc.connectionState)

    async def accept(self, offer: str) -> tuple[str, Admission]:
        """Answer an offer; all our candidates are in the answer. Raises BadOffer.

        Cancelled, it goes on in the background until `close` has seen its end: aioice forgets the sockets it has opened
        when it is cancelled while it gathers candidates.
        """
        admission = self._admission = admit(offer, self._max_slots, self._channel is not None)
        self._candidates_excessive = admission.excess
        self._negotiation = asyncio.ensure_future(self._negotiate(admission))  # awaited here or in _close
        return await asyncio.shield(self._negotiation), admission

    async def _negotiate(self, admission: Admission) -> str:
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(sdp=admission.offer, type="offer"))
            for candidate in admission.candidates:
                await self._try(candidate, admission)
            taken = set(admission.ssrcs)
            for transceiver in self._pc.getTransceivers():
                take_over(transceiver, taken)
                share(transceiver, self._ports)
                taken.add(ssrc(transceiver))
                transceiver.direction = self._direction(str(transceiver.mid), admission)
            await self._pc.setLocalDescription(await self._pc.createAnswer())
        except (OperationError, InvalidAccessError, InvalidStateError) as error:
            raise BadOffer("bad_sdp", f"The offer cannot be answered: {error}") from error
        except Exception as error:  # aiortc's parser raises whatever it trips over: each of them is a bad offer
            log.info("offer refused: %r", error)
            raise BadOffer("bad_sdp", "The offer is not SDP that can be understood.") from error
        repair_ssrcs = {mid: new_ssrc() for mid, feedback in admission.feedback.items() if feedback.repair is not None}
        for transceiver in self._pc.getTransceivers():
            self._take(transceiver, admission, repair_ssrcs)
        if self._pc.sctp is not None:
            guard(self._pc.sctp)
        self._ticker.report(self._report)
        return complete(self._pc.localDescription.sdp, admission, repair_ssrcs)

    @staticmethod
    def _direction(mid: str, admission: Admission) -> str:
        if mid != admission.microphone:
            return "sendonly"
        return "sendrecv" if admission.duplex and not admission.slots else "recvonly"

    def _take(self, transceiver: RTCRtpTransceiver, admission: Admission, repair_ssrcs: dict[str, int]) -> None:
        """Give an m-line its part: microphone, slot, or both for a thin client."""
        mid = str(transceiver.mid)
        dtls = transceiver.sender.transport
        if dtls not in self._transports:
            self._transports[dtls] = Transport(dtls, self._received, self._heard)
        transport, feedback = self._transports[dtls], admission.feedback[mid]
        if mid == admission.microphone:
            level_id = extension_id(transceiver, LEVEL)
            self.microphone = Microphone(payload_type(transceiver), level_id, self._on_packet, self._new_source)
            self._upstream = transport
            if feedback.nack:
                self.microphone.ask_again(feedback.repair)
        if transceiver.direction == "recvonly":
            return
        numbers = payload_type(transceiver), ssrc(transceiver)
        sender = SlotSender(mid, *numbers, transport.send, lambda: transport.lane)
        sender.name_by(extension_id(transceiver, MID))
        if feedback.nack:
            sender.resend_on_request(None if feedback.repair is None else (feedback.repair, repair_ssrcs[mid]))
        self._senders[sender] = transport
        if mid == admission.microphone and self._max_slots > 1:
            self._mixer = Mixer(sender, self._max_slots, self._mix)
            self.slots.update(self._mixer.inputs)
        else:  # or one voice on the microphone's m-line, where there is nothing to mix
            self.slots[mid] = sender

    def _mix(self) -> None:
        if self._mixer is not None and not self._ended.is_set():
            self._ticker.play(self._mixer.tick)

    # packets of the client

    def _received(self, data: bytes) -> None:
        microphone = self.microphone
        if microphone is None:
            return
        now = time.monotonic()
        microphone.received(data, now)
        if microphone.incomplete and (missing := microphone.wanted(now, self.round_trip or 0.0)):
            assert self._upstream is not None and microphone.ssrc is not None, "something came before"
            self._upstream.send_rtcp(self._compound(self._name, rtcp.nack(self._name, microphone.ssrc, missing)))

    def _new_source(self, ssrc: int) -> None:
        """The microphone has another SSRC. If it is one of ours, we take another (RFC 3550 §8.2)."""
        for sender, transport in self._senders.items():
            if sender.ssrc == ssrc:
                transport.send_rtcp(self._compound(ssrc, rtcp.bye([ssrc])))
                sender.change_ssrc(new_ssrc())

    def _heard(self, data: bytes) -> None:
        """RTCP of the client."""
        now, ntp = time.monotonic(), rtcp.ntp(time.time())
        if not self._compounds.take(now):
            return
        for message in rtcp.parse(data):
            if isinstance(message, rtcp.Block | rtcp.Nack):
                for sender in self._senders:
                    if sender.ssrc != message.ssrc:
                        continue
                    if isinstance(message, rtcp.Nack):
                        sender.resend(message.sequences, now)
                    else:
                        sender.reported(message, ntp)
            elif self.microphone is not None:
                self.microphone.heard_from(message, now)

    # reports

    @property
    def _name(self) -> int:
        """The SSRC by which we speak of others' streams (RFC 3550 §6.4.2)."""
        return next((sender.ssrc for sender in self._senders), 1)

    @property
    def round_trip(self) -> float | None:
        """Seconds to the client and back, from its receiver reports; None while it hears nothing."""
        known = [sender.round_trip for sender in self._senders if sender.round_trip is not None]
        return min(known, default=None)

    def stats(self) -> dict[str, Any]:
        """The connection in numbers, for operators."""
        trip = self.round_trip
        return {
            "state": self.state,
            "round_trip_ms": None if trip is None else round(trip * 1000, 1),
            "candidates_excessive": self._candidates_excessive,
            "datagrams_early": sum(transport.early for transport in self._transports.values()),
            "datagrams_refused": sum(transport.refused for transport in self._transports.values()),
            "rtcp_excessive": self._compounds.excessive,
            **(self.microphone.stats() if self.microphone is not None else {}),
            "slots": {name: outlet.stats() for name, outlet in self.slots.items()},
        }

    def _compound(self, ssrc: int, rest: bytes = b"", blocks: Sequence[rtcp.Block] = ()) -> bytes:
        """A compound packet: first a report, even an empty one, then who we are, then the rest (RFC 3550 §6.1)."""
        return rtcp.receiver_report(ssrc, blocks) + rtcp.source_description(self._cname, [ssrc]) + rest

    def _report(self, now: float) -> None:
        """Everything RTCP owes the client, in compound packets (RFC 3550 §6.1)."""
        if self._ended.is_set():
            self._ticker.forget(self._report)
            return
        ntp = rtcp.ntp(time.time())
        block = self.microphone.report(now) if self.microphone is not None else None
        if self._upstream is not None and block is not None:
            self._upstream.send_rtcp(self._compound(self._name, blocks=[block]))
        for transport in self._transports.values():
            reports = (sender.report(now, ntp) for sender, via in self._senders.items() if via is transport)
            active = iter([report for report in reports if report is not None])
            while batch := list(itertools.islice(active, REPORT_BATCH)):
                names = rtcp.source_description(self._cname, [report.ssrc for report in batch])
                transport.send_rtcp(b"".join(rtcp.sender_report(report) for report in batch) + names)

    async def add_candidate(self, candidate: str, mid: str | None, mline_index: int | None) -> None:
        """A trickled candidate of the client (RFC 8838). Raises ValueError if it is none. An empty one says that there
        are no more. ICE is not told: it would fail before the client's first check if it can use none (RFC 8863)."""
        admission = self._admission
        assert admission is not None, "the offer comes first"
        candidate = candidate.strip()
        if not candidate:
            return
        candidate = candidate.removeprefix("candidate:")
        usable = is_usable(candidate)
        if mid is None and mline_index is None:
            raise ValueError("A candidate belongs to an m-line: it needs sdpMid or sdpMLineIndex.")
        if mid not in admission.mids and mline_index is not None and 0 <= mline_index < len(admission.mids):
            mid = admission.mids[mline_index]  # of the offer; those of aiortc's are fewer
        if not usable or mid != admission.first:
            return
        if self._candidates >= MAX_CANDIDATES:
            self._candidates_excessive += 1
            return
        try:
            await self._try(candidate, admission)
        except ValueError as error:
            raise ValueError("That is not an ICE candidate.") from error

    async def _try(self, candidate: str, admission: Admission) -> None:
        parsed = candidate_from_sdp(candidate)
        parsed.sdpMid = admission.carrier
        self._candidates += 1
        await self._pc.addIceCandidate(parsed)

    async def settle(self, connect_timeout: float) -> None:
        """Wait until the connection is up, or has ended. Raises MediaFailed if neither comes in that many seconds."""
        try:
            async with asyncio.timeout(connect_timeout):
                await self._settled.wait()
        except TimeoutError:
            raise MediaFailed("No media connection came up: a firewall may block UDP.") from None

    async def run(self, connect_timeout: float) -> None:
        """Wait until the connection is up, then until it ends. Raises MediaFailed; never returns otherwise."""
        await self.settle(connect_timeout)
        await self._ended.wait()
        raise MediaFailed("The media connection broke.")

    def end(self) -> None:
        """Carry nothing any more, and let `run` end; `close` is still to be called. Idempotent."""
        if self._ended.is_set():
            return
        for transport in self._transports.values():
            sending = [sender.ssrc for sender, via in self._senders.items() if via is transport and sender.packets]
            for first in range(0, len(sending), REPORT_BATCH):
                batch = sending[first : first + REPORT_BATCH]
                transport.send_rtcp(self._compound(batch[0], rtcp.bye(batch)))
        self._ticker.forget(self._report)
        if self._mixer is not None:
            self._ticker.silence(self._mixer.tick)
        self._finish()

    async def close(self) -> None:
        """Idempotent and not to be cancelled: aiortc's own close waits for ever after it was cancelled once."""
        if self._closing is None:
            self.end()
            self._closing = asyncio.ensure_future(self._close())  # memoised: every caller awaits the same closing
        done, _ = await asyncio.wait({self._closing}, timeout=CLOSE_TIMEOUT)
        for closing in done:
            closing.result()

    async def _close(self) -> None:
        if self._negotiation is not None:
            await asyncio.wait({self._negotiation})
            self._negotiation.exception()  # who called accept knows it, unless they were cancelled
        try:
            await self._pc.close()
        except AttributeError as error:  # aiortc, half way through an offer that it tripped over
            log.info("closed a connection that was never whole: %r", error)
        for transport in self._transports.values():
            transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
