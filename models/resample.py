"""Other sample rates for speech, without a library: whole sentences by their spectrum, 24 to 16 kHz as it comes."""

import numpy as np

from models.base import Pcm

TAPS = 49
"""Of the low-pass filter at 48 kHz: 0.5 ms of delay, 40 dB down where 16 kHz would fold."""


def resample(pcm: Pcm, rate: int, target: int) -> Pcm:
    """All of a sound that begins and ends in silence, at another rate (hertz)."""
    count = round(len(pcm) * target / rate)
    if rate == target or not count:
        return pcm[:count]
    spectrum = np.fft.rfft(pcm)
    kept = np.zeros(count // 2 + 1, spectrum.dtype)
    shared = min(len(spectrum), len(kept))
    kept[:shared] = spectrum[:shared]
    return (np.fft.irfft(kept, count) * (count / len(pcm))).astype(np.float32)


class Decimator:
    """24 to 16 kHz: between each two samples a zero, a low-pass at 7.5 kHz, and every third of what comes out."""

    def __init__(self) -> None:
        at = np.arange(TAPS) - TAPS // 2
        window = np.hamming(TAPS)
        self._filter = (2 * np.sinc(at * 2 * 7_500 / 48_000) * window * 2 * 7_500 / 48_000).astype(np.float32)
        self._before = np.zeros(TAPS - 1, np.float32)

    def push(self, pcm: Pcm) -> Pcm:
        """The next samples, a multiple of 3 of them; two thirds as many come back."""
        assert len(pcm) % 3 == 0, f"{len(pcm)} samples do not go into thirds"
        spread = np.zeros(2 * len(pcm), np.float32)
        spread[::2] = pcm
        spread = np.concatenate([self._before, spread])
        self._before = spread[len(spread) - TAPS + 1 :]
        return np.convolve(spread, self._filter, "valid")[::3].astype(np.float32)
