"""Cuts speech into segments to translate and utterances (turns) to show. Pure; time is a count of VAD windows.

Hysteresis as in silero's VADIterator (a higher bar to begin than to go on), with two silences: a short one ends the
segment, so that translation starts early; a longer one ends the utterance.

    QUIET ──speech──► SPEECH ──short silence──► PAUSE ──long silence──► QUIET
                        ▲                        │
                        └────────speech──────────┘   (same utterance, next segment)
"""

from dataclasses import dataclass
from enum import Enum, auto


class Cut(Enum):
    """What the window just judged means."""

    UTTERANCE_STARTED = auto()
    SEGMENT_STARTED = auto()  # begins `pre_roll` windows back
    SEGMENT_ENDED = auto()
    SEGMENT_DROPPED = auto()  # too short to be speech: a click, a cough
    UTTERANCE_ENDED = auto()


@dataclass(frozen=True, slots=True)
class SegmenterSettings:
    """All in windows of 32 ms, except the probabilities."""

    onset: float = 0.5
    offset: float = 0.35
    onset_windows: int = 2
    """Windows above `onset` before speech is believed: 64 ms."""
    pre_roll: int = 10
    """Windows before the onset that belong to the segment: 320 ms; weak consonants lie there."""
    min_speech: int = 4
    """Shorter segments are dropped: 128 ms."""
    endpoint: int = 7
    """Silence that ends a segment: 224 ms."""
    patient_endpoint: int = 12
    """The same for a segment of less than `short_speech`: 384 ms; people pause after their first word."""
    short_speech: int = 20
    """640 ms."""
    turn: int = 28
    """Silence that ends the utterance: 896 ms."""
    soft_limit: int = 375
    """12 s: from here on a pause of `clause_pause` is enough."""
    clause_pause: int = 3
    """96 ms."""
    hard_limit: int = 625
    """20 s: cut wherever we are."""


class Segmenter:
    """Feed it one probability per VAD window."""

    def __init__(self, settings: SegmenterSettings | None = None) -> None:
        self._settings = settings or SegmenterSettings()
        self._in_utterance = self._in_segment = False
        self._loud = 0  # windows above onset in a row, before a segment
        self._silence = 0  # windows below offset in a row
        self._length = 0  # windows since the segment started
        self._speech = 0  # windows of it that were speech

    @property
    def in_segment(self) -> bool:
        """A segment is open."""
        return self._in_segment

    @property
    def in_utterance(self) -> bool:
        """Somebody has the turn."""
        return self._in_utterance

    @property
    def silence(self) -> int:
        """Windows since the last that was speech."""
        return self._silence

    @property
    def speech(self) -> int:
        """Windows that were speech, of the segment that is open or of the last one."""
        return self._speech

    def push(self, probability: float) -> list[Cut]:
        """Judge the next window."""
        if self._in_segment:
            return self._inside(probability)
        return self._outside(probability)

    def flush(self) -> list[Cut]:
        """The source is gone or muted: end what is open."""
        cuts = [self._end_segment()] if self._in_segment else []
        if self._in_utterance:
            self._in_utterance = False
            cuts.append(Cut.UTTERANCE_ENDED)
        self._loud = 0
        return cuts

    def _outside(self, probability: float) -> list[Cut]:
        settings = self._settings
        self._loud = self._loud + 1 if probability >= settings.onset else 0
        if self._loud >= settings.onset_windows:
            cuts = [] if self._in_utterance else [Cut.UTTERANCE_STARTED]
            self._in_utterance = self._in_segment = True
            self._length = self._speech = self._loud
            self._loud = self._silence = 0
            return [*cuts, Cut.SEGMENT_STARTED]
        self._silence += 1
        if self._in_utterance and self._silence >= settings.turn:
            self._in_utterance = False
            return [Cut.UTTERANCE_ENDED]
        return []

    def _inside(self, probability: float) -> list[Cut]:
        self._length += 1
        if probability >= self._settings.offset:
            self._speech += 1
            self._silence = 0
        else:
            self._silence += 1
        if self._silence >= self._patience() or self._length >= self._settings.hard_limit:
            return [self._end_segment()]
        return []

    def _patience(self) -> int:
        """Windows of silence that end the segment as it stands."""
        settings = self._settings
        if self._length >= settings.soft_limit:
            return settings.clause_pause
        return settings.patient_endpoint if self._speech < settings.short_speech else settings.endpoint

    def _end_segment(self) -> Cut:
        self._in_segment = False
        return Cut.SEGMENT_ENDED if self._speech >= self._settings.min_speech else Cut.SEGMENT_DROPPED
