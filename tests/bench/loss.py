"""What a lossy, jittery network does to what the models hear: our receive path, and aiortc's in the same run.

    python -m tests.bench.loss

In process and without a clock: packets carry the times at which they arrive, and the seeds are fixed. Flite's speech is
encoded as Chrome does (mono, 32 kb/s, VOIP, in-band FEC, the loss told to the encoder). Loss is even, or in bursts of
3.5 packets on average (Gilbert: two states). Jitter is drawn as netem does it: each packet on its own is late by a
normal distribution with that standard deviation, around a path long enough (three deviations) that few times would be
negative; so packets overtake each other, much more than on most real networks.

Delay runs from when a packet would have come over the same path without jitter or loss to when its audio is given out
(what stands in for it, if it was lost); negative where it was early. Missing is audio for which nothing is given out:
neither a packet, nor its copy, nor concealment. "Clocked" is the same audio played to a beat, as in the server's mix.
PESQ and STOI compare with the same packets decoded without loss (`pip install pesq pystoi`, or the columns stay empty).
"""

import importlib
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import jiwer
import numpy as np
from aiortc.codecs.opus import OpusDecoder
from aiortc.jitterbuffer import JitterBuffer as StockBuffer
from aiortc.rtp import RtpPacket

from models.base import SPEECH_RATE
from models.recognizer import RecognizerPool
from rtc.jitter import JitterBuffer, Source, render
from rtc.opus import FRAME, VOIP, Decoder, Encoder, Setting
from rtc.steady import Steady
from tests.bench.figures import percentile, record
from tests.bench.wer import hear, words
from tests.sentences import SENTENCES
from tests.speech import flite, peak, resample

PTIME = 0.02
CHROME = Setting(VOIP, 32_000, complexity=9)
SAMPLES = round(SPEECH_RATE * PTIME)
VOICES = ("slt", "rms", "awb")
MEAN_BURST = 3.5
LONG, SHORT, SCORED = 600, 40, 24
"""Seconds: to see a drift, for the table, and of that what PESQ hears."""
PATH = "loss5_jitter30"


@dataclass(frozen=True)
class Network:
    """One way to impair."""

    loss: float
    """Of all packets, in [0, 1]."""
    burst: float = 1.0
    """Packets lost in a row, on average."""
    jitter: float = 0.0
    """Seconds: the standard deviation."""

    def arrivals(self, count: int, seed: int) -> list[tuple[float, int]]:
        """(seconds after it would have come, had nothing happened, to packet 0; index), in order of arrival."""
        dice = random.Random(seed)
        lost, times = False, []
        for index in range(count):
            if self.burst > 1:
                chance = 1 - 1 / self.burst if lost else self.loss / (1 - self.loss) / self.burst
            else:
                chance = self.loss
            lost = dice.random() < chance
            late = max(-3 * self.jitter, dice.gauss(0, self.jitter))
            if not lost or index < 10:
                times.append((index * PTIME + late, index))
        return sorted(times)


@dataclass
class Heard:
    """What came out."""

    pcm: np.ndarray
    """int16 at SPEECH_RATE, where it belongs in time; silence where nothing was given out."""
    delays: list[tuple[int, float]] = field(default_factory=list)
    """(packet, seconds)."""
    given: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    """Per packet: something stands for it."""

    def percentile(self, fraction: float) -> float:
        """Milliseconds of delay."""
        return percentile([delay for _, delay in self.delays], fraction) * 1000

    @property
    def drift(self) -> float:
        """Milliseconds by which the delay grew from the first minute to the last."""
        minute, end = round(60 / PTIME), len(self.given)
        first = [delay for index, delay in self.delays if index < minute]
        last = [delay for index, delay in self.delays if index >= end - minute]
        return (statistics.mean(last) - statistics.mean(first)) * 1000

    @property
    def missing(self) -> float:
        """Percent."""
        return 100 * float(1 - self.given.mean())

    def gaps(self, longer_than: float = 0.06) -> int:
        """Stretches of nothing."""
        edges = np.flatnonzero(np.diff(np.concatenate([[True], self.given, [True]]).astype(np.int8)))
        return int(((edges[1::2] - edges[::2]) * PTIME > longer_than + 1e-9).sum())


