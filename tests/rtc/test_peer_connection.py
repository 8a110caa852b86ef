"""One client's media connection, from a bad offer to the end."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from aiortc import RTCPeerConnection

from rtc.channel import Channel
from rtc.opus import FRAME, Encoder
from rtc.peer_connection import MediaFailed, PeerConnection
from rtc.rtp import Packet
from rtc.sdp import MAX_CANDIDATES, BadOffer
from rtc.sender import SlotSender
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.stream import Stream
from rtc.ticker import Ticker
from tests.client import WavMicrophone
from tests.rtc.loopback import connected, offer_of, peer_with

GOOD = "candidate:1 1 udp 2130706431 192.0.2.50 50000 typ host"


@pytest.fixture
async def ours() -> AsyncIterator[PeerConnection]:
    async with PeerConnection([], 4, lambda packet, now: None, Ticker(Stats())) as connection:
        yield connection


async def real_offer(slots: int = 2, channel: bool = False) -> str:
    peer = peer_with(slots, WavMicrophone())
    if channel:
        peer.createDataChannel("events")
    offer = await offer_of(peer)
    await peer.close()
    return offer


async def test_an_answer_takes_microphone_and_slots(ours: PeerConnection) -> None:
    """Opus alone, our candidates in it, receiving from the microphone and sending into the slots."""
    answer, admission = await ours.accept(await real_offer(slots=2))
    sections = re.split(r"^(?=m=)", answer, flags=re.MULTILINE)[1:]
    assert (admission.microphone, admission.slots) == ("0", ("1", "2"))
    assert [re.search(r"^a=(sendonly|recvonly)\r$", s, re.MULTILINE)[1] for s in sections] == [  # type: ignore[index]
        "recvonly",
        "sendonly",
        "sendonly",
    ]
    assert all(len(s.splitlines()[0].split()) == 4 for s in sections), "one payload type each"
    assert all("opus/48000/2" in s and "useinbandfec=1" in s for s in sections)
    assert "a=candidate:" in sections[0]
    assert not re.search(r"(?<!\r)\n", answer)
    assert list(ours.slots) == ["1", "2"] and ours.microphone is not None


async def test_video_is_rejected_and_audio_taken(ours: PeerConnection) -> None:
    """In the answer it stands in its place, with port 0; the peer takes that answer."""
    peer = RTCPeerConnection()
    peer.addTransceiver("video", direction="sendrecv")
    peer.addTransceiver(WavMicrophone(), direction="sendonly")
    peer.addTransceiver("audio", direction="recvonly")
    answer, admission = await ours.accept(await offer_of(peer))
    assert admission.video
    ports = re.findall(r"^m=(\w+) (\d+)", answer, re.MULTILINE)
    assert [kind for kind, _ in ports] == ["video", "audio", "audio"]
    assert [port == "0" for _, port in ports] == [True, False, False]
    await peer.close()


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"a=setup:\w+\r\n", ""),
        (r"a=setup:\w+", "a=setup:sideways"),
        (r"a=ice-.*\r\n", ""),
        (r"a=fingerprint:.*\r\n", ""),
        (r"a=rtcp-mux\r\n", ""),
        (r"m=audio \d+", "m=audio nowhere"),
        (r"a=candidate:.*", "a=candidate:nonsense"),
        (r"opus/48000/2", "opus/banana"),
        (r"a=mid:\d", "a=mid:same"),
        (r"\A(.|\n|\r)*\Z", "v=0\r\n"),
        (r"\A(.|\n|\r)*\Z", "\N{SNOWMAN}" * 1000),
    ],
)
async def test_offers_that_cannot_be_answered(ours: PeerConnection, pattern: str, replacement: str) -> None:
    """Each a BadOffer with a sentence; the connection can still be closed."""
    offer = re.sub(pattern, replacement, await real_offer())
    with pytest.raises(BadOffer) as refused:
        await ours.accept(offer)
    assert refused.value.code in ("bad_sdp", "no_audio") and str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"a=mid:(\d)", r"a=mid:\1\r\na=fmtp:63 111/111"),
        (r"(a=extmap:.*)\r", r"\1 vad=on\r"),
        (r"a=extmap:\d+ (urn:ietf:params:rtp-hdrext:sdes:mid)", r"a=extmap-allow-mixed\r\na=extmap:16 \1"),
        (r"c=IN IP4 .*\r", "c=IN IP4 example.org\r"),
        (r"a=candidate:.*\r", "a=candidate:1 1 udp 1 192.0.2.1 70000 typ host\r"),
        (r"a=candidate:.*\r", "a=candidate:1 1 udp 1 fe80::1%\u00e9 5000 typ host\r"),
    ],
)
async def test_unusual_offers_are_answered(ours: PeerConnection, pattern: str, replacement: str) -> None:
    """Attributes of what we do not use, header extensions we have no number for, candidates that are none."""
    offer = await real_offer(slots=2)
    unusual = re.sub(pattern, replacement, offer)
    assert unusual != offer
    _, admission = await ours.accept(unusual)
    assert (admission.microphone, admission.slots) == ("0", ("1", "2"))
    assert not re.search(r"70000|fe80::1", " ".join(admission.candidates))


@pytest.mark.parametrize("seed", range(25))
async def test_a_damaged_offer_is_answered_or_refused(seed: int) -> None:
    """Lines lost, doubled, shuffled or garbled on the way: an answer or BadOffer, nothing else."""
    chance = random.Random(seed)
    lines = (await real_offer(channel=seed % 2 == 1)).splitlines()
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(1, len(lines))
        match chance.randrange(4):
            case 0:
                del lines[place]
            case 1:
                lines.insert(chance.randrange(1, len(lines)), lines[place])
            case 2:
                lines[place] = lines[place][: chance.randrange(len(lines[place]) + 1)]
            case _:
                lines[place] = lines[place].replace(chance.choice("0123456789:/ ="), chance.choice("9-x\u00e9 "))
    channel = Channel("events", lambda: None, lambda data: None)
    async with PeerConnection([], 4, lambda packet, now: None, Ticker(Stats()), channel=channel) as ours:
        try:
            answer, _ = await ours.accept("\r\n".join(lines) + "\r\n")
        except BadOffer:
            return
        assert answer.startswith("v=0")


async def test_one_voice_on_the_microphone_s_line_is_not_mixed() -> None:
    """Where there is one slot there is nothing to mix: packets go out as they are."""
    peer = peer_with(0, WavMicrophone())
    async with connected(peer, max_slots=1) as pair:
        (slot,) = pair.ours.slots.values()
        assert isinstance(slot, SlotSender) and slot.mid == "0"


async def test_hidden_addresses_are_ignored(ours: PeerConnection) -> None:
    """Trickled mDNS candidates would only cost a second each; ICE finds the peer without them."""
    await ours.accept(await real_offer())
    async with asyncio.timeout(0.9):  # what aioice would wait for one
        await ours.add_candidate(GOOD.replace("192.0.2.50", "0b5ad1b1-7f6a-4a43-9a7c.local"), "0", 0)


async def test_candidates_and_their_end_are_taken(ours: PeerConnection) -> None:
    """With or without their prefix; an empty one ends them, and what comes then is harmless."""
    await ours.accept(await real_offer())
    await ours.add_candidate(GOOD, "0", 0)
    await ours.add_candidate(GOOD.removeprefix("candidate:").replace(".50", ".51"), "0", None)
    await ours.add_candidate("", None, None)
    await ours.add_candidate(GOOD.replace(".50", ".52") + "\r\n", "0", 0)


@pytest.mark.parametrize(
    "junk",
    [
        "candidate:",
        "hello",
        "candidate:1 1 udp",
        "candidate:1 x udp 1 192.0.2.1 1 typ host",
        "candidate:1 1 udp 1 192.0.2.1 port typ host",
        "candidate:1 1 udp 1 192.0.2.1 99999999 typ host",
        "candidate:1 1 udp 1 192.0.2.1 0 typ host",
        "candidate:1 1 udp 1 192.0.2.1 -5 typ host",
        "candidate:1 1 udp 1 192.0.2.1 5 typ srflx raddr 1.2.3.4 rport x",
        "candidate:1 1 udp 1 fe80::1%\0 5 typ host",
        "candidate:1 1 udp 1 fe80::1%\ud800 5 typ host",
        "candidate:1 1 udp 1 nowhere 5 typ host",
        "\x00" * 100,
    ],
)
async def test_junk_is_no_candidate(ours: PeerConnection, junk: str) -> None:
    """ValueError with a sentence."""
    await ours.accept(await real_offer())
    with pytest.raises(ValueError, match=r"\.$"):
        await ours.add_candidate(junk, "0", 0)


async def test_a_candidate_belongs_somewhere(ours: PeerConnection) -> None:
    """One that names no m-line is refused; one of an m-line that we rejected is ignored."""
    await ours.accept(await real_offer())
    with pytest.raises(ValueError, match="sdpMid"):
        await ours.add_candidate(GOOD, None, None)
    await ours.add_candidate(GOOD, "no-such-mid", None)


HIDDEN = GOOD.replace("192.0.2.50", "0b5ad1b1-7f6a-4a43-9a7c.local")


@pytest.mark.parametrize(("lines", "trickle"), [(["a=end-of-candidates"], []), ([], [""]), ([], [HIDDEN, ""])])
async def test_a_client_whose_addresses_are_all_hidden_is_waited_for(lines: list[str], trickle: list[str]) -> None:
    """It has said that there are no others, and finds us (RFC 8863)."""

    def hide(offer: str) -> str:
        bare = re.sub(r"a=(candidate:.*|end-of-candidates)\r\n", "", offer)
        return bare.replace("a=mid:0", "\r\n".join([f"a={HIDDEN}", *lines, "a=mid:0"]))

    async with connected(peer_with(1, WavMicrophone()), edit=hide, trickle=trickle) as pair:
        assert pair.ours.state == "connected"


def known(connection: PeerConnection) -> list[str]:
    """Addresses of the client that ICE knows, by transport."""
    found: list[Any] = [dtls.transport for dtls in connection._transports]
    return [candidate.ip for transport in found for candidate in transport.getRemoteCandidates()]


async def test_candidates_are_taken_up_to_a_bound(ours: PeerConnection) -> None:
    """Offered and trickled together; what comes then is ignored and counted, and no error: nobody did wrong."""
    offer = re.sub(r"a=candidate:.*\r\n", "", await real_offer())
    offer = offer.replace("a=mid:0", f"a={GOOD}\r\na={GOOD.replace('.50', '.51')}\r\na=mid:0")
    await ours.accept(offer)
    for number in range(MAX_CANDIDATES + 10):
        await ours.add_candidate(GOOD.replace("192.0.2.50", f"198.51.100.{number}"), "0", 0)
    assert known(ours) == [
        "192.0.2.50",
        "192.0.2.51",
        *(f"198.51.100.{number}" for number in range(MAX_CANDIDATES - 2)),
    ]
    assert ours.stats()["candidates_excessive"] == 12


async def test_candidates_that_are_passed_over_take_no_place(ours: PeerConnection) -> None:
    """Those for TCP, and those of m-lines which share the first one's transport: browsers trickle both."""
    await ours.accept(re.sub(r"a=candidate:.*\r\n", "", await real_offer()))
    for number in range(MAX_CANDIDATES):
        address = f"198.51.100.{number}"
        await ours.add_candidate(GOOD.replace("192.0.2.50", address).replace("udp", "tcp"), "0", 0)
        await ours.add_candidate(GOOD.replace("192.0.2.50", address), "1", 1)
    await ours.add_candidate(GOOD, "0", 0)
    assert known(ours) == ["192.0.2.50"]


