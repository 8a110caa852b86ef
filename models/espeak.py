"""Speech from text by espeak-ng: a voice for nearly every language, plainly a machine's, ready in 10 ms.

espeak-ng is GPL and runs outside this process, one short-lived program per sentence: it costs 8 ms, needs no lock, and
what crashes there does not crash here.
"""

import contextlib
import io
import re
import shutil
import subprocess
import wave

import numpy as np

from models.base import EngineFailed, Pcm, Speech
from models.languages import BY_CODE
from models.text import clean

PROGRAM = "espeak-ng"

SAMPLE_RATE = 22_050
"""Hertz: what every voice of espeak-ng's own kind gives."""

TIMEOUT = 15.0
"""Seconds. A sentence takes 10 ms and the longest text that `clean` lets through 2 s."""

SILENCE = 1e-3
"""Full scale is 1: what stays below is silence."""

MARGIN = 0.02
"""Seconds of silence left on both sides: cut harder and the first consonant clicks."""


def available() -> bool:
    """Whether espeak-ng is installed here."""
    return shutil.which(PROGRAM) is not None


def speak(text: str, language: str) -> Speech:
    """`text` read aloud; empty for a text with nothing to say. Blocks for about 10 ms.

    Raises ValueError for a language without a voice and EngineFailed if espeak-ng fails."""
    tongue = BY_CODE.get(language)
    if tongue is None:
        raise ValueError(f"there is no voice for {language!r}")
    # Two brackets would begin espeak-ng's own phoneme notation. Text goes in by stdin: an argument could be an option.
    line = re.sub(r"\[(?=\[)", "[ ", clean(text))
    command = [PROGRAM, "-v", tongue.espeak, "-b", "1", "--stdin", "--stdout"]
    try:
        done = subprocess.run(command, input=line.encode(), capture_output=True, timeout=TIMEOUT, check=True)
        return _trimmed(*_samples(done.stdout))
    except (OSError, subprocess.SubprocessError, wave.Error, EOFError) as error:
        raise EngineFailed(f"The voice for {tongue.english} failed to speak this sentence.") from error


def _samples(stream: bytes) -> tuple[Pcm, int]:
    """espeak-ng's WAV as (samples, hertz). It is written to a pipe, so the lengths in its header are made up.

    For a text with nothing to say it writes nothing at all, not even a header."""
    if not stream:
        return np.zeros(0, np.float32), SAMPLE_RATE
    with contextlib.closing(wave.open(io.BytesIO(stream), "rb")) as file:
        assert (file.getsampwidth(), file.getnchannels()) == (2, 1), file.getparams()
        rate = file.getframerate()
        data = file.readframes(len(stream))
    pcm = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32)
    return pcm / np.float32(32_768), rate


def _trimmed(pcm: Pcm, rate: int) -> Speech:
    loud = np.flatnonzero(np.abs(pcm) > SILENCE)
    if not len(loud):
        return Speech(pcm[:0], rate)
    margin = round(MARGIN * rate)
    return Speech(pcm[max(0, loud[0] - margin) : loud[-1] + 1 + margin], rate)
