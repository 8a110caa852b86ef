"""A duplex voice's packets: steady, and soon in the present again after the model has stood still. Pure."""

import numpy as np
import pytest

from rtc.opus import Decoder
from rtc.rtp import Packet
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.stream import Stream
from rtc.talking import CUSHION, Talking

RATE, FRAME = 24_000, 1_920
PITCH = np.arange(100 * FRAME) / RATE
SPEECH = (0.3 * np.sin(2 * np.pi * 150 * PITCH) * (1 + np.sin(2 * np.pi * 3 * PITCH)) / 2).astype(np.float32)


class Listener:
    """Keeps what is sent."""

    mid, packets, dropped, fraction_lost = "1", 0, 0, 0.0

    def __init__(self) -> None:
        self.heard: list[Packet] = []

    def carry(self, key: StreamKey) -> None:
        """Nothing to do."""

    switch = stats = rtp_time = carry  # type: ignore[assignment]  # a stream that goes on calls none of them

    def send(self, packet: Packet, now: float) -> None:
        self.heard.append(packet)


def talking() -> tuple[Talking, Listener]:
    voice, listener = Talking(Stream(StreamKey("assistant", "original", "en")), Stats(), RATE), Listener()
    voice.stream.attach(listener)  # type: ignore[arg-type]  # as much of an outlet as is needed
    return voice, listener


def play(voice: Talking, arrivals: list[int], first: int = 0) -> list[float]:
    """Push so many frames before each run of four ticks; the delay after each run."""
    delays, at = [], first
    for run, count in enumerate(arrivals):
        for _ in range(count):
            voice.push(SPEECH[at * FRAME : (at + 1) * FRAME])
            at += 1
        for tick in range(4):
            voice.tick((run * 4 + tick) * 0.02)
        delays.append(voice.delay)
    return delays


def test_one_packet_goes_out_every_20_ms() -> None:
    """Numbered without gaps, timed without gaps, and it is what was said."""
    voice, listener = talking()
    play(voice, [1] * 20)
    assert len(listener.heard) >= 4 * 20 - 4
    sequences = np.diff([packet.sequence for packet in listener.heard])
    assert (sequences == 1).all()
    assert (np.diff([packet.timestamp for packet in listener.heard]) == 960).all()
    decoder = Decoder(RATE)
    pcm = np.concatenate([decoder.decode(packet.payload) for packet in listener.heard])
    assert np.abs(pcm).max() > 0.2 * 32768
    assert voice.speaking


def test_after_a_stall_the_delay_shrinks_back() -> None:
    """The model stands still for 240 ms and then says all at once: within seconds the listener is in the present."""
    voice, _ = talking()
    before = play(voice, [1] * 20)[-1]
    after = play(voice, [0, 0, 0, 4] + [1] * 50, first=20)
    assert max(after) > before + 0.05
    assert after[-1] <= before + 0.03
    assert voice.shortened > 0


def test_a_voice_that_lies_behind_for_good_does_not_grow() -> None:
    """Two frames at a time for a while: what waits stays below half a second, and what goes is counted."""
    voice, _ = talking()
    delays = play(voice, [2] * 30)
    assert max(delays) <= 0.5
    assert voice.shortened > 1.0


@pytest.mark.parametrize("frames", range(2, 6))
@pytest.mark.parametrize("late", [0.0, 0.05, 0.1])
def test_rtp_time_never_steps_back(late: float, frames: int) -> None:
    """The first ticks come late, so that the voice's time is ahead of the wall's; then so many frames are missing."""
    voice, listener = talking()
    pushed = iter(range(100))
    for tick in range(120):
        if tick % 4 == 0 and not 40 <= tick < 40 + 4 * frames:
            at = next(pushed)
            voice.push(SPEECH[at * FRAME : (at + 1) * FRAME])
        voice.tick(max(tick * 0.02, late + tick * 1e-4))
    assert [packet.marker for packet in listener.heard].count(1) == 2
    assert min(np.diff([packet.timestamp for packet in listener.heard])) >= 960


def test_silence_ends_what_is_heard() -> None:
    """A model that says nothing any more: the listener is told, once, and the page sees that it stopped."""
    voice, listener = talking()
    play(voice, [1] * 10)
    play(voice, [0] * 20)
    assert not voice.speaking
    count = len(listener.heard)
    assert len(listener.heard[-1].payload) <= 2
    play(voice, [0] * 5)
    assert len(listener.heard) == count
    play(voice, [1] * 5)
    assert listener.heard[count].marker == 1
    assert CUSHION > 0