async def test_an_m_line_s_index_is_that_of_the_offer(ours: PeerConnection) -> None:
    """Rejected ones are counted with the others."""
    peer = RTCPeerConnection()
    peer.addTransceiver("video", direction="sendrecv")
    peer.addTransceiver(WavMicrophone(), direction="sendonly")
    await ours.accept(re.sub(r"a=candidate:.*\r\n", "", await offer_of(peer)))
    await ours.add_candidate(GOOD.replace(".50", ".51"), None, 0)
    await ours.add_candidate(GOOD.replace(".50", ".52"), None, 1)
    await ours.add_candidate(GOOD.replace(".50", ".53"), None, 10**30)
    assert known(ours) == ["192.0.2.52"]
    await peer.close()


async def test_a_client_that_never_connects_is_a_failure(ours: PeerConnection) -> None:
    """It says so, in words for the person, instead of waiting for ever."""
    await ours.accept(await real_offer())
    with pytest.raises(MediaFailed, match="firewall"):
        await ours.run(connect_timeout=0.05)


async def test_a_client_that_hangs_up_is_a_failure() -> None:
    """`run` ends when the other end does."""
    async with connected(peer_with(1, WavMicrophone())) as pair, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(expect_failure(pair.ours))
        await pair.peer.close()
        async with asyncio.timeout(10):
            await running
        assert pair.ours.state == "closed"


