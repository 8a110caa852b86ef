"""What the load generator says: ten seconds of Opus speech in a loop, with a tone in each second to measure delay by;
or plain speech, or silence.

Made with FFmpeg's encoder, not with ours: what a browser sends must not change when the product does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from tests.sentences import SENTENCES
from tests.speech import flite, peak

RATE, FRAME, SECONDS = 48_000, 960, 10
SPEECH, ONSET, TONE = 0.70, 0.905, 0.04
"""Of each second: speech until, the tone's beginning, its length. The rest is silence, so that a codec's tail ends."""
LOUD = 0.4
"""Only the tone reaches it: speech peaks at 0.2."""

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Talk:
    """One loop, ready to be sent."""

    packets: tuple[bytes, ...]
    """Opus, 20 ms each, mono, in-band FEC."""
    levels: tuple[int, ...]
    """-dBov of each (RFC 6464)."""
    onsets: tuple[tuple[int, float], ...] = ()
    """(packet, seconds into it) of each tone, as a decoder hears it."""


def talk() -> Talk:
    """The loop; the same each time. Raises FileNotFoundError without Flite."""
    speech = peak(np.concatenate([flite(sentence, rate=RATE) for sentence in SENTENCES[:8]]), 0.2)
    pcm = np.zeros(SECONDS * RATE, np.float32)
    tone = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(int(TONE * RATE)) / RATE)
    length = int(SPEECH * RATE)
    for second in range(SECONDS):
        start = second * RATE
        pcm[start : start + length] = speech[second * length :][:length]
        pcm[start + int(ONSET * RATE) :][: len(tone)] = tone
    packets = _encode(np.concatenate([pcm, pcm[:RATE]]))
    count = len(pcm) // FRAME
    return Talk(tuple(packets[:count]), _levels(pcm), tuple(tone for tone in onsets(packets) if tone[0] < count))


def plain(pcm: Samples) -> Talk:
    """Mono samples at RATE, without tones."""
    packets = _encode(pcm)
    return Talk(tuple(packets[: len(pcm) // FRAME]), _levels(pcm))


def silence() -> Talk:
    """A second of a quiet room, as a microphone without DTX sends it."""
    return plain(np.random.default_rng(0).normal(0, 1e-4, RATE).astype(np.float32))


def onsets(packets: Sequence[bytes]) -> list[tuple[int, float]]:
    """(packet, seconds into what it decodes to) of each tone in a row of Opus packets of one stream."""
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout, decoder.format = RATE, "stereo", "s16"
    found: list[tuple[int, float]] = []
    clock, last = 0, -RATE
    for index, packet in enumerate(packets):
        frames = [frame.to_ndarray()[0, ::2] for frame in decoder.decode(av.Packet(packet))]
        pcm = np.concatenate(frames) if frames else np.zeros(0, np.int16)
        loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > LOUD * 32768)
        if len(loud):
            if clock + loud[0] - last > RATE // 4:
                found.append((index, int(loud[0]) / RATE))
            last = clock + int(loud[-1])
        clock += len(pcm)
    return found


def _levels(pcm: Samples) -> tuple[int, ...]:
    power = np.square(pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)).mean(axis=1)
    return tuple(np.clip(-10 * np.log10(power + 1e-13), 0, 127).astype(int).tolist())


def _encode(pcm: Samples) -> list[bytes]:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = RATE, "mono", "s16", 32_000
    encoder.time_base = Fraction(1, RATE)
    encoder.options = {"application": "voip", "frame_duration": "20", "fec": "1", "packet_loss": "10"}
    packets: list[bytes] = []
    for start in range(0, len(pcm) - FRAME + 1, FRAME):
        samples = (pcm[start : start + FRAME] * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate, frame.pts = RATE, start
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets + [bytes(packet) for packet in encoder.encode(None)]
