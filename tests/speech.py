"""Speech for tests and benches: Flite reads a sentence, and what it read is kept for the next test that wants it.

Flite, not espeak-ng: its voices were made from recordings of people, so a recogniser trained on people understands
them. Needs the `flite` program (Debian: `apt-get install flite`); everything else is numpy and the standard library.
"""

import hashlib
import os
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.float32]
"""Mono samples in [-1, 1], shape [samples]."""

VOICES = ("slt", "rms", "awb", "kal16")
"""Flite voices at 16 kHz: a woman, two men, and an older robot-like one."""

CACHE = Path(tempfile.gettempdir()) / f"dragoman-flite-{os.getuid()}"


def flite(text: str, voice: str = "slt", rate: int = 16_000) -> Pcm:
    """`text` as speech at `rate` hertz, float32 in [-1, 1]. It begins and ends with about 0.2 s of Flite's silence.

    Raises FileNotFoundError without Flite, and CalledProcessError if it fails."""
    name = hashlib.sha256(f"{voice}\n{text}".encode()).hexdigest()[:24]
    path = CACHE / f"{name}.wav"
    if not path.exists():
        CACHE.mkdir(mode=0o700, exist_ok=True)
        # Written beside and renamed: two test processes may want the same sentence at the same time.
        partial = CACHE / f"{name}.{os.getpid()}.part"
        command = ["flite", "-voice", voice, "-t", text, "-o", str(partial)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        partial.replace(path)
    pcm, read_rate = read_wav(path)
    return resample(pcm, read_rate, rate)


def windows(pcm: Pcm, size: int) -> npt.NDArray[np.float32]:
    """Cut into pieces of `size` samples, shape [pieces, size]; what is left over is left out."""
    return pcm[: len(pcm) // size * size].reshape(-1, size)


def read_wav(path: str | Path) -> tuple[Pcm, int]:
    """A 16-bit mono WAV file as (samples, hertz)."""
    with wave.open(str(path), "rb") as file:
        assert (file.getsampwidth(), file.getnchannels()) == (2, 1), file.getparams()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples.astype(np.float32) / 32_768, file.getframerate()


def write_wav(path: str | Path, pcm: Pcm, rate: int) -> None:
    """`pcm` as a 16-bit mono WAV file of `rate` hertz."""
    samples = np.clip(pcm * 32_767, -32_768, 32_767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def resample(pcm: Pcm, source: int, target: int) -> Pcm:
    """`pcm` from `source` to `target` hertz by cutting or padding its spectrum: exact, and offline only."""
    if source == target or not len(pcm):
        return pcm
    length = round(len(pcm) * target / source)
    spectrum = np.fft.rfft(pcm)
    kept = np.zeros(length // 2 + 1, spectrum.dtype)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    return (np.fft.irfft(kept, length) * (length / len(pcm))).astype(np.float32)


def peak(pcm: Pcm, level: float = 0.5) -> Pcm:
    """`pcm` made louder or quieter so that its largest sample is `level`."""
    return (pcm * (level / max(float(np.abs(pcm).max(initial=0.0)), 1e-9))).astype(np.float32)


def trim(pcm: Pcm, rate: int = 16_000, threshold: float = 0.02) -> Pcm:
    """`pcm` without the silence around it, cut on 10 ms: where its RMS first and last exceeds `threshold` x peak."""
    step = rate // 100
    blocks = pcm[: len(pcm) // step * step].reshape(-1, step)
    loud = np.flatnonzero(np.sqrt((blocks**2).mean(axis=1)) > threshold * np.abs(pcm).max(initial=0.0))
    return pcm[loud[0] * step : (loud[-1] + 1) * step] if len(loud) else pcm[:0]
