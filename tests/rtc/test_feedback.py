"""What both ends tell each other by RTCP, over a real connection with a stock aiortc peer."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiortc import MediaStreamTrack, rtcrtpsender
from aiortc.rtp import RtpPacket, unwrap_rtx

from rtc import rtcp, ticker
from rtc.opus import FRAME
from rtc.peer_connection import RTCP_BURST, PeerConnection
from rtc.rtp import Packet, header, signed
from rtc.sender import ANNOUNCED, SlotSender
from rtc.stats import Stats
from tests.client import WavMicrophone
from tests.rtc.loopback import PATIENCE, Pair, connected, offer_of, peer_with

OPUS, RTX = 96, 121
"""Payload types: aiortc's own, and a free one."""

PAYLOAD = b"\x78" + bytes(20)


class Idle(MediaStreamTrack):
    """A microphone whose packets a test sends by hand."""

    kind = "audio"

    async def recv(self) -> Any:
        await asyncio.Event().wait()


def wanting(repair: bool | None) -> Any:
    """An offer's text with NACK, with a stream for repairs too, or (None) as aiortc makes it."""

    def edit(offer: str) -> str:
        if repair is None:
            return offer
        lines = f"\\g<0>\r\na=rtcp-fb:{OPUS} nack"
        if repair:
            lines += f"\r\na=rtpmap:{RTX} rtx/48000\r\na=fmtp:{RTX} apt={OPUS}"
            offer = re.sub(r"^m=audio .*(?=\r)", rf"\g<0> {RTX}", offer, flags=re.MULTILINE)
        return re.sub(rf"^a=rtpmap:{OPUS} .*(?=\r)", lines, offer, flags=re.MULTILINE)

    return edit


class Line:
    """The path between `pair.ours` and its peer: what the peer gets, decrypted; and it can lose packets."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.dtls: Any = pair.peer.getTransceivers()[0].sender.transport
        self.rtp: list[RtpPacket] = []
        self.rtcp: list[rtcp.Message] = []
        self.lost: list[int] = []
        """Sequence numbers of what was lost."""
        handle_rtp, handle_rtcp = self.dtls._handle_rtp_data, self.dtls._handle_rtcp_data

        async def rtp_came(data: bytes, arrival_time_ms: int) -> None:
            self.rtp.append(RtpPacket.parse(data, self.dtls._rtp_header_extensions_map))
            pair.news.set()
            await handle_rtp(data, arrival_time_ms)

        async def rtcp_came(data: bytes) -> None:
            self.rtcp.extend(rtcp.parse(data))
            pair.news.set()
            await handle_rtcp(data)

        self.dtls._handle_rtp_data, self.dtls._handle_rtcp_data = rtp_came, rtcp_came

    def lose(self, ends: Any, which: set[int]) -> None:
        """From now on the packets of that order, the first is 0, get lost before they reach `ends`; sent again, they do
        not."""
        seen: list[bytes] = []

        def lossy(inner: Any) -> Any:
            def received(data: bytes, *rest: Any) -> None:
                name = data[2:4] + data[8:12]  # sequence number and SSRC
                if 127 < data[0] < 192 and data[1] & 0x7F == OPUS and name not in seen:
                    seen.append(name)
                    if len(seen) - 1 in which:
                        self.lost.append(int.from_bytes(data[2:4], "big"))
                        return
                inner(data, *rest)

            return received

        for end, method in ends:
            setattr(end, method, lossy(getattr(end, method)))

    @property
    def our_end(self) -> list[tuple[Any, str]]:
        return [(place, "on_media") for place in self.pair.places]

    @property
    def their_end(self) -> list[tuple[Any, str]]:
        return [(one, "datagram_received") for one in self.dtls.transport._connection._protocols]

    async def send(self, data: bytes) -> None:
        """RTP or RTCP from the peer."""
        await self.dtls._send_rtp(data)

    async def say(self, ssrc: int, *sequences: int) -> None:
        """Packets of the peer's microphone, by hand."""
        for sequence in sequences:
            await self.send(header(0, OPUS, sequence, sequence * FRAME, ssrc) + PAYLOAD)

    def told(self, kind: type) -> list[Any]:
        """RTCP of that kind that the peer got."""
        return [message for message in self.rtcp if isinstance(message, kind)]


@contextlib.asynccontextmanager
async def line(
    slots: int = 1, microphone: MediaStreamTrack | None = None, repair: bool | None = None
) -> AsyncIterator[Line]:
    async with connected(peer_with(slots, microphone), max_slots=slots, edit=wanting(repair)) as pair:
        yield Line(pair)


