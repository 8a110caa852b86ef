"""A dialogue for tests that says what it hears, a frame later, and counts aloud in text."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.base import DialogueFrame, EngineFailed, Pcm, Progress

WORD_EVERY = 5
"""Frames; each third word ends a sentence."""


class Parrot:
    """Implements `models.base.Dialogue`, and remembers what was asked of it."""

    name = "parrot"
    notice = "Says what you say."
    sample_rate = 24_000
    frame_samples = 1_920

    def __init__(self, seats: int) -> None:
        self.seats = seats
        self.resets: list[int] = []
        """Seats, in the order in which they were reset."""
        self.fail_resets = 0
        """So many resets will fail."""
        self._before: dict[int, Pcm] = {}
        self._frames = dict.fromkeys(range(seats), 0)

    def load(self, progress: Progress) -> None:
        progress(1.0, "ready")

    def reset(self, seats: Sequence[int]) -> None:
        if self.fail_resets:
            self.fail_resets -= 1
            raise EngineFailed("not now")
        self.resets += seats
        for seat in seats:
            self._before[seat] = np.zeros(self.frame_samples, np.float32)
            self._frames[seat] = 0

    def step(self, frames: Mapping[int, Pcm]) -> Mapping[int, DialogueFrame]:
        return {seat: self._answer(seat, frame) for seat, frame in frames.items()}

    def _answer(self, seat: int, frame: Pcm) -> DialogueFrame:
        before, self._before[seat] = self._before[seat], frame
        count, self._frames[seat] = self._frames[seat], self._frames[seat] + 1
        word, rest = divmod(count, WORD_EVERY)
        text = f" {word}{'.' if word % 3 == 2 else ''}" if not rest else ""
        return DialogueFrame(before, text, heard="hello" if count == 2 * WORD_EVERY else "")

    def counters(self) -> Mapping[str, float]:
        return {"resets": len(self.resets)}

    def close(self) -> None:
        """Nothing to free."""
