"""What each way to encode speech costs and how it sounds: the table behind `CLEAN` and `LOSSY` in rtc/opus.py.

    python -m tests.bench.codec                  # Flite and espeak-ng voices
    HUMAN=FOLDER python -m tests.bench.codec     # and people: FOLDER/*.wav (mono), told apart

CPU is the median of interleaved repetitions, per 20 ms. PESQ-WB and STOI (`pip install pesq pystoi`; left out where
they are not installed) compare what a decoder gives with the voice itself, resampled from 24 to 16 kHz. Loss is random
and the same for every setting; who cannot recover a packet from the next conceals it, both as libopus does.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from statistics import fmean, median
from typing import Any

import av
import numpy as np
from aiortc.codecs.opus import OpusDecoder, OpusEncoder
from aiortc.jitterbuffer import JitterFrame

from models import espeak
from rtc.opus import CLEAN, LOSSY, LOWDELAY, VOIP, Decoder, Encoder, Int16, Setting, fec_duration, to_int16
from rtc.playout import VOICE_RATE, Playout
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.stream import Stream
from rtc.ticker import PTIME
from tests.bench.figures import record
from tests.rtc.outlets import Recorder
from tests.sentences import SENTENCES
from tests.speech import VOICES, Pcm, flite, peak, read_wav, resample, trim

SAMPLES = VOICE_RATE // 50
SCORED_RATE = 16_000
"""Hertz: PESQ-WB hears nothing else."""

WEBRTC = Setting(VOIP, 32_000, complexity=5)
"""About what browsers send for speech: the others are measured by it."""

CLEAN_SETTINGS = {
    "SILK 32k c5": WEBRTC,
    "SILK 64k c0": LOSSY,
    "CELT 48k c0": Setting(LOWDELAY, 48_000, complexity=0),
    "CELT 64k c0": Setting(LOWDELAY, 64_000, complexity=0),
    "CELT 64k c5": Setting(LOWDELAY, 64_000, complexity=5),
    "CELT 72k c0": CLEAN,
}
LOSSY_SETTINGS = {
    "SILK 32k c5": WEBRTC,
    "SILK 40k c5": Setting(VOIP, 40_000, complexity=5),
    "SILK 64k c0": LOSSY,
    "CELT 72k c0": CLEAN,
}
LOSSES = (1, 2, 5)
"""Percent."""

REPETITIONS = 7
TIMED = 200
"""Frames (4 s) in each."""

ESPEAK = {
    "en": "We will begin in five minutes. Please send me the report before Friday, and thank you for your help.",
    "es": "Empezaremos en cinco minutos. Por favor, mándeme el informe antes del viernes, y gracias por su ayuda.",
    "fr": "Nous commencerons dans cinq minutes. Veuillez m'envoyer le rapport vendredi, et merci pour votre aide.",
    "pt": "Começamos em cinco minutos. Por favor, envie-me o relatório antes de sexta-feira, e obrigado pela ajuda.",
}


def voices() -> dict[str, Int16]:
    """Speech at VOICE_RATE, whole frames, by who speaks."""
    said: dict[str, Pcm] = {}
    for voice in VOICES:
        sentences = [peak(trim(flite(text, voice, VOICE_RATE), VOICE_RATE)) for text in SENTENCES[3:7]]
        said[f"flite {voice}"] = np.concatenate([np.pad(pcm, SAMPLES) for pcm in sentences])
    for language, text in ESPEAK.items() if espeak.available() else ():
        speech = espeak.speak(text, language)
        said[f"espeak {language}"] = to_int16(speech.pcm, speech.sample_rate, VOICE_RATE).astype(np.float32)
    for path in sorted(Path(os.environ["HUMAN"]).glob("*.wav")) if "HUMAN" in os.environ else ():
        pcm, rate = read_wav(path)
        said[f"human {path.stem[-8:]}"] = resample(pcm[: 10 * rate], rate, VOICE_RATE)
    return {name: whole((peak(pcm) * 32_767).astype(np.int16)) for name, pcm in said.items()}


def whole(pcm: Int16) -> Int16:
    return np.pad(pcm, (0, -len(pcm) % SAMPLES))


def frames(pcm: Int16) -> Int16:
    return pcm.reshape(-1, SAMPLES)


def microseconds(work: dict[str, Callable[[], int]]) -> dict[str, float]:
    """CPU of one unit of each, median of interleaved repetitions. A piece of work says how many units it did."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(REPETITIONS):
        for name, do in work.items():
            begun = time.process_time()
            units = do()
            taken[name].append((time.process_time() - begun) / units * 1e6)
    return {name: median(values) for name, values in taken.items()}


