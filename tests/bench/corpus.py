"""What a small interpreter is trained on and judged by: sentences of `grammar.py` read by the voices of `readers.py`.

Everything follows from seeds: the same sentences, voices, silences and noise every time.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
from transformers import SeamlessM4TFeatureExtractor

from tests.bench.grammar import Sentence, different
from tests.bench.readers import ESPEAK, FLITE, RATE, Recording, in_a_row, read
from tests.speech import Pcm

Fbank = npt.NDArray[np.float32]
"""Log mel energies, [frames of 10 ms, 80]."""

READERS = FLITE + ESPEAK

SHORT = 600
"""Sentences of up to SHORT_WORDS words to begin with."""
SHORT_WORDS = 7
FULL = 1500

SINGLE = 60
"""Held-out recordings of one sentence."""
LONG = 12
"""Held-out recordings of LONG_SENTENCES sentences each, 10 to 20 s."""
LONG_SENTENCES = (4, 5, 6)


@dataclass(frozen=True)
class Spoken:
    """One training sentence."""

    sentence: Sentence
    voice: int
    """Which of READERS: what is strung together is said by one."""
    fbank: Fbank


def training_sentences() -> list[Sentence]:
    random = Random(1)
    short = list(islice(different(random, SHORT_WORDS), SHORT))
    said = frozenset(one.aloud for one in short)
    return short + list(islice(different(random, without=said), FULL))


def training_set(cache: Path | None = None) -> list[Spoken]:
    """Takes minutes, unless `cache` (a file, written if it is not there) has the features."""
    random, sentences = Random(2), training_sentences()
    voices = [random.randrange(len(READERS)) for _ in sentences]
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            fbanks = np.split(stored["fbanks"], np.cumsum(stored["lengths"])[:-1])
    else:
        extractor = SeamlessM4TFeatureExtractor()
        fbanks = []
        for sentence, voice in zip(sentences, voices, strict=True):
            fbanks.append(fbank(extractor, read(sentence, READERS[voice], random).pcm).astype(np.float16))
        if cache is not None:
            cache.parent.mkdir(parents=True, exist_ok=True)
            np.savez(cache, fbanks=np.concatenate(fbanks), lengths=[len(one) for one in fbanks])
    return [Spoken(*one) for one in zip(sentences, voices, fbanks, strict=True)]


def held_out() -> list[Recording]:
    """Sentences that are not in the training set, read by Flite, which tells when each word ended: SINGLE recordings of
    one, then LONG of several."""
    random = Random(3)
    fresh = different(random, without=frozenset(one.aloud for one in training_sentences()))
    single = [read(next(fresh), random.choice(FLITE), random) for _ in range(SINGLE)]
    long = []
    for _ in range(LONG):
        reader = random.choice(FLITE)
        long.append(in_a_row([read(next(fresh), reader, random) for _ in range(random.choice(LONG_SENTENCES))]))
    return single + long


def fbank(extractor: SeamlessM4TFeatureExtractor, pcm: Pcm) -> Fbank:
    """What the extractor computes before it normalises: recordings can be strung together by it."""
    return np.asarray(extractor._extract_fbank_features(pcm), np.float32)


def features(log_mel: Fbank) -> Fbank:
    """What the extractor makes of it, [frames of 20 ms, 160]: zero mean and unit variance per band, two in a row."""
    log_mel = log_mel.astype(np.float32)
    normal = (log_mel - log_mel.mean(0)) / np.sqrt(log_mel.var(0, ddof=1) + 1e-7)
    return normal[: len(normal) // 2 * 2].reshape(-1, 160)


def check_features() -> None:
    """Our features are the real extractor's: what was learned from the one is heard with the other."""
    extractor = SeamlessM4TFeatureExtractor()
    pcm = read(training_sentences()[0], FLITE[0], Random(0)).pcm
    real = extractor(pcm, sampling_rate=RATE, return_tensors="np").input_features[0]
    ours = features(fbank(extractor, pcm))
    assert np.abs(real[: len(ours)] - ours).max() < 1e-3, np.abs(real[: len(ours)] - ours).max()
