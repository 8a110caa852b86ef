"""Voices that read sentences aloud, some of them saying when each word ended.

Needs `flite` and `espeak-ng`. Every recording is at 16 kHz, begins and ends with a little silence, never the
same, and has a little noise, as a microphone does.
"""

import io
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np

from tests.bench.grammar import Sentence, together
from tests.speech import Pcm, read_wav, resample

RATE = 16_000
"""Hertz."""


@dataclass(frozen=True)
class Reader:
    """A voice at a speed."""

    voice: str
    """Flite's name of a voice, or with a hyphen or plus sign in it espeak-ng's."""
    slow: float = 1.0
    """Times as long as the voice takes by itself."""
    pitch: int = 50
    """0 to 99, espeak-ng only."""

    @property
    def is_flite(self) -> bool:
        return "-" not in self.voice


FLITE = tuple(Reader(voice, slow) for voice in ("slt", "rms", "awb", "kal16") for slow in (0.9, 1.0, 1.15))
ESPEAK = tuple(
    Reader(voice, slow, pitch)
    for voice, pitch in (("en-us", 50), ("en-us+m3", 35), ("en-us+f2", 60), ("en-gb", 45), ("en-gb+f4", 55))
    for slow in (0.9, 1.1)
)


@dataclass(frozen=True)
class Recording:
    """A sentence (or several) read by one voice."""

    sentence: Sentence
    pcm: Pcm
    """At RATE."""
    ends: tuple[float, ...]
    """Seconds at which each spoken word ended; empty where the voice does not tell (espeak-ng)."""

    @property
    def seconds(self) -> float:
        return len(self.pcm) / RATE


def read(sentence: Sentence, reader: Reader, random: Random) -> Recording:
    """One reading; `random` says how much silence and noise is around it, and how loud it is."""
    pcm, phones = _flite(sentence.aloud, reader) if reader.is_flite else (_espeak(sentence.aloud, reader), ())
    loud = np.flatnonzero(np.abs(pcm) > 0.02 * np.abs(pcm).max())
    first, last = int(loud[0]), int(loud[-1]) + 1
    before, after = (round(random.uniform(0.05, 0.25) * RATE) for _ in range(2))
    pcm = np.pad(pcm[first:last], (before, after)) / np.abs(pcm).max() * random.uniform(0.2, 0.8)
    noise = np.random.default_rng(random.getrandbits(32)).standard_normal(len(pcm))
    pcm = pcm + noise * 10 ** random.uniform(-3.2, -2.4)
    shift = (before - first) / RATE
    ends = tuple(end + shift for end in word_ends(sentence.spoken, phones)) if phones else ()
    return Recording(sentence, pcm.astype(np.float32), ends)


def in_a_row(recordings: Sequence[Recording]) -> Recording:
    """One after the other, as a speaker goes on without a long pause."""
    ends: tuple[float, ...] = ()
    start = 0.0
    for one in recordings:
        ends += tuple(start + end for end in one.ends)
        start += one.seconds
    pcm = np.concatenate([one.pcm for one in recordings])
    return Recording(together([one.sentence for one in recordings]), pcm, ends)


def word_ends(words: Sequence[str], phones: Sequence[float]) -> tuple[float, ...]:
    """When each word ended, of the times at which each of its phones did. In a sentence Flite says every word with as
    many phones as alone."""
    counts = [_phones(word) for word in words]
    assert sum(counts) == len(phones), (words, counts, phones)
    return tuple(phones[int(at) - 1] for at in np.cumsum(counts))


@lru_cache
def _phones(word: str) -> int:
    """How many phones a word has."""
    said = subprocess.run(
        ["flite", "-ps", "-voice", "kal16", "-t", word, "-o", "none"], check=True, capture_output=True
    )
    return len([phone for phone in said.stdout.split() if phone != b"pau"])


def _flite(text: str, reader: Reader) -> tuple[Pcm, tuple[float, ...]]:
    """(speech, seconds at which each phone ended, without pauses)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        stretch = f"duration_stretch={reader.slow}"
        command = ["flite", "-voice", reader.voice, "--setf", stretch, "-psdur", "-t", text, "-o", str(path)]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        pcm, rate = read_wav(path)
    marks = (mark.rpartition(":") for mark in said.split())
    return resample(pcm, rate, RATE), tuple(float(end) for phone, _, end in marks if phone != "pau")


def _espeak(text: str, reader: Reader) -> Pcm:
    words_a_minute = str(round(170 / reader.slow))
    command = ["espeak-ng", "-v", reader.voice, "-s", words_a_minute, "-p", str(reader.pitch), "--stdout", text]
    stream = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    with wave.open(io.BytesIO(stream), "rb") as file:  # the lengths in a header written to a pipe are made up
        rate, data = file.getframerate(), file.readframes(len(stream))
    pcm = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32_768
    return resample(pcm, rate, RATE)
