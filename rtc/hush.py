"""A voice that is not to be heard for the rest of its turn. Pure; frames are the only clock."""

from dataclasses import replace

import numpy as np

from models.base import DialogueFrame
from rtc.loudness import AUDIBLE, rms
from rtc.words import PAUSE_MS

MAX_MS = 10_000
"""A voice that never pauses is let through again after that."""


class Hush:
    """`begin` it; what goes through `apply` is silence until the voice has paused. It goes on without a listener."""

    def __init__(self, frame_ms: float) -> None:
        self._frame_ms = frame_ms
        self._frames: int | None = None  # since it began
        self._silent = 0  # frames in a row

    def begin(self) -> None:
        """From the next frame on, which fades out. Again: for as long from now on."""
        self._frames = 0 if self._frames is None else 1
        self._silent = 0

    def apply(self, frame: DialogueFrame) -> DialogueFrame:
        """What is heard, and read, of a frame; what the person said stays."""
        if self._frames is None:
            return frame
        fade = np.linspace(1, 0, len(frame.pcm)) ** 2
        gain = np.zeros(1) if self._frames else fade
        self._frames += 1
        self._silent = self._silent + 1 if rms(frame.pcm) < AUDIBLE and not frame.text else 0
        if self._silent * self._frame_ms >= PAUSE_MS:
            self._frames = None
        elif self._frames * self._frame_ms >= MAX_MS:
            self._frames, gain = None, fade[::-1]  # in the midst of what the voice says
        return replace(frame, pcm=(frame.pcm * gain).astype(np.float32), text="")
