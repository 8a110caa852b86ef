"""Counters and percentiles of one process. Plain data; `/v1/stats` and `/metrics` read it."""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rtc.events import TranslationLag

LATENESS_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Seconds: upper bounds of the histogram of how late ticks are; there is one bucket more for the rest."""


@dataclass(slots=True)
class Stats:
    """What happened since the start."""

    segments: int = 0
    """Segments cut."""
    speech_seconds: float = 0.0
    """… and how much of them was speech."""
    segments_dropped: int = 0
    """Segments lost because the engine could not follow."""
    windows_dropped: int = 0
    """32 ms windows of microphones lost for the same reason."""
    phrases_dropped: int = 0
    """Translated phrases never spoken because a listener would have been too far behind."""
    outbox_dropped: int = 0
    """Interim messages not sent to a slow client."""
    records_dropped: int = 0
    """Final words not written down for the next process because the one that keeps them does not read."""
    translations: Counter[str] = field(default_factory=Counter)
    """Segments and chat messages translated, by `source>target`: independent of how many listen."""
    utterances: int = 0
    opus_encodes: int = 0
    """Packets of translated voices: independent of how many listen."""
    ticks: list[int] = field(default_factory=lambda: [0] * (len(LATENESS_BUCKETS) + 1))
    """20 ms ticks in which somebody was to be heard, by how late they were (LATENESS_BUCKETS)."""
    lateness_sum: float = 0.0
    """Seconds, of all of them."""
    lateness: deque[float] = field(default_factory=lambda: deque(maxlen=3000))
    """Seconds, of the most recent ones: a minute of one room."""
    sessions: Counter[str] = field(default_factory=Counter)
    """By result: joined, resumed, refused, left, lost."""
    lags: deque[TranslationLag] = field(default_factory=lambda: deque(maxlen=1000))
    """The most recent ones."""

    def tick(self, lateness: float) -> None:
        """A tick came that many seconds after it was due."""
        self.ticks[bisect_left(LATENESS_BUCKETS, lateness)] += 1
        self.lateness_sum += max(0.0, lateness)
        self.lateness.append(lateness)


def percentile(values: Sequence[float], fraction: float) -> float | None:
    """Nearest rank; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(fraction * (len(ordered) - 1)))]
