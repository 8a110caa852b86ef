"""What strangers and broken clients send over UDP: dropped and counted, and the call goes on."""

import asyncio
import contextlib
import logging
import random
import re
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from aiortc.rtp import RtpPacket
from pylibsrtp._binding import lib

from rtc.opus import FRAME, Decoder, Encoder, OpusError
from rtc.rtcp import bye, nack, receiver_report
from rtc.rtp import extended_header, header, one_byte_extension
from rtc.transport import _run as run
from tests.client import RATE, Client, joined
from tests.conftest import Server
from tests.speech import flite

OPUS = 96
SSRC = 0xBAD
SENTENCE = flite("The results are very important.", rate=RATE)
TONE = Encoder(24_000).encode((8000 * np.sin(np.arange(480) / 9)).astype(np.int16))


class Intruder:
    """A client's connection below aiortc: anything can be sent over it, and what comes is heard as a browser would,
    whatever it is (aiortc's decoder thread dies of a packet that is not Opus)."""

    def __init__(self, client: Client) -> None:
        assert client.pc is not None
        self.client = client
        self.dice = random.Random(1)
        self._dtls: Any = client.pc.getTransceivers()[0].sender.transport
        pair = self._dtls.transport._connection._nominated[1]
        self._sendto, self._address = pair.protocol.transport.sendto, pair.remote_addr
        self._sequence = 0
        self._decoders: dict[int, Decoder] = {}
        self.loud = 0
        """Packets heard that were louder than -40 dBFS."""
        self._dtls._handle_rtp_data = self._hear

    async def _hear(self, data: bytes, arrival_time_ms: int) -> None:
        packet = RtpPacket.parse(data)
        try:
            pcm = self._decoders.setdefault(packet.ssrc, Decoder(16_000)).decode(packet.payload)
        except OpusError:
            return
        self.loud += bool(len(pcm) and np.sqrt(np.mean((pcm / 32768.0) ** 2)) > 0.01)
        self.client._news.set()

    async def raw(self, *datagrams: bytes) -> None:
        """As they are; the server has its turn after each."""
        for datagram in datagrams:
            self._sendto(datagram, self._address)
            await asyncio.sleep(0)

    def protected(self, data: bytes) -> bytes:
        """SRTP."""
        return self._run(lib.srtp_protect, data)

    def protected_rtcp(self, data: bytes) -> bytes:
        """SRTCP."""
        return self._run(lib.srtp_protect_rtcp, data)

    def _run(self, function: Any, data: bytes) -> bytes:
        protected = run(function, self._dtls._tx_srtp._srtp[0], data)
        assert protected is not None, "libsrtp would not even protect that"
        return protected

    def rtp(
        self, payload: bytes, timestamp: int | None = None, ssrc: int = SSRC, step: int = 1, kind: int = OPUS
    ) -> bytes:
        """The next packet of a microphone."""
        self._sequence += step
        ticks = self._sequence * FRAME if timestamp is None else timestamp
        return self.protected(header(0, kind, self._sequence & 0xFFFF, ticks & 0xFFFF_FFFF, ssrc) + payload)

    def noise(self, size: int) -> bytes:
        return self.dice.randbytes(size)


def ports(client: Client) -> list[tuple[str, int]]:
    """Where the server listens for that client, from its answer."""
    found = re.findall(r"^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", client.joined["sdp"], re.MULTILINE)
    return [(host, int(port)) for host, port in found if ":" not in host]


FIRST_BYTES = (0x00, 0x01, 0x03, 0x10, 0x14, 0x16, 0x17, 0x3F, 0x40, 0x7F, 0x80, 0x90, 0xBF, 0xC0, 0xFF)
"""RFC 7983: STUN, ZRTP, DTLS, TURN channels, RTP, and nothing at all."""


def garbage(noise: Callable[[int], bytes]) -> list[bytes]:
    """Datagrams of every kind that are nothing."""
    sizes = (1, 2, 3, 11, 12, 13, 19, 20, 24, 100, 1500, 1501, 9000)
    return [b"", *(bytes([first]) + noise(size - 1) for first in FIRST_BYTES for size in sizes)]


