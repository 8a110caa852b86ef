"""Phrases in, packets out: nothing cut, nothing late for ever, promises kept."""

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtc import playout
from rtc.opus import FRAME, Decoder, fec_duration
from rtc.playout import MAX_TEMPO, VOICE_RATE, Playout, Tick, tempo
from rtc.rtp import Packet
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.stream import Stream
from rtc.ticker import PTIME
from tests.rtc.outlets import Recorder

SAMPLES = round(VOICE_RATE * PTIME)


def pcm(frames: float) -> np.ndarray:
    """A tone."""
    return (8000 * np.sin(2 * np.pi * 440 * np.arange(round(frames * SAMPLES)) / VOICE_RATE)).astype(np.int16)


def silence(frames: int) -> np.ndarray:
    return np.zeros(frames * SAMPLES, np.int16)


def loudness(heard: np.ndarray) -> float:
    return float(np.sqrt(np.square(heard.astype(float)).mean()))


def is_celt(packet: Packet) -> bool:
    """By the configuration in the packet's first byte (RFC 6716 §3.1)."""
    return packet.payload[0] >> 3 >= 16


def listen(packets: list[Packet]) -> np.ndarray:
    """What a browser plays: where RTP time goes on and no packet comes, its decoder makes the silence up."""
    decoder, heard, due = Decoder(VOICE_RATE), [], packets[0].timestamp
    for packet in packets:
        heard += [decoder.conceal() for _ in range((packet.timestamp - due) // FRAME)]
        heard.append(decoder.decode(packet.payload))
        due = packet.timestamp + FRAME
    return np.concatenate(heard)


@dataclass
class Voice:
    """A playout with a listener and a clock."""

    now: float = 1000.0
    stats: Stats = field(default_factory=Stats)
    ear: Recorder = field(default_factory=Recorder)
    sent: list[int] = field(default_factory=list)
    """Timestamp of each 20 ms that were said."""
    began: dict[int, int] = field(default_factory=dict)
    """Phrase → timestamp at which it began."""
    goodbyes: list[Packet] = field(default_factory=list)
    """The last packet of each talkspurt, which is not in the ear."""
    clock: int = 0
    """The stream's time at the last tick: a packet's, or 20 ms after the one before."""

    def __post_init__(self) -> None:
        stream = Stream(StreamKey("ana", "translation", "en"))
        stream.attach(self.ear)
        self.playout: Playout[int] = Playout(stream, self.stats)

    def tick(self) -> Tick[int]:
        self.now += PTIME
        before = len(self.ear.heard)
        tick = self.playout.tick(self.now)
        packets = self.ear.heard[before:]
        if tick.stopped and packets:  # said apart from the voice: that there is no more of it
            self.goodbyes.append(self.ear.heard.pop())
            packets = packets[:-1]
        assert len(packets) <= tick.sent
        if tick.sent:
            self.clock = packets[0].timestamp if packets else (self.clock + FRAME) & 0xFFFFFFFF
            self.sent.append(self.clock)
            for number in tick.began:
                self.began[number] = self.clock
        return tick

    def speak(self, said: np.ndarray) -> list[Packet]:
        """The packets of one phrase."""
        before = len(self.ear.heard)
        self.playout.say(0, said, self.now)
        self.drain()
        return self.ear.heard[before:]

    def drain(self) -> int:
        """Frames said until nothing waits."""
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
        Tick(sent=True, began=(7,), started=True),
        Tick(sent=True),
        Tick(sent=True),
        Tick(stopped=True),
        Tick(),
    ]
    assert [packet.marker for packet in voice.ear.heard] == [1, 0, 0]
    assert voice.stats.opus_encodes == 4


def test_the_end_is_said() -> None:
    """One packet of silence (DTX, RFC 6716 §3.1) after the last, in its turn: the browser draws nothing out. A decoder
    takes it as such."""
    voice = Voice()
    packets = voice.speak(pcm(10))
    (goodbye,) = voice.goodbyes
    assert len(goodbye.payload) == 1 and is_celt(goodbye)
    assert (goodbye.sequence, goodbye.timestamp) == (packets[-1].sequence + 1, packets[-1].timestamp + FRAME)
    decoder = Decoder(VOICE_RATE)
    for packet in packets:
        decoder.decode(packet.payload)
    assert len(decoder.decode(goodbye.payload)) == SAMPLES


def test_a_voice_that_ends_in_silence_has_said_its_end() -> None:
    voice = Voice()
    packets = voice.speak(np.concatenate([pcm(5), silence(30)]))
    assert len(packets[-1].payload) <= 2 and not voice.goodbyes


def test_what_is_said_is_what_is_heard() -> None:
    """A tone comes out of the decoder with its loudness."""
    voice = Voice()
    heard = listen(voice.speak(pcm(50)))
    assert len(heard) == len(pcm(50))
    assert loudness(heard) == pytest.approx(8000 / np.sqrt(2), rel=0.1)


def test_a_pause_costs_few_packets() -> None:
    """From 200 ms of silence on, one packet in 400 ms says that it lasts. Time goes on, sequence numbers do not jump:
    the listener's browser makes silence, counts no loss, and takes the next word at its time."""
    voice = Voice()
    said = np.concatenate([pcm(20), silence(100), pcm(20)])
    packets = voice.speak(said)
    assert len(packets) < 20 + 20 + 100 / 5
    assert voice.stats.opus_encodes == len(packets) + len(voice.goodbyes)
    assert len(voice.sent) == 140 and np.diff(voice.sent).tolist() == [FRAME] * 139
    assert set(np.diff([packet.sequence for packet in packets])) == {1}
    assert (packets[-20].timestamp - packets[0].timestamp) // FRAME == 120
    heard = listen(packets)
    assert len(heard) == len(said)
    assert np.abs(heard[30 * SAMPLES : 119 * SAMPLES]).max() <= 8  # of 32768: nothing
    for tone in (heard[2 * SAMPLES : 19 * SAMPLES], heard[122 * SAMPLES : 139 * SAMPLES]):
        assert loudness(tone) == pytest.approx(8000 / np.sqrt(2), rel=0.05)


def test_a_voice_that_begins_with_silence_begins() -> None:
    """Even if the one before ended in silence: the first packet of a talkspurt is always sent, at its time."""
    voice = Voice()
    voice.speak(np.concatenate([pcm(5), silence(30)]))
    voice.now += 5
    promised = voice.playout.say(1, np.concatenate([silence(30), pcm(5)]), voice.now)
    before = len(voice.ear.heard)
    assert voice.tick() == Tick(sent=True, began=(1,), started=True)
    assert [(packet.marker, packet.timestamp) for packet in voice.ear.heard[before:]] == [(1, promised)]


def test_listeners_who_lose_packets_get_copies_of_them() -> None:
    """From the next phrase on, and until reports have been good for a few phrases: a phrase ends as it began."""
    voice, unhurt = Voice(), Recorder("1")
    voice.playout.stream.attach(unhurt)
    assert all(map(is_celt, voice.speak(pcm(10))))
    voice.playout.say(1, pcm(10), voice.now)
    voice.playout.say(2, pcm(10), voice.now)
    voice.tick()
    voice.ear.fraction_lost = 0.08
    voice.drain()
    packets = voice.ear.heard[10:]
    assert [is_celt(packet) for packet in packets] == [True] * 10 + [False] * 10
    assert sum(bool(fec_duration(packet.payload)) for packet in packets) >= 8
    voice.ear.fraction_lost = 0.0
    after = [is_celt(voice.speak(pcm(3))[0]) for _ in range(6)]
    assert after == sorted(after) and not after[0] and after[-1]


@pytest.mark.parametrize("losses", [(0.0, 0.1), (0.1, 0.0)])
def test_the_change_of_mode_is_not_heard(losses: tuple[float, float]) -> None:
    """Phrases with a little silence around them, as voices make them, coded by CELT or by SILK: between them there is
    silence, and all are as loud as they were said."""
    voice = Voice()
    fade = np.minimum(1, np.minimum(np.arange(20 * SAMPLES), np.arange(20 * SAMPLES)[::-1]) / (VOICE_RATE / 100))
    tone = np.concatenate([silence(1), (pcm(20) * fade).astype(np.int16), silence(1)])
    heard = []
    for number, loss in enumerate(losses):
        voice.ear.fraction_lost = loss
        for _ in range(8 if number else 1):  # until an old report is forgotten
            heard += voice.speak(tone)
    assert len({is_celt(packet) for packet in heard}) == 2
    first = heard[0].timestamp
    for index, packet in enumerate(heard):  # the wall's time between talkspurts is not of interest here
        heard[index] = replace(packet, timestamp=first + index * FRAME)
    phrases = listen(heard).reshape(-1, 22, SAMPLES)
    said = 8000 / np.sqrt(2)
    for phrase in phrases:
        assert loudness(phrase[3:20]) == pytest.approx(said, rel=0.1)
        assert loudness(phrase[0]) < said / 100  # where the mode changed, before the tone begins: 40 dB below


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
    assert np.diff(numbers).tolist() == [1, 1, 2, 1, 1], "the end of the first was said in between"


@given(st.floats(0, 0.02), st.floats(0, 0.03))
@example(0.0, 0.0)
def test_a_phrase_right_after_the_end_of_another_comes_after_it(phase: float, pause: float) -> None:
    """The end was said 20 ms after the last packet, wherever the wall's clock is; a browser that has played it would
    drop what comes with its time."""
    voice = Voice(now=1000.0 + phase)
    voice.playout.say(0, pcm(3), voice.now)
    voice.now -= PTIME  # the first tick is at once
    voice.drain()
    said_at = voice.now + pause
    promised = voice.playout.say(1, pcm(1), said_at)
    voice.playout.tick(said_at)
    assert voice.ear.heard[-1].timestamp == promised
    assert promised - voice.goodbyes[-1].timestamp >= FRAME


def test_rtp_time_wraps() -> None:
    """RFC 3550 §5.1: 32 bits of it, between talkspurts, within one, and in a promise."""
    voice = Voice(now=(1 << 32) / 48_000 - 0.1)
    voice.speak(pcm(2))
    promised = voice.playout.say(1, pcm(10), voice.now)
    voice.drain()
    assert promised in voice.sent
    assert 0 <= voice.ear.heard[-1].timestamp < 20 * FRAME
    assert voice.speak(pcm(2))[0].timestamp < 40 * FRAME


def test_the_phrase_being_spoken_is_never_dropped() -> None:
    """However much is said, the one begun is heard to its end; the oldest not begun go, whole."""
    voice = Voice()
    voice.playout.say(0, pcm(500), voice.now)
    voice.tick()
    for number in range(1, 10):
        voice.playout.say(number, pcm(400), voice.now)
    assert voice.stats.phrases_dropped > 0
    order = [number for tick in iter(voice.tick, Tick(stopped=True)) for number in tick.began]
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
        st.tuples(st.sampled_from(["say", "hush"]), st.floats(0.01, 30.0)),
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
        if action in ("say", "hush"):  # speech, or a phrase that is only silence
            phrase = pcm(max(amount, 1 / SAMPLES)) * (action == "say")
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