def ours(packets: Sequence[bytes], arrivals: list[tuple[float, int]]) -> tuple[Heard, Heard, JitterBuffer]:
    """Given out at once, and to a beat."""
    buffer, decoder, steady = JitterBuffer(), Decoder(SPEECH_RATE), Steady(SPEECH_RATE)
    count = len(packets)
    eager, clocked = (Heard(np.zeros(count * SAMPLES, np.int16), given=np.zeros(count, bool)) for _ in range(2))
    position = arrivals[0][1] * SAMPLES  # of the next sample given out
    beat = arrivals[0][0]

    def pull(now: float) -> None:
        nonlocal position
        for piece in buffer.pull(now):
            pcm = render(piece, decoder)
            eager.pcm[position : position + len(pcm)] = pcm
            if piece.source is not Source.SILENCE:
                index = position // SAMPLES
                eager.given[index] = True
                eager.delays.append((index, now - index * PTIME))
            position += len(pcm)
            steady.push(pcm)

    def play(until: float) -> None:
        nonlocal beat
        while beat <= until:
            index = (position - steady.level) // SAMPLES
            if steady.pull(buffer.depth) is not None and index < count:
                clocked.given[index] = True
                clocked.delays.append((index, beat - index * PTIME))
            beat += PTIME

    for at, index in arrivals:
        while (due := buffer.due) is not None and due <= at:
            play(due)
            pull(due)
        play(at)
        buffer.push(1, index & 0xFFFF, index * FRAME, packets[index], at)
        pull(at)
    while (due := buffer.due) is not None:
        pull(due)
    return eager, clocked, buffer


def stock(packets: Sequence[bytes], arrivals: list[tuple[float, int]]) -> Heard:
    """As aiortc's RTCRtpReceiver drives its own (its `_handle_rtp_packet` and decoder thread)."""
    buffer, decoder = StockBuffer(capacity=16, prefetch=4), OpusDecoder()
    pcm = np.zeros(len(packets) * FRAME, np.int16)
    heard = Heard(pcm, given=np.zeros(len(packets), bool))
    for at, index in arrivals:
        packet = RtpPacket(payload_type=96, sequence_number=index & 0xFFFF, timestamp=index * FRAME)
        packet._data = packets[index]
        _, encoded = buffer.add(packet)
        if encoded is not None:
            out = encoded.timestamp // FRAME
            for frame in decoder.decode(encoded):
                pcm[out * FRAME : (out + 1) * FRAME] = frame.to_ndarray().reshape(-1, 2)[:FRAME, 0]
            heard.given[out] = True
            heard.delays.append((out, at - out * PTIME))
    heard.pcm = resample(pcm.astype(np.float32), 48_000, SPEECH_RATE).astype(np.int16)
    return heard


def talk() -> tuple[np.ndarray, list[tuple[str, int, int]]]:
    """Speech at 48 kHz, and in it (sentence, first sample, last) at SPEECH_RATE, on whole packets."""
    pieces, clips, at = [], [], 0
    for voice in VOICES:
        for sentence in SENTENCES:
            pcm = peak(flite(sentence, voice))
            pcm = np.pad(pcm, (0, -len(pcm) % SAMPLES))
            pieces.append(pcm)
            clips.append((sentence, at, at + len(pcm)))
            at += len(pcm)
    return resample(np.concatenate(pieces), SPEECH_RATE, 48_000), clips


def encode(pcm: np.ndarray, seconds: float, loss: float) -> list[bytes]:
    """The talk again and again, as Chrome would send it to somebody who reports that loss."""
    encoder = Encoder(48_000, 100 * loss, CHROME, CHROME)
    samples = np.resize((pcm * 32767).astype(np.int16), round(seconds / PTIME) * FRAME)
    return [encoder.encode(frame) for frame in samples.reshape(-1, FRAME)]


def quality(reference: np.ndarray, heard: np.ndarray) -> str:
    """PESQ-WB and STOI, medians over pieces of eight seconds."""
    try:
        pesq, stoi = importlib.import_module("pesq").pesq, importlib.import_module("pystoi").stoi
    except ImportError:
        return f"{'-':>6}{'-':>6}"
    size, pairs = 8 * SPEECH_RATE, []
    for start in range(0, SCORED * SPEECH_RATE, size):
        clean, got = reference[start : start + size], heard[start : start + size]
        pairs.append((pesq(SPEECH_RATE, clean, got, "wb"), stoi(clean, got, SPEECH_RATE)))
    return "".join(f"{statistics.median(values):6.2f}" for values in zip(*pairs, strict=True))


