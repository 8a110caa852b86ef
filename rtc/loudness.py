"""Whether somebody is to be heard, by loudness alone. Pure; the length of a piece is the only clock."""

import numpy as np

from models.base import Pcm

AUDIBLE = 10 ** (-45 / 20)
"""RMS from which on somebody speaks."""

ABOVE_NOISE = 10 ** (10 / 20)
"""A microphone is in a room: speech is so much louder than what is always there."""

NOISE_RISE = 10 ** (3 / 20)
"""Factor by which what is thought to be noise may grow in a second: speech falls back into it more often than that."""

SILENCE = 10 ** (-80 / 20)


def rms(pcm: Pcm) -> float:
    """Of samples from -1 to 1."""
    return float(np.sqrt(np.mean(np.square(pcm, dtype=np.float32))))


class Loudness:
    """`hear` piece by piece; `speaking` says what came of it."""

    def __init__(self, patience: float, noisy: bool = False) -> None:
        """`patience`: seconds without a sound after which speech is over. `noisy`: it comes from a microphone."""
        self._patience = patience
        self._noisy = noisy
        self._noise = SILENCE
        self._quiet = patience  # seconds since something was to be heard
        self.speaking = False
        """Something was to be heard, a moment ago at the latest."""

    def hear(self, loudness: float | None, seconds: float) -> bool:
        """The next piece. `loudness`: its RMS, from 0 to 1; None: so long nothing came, which tells nothing of the
        noise. True: `speaking` has changed."""
        if self._noisy and loudness is not None:
            self._noise = min(max(loudness, SILENCE), self._noise * NOISE_RISE**seconds)
        audible = (loudness or 0.0) > max(AUDIBLE, self._noise * ABOVE_NOISE if self._noisy else 0.0)
        self._quiet = 0.0 if audible else self._quiet + seconds
        before, self.speaking = self.speaking, self._quiet < self._patience
        return self.speaking != before

    def stop(self) -> bool:
        """Nothing comes any more. True: `speaking` has changed."""
        self._quiet = self._patience
        before, self.speaking = self.speaking, False
        return before
