"""One client's media connection: callbacks of aiortc turned into things one can await."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCRtpTransceiver, RTCSessionDescription
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError
from aiortc.sdp import candidate_from_sdp

from rtc.mixer import Mixer
from rtc.sdp import Admission, BadOffer, admit, complete, is_mdns
from rtc.stream import Outlet
from rtc.transport import Microphone, Packet, SlotSender, send_reports, take_opus_only

log = logging.getLogger(__name__)

REPORT_INTERVAL = 1.0
"""Seconds between RTCP reports."""

CLOSE_TIMEOUT = 3.0
"""Seconds to wait for a connection to close; it goes on closing afterwards. A TURN server that is gone is asked to let
go for 63 s (aioice's retries), for which nobody's next connection, and no server's end, should wait."""


class MediaFailed(Exception):
    """ICE or DTLS did not come up in time, or broke."""


class PeerConnection:
    """`accept` an offer, `run` until it fails, `close`. One offer per connection: aiortc has no ICE restart, so a
    client whose path broke comes back with a new one."""

    def __init__(self, ice_servers: list[dict[str, Any]], max_slots: int, on_packet: Callable[[Packet], None]) -> None:
        """`ice_servers`: RTCIceServer dictionaries (W3C WebRTC §4.2.4); the first STUN and the first TURN count."""
        servers = [RTCIceServer(**server) for server in ice_servers]
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._max_slots = max_slots
        self._on_packet = on_packet
        self._ended = asyncio.Event()
        self._settled = asyncio.Event()  # connected, or will never be
        self._negotiation: asyncio.Future[str] | None = None
        self._closing: asyncio.Task[None] | None = None
        self.microphone: Microphone | None = None
        self.slots: dict[str, Outlet] = {}
        """Where the client hears, in the order of the offer: by mid, or the voices of its mix."""
        self._senders: list[SlotSender] = []
        self._mixer: Mixer | None = None  # for a thin client, which receives on its only m-line
        self._pc.on("connectionstatechange", self._on_state)

    def _on_state(self) -> None:
        if self._pc.connectionState == "connected":
            self._settled.set()
        elif self._pc.connectionState in ("failed", "closed"):
            self._ended.set()
            self._settled.set()

    @property
    def state(self) -> str:
        """As RTCPeerConnection.connectionState (W3C WebRTC §4.3.3)."""
        return str(self._pc.connectionState)

    async def accept(self, offer: str) -> tuple[str, Admission]:
        """Answer an offer; all our candidates are in the answer. Raises BadOffer.

        Cancelled, it goes on in the background until `close` has seen its end: aioice forgets the sockets it has opened
        when it is cancelled while it gathers candidates.
        """
        admission = admit(offer, self._max_slots)
        self._negotiation = asyncio.ensure_future(self._negotiate(admission))  # awaited here or in _close
        return await asyncio.shield(self._negotiation), admission

    async def _negotiate(self, admission: Admission) -> str:
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(sdp=admission.offer, type="offer"))
            for transceiver in self._pc.getTransceivers():
                self._take(transceiver, admission)
            await self._pc.setLocalDescription(await self._pc.createAnswer())
        except (OperationError, InvalidAccessError, InvalidStateError) as error:
            raise BadOffer("bad_sdp", f"The offer cannot be answered: {error}") from error
        except Exception as error:  # aiortc's parser raises whatever it trips over: each of them is a bad offer
            log.info("offer refused: %r", error)
            raise BadOffer("bad_sdp", "The offer is not SDP that can be understood.") from error
        return complete(self._pc.localDescription.sdp, admission)

    def _take(self, transceiver: RTCRtpTransceiver, admission: Admission) -> None:
        """Give an m-line its part: microphone, slot, or both for a thin client."""
        take_opus_only(transceiver)
        if transceiver.mid != admission.microphone:
            transceiver.direction = "sendonly"
            self._senders.append(SlotSender(transceiver))
            self.slots[str(transceiver.mid)] = self._senders[-1]
            return
        self.microphone = Microphone(transceiver.receiver, self._on_packet)
        if admission.duplex and not admission.slots:
            transceiver.direction = "sendrecv"
            self._senders.append(SlotSender(transceiver))
            self._mixer = Mixer(self._senders[0], self._max_slots)
            self.slots.update(self._mixer.inputs)
        else:
            transceiver.direction = "recvonly"

    async def add_candidate(self, candidate: str, mid: str | None, mline_index: int | None) -> None:
        """A trickled candidate of the client (RFC 8838); an empty one ends them. Raises ValueError if it is none."""
        if not candidate:
            await self._pc.addIceCandidate(None)
            return
        if is_mdns(candidate):
            return
        try:
            parsed = candidate_from_sdp(candidate.removeprefix("candidate:"))
        except (AssertionError, ValueError, IndexError) as error:
            raise ValueError("That is not an ICE candidate.") from error
        if not 0 < parsed.port < 0x10000:
            raise ValueError("That is not an ICE candidate: there is no such port.")
        parsed.sdpMid, parsed.sdpMLineIndex = mid, mline_index
        await self._pc.addIceCandidate(parsed)

    async def run(self, connect_timeout: float) -> None:
        """Mix and report until the connection ends. Raises MediaFailed; never returns otherwise."""
        try:
            async with asyncio.timeout(connect_timeout):
                await self._settled.wait()
        except TimeoutError:
            raise MediaFailed("No media connection came up: a firewall may block UDP.") from None
        async with asyncio.TaskGroup() as tasks:
            mixing = tasks.create_task(self._mixer.run()) if self._mixer is not None else None
            await self._report()
            if mixing is not None:
                mixing.cancel()
        raise MediaFailed("The media connection broke.")

    async def _report(self) -> None:
        """Send RTCP until the connection ends."""
        cname, loop = f"dragoman-{id(self):x}", asyncio.get_running_loop()
        while not self._ended.is_set():
            send_reports(self.microphone, self._senders, cname, loop.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT_INTERVAL):
                    await self._ended.wait()

    async def close(self) -> None:
        """Idempotent and not to be cancelled: aiortc's own close waits for ever after it was cancelled once."""
        if self._closing is None:
            self._ended.set()
            self._settled.set()
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
