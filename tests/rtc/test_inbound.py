"""From packets to windows of PCM."""

import asyncio
import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest

from models.base import SPEECH_RATE, VAD_WINDOW
from rtc.inbound import MAX_WAITING, Inbound
from rtc.opus import CLOCK_RATE, FRAME, Encoder
from rtc.rtp import Packet
from rtc.stats import Stats


def tone(seconds: float, hertz: float = 440.0, rate: int = 48_000) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.int16)


def packets(pcm: np.ndarray, rate: int = 48_000, first: int = 65_530) -> list[Packet]:
    """20 ms each, the sequence number about to wrap."""
    encoder = Encoder(rate, expected_loss=20)
    size = encoder.frame_samples
    return [
        Packet(5, (first + index) & 0xFFFF, index * FRAME, 0, encoder.encode(pcm[index * size : (index + 1) * size]))
        for index in range(len(pcm) // size)
    ]


def feed(inbound: Inbound, sent: Iterable[Packet]) -> None:
    """Packets of `packets` in time, the last one now."""
    sent = list(sent)
    last = asyncio.get_running_loop().time() - sent[-1].timestamp / CLOCK_RATE
    for packet in sent:
        inbound.push(packet, last + packet.timestamp / CLOCK_RATE)


async def drain(inbound: Inbound) -> np.ndarray:
    """Everything that is there."""
    windows = []
    while (window := await inbound.window(0)) is not None:
        assert window.shape == (VAD_WINDOW,) and window.dtype == np.float32
        windows.append(window)
    return np.concatenate(windows) if windows else np.zeros(0, np.float32)


def pitch(pcm: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(pcm * np.hanning(len(pcm))))) * SPEECH_RATE / len(pcm))


async def test_speech_comes_at_the_models_rate() -> None:
    """48 kHz Opus becomes 16 kHz float in [-1, 1]: the same tone, the same loudness, the same length."""
    inbound = Inbound(Stats())
    feed(inbound, packets(tone(2.0)))
    pcm = await drain(inbound)
    assert len(pcm) == 2 * SPEECH_RATE // VAD_WINDOW * VAD_WINDOW
    assert pitch(pcm[SPEECH_RATE:]) == pytest.approx(440, abs=5)
    assert np.abs(pcm[SPEECH_RATE:]).max() == pytest.approx(8000 / 32768, rel=0.1)


async def test_the_level_is_that_of_the_last_window() -> None:
    """A tone of a quarter of full scale is at -15 dBFS; before any sound it is very low."""
    inbound = Inbound(Stats())
    assert inbound.level < -100
    feed(inbound, packets(tone(0.5)))
    assert inbound.level == pytest.approx(20 * np.log10(8000 / 32768 / np.sqrt(2)), abs=1)