def half_stun(noise: Callable[[int], bytes]) -> list[bytes]:
    """Binding requests and responses (RFC 8489 §5) whose attributes are not what they say."""
    attributes = [
        kind.to_bytes(2, "big") + length.to_bytes(2, "big") + noise(size)
        for kind in (0x0001, 0x0006, 0x0008, 0x0009, 0x000D, 0x0020, 0x0024, 0x0025, 0x8022, 0x8028, 0x8029, 0x802A)
        for length, size in ((0, 0), (1, 4), (4, 4), (20, 20), (40, 8))
    ]
    return [
        kind + len(attribute).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + noise(12) + attribute
        for kind in (b"\x00\x01", b"\x01\x01", b"\x01\x11")
        for attribute in attributes
    ]


async def nonsense(bad: Intruder) -> None:
    """On the very path that ICE chose."""
    await bad.raw(*garbage(bad.noise))


async def damaged(bad: Intruder) -> None:
    """Cut off at every length, a bit flipped in every byte, and all that came before once more."""
    reports = receiver_report(SSRC, ()) + bye([SSRC])
    whole = [bad.rtp(TONE), bad.protected_rtcp(reports), bad.rtp(TONE), bad.protected_rtcp(reports)]
    for datagram in whole[:2]:
        await bad.raw(*(datagram[:size] for size in range(len(datagram))))
        flipped = (datagram[:at] + bytes([datagram[at] ^ 0x10]) + datagram[at + 1 :] for at in range(len(datagram)))
        await bad.raw(*flipped)
    await bad.raw(*whole * 5)


async def payload_types(bad: Intruder) -> None:
    """None of them was agreed on."""
    await bad.raw(*(bad.rtp(TONE, kind=kind) for kind in range(128) if kind != OPUS))


async def sizes(bad: Intruder) -> None:
    """Nothing, one byte of each kind, as much as fits, and more."""
    await bad.raw(*(bad.rtp(bytes([first])) for first in range(256)))
    for size in (0, 2, 3, 1275, 1276, 1400, 1488):
        await bad.raw(*(bad.rtp(bad.noise(size)) for _ in range(20)))
    padded = header(0, OPUS, 60_000, 0, SSRC)
    await bad.raw(*(bad.protected(b"\xa0" + padded[1:] + bytes([count])) for count in (0, 1, 2, 255)))
    await bad.raw(*(bad.rtp(bad.noise(1460)) + bad.noise(100) for _ in range(20)))


async def durations(bad: Intruder) -> None:
    """RFC 6716 §3.1: every configuration, mono and stereo, one frame, two, and as many as 120 ms hold, or more."""
    for toc in range(0, 256, 4):
        for packet in (
            bytes([toc]) + bad.noise(40),
            bytes([toc | 1]) + bad.noise(40),
            bytes([toc | 2, 20]) + bad.noise(40),
            *(bytes([toc | 3, count]) + bad.noise(10 * count) for count in (1, 3, 6, 48, 63)),
        ):
            await bad.raw(bad.rtp(packet))


async def ten_times_as_fast(bad: Intruder) -> None:
    """Eight seconds of speech in a burst: a microphone cannot be asked to wait."""
    for _ in range(400):
        await bad.raw(bad.rtp(TONE))


async def times(bad: Intruder) -> None:
    """Timestamps that stand still, jump, run backwards."""
    await bad.raw(*(bad.rtp(TONE, timestamp=5000) for _ in range(50)))
    await bad.raw(*(bad.rtp(TONE, timestamp=bad.dice.getrandbits(32)) for _ in range(100)))
    await bad.raw(*(bad.rtp(TONE, timestamp=-FRAME * n) for n in range(50)))


async def numbers(bad: Intruder) -> None:
    """Sequence numbers that leave holes, large and small."""
    steps = [bad.dice.choice((1, 2, 5, 24, 25, 26, 27, 99, 100, 101, 300, 2999, 3001)) for _ in range(200)]
    await bad.raw(*(bad.rtp(TONE, step=step) for step in steps))


async def sources(bad: Intruder) -> None:
    """An SSRC of its own for each packet."""
    await bad.raw(*(bad.rtp(TONE, ssrc=ssrc) for ssrc in range(200)))