def slots_of(pair: Pair) -> list[SlotSender]:
    return [slot for slot in pair.ours.slots.values() if isinstance(slot, SlotSender)]


def packet(sequence: int) -> Packet:
    return Packet(1, sequence, sequence * FRAME, 0, b"\x78%d" % sequence)


# what is agreed


@pytest.mark.parametrize("repair", [None, False, True])
async def test_the_answer_agrees_to_what_was_offered(repair: bool | None) -> None:
    """For each m-line: NACK; the repair stream with its payload type, the codec it repairs, and its SSRC (RFC 5576)."""
    peer = peer_with(2, Idle())
    async with PeerConnection([], 8, lambda packet, now: None, ticker.Ticker(Stats())) as ours:
        answer, _ = await ours.accept(wanting(repair)(await offer_of(peer)))
    await peer.close()
    sections = re.split(r"^(?=m=)", answer, flags=re.MULTILINE)[1:]
    for section in sections:
        lines = section.splitlines()
        assert (f"a=rtcp-fb:{OPUS} nack" in lines) is (repair is not None)
        assert lines[0].split()[3:] == ([str(OPUS), str(RTX)] if repair else [str(OPUS)])
        assert (f"a=rtpmap:{RTX} rtx/48000" in lines) is (f"a=fmtp:{RTX} apt={OPUS}" in lines) is bool(repair)
    sending = [re.findall(r"^a=ssrc:(\d+) cname:(\S+)", section, re.MULTILINE) for section in sections[1:]]
    assert [len(ssrcs) for ssrcs in sending] == [2 if repair else 1] * 2
    assert len({ssrc for ssrcs in sending for ssrc, _ in ssrcs}) == (4 if repair else 2)
    assert len({cname for ssrcs in sending for _, cname in ssrcs}) == 1, "one clock, one name"
    groups = re.findall(r"^a=ssrc-group:FID (\d+ \d+)", "".join(sections[1:]), re.MULTILINE)
    assert groups == ([" ".join(ssrc for ssrc, _ in ssrcs) for ssrcs in sending] if repair else [])


# packets that are missing


@pytest.mark.parametrize("repair", [False, True])
async def test_what_we_miss_is_asked_for_and_used(repair: bool) -> None:
    """Every packet of the microphone is here once, under its own number, though the network lost some."""
    microphone = WavMicrophone()
    async with line(1, microphone, repair) as wire:
        pair = wire.pair
        wire.lose(wire.our_end, {5, 10, 11, 20})
        await pair.until(lambda: len(wire.lost) == 4 and set(wire.lost) <= {one.sequence for one in pair.heard})
        microphone.stop()
        first = pair.heard[0].sequence
        numbers = [signed(one.sequence - first, 16) for one in pair.heard]
        assert sorted(numbers) == list(range(max(numbers) + 1))
        assert len({one.ssrc for one in pair.heard}) == 1
        times = {number: one.timestamp for number, one in zip(numbers, pair.heard, strict=True)}
        assert all(signed(times[number] - times[0], 32) == number * FRAME for number in numbers)
        assert pair.ours.microphone is not None
        asked, filled = pair.ours.microphone.retransmissions
        assert filled == 4 <= asked
        assert {number for one in wire.told(rtcp.Nack) for number in one.sequences} == set(wire.lost)


@pytest.mark.parametrize("repair", [False, True])
async def test_what_they_miss_is_sent_again(repair: bool) -> None:
    """As it was, or wrapped on the stream for it; the peer has it whole."""
    async with line(1, Idle(), repair) as wire:
        pair = wire.pair
        (slot,) = slots_of(pair)
        wire.lose(wire.their_end, {1, 3})
        for sequence in range(5):
            slot.send(packet(sequence), 100.0 + 0.02 * sequence)
        await pair.until(lambda: len(wire.rtp) == 3)
        await wire.send(rtcp.receiver_report(7, ()) + rtcp.nack(7, slot.ssrc, wire.lost))
        await pair.until(lambda: len(wire.rtp) == 5)
        again = wire.rtp[3:]
        if repair:
            assert {one.payload_type for one in again} == {RTX} and slot.ssrc not in {one.ssrc for one in again}
            again = [unwrap_rtx(one, OPUS, slot.ssrc) for one in again]
        assert [one.payload for one in again] == [packet(1).payload, packet(3).payload]
        assert [one.sequence_number for one in again] == wire.lost
        assert {(one.ssrc, one.payload_type) for one in again} == {(slot.ssrc, OPUS)}
        assert (slot.packets, slot.resent) == (5, 2)


