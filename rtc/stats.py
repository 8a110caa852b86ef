"""Counters and percentiles of one process. Plain data; `/v1/stats` and `/metrics` read it."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rtc.events import TranslationLag


@dataclass(slots=True)
class Stats:
    """What happened since the start."""

    segments: int = 0
    """Segments cut."""
    segments_dropped: int = 0
    """… lost because the engine could not follow."""
    windows_dropped: int = 0
    """32 ms windows of microphones lost for the same reason."""
    phrases_dropped: int = 0
    """Translated phrases never spoken because a listener would have been too far behind."""
    outbox_dropped: int = 0
    """Interim messages not sent to a slow client."""
    translations: Counter[str] = field(default_factory=Counter)
    """Segments and chat messages translated, by `source>target`: independent of how many listen."""
    utterances: int = 0
    opus_encodes: int = 0
    """Packets of translated voices: independent of how many listen."""
    sessions: Counter[str] = field(default_factory=Counter)
    """By result: joined, resumed, refused, left, lost."""
    lags: deque[TranslationLag] = field(default_factory=lambda: deque(maxlen=1000))
    """The most recent ones."""


def percentile(values: Sequence[float], fraction: float) -> float | None:
    """Nearest rank; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(fraction * (len(ordered) - 1)))]
