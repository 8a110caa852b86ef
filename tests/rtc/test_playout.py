"""Phrases in, packets out: nothing cut, nothing late for ever, promises kept."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc import playout
from rtc.opus import FRAME, Decoder
from rtc.playout import MAX_TEMPO, PTIME, VOICE_RATE, Playout, Tick, tempo
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.stream import Stream
from tests.rtc.outlets import Recorder

SAMPLES = round(VOICE_RATE * PTIME)


def pcm(frames: float) -> np.ndarray:
    return np.zeros(round(frames * SAMPLES), np.int16)


@dataclass
class Voice:
    """A playout with a listener and a clock."""

    now: float = 1000.0
    stats: Stats = field(default_factory=Stats)
    ear: Recorder = field(default_factory=Recorder)
    sent: list[int] = field(default_factory=list)
    """Timestamps."""
    began: dict[int, int] = field(default_factory=dict)
    """Phrase → timestamp of its first packet."""

    def __post_init__(self) -> None:
        stream = Stream(StreamKey("ana", "translation", "en"))
        stream.attach(self.ear)
        self.playout: Playout[int] = Playout(stream, self.stats)

    def tick(self) -> Tick[int]:
        self.now += PTIME
        before = len(self.ear.heard)
        tick = self.playout.tick(self.now)
        assert len(self.ear.heard) - before == tick.sent
        if tick.sent:
            self.sent.append(self.ear.heard[-1].timestamp)
            if tick.began is not None:
                self.began[tick.began] = self.sent[-1]
        return tick

    def drain(self) -> int:
        """Frames sent until nothing waits."""
        count = 0
        while self.tick().sent:
            count += 1
        return count


@given(st.floats(-5, 1e6))
def test_tempo_is_bounded(backlog: float) -> None:
    """Never slower than the voice, never faster than can be understood."""
    assert 1.0 <= tempo(backlog) <= MAX_TEMPO


def test_tempo_grows_with_the_backlog() -> None:
    """A phrase behind nothing is spoken as it is, one behind five seconds as fast as allowed."""
    assert tempo(0.0) == tempo(1.0) == 1.0
    assert tempo(5.0) == tempo(60.0) == MAX_TEMPO
    assert tempo(2.0) < tempo(3.0) < tempo(4.0)


def test_silence_sends_nothing() -> None:
    """No packets, no events, no encoder."""
    voice = Voice()
    assert [voice.tick() for _ in range(5)] == [Tick()] * 5
    assert voice.stats.opus_encodes == 0


def test_a_phrase_begins_goes_on_and_ends() -> None:
    """The voice is heard to start with the first packet and to stop after the last; the phrase is named once."""
    voice = Voice()
    voice.playout.say(7, pcm(2.5), voice.now)
    assert [voice.tick() for _ in range(5)] == [
        Tick(sent=True, began=7, started=True),
        Tick(sent=True),
        Tick(sent=True),
        Tick(stopped=True),
        Tick(),
    ]
    assert [packet.marker for packet in voice.ear.heard] == [1, 0, 0]
    assert voice.stats.opus_encodes == 3


def test_what_is_said_is_what_is_heard() -> None:
    """A tone comes out of the decoder with its loudness."""
    voice = Voice()
    said = (8000 * np.sin(2 * np.pi * 440 * np.arange(VOICE_RATE) / VOICE_RATE)).astype(np.int16)
    voice.playout.say(1, said, voice.now)
    assert voice.drain() == 50
    decoder = Decoder(VOICE_RATE)
    heard = np.concatenate([decoder.decode(packet.payload) for packet in voice.ear.heard]).astype(float)
    assert len(heard) == len(said)
    assert np.sqrt(np.square(heard).mean()) == pytest.approx(8000 / np.sqrt(2), rel=0.1)


def test_phrases_follow_each_other_without_a_pause() -> None:
    """One talkspurt: one marker, timestamps 20 ms apart."""
    voice = Voice()
    for number in range(3):
        voice.playout.say(number, pcm(4), voice.now)
    assert voice.drain() == 12
    assert np.diff(voice.sent).tolist() == [FRAME] * 11
    assert [packet.marker for packet in voice.ear.heard] == [1] + [0] * 11


def test_between_talkspurts_time_is_the_wall_s() -> None:
    """Ten seconds of silence are ten seconds of RTP time; sequence numbers go on without a gap."""
    voice = Voice()
    voice.playout.say(1, pcm(3), voice.now)
    voice.drain()
    voice.now += 10
    voice.playout.say(2, pcm(3), voice.now)
    voice.drain()
    assert voice.sent[3] - voice.sent[2] == pytest.approx(10 * 48_000, abs=3 * FRAME)
    numbers = [packet.sequence for packet in voice.ear.heard]
    assert np.diff(numbers).tolist() == [1] * 5


def test_the_phrase_being_spoken_is_never_dropped() -> None:
    """However much is said, the one begun is heard to its end; the oldest not begun go, whole."""
    voice = Voice()
    voice.playout.say(0, pcm(500), voice.now)
    voice.tick()
    for number in range(1, 10):
        voice.playout.say(number, pcm(400), voice.now)
    assert voice.stats.phrases_dropped > 0
    order = [tick.began for tick in iter(voice.tick, Tick(stopped=True)) if tick.began is not None]
    assert order == sorted(order) and order[-1] == 9
    assert len(order) + 1 == 10 - voice.stats.phrases_dropped
    assert len(voice.sent) == 500 + 400 * len(order)


def test_one_endless_phrase_is_spoken() -> None:
    """A phrase longer than the bound is not lost by itself."""
    voice = Voice()
    voice.playout.say(1, pcm(1500), voice.now)
    voice.playout.say(2, pcm(1), voice.now)
    assert voice.drain() == 1501 and voice.stats.phrases_dropped == 0


steps = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.floats(0.01, 30.0)),
        st.tuples(st.just("tick"), st.integers(1, 10)),
        st.tuples(st.just("wait"), st.floats(0.0, 0.1)),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(steps)
def test_nothing_is_lost_uncounted_and_promises_are_kept(script: list[tuple[str, float]]) -> None:
    """Frames said = sent + waiting + dropped. A phrase begins at the timestamp that `say` promised, unless one before
    it was dropped since."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(playout, "MAX_BACKLOG", 1.0)  # seconds: so that little needs encoding
        check(script)


