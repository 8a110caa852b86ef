"""What we rely on inside aiortc, and our packets over a real connection."""

import asyncio
import inspect
import itertools
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from aioice import Connection
from aioice.ice import StunProtocol
from aiortc import RTCDtlsTransport, RTCIceTransport, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCSctpTransport
from aiortc.rtcdtlstransport import SRTP_PROFILES
from aiortc.rtcsctptransport import DataChunk, InboundStream, SackChunk
from aiortc.rtp import RtcpRrPacket, RtcpSdesPacket, RtcpSrPacket
from pylibsrtp import Policy, Session
from pylibsrtp._binding import lib

from rtc.opus import FRAME, Decoder, Encoder
from rtc.peer_connection import PeerConnection
from rtc.rtp import Packet, header
from rtc.sender import SlotSender
from rtc.stats import Stats
from rtc.ticker import Ticker
from rtc.transport import _run as run
from tests.client import WavMicrophone
from tests.rtc.loopback import Pair, connected, offer_of, peer_with

PAYLOAD = Encoder(24_000).encode(np.zeros(480, np.int16))


def packet(sequence: int, timestamp: int | None = None, ssrc: int = 1) -> Packet:
    ticks = sequence * FRAME if timestamp is None else timestamp
    return Packet(ssrc, sequence & 0xFFFF, ticks & 0xFFFFFFFF, 0, PAYLOAD)


def slot_of(pair: Pair) -> SlotSender:
    slot = next(iter(pair.ours.slots.values()))
    assert isinstance(slot, SlotSender)
    return slot


def steps(values: list[int], bits: int) -> list[int]:
    """Signed differences of a wrapping counter."""
    half = 1 << (bits - 1)
    return [((b - a + half) & (2 * half - 1)) - half for a, b in itertools.pairwise(values)]


# aiortc's insides


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (RTCRtpReceiver, "receive", ["self", "parameters"]),
        (RTCRtpSender, "send", ["self", "parameters"]),
        (RTCSctpTransport, "_handle_data", ["self", "data"]),
        (StunProtocol, "datagram_received", ["self", "data", "addr"]),
        (Connection, "data_received", ["self", "data", "component"]),
        (Connection, "check_incoming", ["self", "message", "addr", "protocol"]),
    ],
)
def test_private_methods_are_still_there(owner: type, name: str, parameters: list[str]) -> None:
    """rtc/transport.py replaces them: when aiortc or aioice changes one, this says which."""
    method: Callable[..., Any] | None = getattr(owner, name, None)
    assert method is not None, f"{owner.__name__} has no {name} any more: see rtc/transport.py"
    assert list(inspect.signature(method).parameters) == parameters, f"{owner.__name__}.{name} was changed"


async def test_private_attributes_are_still_there() -> None:
    """The same for what is read, before there is a connection."""
    peer = RTCPeerConnection()
    transceiver = peer.addTransceiver("audio")
    kinds = [type(one) for one in (transceiver.sender._ssrc, transceiver._codecs, transceiver._headerExtensions)]
    transport: Any = transceiver.sender.transport
    assert kinds == [int, list, list] and isinstance(transport, RTCDtlsTransport)
    assert transport._rx_srtp is None and transport._tx_srtp is None
    assert isinstance(transport.transport, RTCIceTransport)
    connection: Any = transport.transport._connection
    assert connection._nominated == {} and connection._protocols == [] == connection._remote_candidates
    peer.createDataChannel("events")
    assert peer.sctp is not None and peer.sctp._inbound_streams == {} and peer.sctp._sack_misordered == set()
    assert InboundStream().reassembly == [] and DataChunk().user_data == b"" and SackChunk().gaps == []
    await peer.setLocalDescription(await peer.createOffer())
    assert connection._queue.qsize() == 0
    assert connection._protocols and all(isinstance(one, StunProtocol) for one in connection._protocols)
    assert all(candidate._network_host == candidate.host for candidate in connection.local_candidates)
    await peer.close()


@pytest.mark.parametrize("profile", SRTP_PROFILES, ids=lambda profile: profile.openssl_profile.decode())
def test_libsrtp_is_called_as_pylibsrtp_does(profile: Any) -> None:
    """Our short cut and pylibsrtp's own method give the same, for every cipher that DTLS may choose."""
    key = bytes(range(profile.key_length + profile.salt_length))

    def session(kind: int) -> Session:
        policy = Policy(key=key, ssrc_type=kind, srtp_profile=profile.libsrtp_profile)
        policy.allow_repeat_tx = True
        return Session(policy)

    ours, theirs, back = (session(kind) for kind in (*[Policy.SSRC_ANY_OUTBOUND] * 2, Policy.SSRC_ANY_INBOUND))
    plain = header(1, 111, 7, 960, 42) + PAYLOAD
    protected = run(lib.srtp_protect, ours._srtp[0], plain)
    assert protected == theirs.protect(plain)
    assert run(lib.srtp_unprotect, back._srtp[0], protected) == plain
    assert run(lib.srtp_unprotect, back._srtp[0], protected) is None, "a replayed packet is refused"
    assert run(lib.srtp_protect, ours._srtp[0], bytes(1501)) is None, "what does not fit is refused"


