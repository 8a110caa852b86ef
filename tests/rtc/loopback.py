"""Our end and a stock aiortc peer, connected over loopback, with what arrives at the peer written down."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import AnyRtcpPacket, RtpPacket

from rtc.peer_connection import PeerConnection
from rtc.ports import Ports
from rtc.rtp import Packet
from rtc.stats import Stats
from rtc.ticker import Ticker
from rtc.transport import Transport

PATIENCE = 20.0
"""Seconds until a test that waits in vain is ended."""


@dataclass
class Pair:
    """`ours` and `peer`, connected."""

    ours: PeerConnection
    peer: RTCPeerConnection
    ticker: Ticker
    heard: list[Packet] = field(default_factory=list)
    """What the microphone brought us."""
    arrived: list[RtpPacket] = field(default_factory=list)
    """What the peer got, whichever slot it came in."""
    reports: list[AnyRtcpPacket] = field(default_factory=list)
    """RTCP that the peer got."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def places(self) -> list[Any]:
        """Our end's parts of ports (`rtc.ports.Place`)."""
        transports: Iterable[Any] = self.ours._transports
        return [place for dtls in transports for place in dtls.transport._connection._protocols]

    async def until(self, look: Callable[[], Any]) -> Any:
        """The first true answer of `look`, asked again at each piece of news."""
        async with asyncio.timeout(PATIENCE):
            while not (found := look()):
                self.news.clear()
                await self.news.wait()
        return found

    async def packets(self, count: int) -> list[RtpPacket]:
        """The first `count` that the peer got."""
        return list(await self.until(lambda: len(self.arrived) >= count and self.arrived[:count]))

    def _notice(self, transport: Transport) -> None:
        """Tell who waits that RTCP has come to us."""
        inner = transport._on_rtcp

        def noticed(data: bytes) -> None:
            inner(data)
            self.news.set()

        transport._on_rtcp = noticed

    def _record(self, target: Any, method: str, into: list[Any]) -> None:
        """Write down what a method of the peer is called with."""
        inner: Callable[..., Coroutine[Any, Any, None]] = getattr(target, method)

        async def recorded(packet: Any, **rest: Any) -> None:
            into.append(packet)
            self.news.set()
            await inner(packet, **rest)

        setattr(target, method, recorded)


def peer_with(
    slots: int, microphone: MediaStreamTrack | None = None, direction: str | None = None
) -> RTCPeerConnection:
    """A stock peer with a microphone, if there is one, and receive-only m-lines."""
    peer = RTCPeerConnection()
    if microphone is not None:
        peer.addTransceiver(microphone, direction=direction or ("sendonly" if slots else "sendrecv"))
    for _ in range(slots):
        peer.addTransceiver("audio", direction="recvonly")
    return peer


async def offer_of(peer: RTCPeerConnection) -> str:
    """Its offer, with its candidates."""
    await peer.setLocalDescription(await peer.createOffer())
    return str(peer.localDescription.sdp)


@contextlib.asynccontextmanager
async def connected(
    peer: RTCPeerConnection,
    max_slots: int = 8,
    edit: Callable[[str], str] = str,
    ports: Ports | None = None,
    trickle: Sequence[str] = (),
) -> AsyncIterator[Pair]:
    """Both ends up; both closed at the end. `edit` changes the offer on its way to us; our end uses `ports`, and gets
    the candidates of `trickle` before the peer has our answer."""
    heard: list[Packet] = []
    news = asyncio.Event()

    def on_packet(packet: Packet, now: float) -> None:
        heard.append(packet)
        news.set()

    ticker = Ticker(Stats())
    async with PeerConnection([], max_slots, on_packet, ticker, ports) as ours:
        pair = Pair(ours, peer, ticker, heard=heard, news=news)
        try:
            answer, _ = await ours.accept(edit(await offer_of(peer)))
            for candidate in trickle:
                await ours.add_candidate(candidate, "0", 0)
            for transceiver in peer.getTransceivers():
                pair._record(transceiver.receiver, "_handle_rtp_packet", pair.arrived)
                pair._record(transceiver.receiver, "_handle_rtcp_packet", pair.reports)
                pair._record(transceiver.sender, "_handle_rtcp_packet", pair.reports)
            peer.on("connectionstatechange", news.set)
            ours._pc.on("connectionstatechange", news.set)
            await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
            await pair.until(lambda: peer.connectionState == ours.state == "connected")
            for transport in ours._transports.values():
                pair._notice(transport)
            yield pair
        finally:
            await peer.close()