async def test_rtcp_that_comes_too_often_is_not_read() -> None:
    """It is counted, and no reason for anything else: what it hears goes on, what it says in time is read."""
    async with line(1, Idle()) as wire:
        pair = wire.pair
        (slot,) = slots_of(pair)

        async def say(lost: int) -> None:
            await wire.send(rtcp.receiver_report(7, [rtcp.Block(slot.ssrc, 0, lost, 0, 0, 0, 0)]))

        asked = 0
        async with asyncio.timeout(PATIENCE):
            while not pair.ours.stats()["rtcp_excessive"]:
                asked += 1
                await say(asked)
                await asyncio.sleep(0)
        assert asked >= RTCP_BURST
        slot.send(packet(1), 100.0)
        await pair.until(lambda: wire.rtp)
        async with asyncio.timeout(PATIENCE):
            while slot.packets_lost != 0x1000:
                await say(0x1000)
                await asyncio.sleep(0)


async def test_without_agreement_nobody_asks_or_answers() -> None:
    """A peer that did not offer NACK has no use for it."""
    microphone = WavMicrophone()
    async with line(1, microphone) as wire:
        pair = wire.pair
        (slot,) = slots_of(pair)
        slot.send(packet(1), 100.0)
        (sent,) = await pair.until(lambda: wire.rtp)
        report = rtcp.Block(slot.ssrc, 128, 1, 0, 0, 0, 0)
        await wire.send(rtcp.nack(7, slot.ssrc, [sent.sequence_number]) + rtcp.receiver_report(7, [report]))
        await pair.until(lambda: slot.fraction_lost)
        assert slot.resent == 0
        wire.lose(wire.our_end, {5, 10})
        await pair.until(lambda: len(wire.lost) == 2 and len(pair.heard) > 30)
        microphone.stop()
        assert not set(wire.lost) & {one.sequence for one in pair.heard}
        assert pair.ours.microphone is not None and pair.ours.microphone.retransmissions == (0, 0)
        assert wire.told(rtcp.Nack) == []


# one SSRC for two


@pytest.mark.parametrize("theirs", [True, False])
async def test_an_ssrc_is_used_once(monkeypatch: pytest.MonkeyPatch, theirs: bool) -> None:
    """RFC 3550 §8.2: aiortc draws one of the offer's for each slot, or the same for all; the answer has none twice."""
    peer = peer_with(3, Idle())
    taken = peer.getSenders()[0]._ssrc
    offer = await offer_of(peer)
    assert f"a=ssrc:{taken} " in offer
    monkeypatch.setattr(rtcrtpsender, "random32", lambda: taken if theirs else taken ^ 1)
    async with PeerConnection([], 8, lambda packet, now: None, ticker.Ticker(Stats())) as ours:
        answer, _ = await ours.accept(offer)
        drawn = [slot.ssrc for slot in ours.slots.values() if isinstance(slot, SlotSender)]
    await peer.close()
    assert len(set(drawn)) == 3 and taken not in drawn
    sections = re.split(r"^(?=m=)", answer, flags=re.MULTILINE)[2:]
    assert [re.findall(r"^a=ssrc:(\d+) ", section, re.MULTILINE) for section in sections] == [[str(n)] for n in drawn]


async def test_an_ssrc_that_the_client_takes_in_mid_call_is_given_up() -> None:
    """RFC 3550 §8.2: goodbye to the old one, and the stream goes on under another, named by its m-line."""
    async with line(2, Idle(), repair=True) as wire:
        pair = wire.pair
        slot, other = slots_of(pair)
        old = slot.ssrc
        wire.lose(wire.their_end, {0, ANNOUNCED + 4})
        for sequence in (1, 2, 3):
            slot.send(packet(sequence), 100.0 + 0.02 * sequence)
        other.send(packet(50), 100.0)
        await wire.say(old, 1)
        await pair.until(lambda: wire.told(rtcp.Bye))
        assert wire.told(rtcp.Bye) == [rtcp.Bye(old)]
        assert slot.ssrc != old
        assert pair.ours.microphone is not None and pair.ours.microphone.ssrc == old
        for sequence in range(4, ANNOUNCED + 6):
            slot.send(packet(sequence), 100.0 + 0.02 * sequence)
        await pair.until(lambda: len(wire.rtp) == ANNOUNCED + 4)
        ours = [one for one in wire.rtp if one.ssrc in (old, slot.ssrc)]
        assert {one.ssrc for one in wire.rtp} == {old, slot.ssrc, other.ssrc}
        assert [one.ssrc for one in ours] == [old] * 2 + [slot.ssrc] * (ANNOUNCED + 1)
        assert [one.extensions.mid for one in ours] == [None] * 2 + [slot.mid] * ANNOUNCED + [None]
        steps = [signed(one.sequence_number - ours[0].sequence_number, 16) for one in ours]
        assert steps == [*range(ANNOUNCED + 2), ANNOUNCED + 3], "numbers go on"
        await wire.send(rtcp.nack(7, slot.ssrc, wire.lost))
        again = (await pair.until(lambda: len(wire.rtp) == ANNOUNCED + 5 and wire.rtp))[-1]
        assert (again.ssrc, again.sequence_number, again.payload) == (
            slot.ssrc,
            wire.lost[1],
            packet(ANNOUNCED + 4).payload,
        )
        assert slot.resent == 1, "what the old SSRC sent is nobody's any more"