async def test_losses_do_not_shorten_time_and_the_tone_goes_on() -> None:
    """Every tenth packet is lost: the length is that of what was said, and something fills in."""
    inbound = Inbound(Stats())
    feed(inbound, (packet for index, packet in enumerate(packets(tone(2.0))) if index % 10 != 5))
    pcm = await drain(inbound)
    assert len(pcm) == 2 * SPEECH_RATE // VAD_WINDOW * VAD_WINDOW
    blocks = pcm[SPEECH_RATE // 2 :].reshape(-1)[: 40 * 320].reshape(40, 320)
    assert np.sqrt(np.square(blocks).mean(axis=1)).min() > 0.02  # silence would be 0, the tone is 0.17
    stats = inbound.stats()
    assert (stats["packets_concealed"] + stats["packets_recovered"], stats["packets_late"]) == (10, 0)
    assert stats["real_ms"] == 90 * 20 and stats["concealed_ms"] + stats["recovered_ms"] == 10 * 20


async def test_a_long_hole_is_concealed_and_counted() -> None:
    """Five packets lost: four made up, one from the copy."""
    inbound = Inbound(Stats())
    feed(inbound, (packet for index, packet in enumerate(packets(tone(0.5))) if not 10 <= index < 15))
    assert (inbound.stats()["packets_concealed"], inbound.stats()["packets_recovered"]) == (4, 1)


async def test_garbage_is_counted_and_passes() -> None:
    """Packets that are no Opus neither raise nor stop what comes after, nor do they shorten time."""
    inbound = Inbound(Stats())
    sent = packets(tone(1.0))
    for index in (3, 4):
        sent[index] = dataclasses.replace(sent[index], payload=b"\xff\xff\xff")
    feed(inbound, sent)
    stats = inbound.stats()
    assert (stats["packets_undecodable"], stats["real_ms"], stats["silent_ms"]) == (2, 960, 40)
    assert len(await drain(inbound)) == SPEECH_RATE // VAD_WINDOW * VAD_WINDOW


async def test_the_oldest_windows_go_when_nobody_reads() -> None:
    """A microphone cannot be paused: at most three seconds wait, what went is counted, the newest is there."""
    stats = Stats()
    inbound = Inbound(stats)
    feed(inbound, packets(np.concatenate([tone(4.0, 300.0), tone(1.0, 900.0)])))
    kept = -(-MAX_WAITING * SPEECH_RATE // VAD_WINDOW)
    assert stats.windows_dropped == 5 * SPEECH_RATE // VAD_WINDOW - kept
    pcm = await drain(inbound)
    assert len(pcm) == kept * VAD_WINDOW
    assert pitch(pcm[-SPEECH_RATE // 2 :]) == pytest.approx(900, abs=10)


async def test_no_packets_is_none_after_patience() -> None:
    """The reader can count time that nobody fills."""
    assert await Inbound(Stats()).window(0.01) is None


async def test_a_reader_wakes_when_a_window_is_whole() -> None:
    """Two packets are 40 ms, more than the 32 of a window."""
    inbound = Inbound(Stats())
    first, second = packets(tone(0.04))
    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(inbound.window(None))
        await asyncio.sleep(0)
        inbound.push(first, 1.0)
        await asyncio.sleep(0)
        assert not reader.done()
        inbound.push(second, 1.02)
    assert len(reader.result()) == VAD_WINDOW  # type: ignore[arg-type]


@pytest.mark.parametrize("patience", [None, 0.0])
async def test_a_hole_at_the_end_is_closed_without_another_packet(patience: float | None) -> None:
    """The reader wakes when the missing packet's time is over, however little patience it has: audio is there."""
    inbound, now = Inbound(Stats()), asyncio.get_running_loop().time
    first, second, _, fourth = packets(tone(0.08))
    inbound.push(first, now())
    inbound.push(second, now())
    assert await inbound.window(None) is not None
    inbound.push(fourth, now())
    assert inbound.stats()["packets_recovered"] == 0
    assert await inbound.window(patience) is not None
    assert inbound.stats()["packets_recovered"] == 1
    assert await inbound.window(0.0) is None


async def test_a_reader_learns_of_a_hole_that_opens_while_it_waits() -> None:
    """It slept without a limit when there was none."""
    inbound, now = Inbound(Stats()), asyncio.get_running_loop().time
    first, second, _, fourth = packets(tone(0.08))
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(inbound.window(None))
        await asyncio.sleep(0)
        inbound.push(first, now())
        inbound.push(fourth, now())
    assert len(reader.result()) == VAD_WINDOW  # type: ignore[arg-type]
    inbound.push(second, now())
    assert inbound.stats()["packets_late"] == 1


@pytest.mark.parametrize("lost", [False, True])
async def test_a_pause_that_the_reader_has_counted_does_not_come_again(lost: bool) -> None:
    """A sender that sends nothing for 200 ms (DTX), or whose packets are all lost: 100 ms of it the reader counted."""
    inbound, now = Inbound(Stats()), asyncio.get_running_loop().time
    sent = packets(tone(2.0))
    feed(inbound, sent[:50])
    await drain(inbound)
    assert await inbound.window(0.1) is None
    number = sent[60 if lost else 50].sequence
    for index, packet in enumerate(sent[60:80]):
        inbound.push(dataclasses.replace(packet, sequence=(number + index) & 0xFFFF), now() + index * 0.02)
    made = SPEECH_RATE // 10 + 20 * SPEECH_RATE // 50
    assert abs(len(await drain(inbound)) - made) < VAD_WINDOW  # some samples do not fill a window, before and after


async def test_a_second_reader_of_time_is_told_what_is_real() -> None:
    """What came while the reader counted is heard, late or not."""
    inbound = Inbound(Stats())
    sent = packets(tone(1.0))
    feed(inbound, sent[:25])
    await drain(inbound)
    assert await inbound.window(0.1) is None
    feed(inbound, sent[25:])
    assert len(await drain(inbound)) >= SPEECH_RATE // 2 - VAD_WINDOW


async def test_another_source_sounds_of_nothing_before_it() -> None:
    """A new SSRC that is silent, after a loud one: what the decoder remembers is not heard again; nor is what was said
    before a gap and did not fill a window."""
    inbound = Inbound(Stats())
    loud, silent = packets(tone(0.51)), packets(np.zeros(48_000, np.int16))
    feed(inbound, loud)
    await drain(inbound)
    inbound.gap()
    feed(inbound, (dataclasses.replace(packet, ssrc=6) for packet in silent))
    assert np.abs(await drain(inbound)).max() < 0.001
    feed(inbound, (dataclasses.replace(packet, ssrc=7, timestamp=packet.timestamp + 2**30) for packet in loud))
    await drain(inbound)
    feed(inbound, (dataclasses.replace(packet, ssrc=8) for packet in silent))
    assert np.abs((await drain(inbound))[VAD_WINDOW:]).max() < 0.001


async def test_the_depth_and_what_waits_are_told() -> None:
    inbound = Inbound(Stats())
    assert not inbound.behind
    feed(inbound, packets(tone(0.5)))
    assert inbound.behind and inbound.stats()["jitter_depth_ms"] >= 20 and inbound.stats()["decoded_ms"] == 480
    await drain(inbound)
    assert not inbound.behind
