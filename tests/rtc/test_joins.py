"""Where phrases meet in a playout: pieces of one sound without a sample in between, everything else without a click."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc.opus import CLOCK_RATE, FRAME, RATES, Decoder
from rtc.playout import FADE, VOICE_RATE, Playout, voice_rate
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.stream import Stream
from rtc.ticker import PTIME
from tests.rtc.outlets import Recorder

LOUD = 10_000


@dataclass
class Voice:
    """A playout whose encoder is listened at."""

    rate: int = 16_000
    now: float = 1000.0
    stats: Stats = field(default_factory=Stats)
    frames: list[np.ndarray] = field(default_factory=list)
    began: list[int] = field(default_factory=list)
    begins: int = 0
    """Times that the encoder was told that something new begins."""

    def __post_init__(self) -> None:
        self.ear = Recorder()
        stream = Stream(StreamKey("ana", "translation", "en"))
        stream.attach(self.ear)
        self.playout: Playout[int] = Playout(stream, self.stats, self.rate)
        encoder = self.playout._packets._encoder
        begin, encode = encoder.begin, encoder.encode

        def listened_begin(loss: float) -> None:
            self.begins += 1
            begin(loss)

        def listened_encode(pcm: np.ndarray) -> bytes:
            self.frames.append(pcm.copy())
            return encode(pcm)

        encoder.begin, encoder.encode = listened_begin, listened_encode

    def say(self, number: int, pcm: np.ndarray, segment: str = "s") -> int:
        return self.playout.say(number, pcm, self.now, segment)

    def tick(self) -> bool:
        self.now += PTIME
        tick = self.playout.tick(self.now)
        self.began += tick.began
        return tick.sent

    def drain(self) -> np.ndarray:
        """Everything that was encoded, to the last sample that waits."""
        while self.tick():
            pass
        return np.concatenate(self.frames)


def steady(samples: int) -> np.ndarray:
    return np.full(samples, LOUD, np.int16)


@pytest.mark.parametrize("rate", RATES)
def test_a_voice_is_encoded_at_its_own_rate(rate: int) -> None:
    """What is heard is the tone that was said, as long as it was said; other rates than Opus' become 24 kHz."""
    assert voice_rate(rate) == rate and voice_rate(22_050) == voice_rate(44_100) == VOICE_RATE
    voice = Voice(rate)
    tone = (LOUD * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.int16)
    voice.say(1, tone)
    assert voice.playout.backlog == 1.0
    voice.drain()
    decoder = Decoder(CLOCK_RATE)
    heard = np.concatenate([decoder.decode(packet.payload) for packet in voice.ear.heard[:50]]).astype(float)
    assert len(heard) == CLOCK_RATE
    assert np.argmax(np.abs(np.fft.rfft(heard))) == 440
    assert np.sqrt(np.square(heard).mean()) == pytest.approx(LOUD / np.sqrt(2), rel=0.1)
    assert np.diff([packet.timestamp for packet in voice.ear.heard]).tolist() == [FRAME] * 50


@given(st.lists(st.integers(1, 1500), min_size=1, max_size=12))
def test_pieces_of_one_segment_are_one_sound(lengths: list[int]) -> None:
    """Every sample comes out as it went in, in order, with silence only after the last; the first and the last 5 ms
    fade. The encoder hears of one beginning."""
    voice = Voice()
    said = np.random.default_rng(1).integers(-LOUD, LOUD, sum(lengths)).astype(np.int16)
    for number, piece in enumerate(np.split(said, np.cumsum(lengths)[:-1])):
        voice.say(number, piece)
    heard = voice.drain()
    assert len(heard) == -(-len(said) // 320) * 320
    assert not heard[len(said) :].any()
    fade = round(FADE * voice.rate)
    untouched = slice(fade, max(fade, len(said) - fade))
    assert np.array_equal(heard[untouched], said[untouched])
    assert (np.abs(heard[: len(said)]) <= np.abs(said)).all()
    assert voice.began == list(range(len(lengths))) and voice.begins == 1


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 900), st.sampled_from("aab"), st.integers(0, 4)), min_size=1, max_size=12),
    st.sampled_from(RATES),
)
def test_nothing_clicks_and_nothing_is_lost(script: list[tuple[int, str, int]], rate: int) -> None:
    """Pieces of two segments that come in time or too late: every sample is heard, phrases in their order, and no step
    is larger than a 5 ms fade makes it."""
    voice = Voice(rate)
    for number, (samples, segment, ticks) in enumerate(script):
        voice.say(number, steady(samples), segment)
        for _ in range(ticks):
            voice.tick()
    heard = np.concatenate([[0], voice.drain(), [0]])
    assert np.count_nonzero(heard) == sum(samples for samples, _, _ in script)
    assert np.abs(np.diff(heard)).max() <= LOUD / (FADE * rate) + 1
    assert voice.began == list(range(len(script)))
    assert voice.playout.backlog == 0


def test_a_piece_in_time_goes_on_and_one_too_late_fades_in() -> None:
    """Between the two, the voice has faded out and said its end."""
    voice = Voice()
    voice.say(1, steady(640))
    voice.tick()
    voice.say(2, steady(640))
    assert (voice.drain()[80:1200] == LOUD).all()
    voice.say(3, steady(640))
    assert voice.drain()[1280] < LOUD / 50
    assert [packet.marker for packet in voice.ear.heard] == [1, 0, 0, 0, 0, 1, 0, 0]
    assert voice.begins == 2


def test_another_segment_begins_with_a_packet_of_its_own() -> None:
    """So that the encoder may change its ways there; the one before it has faded out."""
    voice = Voice()
    voice.say(1, steady(400), "a")
    voice.say(2, steady(400), "b")
    heard = voice.drain()
    assert heard[399] < LOUD / 50 and not heard[400:640].any() and 0 < heard[640] < LOUD / 50
    assert voice.begins == 2 and len(heard) == 4 * 320


def test_a_piece_is_promised_the_very_sample_at_which_it_begins() -> None:
    """Also in the middle of a packet."""
    voice = Voice()
    first = voice.say(1, steady(500))
    voice.tick()
    second = voice.say(2, steady(100))
    third = voice.say(3, steady(100), "other")
    assert voice.ear.heard[0].timestamp == first
    assert (second - first) & 0xFFFFFFFF == 500 * 3
    assert (third - first) & 0xFFFFFFFF == 2 * FRAME


def test_a_segment_too_late_is_dropped_with_all_its_pieces() -> None:
    """The one being spoken is said to its end, whatever comes of it; what is left of a dropped one fades in."""
    voice = Voice()
    second = voice.rate
    voice.say(0, steady(second), "a")
    voice.tick()
    for number, segment in ((1, "a"), (2, "b"), (3, "b")):
        voice.say(number, steady(10 * second), segment)
    voice.say(4, steady(second), "b")
    assert voice.stats.phrases_dropped == 2
    assert voice.playout.backlog == pytest.approx(12 - PTIME)
    heard = voice.drain()
    assert voice.began == [0, 1, 4]
    assert (heard[80 : 11 * second - 80] == LOUD).all() and 0 < heard[11 * second] < LOUD / 50