def encoding(setting: Setting, pcm: Int16, loss: float = 0.0) -> Callable[[], int]:
    def encode() -> int:
        encoder = Encoder(VOICE_RATE, loss, setting, setting)
        for frame in frames(pcm)[:TIMED]:
            encoder.encode(frame)
        return min(TIMED, len(frames(pcm)))

    return encode


Score = Callable[[Pcm, Pcm], tuple[float, float]]
"""(said, heard) at SCORED_RATE → (PESQ-WB, STOI)."""


def scorer() -> Score | None:
    try:
        from pesq import pesq
        from pystoi import stoi
    except ImportError:
        print("Quality is left out: `pip install pesq pystoi` to hear it.")
        return None
    return lambda said, heard: (pesq(SCORED_RATE, said, heard, "wb"), stoi(said, heard, SCORED_RATE))


def hear(packets: list[bytes], loss: float) -> Int16:
    """What a listener hears who loses `loss` percent."""
    decoder, lost = Decoder(VOICE_RATE), np.random.default_rng(1).random(len(packets) + 1) < loss / 100
    heard = []
    for index, packet in enumerate(packets):
        following = packets[index + 1] if index + 1 < len(packets) and not lost[index + 1] else b""
        if not lost[index]:
            heard.append(decoder.decode(packet))
        else:
            heard.append(decoder.recover(following) if fec_duration(following) else decoder.conceal())
    return np.concatenate(heard)


@dataclass
class Quality:
    """One setting at one loss."""

    pesq: dict[str, float] = field(default_factory=dict)
    """By voice."""
    stoi: dict[str, float] = field(default_factory=dict)
    octets: int = 0
    frames: int = 0
    delay_ms: float = 0.0

    @property
    def kbps(self) -> float:
        return self.octets * 8 / (self.frames * PTIME) / 1000

    def mean(self, human: bool = False) -> float:
        chosen = [value for name, value in self.pesq.items() if name.startswith("human") == human]
        return fmean(chosen) if chosen else float("nan")


def judge(setting: Setting, said: dict[str, Int16], loss: float, score: Score | None) -> Quality:
    quality = Quality()
    for name, pcm in said.items():
        encoder = Encoder(VOICE_RATE, loss, setting, setting)
        packets = [encoder.encode(frame) for frame in frames(pcm)]
        quality.octets += sum(map(len, packets))
        quality.frames += len(packets)
        quality.delay_ms = encoder.delay / VOICE_RATE * 1000
        if score is not None:
            heard = hear(packets, loss)[encoder.delay :]
            pair = (
                resample(one[: len(heard)].astype(np.float32) / 32_768, VOICE_RATE, SCORED_RATE) for one in (pcm, heard)
            )
            quality.pesq[name], quality.stoi[name] = score(*pair)
    return quality


def stock_frames(pcm: Int16) -> list[av.AudioFrame]:
    """As a track hands a synthesised voice to aiortc."""
    made = []
    for index, samples in enumerate(frames(pcm)[:TIMED]):
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = VOICE_RATE, index * SAMPLES, Fraction(1, VOICE_RATE)
        made.append(frame)
    return made


def stock(pcm: Int16, packets: list[bytes]) -> dict[str, Callable[[], int]]:
    """aiortc's own codec on the same speech: 48 kHz stereo inside, whatever comes and goes."""
    voice = stock_frames(pcm)

    def encode() -> int:
        encoder = OpusEncoder()
        for frame in voice:
            encoder.encode(frame)
        return len(voice)

    def decode() -> int:
        decoder = OpusDecoder()
        for index, packet in enumerate(packets):
            decoder.decode(JitterFrame(packet, index * 960))
        return len(packets)

    return {"aiortc OpusEncoder": encode, "aiortc OpusDecoder (48 kHz stereo)": decode}


def decoding(packets: list[bytes]) -> dict[str, Callable[[], int]]:
    """Ours: every rate and kind of sample, and what stands in for a lost packet."""

    def run(rate: int, sample: Any, method: str) -> Callable[[], int]:
        def decode() -> int:
            decoder = Decoder(rate, sample)
            decoder.decode(packets[0])
            call = getattr(decoder, method)
            for packet in packets:
                call(*() if method == "conceal" else (packet,))
            return len(packets)

        return decode

    def converted() -> int:
        decoder = Decoder(16_000)
        for packet in packets:
            decoder.decode(packet).astype(np.float32) / np.float32(32_768)
        return len(packets)

    work = {f"decode to {rate // 1000} kHz int16": run(rate, np.int16, "decode") for rate in (16_000, 24_000, 48_000)}
    work["decode to 16 kHz int16, then float"] = converted
    work["decode to 16 kHz float"] = run(16_000, np.float32, "decode")
    work["FEC, 16 kHz float"] = run(16_000, np.float32, "recover")
    work["conceal, 16 kHz float"] = run(16_000, np.float32, "conceal")
    return work