@pytest.mark.parametrize(("end", "begin"), [("receiver", "receive"), ("sender", "send")])
async def test_stop_does_nothing_where_nothing_began(end: str, begin: str) -> None:
    """We replace `receive` and `send`; aiortc's close must not wait for tasks that they would have started."""
    peer = RTCPeerConnection()
    half = getattr(peer.addTransceiver("audio"), end)

    async def nothing(parameters: object) -> None:
        pass

    setattr(half, begin, nothing)
    async with asyncio.timeout(5):
        await half.stop()
        await peer.close()


async def test_the_datagram_goes_where_ice_nominated() -> None:
    """On a live connection: SRTP sessions with handles, and a pair with a datagram transport and an address."""
    async with connected(peer_with(1)) as pair:
        dtls: Any = next(iter(pair.ours._transports))
        assert dtls._rx_srtp._srtp[0] and dtls._tx_srtp._srtp[0]
        nominated = dtls.transport._connection._nominated[1]
        assert callable(nominated.protocol.transport.sendto)
        host, port = nominated.remote_addr
        assert isinstance(host, str) and isinstance(port, int)


# the microphone


async def test_the_microphone_is_heard_without_a_decoder_thread() -> None:
    """Packets come as they were sent, with their level, and aiortc starts no thread of its own for them."""
    microphone = WavMicrophone()
    microphone.say(0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000).astype(np.float32))
    async with connected(peer_with(0, microphone, direction="sendonly")) as pair:
        await pair.until(lambda: len(pair.heard) >= 30)
        assert not [thread.name for thread in threading.enumerate() if thread.name.endswith("-decoder")]
        first = pair.heard[:30]
        assert len({one.ssrc for one in first}) == 1
        assert set(steps([one.sequence for one in first], 16)) == {1}
        assert set(steps([one.timestamp for one in first], 32)) == {FRAME}
        assert all(one.level is not None and 0 <= one.level <= 127 for one in first)
        decoder = Decoder(16_000)
        pcm = np.concatenate([decoder.decode(one.payload) for one in first]) / 32768
        spectrum = np.abs(np.fft.rfft(pcm[3200:]))
        assert np.argmax(spectrum) * 16_000 / (len(pcm) - 3200) == pytest.approx(440, abs=5)
        assert pair.ours.microphone is not None and pair.ours.microphone.packets_lost == 0
        microphone.stop()


async def test_reception_reports_go_to_the_sender() -> None:
    """RFC 3550 §6.4.1: the client learns how its microphone arrives."""
    microphone = WavMicrophone()
    async with connected(peer_with(1, microphone)) as pair, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(pair.ticker.run())
        ssrc = pair.peer.getSenders()[0]._ssrc

        def report() -> Any:
            found = [one for packet in pair.reports if isinstance(packet, RtcpRrPacket) for one in packet.reports]
            return next((one for one in found if one.ssrc == ssrc), None)

        found = await pair.until(report)
        assert found.packets_lost == 0 and found.fraction_lost == 0
        microphone.stop()
        running.cancel()


# slots


async def test_gaps_of_the_source_stay_visible() -> None:
    """Numbers and times arrive with the very distances they had; payloads as they were; the first is marked."""
    async with connected(peer_with(2)) as pair:
        slot = slot_of(pair)
        sequences = [65_533, 65_534, 65_535, 65_536, 65_539, 65_540]
        for sequence in sequences:
            slot.send(packet(sequence), 100.0)
        arrived = await pair.packets(len(sequences))
        assert steps([one.sequence_number for one in arrived], 16) == [1, 1, 1, 3, 1]
        assert steps([one.timestamp for one in arrived], 32) == [FRAME, FRAME, FRAME, 3 * FRAME, FRAME]
        assert [one.marker for one in arrived] == [1, 0, 0, 0, 0, 0]
        assert {one.ssrc for one in arrived} == {slot.ssrc}
        assert {one.payload for one in arrived} == {PAYLOAD}
        assert (slot.packets, slot.octets, slot.dropped) == (6, 6 * len(PAYLOAD), 0)


