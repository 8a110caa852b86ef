"""One mix for a client with one m-line."""

import dataclasses

import numpy as np
import pytest

from rtc.mixer import DUCKED, FRAME_SAMPLES, PATIENCE, Mixer, MixInput, Sum
from rtc.opus import FRAME, Decoder, Encoder, fec_duration
from rtc.playout import VOICE_RATE
from rtc.rtp import Packet
from rtc.slots import StreamKey
from rtc.ticker import PTIME
from tests.rtc.outlets import Recorder

SILENT_FRAME = Encoder(VOICE_RATE).encode(np.zeros(FRAME_SAMPLES, np.int16))


def tone(hertz: float, frames: int, amplitude: float = 6000.0) -> list[Packet]:
    encoder = Encoder(VOICE_RATE)
    time = np.arange(frames * FRAME_SAMPLES) / VOICE_RATE
    pcm = (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.int16).reshape(frames, FRAME_SAMPLES)
    return [Packet(1, number, number * FRAME, 0, encoder.encode(frame)) for number, frame in enumerate(pcm)]


class Listener:
    """A mixer, the slot it sends into, and what is heard there."""

    def __init__(self, voices: int = 4) -> None:
        self.slot = Recorder("0")
        self.awake = False
        self.mixer = Mixer(self.slot, voices, self.wake)  # type: ignore[arg-type]
        self.inputs = list(self.mixer.inputs.values())
        self.now = 500.0

    def wake(self) -> None:
        self.awake = True

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.awake = self.mixer.tick(self.now)
            self.now += PTIME

    def speak(self, packets: list[Packet]) -> list[Packet]:
        """What is sent while one voice says this, now."""
        before = len(self.slot.heard)
        for packet in packets:
            timestamp = round((self.now - 500.0) / PTIME) * FRAME
            self.inputs[0].send(dataclasses.replace(packet, timestamp=timestamp), self.now)
            self.tick()
        return self.slot.heard[before:]

    def hear(self) -> np.ndarray:
        """Everything sent, decoded."""
        decoder = Decoder(VOICE_RATE)
        return np.concatenate([decoder.decode(packet.payload) for packet in self.slot.heard]).astype(float)


def loudness(pcm: np.ndarray, hertz: float) -> float:
    """Amplitude of that tone."""
    time = np.arange(len(pcm)) / VOICE_RATE
    return float(2 * np.abs(np.mean(pcm * np.exp(-2j * np.pi * hertz * time))))


def test_silence_sends_nothing() -> None:
    """Nobody speaks: no packets, no CPU."""
    listener = Listener()
    listener.tick(10)
    assert listener.slot.heard == []


def silence(first: int, frames: int) -> list[Packet]:
    """Of a track that is disabled: packets go on, and are nothing but silence."""
    encoder, nothing = Encoder(VOICE_RATE), np.zeros(FRAME_SAMPLES, np.int16)
    return [Packet(1, number, number * FRAME, 0, encoder.encode(nothing)) for number in range(first, first + frames)]