def playing(pcm: Int16, speak: bool) -> Callable[[], int]:
    """`Playout.tick` for one listener, with its encoder or with one that takes no time."""

    def play() -> int:
        stream = Stream(StreamKey("ana", "translation", "en"))
        stream.attach(Recorder())
        playout: Playout[int] = Playout(stream, Stats())
        if not speak:
            playout._encoder.encode = lambda pcm: b"x" * 180  # type: ignore[method-assign]
        playout.say(1, pcm[: TIMED * SAMPLES], 0.0)
        for tick in range(TIMED):
            playout.tick(tick * PTIME)
        return TIMED

    return play


def table(settings: dict[str, Setting], losses: tuple[int, ...], said: dict[str, Int16], score: Score | None) -> dict:
    """Print one row per setting and loss; (name, loss) → (CPU, quality)."""
    speech = np.concatenate([pcm[: 40 * SAMPLES] for pcm in said.values()])
    rows = {}
    for loss in losses:
        cpu = microseconds({name: encoding(setting, speech, loss) for name, setting in settings.items()})
        print(
            f"\nat {loss} % loss        µs/20 ms    kb/s   delay ms   PESQ-WB  (worst voice)   STOI   people's PESQ-WB"
        )
        reference = None
        for name, setting in settings.items():
            quality = judge(setting, said, loss, score)
            rows[name, loss] = cpu[name], quality
            reference = reference or quality
            worst = min((quality.pesq[voice] - reference.pesq[voice] for voice in quality.pesq), default=float("nan"))
            stoi = fmean(quality.stoi.values()) if quality.stoi else float("nan")
            print(
                f"  {name:<16} {cpu[name]:8.0f} {quality.kbps:9.1f} {quality.delay_ms:8.1f} {quality.mean():10.2f}"
                f" {worst:+12.2f} {stoi:10.3f} {quality.mean(human=True):10.2f}"
            )
    return rows


def main() -> None:
    said, score = voices(), scorer()
    clean = table(CLEAN_SETTINGS, (0,), said, score)
    lossy = table(LOSSY_SETTINGS, LOSSES, said, score)

    speech = np.concatenate([pcm[: 40 * SAMPLES] for pcm in said.values()])
    browser = Encoder(48_000, 5, lossy=WEBRTC)  # what a microphone sends
    at_48k = whole(to_int16(speech[: TIMED * SAMPLES].astype(np.float32) / 32_768, VOICE_RATE, 48_000))
    packets = [browser.encode(frame) for frame in at_48k.reshape(-1, 960)]
    cpu = microseconds(
        {
            "our Encoder, nobody loses": encoding(CLEAN, speech),
            "our Encoder, 5 % lost": encoding(LOSSY, speech, 5),
            "SILK 32k c5": encoding(WEBRTC, speech),
            **stock(speech, packets),
            **decoding(packets),
            "Playout.tick": playing(speech, speak=True),
            "Playout.tick without the encoder": playing(speech, speak=False),
        }
    )
    print("\nµs of CPU per 20 ms")
    for name, value in cpu.items():
        print(f"  {name:<40} {value:8.1f}")
    print()

    def ratio(figure: str, ours: str, theirs: str, goal: float) -> None:
        value = cpu[ours] / cpu[theirs]
        record(figure, value, "ratio", f"<= {goal}", value <= goal)

    ratio("codec_encode_vs_aiortc", "our Encoder, nobody loses", "aiortc OpusEncoder", 0.5)
    ratio("codec_encode_lossy_vs_aiortc", "our Encoder, 5 % lost", "aiortc OpusEncoder", 1.0)
    ratio("codec_encode_vs_silk32", "our Encoder, nobody loses", "SILK 32k c5", 0.5)
    ratio("codec_decode_vs_aiortc", "decode to 16 kHz float", "aiortc OpusDecoder (48 kHz stereo)", 1.0)
    ratio("codec_float_vs_converted", "decode to 16 kHz float", "decode to 16 kHz int16, then float", 1.0)
    record("codec_playout_tick_us", cpu["Playout.tick without the encoder"], "us")
    if score is None:
        return

    def better(figure: str, rows: dict, loss: int, ours: str, theirs: str) -> None:
        value = rows[ours, loss][1].mean() - rows[theirs, loss][1].mean()
        record(figure, value, "MOS", ">= 0", value >= 0)

    better("codec_pesq_minus_silk32", clean, 0, "CELT 72k c0", "SILK 32k c5")
    better("codec_lossy_pesq_minus_silk32", lossy, 5, "SILK 64k c0", "SILK 32k c5")
    better("codec_fec_pesq_minus_celt", lossy, 2, "SILK 64k c0", "CELT 72k c0")


if __name__ == "__main__":
    main()
