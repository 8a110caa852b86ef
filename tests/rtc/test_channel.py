"""A data channel over a real connection: text both ways, whatever else the client sends."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcsctptransport import DataChunk, RTCSctpTransport

from rtc.channel import MAX_PENDING, MAX_STRAYS, MAX_UNSENT, Channel
from rtc.peer_connection import MediaFailed, PeerConnection
from rtc.rtp import Packet
from rtc.stats import Stats
from rtc.ticker import Ticker
from tests.client import WavMicrophone
from tests.rtc.loopback import PATIENCE, offer_of, peer_with


class Wire:
    """Our channel, and the peer's end of it."""

    def __init__(self, peer: RTCPeerConnection, label: str) -> None:
        self.peer = peer
        self.heard: list[str | bytes] = []
        """By us."""
        self.arrived: list[str | bytes] = []
        """At the peer."""
        self.news = asyncio.Event()
        self.ours = Channel("events", self._opened, self._listen)
        self.theirs = self.open(label)

    def open(self, label: str) -> RTCDataChannel:
        channel = self.peer.createDataChannel(label)
        channel.on("message", self._arrive)
        channel.on("close", self.news.set)
        channel.on("open", self.news.set)
        return channel

    def _opened(self) -> None:
        self.ours.send("first")

    def _listen(self, data: str | bytes) -> None:
        self.heard.append(data)
        self.news.set()

    def _arrive(self, data: str | bytes) -> None:
        self.arrived.append(data)
        self.news.set()

    async def until(self, look: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not look():
                self.news.clear()
                await self.news.wait()


@contextlib.asynccontextmanager
async def wired(label: str = "events") -> AsyncIterator[tuple[Wire, PeerConnection]]:
    peer = peer_with(0, WavMicrophone())
    wire = Wire(peer, label)
    async with PeerConnection([], 1, lambda packet, now: None, Ticker(Stats()), channel=wire.ours) as ours:
        try:
            answer, _ = await ours.accept(await offer_of(peer))
            await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
            yield wire, ours
        finally:
            await peer.close()


async def test_what_is_said_before_it_opens_comes_after_the_first_words() -> None:
    """Then text goes both ways."""
    async with wired() as (wire, _):
        assert wire.ours.send("kept") and wire.ours.send("kept too")
        await wire.until(lambda: len(wire.arrived) == 3)
        assert wire.arrived == ["first", "kept", "kept too"]
        wire.ours.send("später")
        wire.theirs.send("back")
        await wire.until(lambda: len(wire.arrived) == 4 and wire.heard)
        assert (wire.arrived[-1], wire.heard) == ("später", ["back"])
        await wire.ours.flush(PATIENCE)


def in_order(sdp: str, *order: int) -> str:
    """The same m-lines in another order."""
    head, *sections = re.split(r"^(?=m=)", sdp, flags=re.MULTILINE)
    return head + "".join(sections[index] for index in order)


async def test_it_may_stand_before_the_voices() -> None:
    """All have one transport, though aiortc bundles in the order that it is told."""
    peer = peer_with(1, WavMicrophone())
    wire = Wire(peer, "events")
    async with PeerConnection([], 1, lambda packet, now: None, Ticker(Stats()), channel=wire.ours) as ours:
        try:
            offer = in_order(await offer_of(peer), 2, 0, 1).replace("BUNDLE 0 1 2", "BUNDLE 2 0 1")
            answer, _ = await ours.accept(re.sub(r"a=candidate:.*\r\n", "", offer))
            for candidate in re.findall(r"^a=(candidate:.*)\r\n", offer.split("m=")[1], re.MULTILINE):
                await ours.add_candidate(candidate, "2", 0)
            (known,) = {transceiver.sender.transport.transport for transceiver in ours._pc.getTransceivers()}
            assert known.getRemoteCandidates(), "those of the m-line that comes first"
            answer = in_order(answer, 1, 2, 0).replace("BUNDLE 2 0 1", "BUNDLE 0 1 2")
            await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
            await wire.until(lambda: wire.arrived)
            (slot,) = ours.slots.values()
            slot.send(Packet(1, 1, 960, 0, b"\x78"), 100.0)
            assert (slot.packets, slot.dropped, len(ours._transports)) == (1, 0, 1)
        finally:
            await peer.close()


async def test_what_waits_for_it_is_bounded() -> None:
    channel = Channel("events", lambda: None, lambda data: None)
    assert all(channel.send("word") for _ in range(MAX_PENDING + 3))
    assert channel.dropped == 3
    await channel.flush(PATIENCE)


async def test_what_is_too_much_for_a_channel_that_opens_is_counted() -> None:
    """What arrives and what is counted is all that was said; the first words are among what arrives."""
    async with wired() as (wire, _):
        size = 2 * MAX_UNSENT // MAX_PENDING
        assert all(wire.ours.send(f"{number:0{size}}") for number in range(MAX_PENDING))
        await wire.until(lambda: wire.ours.dropped and len(wire.arrived) == 1 + MAX_PENDING - wire.ours.dropped)
        assert wire.arrived == ["first", *(f"{number:0{size}}" for number in range(MAX_PENDING - wire.ours.dropped))]


async def test_a_client_that_takes_nothing_is_known() -> None:
    """Its SCTP acknowledges nothing any more; what waits for it is bounded, and so is the wait for that to leave."""
    async with wired() as (wire, _):
        await wire.until(lambda: wire.arrived)
        assert wire.peer.sctp is not None
        wire.peer.sctp._handle_data = _nothing  # type: ignore[method-assign]  # as a browser whose tab hangs
        sent = 0
        while wire.ours.send("x" * 10_000):
            sent += 10_000
        assert MAX_UNSENT < sent < MAX_UNSENT + 20_000
        await wire.ours.flush(0.05)


async def _nothing(data: bytes) -> None:
    pass


async def test_a_channel_of_another_name_is_closed_and_many_of_them_end_the_connection() -> None:
    async with wired("else") as (wire, ours):
        await wire.until(lambda: wire.theirs.readyState == "closed")
        mine = wire.open("events")
        await wire.until(lambda: mine.readyState == "open" and wire.arrived == ["first"])
        ended = asyncio.ensure_future(ours.run(PATIENCE))  # awaited below
        for _ in range(MAX_STRAYS):
            assert not ended.done()
            wire.open("events")
        with pytest.raises(MediaFailed):
            await asyncio.wait_for(ended, PATIENCE)


@pytest.mark.parametrize(("protocol", "data"), [(51, b"\xff\xfe"), (50, b"\x03" + bytes(11)), (50, b"\x02")])
async def test_what_aiortc_trips_over_costs_a_message_and_not_the_connection(protocol: int, data: bytes) -> None:
    """Text that is none; a channel opened twice; one acknowledged that never was."""
    async with wired() as (wire, _):
        await wire.until(lambda: wire.arrived)
        sctp = wire.peer.sctp
        assert sctp is not None and wire.theirs.id is not None
        await sctp._send(wire.theirs.id + (2 if data == b"\x02" else 0), protocol, data)
        wire.theirs.send("still here")
        await wire.until(lambda: "still here" in wire.heard)


async def test_a_message_without_end_ends_the_connection() -> None:
    """aiortc would put it together for ever."""
    async with wired() as (wire, ours):
        await wire.until(lambda: wire.arrived)
        sctp = wire.peer.sctp
        assert sctp is not None
        ended = asyncio.ensure_future(ours.run(PATIENCE))  # awaited below
        endless = asyncio.ensure_future(_endless(sctp, wire.theirs.id or 0))  # cancelled below
        with pytest.raises(MediaFailed):
            await asyncio.wait_for(ended, PATIENCE)
        endless.cancel()
        await asyncio.wait({endless})


async def _endless(sctp: RTCSctpTransport, stream: int) -> None:
    """Pieces of one message, one after the other, whatever the other side's window is."""
    tsn = sctp._local_tsn
    for number in range(4000):
        chunk = DataChunk()
        chunk.flags = 0x02 if not number else 0  # RFC 9260 §3.3.1: B, then neither B nor E
        chunk.tsn, chunk.stream_id, chunk.stream_seq = (tsn + number) & 0xFFFFFFFF, stream, 0
        chunk.protocol, chunk.user_data = 51, bytes(1100)
        with contextlib.suppress(ConnectionError):
            await sctp._send_chunk(chunk)
        await asyncio.sleep(0)