def check(script: list[tuple[str, float]]) -> None:
    voice = Voice()
    said: dict[int, int] = {}
    promised: dict[int, int] = {}
    for number, (action, amount) in enumerate(script):
        if action == "say":
            phrase = pcm(max(amount, 1 / SAMPLES))
            dropped = voice.stats.phrases_dropped
            promised[number] = voice.playout.say(number, phrase, voice.now)
            if voice.stats.phrases_dropped > dropped:  # those that waited come earlier than they were told
                promised = {number: promised[number]}
            said[number] = -(-len(phrase) // SAMPLES)
            assert voice.playout.backlog <= playout.MAX_BACKLOG + max(said.values()) * PTIME + len(phrase) / VOICE_RATE
        elif action == "tick":
            for _ in range(int(amount)):
                voice.tick()
        else:
            voice.now += amount
    waiting_before = voice.playout.backlog
    sent_before = len(voice.sent)
    drained = voice.drain()
    assert drained * PTIME >= waiting_before - 1e-6
    assert voice.playout.backlog == 0
    assert len(said) - len(voice.began) == voice.stats.phrases_dropped
    assert sent_before + drained == sum(frames for number, frames in said.items() if number in voice.began)
    assert list(voice.began) == sorted(voice.began)
    for number, timestamp in promised.items():
        if number in voice.began:
            assert voice.began[number] == timestamp
    assert all((b - a) & 0xFFFFFFFF < 0x80000000 and a != b for a, b in itertools.pairwise(voice.sent))