async def test_a_switch_of_source_is_a_pause_not_a_jump() -> None:
    """The next number, the time that passed, and a marker: whatever numbers and times the new source has."""
    async with connected(peer_with(1)) as pair:
        slot = slot_of(pair)
        for sequence in (10, 11, 12):
            slot.send(packet(sequence), 100.0 + sequence * 0.02)
        slot.switch()
        for sequence, now in ((40_000, 101.24), (40_001, 101.26)):
            slot.send(packet(sequence, timestamp=sequence * FRAME + 4_000_000_000, ssrc=2), now)
        arrived = await pair.packets(5)
        assert steps([one.sequence_number for one in arrived], 16) == [1] * 4
        assert steps([one.timestamp for one in arrived], 32) == [FRAME, FRAME, 48_000, FRAME]
        assert [one.marker for one in arrived] == [1, 0, 0, 1, 0]


async def test_a_switch_within_20_ms_still_goes_forward() -> None:
    """Two packets never have the same time."""
    async with connected(peer_with(1)) as pair:
        slot = slot_of(pair)
        slot.send(packet(10), 100.0)
        slot.switch()
        slot.send(packet(500), 100.001)
        arrived = await pair.packets(2)
        assert steps([one.timestamp for one in arrived], 32) == [FRAME]


async def test_packets_older_than_the_switch_are_dropped() -> None:
    """Their place in the numbers is taken."""
    async with connected(peer_with(1)) as pair:
        slot = slot_of(pair)
        slot.send(packet(10), 100.0)
        slot.switch()
        for sequence in (50, 49, 51):
            slot.send(packet(sequence), 100.1)
        arrived = await pair.packets(3)
        assert steps([one.sequence_number for one in arrived], 16) == [1, 1]
        assert (slot.packets, slot.dropped) == (3, 1)


async def test_no_number_is_used_twice() -> None:
    """A packet that came late just before the switch does not set the count back: SRTP would use a key stream twice."""
    async with connected(peer_with(1)) as pair:
        slot = slot_of(pair)
        for sequence in (10, 12, 11):
            slot.send(packet(sequence), 100.0)
        slot.switch()
        slot.send(packet(700), 101.0)
        arrived = await pair.packets(4)
        assert steps([one.sequence_number for one in arrived], 16) == [2, -1, 2]
        assert steps([one.timestamp for one in arrived], 32) == [2 * FRAME, -FRAME, FRAME + 48_000]


async def test_a_packet_far_too_late_is_dropped_not_raised() -> None:
    """SRTP refuses what lies before its window; the source and the other listeners go on."""
    async with connected(peer_with(1)) as pair:
        slot = slot_of(pair)
        for sequence in (5000, 7500, 5001, 7501):
            slot.send(packet(sequence), 100.0)
        arrived = await pair.packets(3)
        assert steps([one.sequence_number for one in arrived], 16) == [2500, 1]
        assert (slot.packets, slot.dropped) == (3, 1)


async def test_a_long_source_never_stalls() -> None:
    """An hour of packets passes twice around the numbers; old ones are still told from new ones."""
    async with connected(peer_with(1)) as pair:
        slot = slot_of(pair)
        for sequence in range(0, 3 * 0x10000, 500):
            slot.send(packet(sequence), 100.0 + sequence * 0.02)
        assert slot.dropped == 0


@pytest.mark.parametrize("ahead", [0, 50])
async def test_the_rtp_time_foretold_is_the_one_sent(ahead: int) -> None:
    """Captions in step with the voice need it: asked before the first packet of a source, or for a later one."""
    async with connected(peer_with(1)) as pair:
        slot = slot_of(pair)
        slot.send(packet(1), 100.0)
        slot.switch()
        start = 3_000_000_000
        foretold = slot.rtp_time(start, 102.0)
        assert slot.rtp_time(start, 103.0) == foretold
        slot.send(packet(900, timestamp=start), 102.5)
        later = slot.rtp_time(start + ahead * FRAME, 102.5)
        slot.send(packet(900 + ahead + 1, timestamp=start + ahead * FRAME), 102.5 + ahead * 0.02)
        arrived = await pair.packets(3)
        assert [one.timestamp for one in arrived[1:]] == [foretold, later]


async def test_before_there_is_a_connection_packets_are_dropped_and_counted() -> None:
    """Nothing waits, nothing raises."""
    peer = peer_with(1)
    async with PeerConnection([], 8, lambda packet: None, Ticker(Stats())) as ours:
        await ours.accept(await offer_of(peer))
        (slot,) = ours.slots.values()
        slot.send(packet(1), 1.0)
        assert (slot.packets, slot.dropped) == (0, 1)
    await peer.close()