async def expect_failure(connection: PeerConnection) -> None:
    with pytest.raises(MediaFailed, match="broke"):
        await connection.run(5)


async def test_close_ends_run(ours: PeerConnection) -> None:
    """Whoever waits in `run` learns it."""
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(expect_failure(ours))
        await asyncio.sleep(0)
        await ours.close()
        async with asyncio.timeout(10):
            await waiting


async def test_after_its_end_nothing_is_handed_on() -> None:
    """Although packets still come until it is closed."""
    async with connected(peer_with(1, WavMicrophone())) as pair:
        await pair.until(lambda: pair.heard)
        arrived: list[bytes] = []

        def watch(media: Callable[[bytes], None]) -> Callable[[bytes], None]:
            def watched(data: bytes) -> None:
                media(data)
                arrived.append(data)
                pair.news.set()

            return watched

        for place in pair.places:
            place.on_media = watch(place.on_media)
        pair.ours.end()
        heard = len(pair.heard)
        await pair.until(lambda: len(arrived) >= 5)
        assert len(pair.heard) == heard


async def test_a_thin_client_gets_one_mix() -> None:
    """With a single m-line both ways, voices are places in a mix, and what they say arrives in the one stream."""
    peer = peer_with(0, WavMicrophone())
    async with connected(peer, max_slots=3) as pair, asyncio.TaskGroup() as tasks:
        assert len(pair.ours.slots) == 3
        assert {outlet.mid for outlet in pair.ours.slots.values()} == {"0"}
        assert not any(isinstance(outlet, SlotSender) for outlet in pair.ours.slots.values())
        running = tasks.create_task(pair.ticker.run())
        stream = Stream(StreamKey("ana", "original", "es"))
        stream.attach(next(iter(pair.ours.slots.values())))
        for packet in tone_packets(10):
            stream.send(packet, 1.0)
        arrived = await pair.packets(10)
        assert len({one.ssrc for one in arrived}) == 1
        running.cancel()


def tone_packets(count: int) -> list[Packet]:
    encoder = Encoder(24_000)
    pcm = (8000 * np.sin(2 * np.pi * 440 * np.arange(count * 480) / 24_000)).astype(np.int16)
    return [Packet(1, number, number * FRAME, 0, encoder.encode(pcm[number * 480 :][:480])) for number in range(count)]