async def extensions(bad: Intruder) -> None:
    """Header extensions in which nothing is right."""
    for number in range(200):
        body = one_byte_extension(1, bad.noise(1 + number % 16))[:4] + bad.noise(4 * (number % 5 + 1))
        body = bytes([0xBE, 0xDE, 0, len(body) // 4 - 1]) + body[4:]
        await bad.raw(bad.protected(extended_header(0, OPUS, 30_000 + number, 0, SSRC, body) + TONE))


async def reports(bad: Intruder) -> None:
    """RTCP that is authentic and makes no sense; goodbyes and requests for what nobody has."""
    for _ in range(300):
        words = bad.dice.randrange(20)
        kind = bad.dice.choice((192, 200, 201, 202, 203, 204, 205, 206, 207, 223))
        data = bytes([bad.dice.randrange(0x80, 0xC0), kind, 0, bad.dice.choice((words, words, 0, 200))])
        await bad.raw(bad.protected_rtcp(data + bad.noise(4 + 4 * words)))
    await bad.raw(*(bad.protected_rtcp(bye([bad.dice.getrandbits(32) for _ in range(31)])) for _ in range(5)))
    await bad.raw(*(bad.protected_rtcp(nack(1, 2, range(0, 6000, 17))) for _ in range(5)))


@contextlib.asynccontextmanager
async def quiet(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Nothing had anything to complain about: no exception in a callback or a task, no warning in the log."""
    problems: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: problems.append(context))
    try:
        yield
    finally:
        loop.set_exception_handler(None)
    assert problems == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def media(server: Server, client: Client) -> dict[str, Any]:
    """What `/v1/stats` says about them."""
    found = [one for one in (await server.stats())["media"] if one["participant_id"] == client.id]
    assert len(found) == 1
    return dict(found[0])


async def all_is_well(*ears: Intruder) -> None:
    """Everybody says a sentence that all others hear and read; nobody has left or got an error."""
    starts = [(len(ear.client.messages), ear.loud) for ear in ears]
    for speaker in ears:
        speaker.client.microphone.say(SENTENCE)
    for ear, (start, loud) in zip(ears, starts, strict=True):
        for speaker in {one.client.id for one in ears} - {ear.client.id}:
            said = lambda m, speaker=speaker: m["participant_id"] == speaker  # noqa: E731  # it is said once
            await ear.client.expect("transcript.final", said, start=start)
        await ear.client.until(lambda ear=ear, loud=loud: ear.loud > loud + 25, "the voice")
        assert not ear.client.of("participant.left") and not ear.client.of("error")
        assert ear.client.pc is not None and ear.client.pc.connectionState == "connected"


@pytest.mark.parametrize(
    ("mischief", "counted"),
    [
        (nonsense, None),
        (damaged, None),
        (payload_types, None),
        (sizes, "packets_undecodable"),
        (durations, "packets_undecodable"),
        (ten_times_as_fast, None),
        (times, None),
        (numbers, "packets_lost"),
        (sources, None),
        (extensions, None),
        (reports, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_client_that_sends_anything(
    server: Server, caplog: pytest.LogCaptureFixture, mischief: Callable[[Intruder], Any], counted: str | None
) -> None:
    """Bob does, while he is also talking as ever: afterwards he and Ana hear and understand each other."""
    room = await server.room()
    async with (
        quiet(caplog),
        joined(server.http, server.base, room, "Ana", "en") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        bad, good = Intruder(bob), Intruder(ana)
        await mischief(bad)
        await all_is_well(bad, good)
        if counted is not None:
            assert (await media(server, bob))[counted] > 0
        stats = await media(server, ana)
        assert (stats["packets_undecodable"], stats["packets_lost"]) == (0, 0)


@pytest.mark.parametrize("kind", ["garbage", "half STUN"])
async def test_a_stranger_who_knows_the_port(server: Server, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """Before there is a connection and during the call: nothing of it is listened to, and nobody is disturbed."""
    dice = random.Random(2)
    junk = half_stun(dice.randbytes)
    if kind == "garbage":
        junk = [*garbage(dice.randbytes), *(header(0, OPUS, n, n * FRAME, SSRC) + TONE for n in range(50))]
    room = await server.room()
    client = await Client(server.http, server.base, room).open()
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    async def molest() -> None:
        for address in ports(client):
            for datagram in junk:
                stranger.sendto(datagram, address)
                await asyncio.sleep(0)

    try:
        async with quiet(caplog):
            offer = await client.offer(slots=2)
            await client.send("session.join", name="Ana", language="en", speaks="en", sdp=offer)
            client.joined = await client.expect("session.joined")
            assert ports(client)
            await molest()
            assert (await media(server, client))["state"] in ("new", "connecting")
            await client.accept(client.joined["sdp"])
            await molest()
            await client.connected()
            async with joined(server.http, server.base, room, "Bob", "en") as bob:
                await molest()
                await all_is_well(Intruder(bob), Intruder(client))
            assert (await media(server, client))["packets_undecodable"] == 0
    finally:
        stranger.close()
        await client.close()