async def test_after_the_end_packets_are_dropped_and_counted() -> None:
    """A stream may still have the slot for a moment."""
    async with connected(peer_with(1)) as pair:
        slot = slot_of(pair)
        slot.send(packet(1), 1.0)
        await pair.ours.close()
        slot.send(packet(2), 1.02)
        assert (slot.packets, slot.dropped) == (1, 1)


async def test_slots_are_streams_of_their_own() -> None:
    """Each with its own SSRC, over the one transport, at the m-line that was assigned to it."""
    async with connected(peer_with(3)) as pair:
        slots = list(pair.ours.slots.values())
        for slot in slots:
            slot.send(packet(1), 1.0)
        arrived = await pair.packets(3)
        assert len({one.ssrc for one in arrived}) == 3
        assert len(pair.ours._transports) == 1
        assert list(pair.ours.slots) == [slot.mid for slot in slots] == ["0", "1", "2"]


async def test_the_listener_s_loss_and_round_trip_come_back() -> None:
    """Every other packet is missing: the receiver report says so, and how far away the listener is."""
    async with connected(peer_with(1)) as pair, asyncio.TaskGroup() as tasks:
        slot = slot_of(pair)
        running = tasks.create_task(pair.ticker.run())
        for sequence in range(0, 60, 2):
            slot.send(packet(sequence), asyncio.get_running_loop().time())
        await pair.until(lambda: slot.fraction_lost > 0)
        assert slot.fraction_lost == pytest.approx(0.5, abs=0.05)
        assert slot.packets_lost == 29
        await pair.until(lambda: slot.round_trip is not None)
        assert slot.round_trip is not None and 0 <= slot.round_trip < 2
        assert pair.ours.round_trip == slot.round_trip
        running.cancel()


async def test_sender_reports_say_when_and_how_much() -> None:
    """RFC 3550 §6.4.1: for each slot that sends, with its name; for those that are silent, none."""
    async with connected(peer_with(2)) as pair, asyncio.TaskGroup() as tasks:
        slot = slot_of(pair)
        now = asyncio.get_running_loop().time()
        for sequence in range(5):
            slot.send(packet(sequence), now)
        running = tasks.create_task(pair.ticker.run())
        report = await pair.until(lambda: next((one for one in pair.reports if isinstance(one, RtcpSrPacket)), None))
        assert report.ssrc == slot.ssrc
        assert report.sender_info.packet_count == 5
        assert report.sender_info.octet_count == 5 * len(PAYLOAD)
        last = (await pair.packets(5))[-1].timestamp
        assert 0 <= (report.sender_info.rtp_timestamp - last) & 0xFFFFFFFF < 20 * 48_000
        assert {one.ssrc for one in pair.reports if isinstance(one, RtcpSrPacket)} == {slot.ssrc}
        assert not [one for one in pair.reports if isinstance(one, RtcpSdesPacket) and len(one.chunks) != 1]
        running.cancel()


# the end


async def test_close_is_idempotent_and_leaves_nothing() -> None:
    """However often it is called, at the same time or later: every caller returns, no task stays."""
    before = asyncio.all_tasks()
    async with connected(peer_with(2, WavMicrophone())) as pair:
        await asyncio.gather(*(pair.ours.close() for _ in range(3)))
        await pair.ours.close()
        assert pair.ours.state == "closed"
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == set()


@pytest.mark.parametrize("steps_before", range(6))
async def test_close_cancelled_in_the_middle_is_still_done(steps_before: int) -> None:
    """Wherever the cancellation hits, the closing goes on and the next caller returns when it is done."""
    before = asyncio.all_tasks()
    async with connected(peer_with(1, WavMicrophone())) as pair:
        closing = asyncio.create_task(pair.ours.close())  # cancelled two lines below
        for _ in range(steps_before):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        async with asyncio.timeout(10):
            await pair.ours.close()
        assert pair.ours.state == "closed"
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == set()


async def test_close_lets_go_of_every_socket() -> None:
    """Also of those that were sent from, and of one that is sent to while it closes."""
    before = set(os.listdir("/proc/self/fd"))
    async with connected(peer_with(1, WavMicrophone())) as pair:
        slot = slot_of(pair)
        slot.send(packet(1), 1.0)
        await pair.packets(1)
        closing = asyncio.create_task(pair.ours.close())  # awaited two lines below
        while not closing.done():
            slot.send(packet(2), 1.02)
            await asyncio.sleep(0)
        await closing
        slot.send(packet(3), 1.04)
    await asyncio.sleep(0)
    assert set(os.listdir("/proc/self/fd")) <= before