def table(pcm: np.ndarray) -> None:
    """Every network, for a while each."""
    print(
        f"{'loss':>4} {'burst':>5} {'jitter':>6}  {'path':<8}{'missing':>8}"
        f"{'gaps':>5}{'p50':>6}{'p95 ms':>7}  PESQ  STOI"
    )
    for loss in (0, 0.01, 0.03, 0.05, 0.10):
        packets = encode(pcm, SHORT, loss)
        decoder = Decoder(SPEECH_RATE)
        clean = np.concatenate([decoder.decode(packet) for packet in packets])
        for burst in (1.0, MEAN_BURST) if loss else (1.0,):
            for jitter in (0, 0.03, 0.06):
                arrivals = Network(loss, burst, jitter).arrivals(len(packets), seed=7)
                eager, clocked, _ = ours(packets, arrivals)
                for name, heard in (("ours", eager), ("clocked", clocked), ("aiortc", stock(packets, arrivals))):
                    score = quality(clean, heard.pcm) if heard is not clocked else ""
                    print(
                        f"{loss:4.0%} {burst:5.1f} {jitter * 1000:4.0f}ms  {name:<8}{heard.missing:7.1f}%"
                        f"{heard.gaps():5}{heard.percentile(0.5):6.0f}{heard.percentile(0.95):7.0f}{score}"
                    )


def word_errors(pool: RecognizerPool, speech: np.ndarray, clips: list[tuple[str, int, int]]) -> float:
    """Percent of the clips' words."""
    said, understood = [], []
    for sentence, start, end in clips:
        said.append(words(sentence))
        understood.append(words(hear(pool, "loss", speech[start:end].astype(np.float32) / 32768)[0]))
    return 100 * float(jiwer.wer(said, understood))


def main() -> None:
    """Measure, print, report."""
    pcm, clips = talk()
    table(pcm)
    packets = encode(pcm, LONG, 0.05)
    arrivals = Network(0.05, jitter=0.03).arrivals(len(packets), seed=1)
    eager, clocked, buffer = ours(packets, arrivals)
    old = stock(packets, arrivals)
    total = sum(buffer.ticks.values())
    shares = ", ".join(f"{source.name.lower()} {buffer.ticks[source] / total:.2%}" for source in Source)
    print(f"\n5 %, 30 ms, {LONG // 60} minutes: {shares}; late {buffer.late}, depth {buffer.depth * 1000:.0f} ms")
    print(f"clocked: {clocked.missing:.2f} % missing, {clocked.gaps()} gaps")
    p95 = eager.percentile(0.95)
    record(f"{PATH}_delay_p50_ms", eager.percentile(0.5), "ms")
    record(f"{PATH}_delay_p95_ms", p95, "ms", "<= 120", p95 <= 120)
    record(f"{PATH}_delay_p95_ms_aiortc", old.percentile(0.95), "ms")
    record(f"{PATH}_delay_p95_ms_clocked", clocked.percentile(0.95), "ms")
    record(f"{PATH}_delay_drift_ms", eager.drift, "ms", "<= 5", eager.drift <= 5)
    record(f"{PATH}_delay_drift_ms_aiortc", old.drift, "ms")
    record(f"{PATH}_delay_drift_ms_clocked", clocked.drift, "ms", "<= 5", clocked.drift <= 5)
    record("loss5_missing_percent", eager.missing, "%")
    record("loss5_missing_percent_aiortc", old.missing, "%")
    record("loss5_gaps_over_60ms", eager.gaps(), "", "0", eager.gaps() == 0)
    record("loss5_gaps_over_60ms_aiortc", old.gaps(), "")
    pool = RecognizerPool(1)
    pool.load()
    try:
        decoder = Decoder(SPEECH_RATE)
        clean = np.concatenate([decoder.decode(packet) for packet in packets])
        base, lossy, lossy_old = (word_errors(pool, speech, clips) for speech in (clean, eager.pcm, old.pcm))
    finally:
        pool.close()
    print(f"word errors: {base:.1f} % without loss, {lossy:.1f} % ours, {lossy_old:.1f} % aiortc")
    record("loss5_wer_increase", lossy - base, "points", "<= 2", lossy - base <= 2)
    record("loss5_wer_increase_aiortc", lossy_old - base, "points")


if __name__ == "__main__":
    main()
