"""What a client sends on purpose to keep us busy, or to be kept: it is bounded, and costs nobody else anything."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from aiortc import RTCSessionDescription
from aiortc.rtcsctptransport import DataChunk, RTCSctpTransport, SackChunk

from rtc.peer_connection import MediaFailed, PeerConnection
from rtc.stats import Stats
from rtc.ticker import Ticker
from rtc.transport import MAX_ACKNOWLEDGED, MAX_CHECKED, MAX_SOURCES, MAX_UNREAD
from tests.rtc.loopback import PATIENCE, offer_of, peer_with
from tests.rtc.test_channel import wired
from tests.rtc.test_feedback import Idle, line
from tests.rtc.test_ports import check

LAST, FIRST, UNORDERED = 1, 2, 4
"""Flags of a piece of a message (RFC 9260 §3.3.1)."""


def piece(tsn: int, flags: int, text: bytes) -> DataChunk:
    chunk = DataChunk(flags)
    chunk.tsn, chunk.stream_id, chunk.stream_seq, chunk.protocol, chunk.user_data = tsn & 0xFFFFFFFF, 7, 0, 51, text
    return chunk


def gaps(tsn: int) -> Iterator[DataChunk]:
    """Whole messages, and every other is missing."""
    return (piece(tsn + 2 * number + 1, FIRST | LAST | UNORDERED, b"x") for number in range(1000))


def middles(tsn: int) -> Iterator[DataChunk]:
    """Messages without a beginning."""
    return (piece(tsn + number, UNORDERED, b"x") for number in range(1000))


def nothings(tsn: int) -> Iterator[DataChunk]:
    return iter([piece(tsn, FIRST | LAST, b"")])


def streams(tsn: int) -> Iterator[DataChunk]:
    """A message without an end in each of many."""
    for number in range(1000):
        chunk = piece(tsn + number, FIRST, b"x")
        chunk.stream_id = number
        yield chunk


@pytest.mark.parametrize("endless", [gaps, middles, nothings, streams])
async def test_pieces_that_never_become_a_message_end_the_connection(endless: Any) -> None:
    """aiortc would keep all of them, and go through all of them for each that comes."""
    async with wired() as (wire, ours):
        await wire.until(lambda: wire.arrived)
        sctp = wire.peer.sctp
        assert sctp is not None
        ended = asyncio.ensure_future(ours.run(PATIENCE))  # awaited below
        for chunk in endless(sctp._local_tsn):
            with contextlib.suppress(ConnectionError):
                await sctp._send_chunk(chunk)
        with pytest.raises(MediaFailed):
            await asyncio.wait_for(ended, PATIENCE)


async def test_the_longest_message_that_we_announce_arrives() -> None:
    async with wired() as (wire, _):
        await wire.until(lambda: wire.arrived)
        wire.theirs.send("x" * 262_144)
        await wire.until(lambda: wire.heard)
        assert wire.heard == ["x" * 262_144]


async def test_what_was_never_sent_cannot_be_acknowledged() -> None:
    """A packet of 1,148 bytes would have aiortc count to 18 million."""
    async with wired() as (wire, ours):
        await wire.until(lambda: wire.arrived)
        theirs, mine = wire.peer.sctp, ours._pc.sctp
        assert theirs is not None and mine is not None
        counted = count(mine)
        for blocks in [[(0, 65_535)] * 280, [(1, 1)]]:
            sack = SackChunk()
            sack.cumulative_tsn, sack.advertised_rwnd, sack.gaps = mine._last_sacked_tsn, 1 << 20, blocks
            await theirs._send_chunk(sack)
        wire.theirs.send("still here")
        await wire.until(lambda: wire.heard)
        assert 1 <= sum(counted) <= MAX_ACKNOWLEDGED


def count(sctp: RTCSctpTransport) -> list[int]:
    """How many numbers it is told of, each time that something is acknowledged."""
    counted: list[int] = []
    inner = sctp._receive_sack_chunk

    async def receive(chunk: SackChunk) -> None:
        counted.append(sum(len(range(start, end + 1)) for start, end in chunk.gaps))
        await inner(chunk)

    sctp._receive_sack_chunk = receive  # type: ignore[method-assign]
    return counted


async def test_a_check_that_aioice_trips_over_is_refused() -> None:
    """Without a PRIORITY, which it must have (RFC 8445 §7.1.1). The client connects all the same."""
    peer = peer_with(1)
    offer = await offer_of(peer)
    async with PeerConnection([], 1, lambda packet, now: None, Ticker(Stats())) as ours:
        answer, _ = await ours.accept(offer)
        transports: Any = ours._transports
        connection = next(iter(transports)).transport._connection
        port = connection._protocols[0].port
        port.datagram_received(check(connection, connection.local_password, priority=False), (port.host, 9))
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await ours.settle(PATIENCE)
        assert ours.state == "connected"
        assert ours.stats()["datagrams_refused"] == 1
    await peer.close()


async def test_the_addresses_of_a_client_are_bounded_behind_a_relay_too() -> None:
    """What a TURN server relays comes to no port of ours, but to aioice at once. The client connects all the same."""
    peer = peer_with(1)
    offer = await offer_of(peer)
    async with PeerConnection([], 1, lambda packet, now: None, Ticker(Stats())) as ours:
        answer, _ = await ours.accept(offer)
        transports: Any = ours._transports
        connection = next(iter(transports)).transport._connection
        relay, request = connection._protocols[0], check(connection, connection.local_password)
        known = len(connection.remote_candidates)
        for port in range(1000, 1200):
            relay.datagram_received(request, ("192.0.2.1", port))
        assert ours.stats()["datagrams_refused"] == 200 - (MAX_CHECKED - known)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await ours.settle(PATIENCE)
        assert ours.state == "connected"
    await peer.close()


async def test_datagrams_that_nobody_reads_are_not_kept() -> None:
    """Who has proved its address may send what looks like DTLS before ICE has a pair; then it connects all the same."""
    peer = peer_with(1)
    async with PeerConnection([], 1, lambda packet, now: None, Ticker(Stats())) as ours:
        answer, _ = await ours.accept(await offer_of(peer))
        transports: Any = ours._transports
        connection = next(iter(transports)).transport._connection
        port = connection._protocols[0].port
        address = (port.host, 9)
        port.datagram_received(check(connection, connection.local_password), address)  # as the socket hands it on
        for _ in range(1000):
            port.datagram_received(bytes([22]) + bytes(1400), address)
        assert connection._queue.qsize() == MAX_UNREAD
        assert ours.stats()["datagrams_refused"] == 1000 - MAX_UNREAD
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await ours.settle(PATIENCE)
        assert ours.state == "connected"
    await peer.close()


async def test_the_sources_of_a_client_are_bounded() -> None:
    """A new SSRC with each packet: those known are heard on, those beyond are refused."""
    async with line(1, Idle()) as wire:
        (transport,) = wire.pair.ours._transports.values()
        for ssrc in range(1, MAX_SOURCES + 20):
            await wire.say(ssrc, 1)
            await asyncio.sleep(0)  # the socket's buffer does not hold all of them
        await wire.say(1, 2, 3)
        await wire.pair.until(lambda: wire.pair.heard and wire.pair.heard[-1].sequence == 3)
        heard = {packet.ssrc for packet in wire.pair.heard}
        assert 1 in heard and MAX_SOURCES - 20 < len(heard) <= MAX_SOURCES
        assert transport.refused >= 20 - 1


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's account of a process is asked")
def test_a_long_text_is_read_aloud_in_little_memory() -> None:
    """Two minutes of speech; all frames at once took 120 MB more."""
    script = """
import re, numpy
from rtc.opus import to_ogg
def peak(seconds):
    to_ogg(numpy.zeros(22_050 * seconds, numpy.float32), 22_050)
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(-peak(1) + peak(120))
"""
    grown = int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    assert grown < 60_000, "KiB; the samples themselves are 10 MB, and half of that as integers"