# goodbyes


async def test_a_connection_that_ends_says_goodbye_for_what_it_sent() -> None:
    """RFC 3550 §6.6: a slot that was silent all the time has nobody to take leave of."""
    async with line(20) as wire:
        pair = wire.pair
        speaking = slots_of(pair)[:15]
        for slot in speaking:
            slot.send(packet(1), 100.0)
        await pair.ours.close()
        await pair.until(lambda: len(wire.told(rtcp.Bye)) >= len(speaking))
        assert sorted(one.ssrc for one in wire.told(rtcp.Bye)) == sorted(slot.ssrc for slot in speaking)


async def test_a_goodbye_of_the_client_ends_its_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is reported about a source that has left; one that comes after it is counted from its own beginning."""
    monkeypatch.setattr(ticker, "REPORT_INTERVAL", 0.02)
    async with line(1, Idle()) as wire, asyncio.TaskGroup() as tasks:
        pair = wire.pair
        running = tasks.create_task(pair.ticker.run())
        await wire.say(5, 1, 2, 4)
        (block, *_) = await pair.until(lambda: wire.told(rtcp.Block))
        assert (block.ssrc, block.packets_lost) == (5, 1)
        await wire.send(rtcp.receiver_report(5, ()) + rtcp.bye([5]))
        microphone = pair.ours.microphone
        assert microphone is not None
        await pair.until(lambda: microphone.ssrc is None)
        count = len(wire.told(rtcp.Block))
        slots_of(pair)[0].send(packet(1), time.monotonic())
        await pair.until(lambda: len(wire.told(rtcp.SenderReport)) >= 3)
        assert len(wire.told(rtcp.Block)) <= count + 1, "one may have been on its way"
        await wire.say(6, 900, 901)
        block = await pair.until(lambda: next((one for one in wire.told(rtcp.Block) if one.ssrc == 6), None))
        assert block.packets_lost == 0
        assert microphone.packets_lost == 1
        running.cancel()


# clocks


async def test_two_slots_can_be_put_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 3550 §6.4.1: each report says which RTP time is which wall clock time. By them, packets that were sent at one
    moment have one time, whatever their RTP times; and that time is when they were sent."""
    monkeypatch.setattr(ticker, "REPORT_INTERVAL", 0.02)
    async with line(2, Idle()) as wire, asyncio.TaskGroup() as tasks:
        pair = wire.pair
        running = tasks.create_task(pair.ticker.run())
        slots = slots_of(pair)
        start, wall = time.monotonic(), time.time()
        for sequence in (1, 2, 3):
            for index, slot in enumerate(slots):
                slot.send(packet(sequence + 1000 * index), start + 0.02 * sequence)
        await pair.until(lambda: {one.ssrc for one in wire.told(rtcp.SenderReport)} == {slot.ssrc for slot in slots})
        reports = {one.ssrc: one for one in wire.told(rtcp.SenderReport)[-2:]}
        assert len({report.ntp for report in reports.values()}) == 1, "of the same moment"
        moments: dict[int, list[float]] = {}
        for one in wire.rtp:
            report = reports[one.ssrc]
            since = signed(one.timestamp - report.timestamp, 32) / 48_000
            moments.setdefault(one.ssrc, []).append(report.ntp / 2**32 - 2_208_988_800 + since)
        first, second = moments.values()
        assert first == pytest.approx(second, abs=2 / 48_000)
        assert first == pytest.approx([wall + 0.02 * sequence for sequence in (1, 2, 3)], abs=0.5)
        assert {one.packets for one in reports.values()} == {3}
        running.cancel()