def test_a_voice_of_silence_costs_few_packets() -> None:
    """As RFC 7587 §3.1.3 has it: time goes on, sequence numbers do not, and the next word comes at its time."""
    listener, voice = Listener(), tone(400, 600)
    listener.speak(voice[:50])
    assert len(listener.speak(silence(50, 500))) < 500 / 5
    again = listener.speak(voice[550:])
    assert len(again) >= 45 and loudness(listener.hear()[-VOICE_RATE // 2 :], 400) == pytest.approx(6000, rel=0.2)
    heard = listener.slot.heard
    assert set(np.diff([packet.sequence for packet in heard])) == {1}
    assert heard[-1].timestamp - heard[0].timestamp == pytest.approx(600 * FRAME, abs=8 * FRAME)


def test_the_first_packet_of_a_talkspurt_is_marked() -> None:
    """RFC 3551 §4.1; and it follows on the end of the one before, which was said."""
    listener, voice = Listener(), tone(400, 40)
    first = listener.speak(voice[:20])
    listener.tick(20)
    end = listener.slot.heard[-1]
    second = listener.speak(voice[20:])
    heard = listener.slot.heard
    assert [packet.marker for packet in heard] == [1, *[0] * (heard.index(second[0]) - 1), 1, *[0] * (len(second) - 1)]
    assert len(end.payload) == 1 and end.timestamp == heard[heard.index(end) - 1].timestamp + FRAME
    assert sum(len(packet.payload) == 1 for packet in heard) == 1
    assert not Decoder(VOICE_RATE).decode(end.payload).any() and len(first) > 10


@pytest.mark.parametrize("pause", range(5, 12))
def test_rtp_time_never_steps_back(pause: int) -> None:
    """The first ticks come late, so that the mix' time is ahead of the wall's; then so many packets do not come."""
    listener = Listener(1)
    for number, packet in enumerate(tone(400, 60)):
        listener.now = max(500.0 + number * PTIME, 500.1 + number * 1e-4)
        if not 20 <= number < 20 + pause:
            listener.inputs[0].send(packet, listener.now)
        listener.mixer.tick(listener.now)
    assert min(np.diff([packet.timestamp for packet in listener.slot.heard])) >= FRAME


def test_the_mix_sleeps_after_silence_and_wakes() -> None:
    """Half a second without anybody: the timer needs to call no more, until a packet comes."""
    listener, voice = Listener(), tone(400, 40)
    listener.speak(voice[:20])
    ticks = 0
    while listener.awake and ticks < 100:
        listener.tick()
        ticks += 1
    assert PATIENCE <= ticks <= 2 * PATIENCE
    listener.inputs[0].send(dataclasses.replace(voice[20], timestamp=(20 + ticks) * FRAME), listener.now)
    assert listener.awake
    assert len(listener.speak(voice[21:])) >= 15 and listener.awake


def test_a_listener_who_loses_packets_gets_copies_of_them() -> None:
    """From the next talkspurt on; nobody else's connection matters."""
    listener, voice = Listener(), tone(400, 60)
    assert not any(fec_duration(packet.payload) for packet in listener.speak(voice[:20]))
    listener.slot.fraction_lost = 0.1
    listener.tick(PATIENCE)
    packets = listener.speak(voice[20:])
    assert sum(fec_duration(packet.payload) for packet in packets) >= 0.7 * len(packets) > 20


def test_ducking_is_no_step() -> None:
    """The original goes down and comes back within 80 ms each, and no faster than nobody takes for a click."""
    mix = Sum("ear", 2, lambda: None)
    original, translation = mix.inputs.values()
    original.carry(StreamKey("ana", "original", "es"))
    translation.carry(StreamKey("ana", "translation", "en"))
    frames, now = [], 500.0
    quiet = iter(silence(0, 40))  # a translation that is not to be heard itself
    for number, packet in enumerate(tone(410, 160)):
        original.send(packet, now)
        if 50 <= number < 90:
            translation.send(next(quiet), now)
        if (pcm := mix.take(now)) is not None and number >= 20:
            frames.append(pcm.astype(float))
        now += PTIME
    heard = np.concatenate(frames)
    steepest = 6000 * 2 * np.pi * 410 / VOICE_RATE
    assert np.abs(np.diff(heard)).max() < 1.2 * steepest
    levels = [np.sqrt(2 * np.square(frame).mean()) / 6000 for frame in frames]
    assert min(levels) == pytest.approx(DUCKED, abs=0.05)
    between = [level for level in levels if DUCKED + 0.05 < level < 0.9]
    assert 4 <= len(between) <= 10


def test_voices_are_heard_together() -> None:
    """Two tones in, both out, with numbers and times of one stream."""
    listener = Listener()
    for index, voice in enumerate(listener.inputs[:2]):
        voice.carry(StreamKey(f"p{index}", "original", "en"))
    for first, second in zip(tone(400, 50), tone(900, 50), strict=True):
        listener.inputs[0].send(first, listener.now)
        listener.inputs[1].send(second, listener.now)
        listener.tick()
    heard = listener.hear()[VOICE_RATE // 2 :]
    assert loudness(heard, 400) == pytest.approx(6000, rel=0.2)
    assert loudness(heard, 900) == pytest.approx(6000, rel=0.2)
    assert set(np.diff([packet.sequence for packet in listener.slot.heard])) == {1}
    assert set(np.diff([packet.timestamp for packet in listener.slot.heard])) == {FRAME}


def test_the_original_is_ducked_while_its_translation_speaks() -> None:
    """By 15 dB, and only that person's; others stay as loud as they are."""
    listener = Listener()
    keys = [
        StreamKey("ana", "original", "es"),
        StreamKey("ana", "translation", "en"),
        StreamKey("bob", "original", "en"),
    ]
    voices = [tone(400, 60), tone(650, 60), tone(900, 60)]
    for voice, key in zip(listener.inputs, keys, strict=False):
        voice.carry(key)
    for frames in zip(*voices, strict=True):
        for voice, frame in zip(listener.inputs, frames, strict=False):
            voice.send(frame, listener.now)
        listener.tick()
    heard = listener.hear()[VOICE_RATE // 2 :]
    assert loudness(heard, 400) == pytest.approx(6000 * DUCKED, rel=0.35)
    assert loudness(heard, 650) == pytest.approx(6000, rel=0.2)
    assert loudness(heard, 900) == pytest.approx(6000, rel=0.2)


def test_after_the_translation_the_original_comes_back() -> None:
    """Step by step, at its own loudness."""
    listener = Listener()
    original, translation = listener.inputs[:2]
    original.carry(StreamKey("ana", "original", "es"))
    translation.carry(StreamKey("ana", "translation", "en"))
    short = tone(650, 20)
    for number, frame in enumerate(tone(400, 100)):
        original.send(frame, listener.now)
        if number < len(short):
            translation.send(short[number], listener.now)
        listener.tick()
    assert loudness(listener.hear()[-VOICE_RATE // 2 :], 400) == pytest.approx(6000, rel=0.2)


def test_an_ear_for_one_language_hears_no_other() -> None:
    """At the rate that its model wants, and until it has been quiet for a while."""
    mix = Sum("ear", 2, lambda: None, 16_000, "en")
    for voice, language in zip(mix.inputs.values(), ("en", "es"), strict=True):
        voice.carry(StreamKey(language, "original", language))
    heard, now = [], 500.0
    for frames in zip(tone(400, 60), tone(900, 60), strict=True):
        for voice, frame in zip(mix.inputs.values(), frames, strict=True):
            voice.send(frame, now)
        pcm = mix.take(now)
        heard += [] if pcm is None else [pcm]
        now += PTIME
    assert {len(pcm) for pcm in heard} == {320}
    resampled = np.concatenate(heard).astype(float)
    time = np.arange(len(resampled)) / 16_000
    english, spanish = (abs(np.mean(resampled * np.exp(-2j * np.pi * hertz * time))) for hertz in (400, 900))
    assert english > 2000 and spanish < 20
    assert not mix.asleep
    while not mix.asleep:
        mix.take(now)
        now += PTIME


def test_loud_voices_do_not_crackle() -> None:
    """Four people who shout are turned down together: what comes out is what they said, and nothing else. Who goes on
    alone is as loud as before, without a step that anybody hears."""
    mix = Sum("ear", 4, lambda: None)
    for number, voice in enumerate(mix.inputs.values()):
        voice.carry(StreamKey(f"p{number}", "original", "en"))
    hertz = (300, 450, 700, 1100)
    together = list(zip(*(tone(one, 60, amplitude=30_000) for one in hertz), strict=True))
    alone = tone(300, 140, amplitude=30_000)[60:]
    heard, now = [], 500.0
    for packets in (*together, *((packet,) for packet in alone)):
        for voice, packet in zip(mix.inputs.values(), packets, strict=False):
            voice.send(packet, now)
        pcm = mix.take(now)
        heard.append(np.zeros(FRAME_SAMPLES) if pcm is None else pcm.astype(float))
        now += PTIME
    loud, after = np.concatenate(heard[10:60]), np.concatenate(heard[120:])
    levels = [loudness(loud, one) for one in hertz]
    rest = np.square(loud).mean() - sum(np.square(level) / 2 for level in levels)
    assert rest < 0.01 * np.square(loud).mean(), "20 dB below the voices"
    assert max(levels) < 1.3 * min(levels)
    assert loudness(after, 300) == pytest.approx(30_000, rel=0.1)


class Ear:
    """One input, heard every 20 ms while packets come."""

    def __init__(self) -> None:
        self.voice = MixInput("0", lambda: None)
        self.frames: list[np.ndarray | None] = []
        self._now = 0.0

    def hear(self, packet: Packet | None = None) -> None:
        if packet is not None:
            self.voice.send(packet, self._now)
        self._now += PTIME
        self.frames.append(self.voice.take(self._now - PTIME / 2))

    def power(self) -> list[float]:
        """Per frame, of the tone at full loudness 1."""
        return [0.0 if frame is None else float(np.mean(np.square(frame / 6000 * 2**0.5))) for frame in self.frames]


def test_lost_packets_leave_no_hole_in_a_voice() -> None:
    """Every fifth is lost on the way: what libopus makes up for it (of a tone it makes less) comes at the beat."""
    ear = Ear()
    for number, packet in enumerate(tone(400, 200)):
        ear.hear(packet if number % 5 else None)
    assert min(ear.power()[20:]) > 0.05
    assert ear.voice.packets == 160 and ear.voice.dropped == 0


def test_the_last_word_is_heard_though_the_packet_before_it_is_lost() -> None:
    """Nothing comes after it that would end the waiting; the beat does."""
    ear = Ear()
    for number, packet in enumerate(tone(400, 60)):
        ear.hear(packet if number != 58 else None)
    for _ in range(10):
        ear.hear()
    assert ear.voice.packets == 59


def test_packets_that_overtake_each_other_are_heard_in_order() -> None:
    """Each pair comes the wrong way round, twice: the tone stays a tone."""
    ear, packets = Ear(), tone(400, 200)
    for first, second in zip(packets[::2], packets[1::2], strict=True):
        ear.hear(second)
        ear.hear(first)
        ear.voice.send(first, 0.0)
    heard = np.concatenate([frame for frame in ear.frames[20:] if frame is not None]).astype(float)
    assert loudness(heard, 400) == pytest.approx(6000, rel=0.2)
    assert ear.voice.dropped >= 99


def test_a_burst_does_not_put_the_mix_behind() -> None:
    """400 ms at once after an outage: two seconds later no more waits than before it."""
    ear, packets = Ear(), tone(400, 250)
    for packet in packets[:100]:
        ear.hear(packet)
    for _ in range(20):
        ear.hear()
    for packet in packets[100:120]:
        ear.voice.send(packet, 2.4)
    for packet in packets[120:]:
        ear.hear(packet)
    for _ in range(21):  # what waits is played and fades: at most 300 ms, the depth of a network that has just stalled
        ear.hear()
    assert min(ear.power()[150:250]) > 0.5
    assert ear.frames[-1] is None


def test_a_pause_is_not_heard_twice() -> None:
    """The sender is silent for two seconds (DTX): its next word comes as promptly as its first."""
    ear, packets = Ear(), tone(400, 200)
    for number, packet in enumerate(packets):
        ear.hear(packet if number < 50 else None)
        if number == 149:
            break
    for number, packet in enumerate(packets[150:], 50):  # the numbers go on, the time has jumped
        ear.hear(dataclasses.replace(packet, sequence=number))
    begins = next(number for number, power in enumerate(ear.power()) if power > 0.1 and number > 60)
    assert 150 <= begins <= 153


def test_another_voice_begins_with_nothing_of_the_last() -> None:
    """What was left of it is forgotten."""
    voice = MixInput("0", lambda: None)
    for packet in tone(400, 5):
        voice.send(packet, 0.0)
    voice.carry(StreamKey("bob", "translation", "en"))
    assert voice.take(0.0) is None and (voice.group, voice.ducks) == ("bob", True)


def test_garbage_is_counted_and_silent() -> None:
    """Packets that are no Opus, and empty ones, break nothing."""
    voice = MixInput("0", lambda: None)
    voice.send(Packet(1, 1, 0, 0, b"\xff\xff\xff"), 0.0)
    voice.send(Packet(1, 2, 0, 0, b""), 0.0)
    assert voice.take(0.0) is None and voice.dropped == 1


def test_in_a_mix_no_rtp_time_belongs_to_a_voice() -> None:
    """Captions for thin clients come without one."""
    assert MixInput("0", lambda: None).rtp_time(1, 1.0) is None
