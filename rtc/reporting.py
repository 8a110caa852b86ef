"""What a room is told of one speaker: who hears which event, and what is kept for the transcript."""

import itertools
from dataclasses import dataclass, field

from models.base import Pcm, Recognition
from rtc.events import (
    LagStages,
    RoomEvent,
    SpeechStarted,
    SpeechStopped,
    TranscriptFinal,
    TranscriptInterim,
    TranslationLag,
)
from rtc.room import Member, Room
from rtc.slots import Variant
from rtc.stats import Stats
from rtc.transcript import Entry

Fields = tuple[str, str, str, str, str, bool, str, int, int, tuple[str, ...]]
"""What every `TranscriptEvent` begins with, in its order."""

MAX_HELD = 250
"""Windows (8 s) of a segment kept while every recogniser is busy."""


@dataclass(slots=True)
class Segment:
    """A piece of an utterance on its way."""

    id: str
    utterance_id: str
    language: str
    start_ms: int
    recognition: Recognition | None = None
    held: list[Pcm] = field(default_factory=list)
    """Windows no recogniser has heard yet."""
    revision: int = 0
    interim: str = ""
    end_ms: int = 0
    ended_at: float = 0.0
    """Clock seconds of the last speech …"""
    cut_at: float = 0.0
    """… and of the cut."""

    def push(self, window: Pcm) -> None:
        """To the recogniser, or kept for it."""
        if self.recognition is not None:
            self.recognition.push(window)
        elif len(self.held) < MAX_HELD:
            self.held.append(window)


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a phrase in playout was made of, for its lag."""

    segment: Segment
    taken_at: float
    ready_at: float


class Reporter:
    """Tells originals to everybody, and each language to those who follow the speaker in it."""

    def __init__(self, room: Room, speaker: Member, stats: Stats) -> None:
        self._room = room
        self._speaker = speaker
        self._stats = stats

    def speech(self, started: bool, variant: Variant, language: str) -> None:
        """The voice, or a translation of it, begins or ends. The speaker learns when others still listen."""
        event = (SpeechStarted if started else SpeechStopped)(self._speaker.id, variant, language)
        if variant == "original":
            self._room.tell(event)
        else:
            self._followers(language, event)

    def interim(self, segment: Segment, language: str, text: str, now: float, via: tuple[str, ...] = ()) -> None:
        """A hypothesis. `now`: clock seconds."""
        fields = self._fields(segment, language, text, self._room.milliseconds(now), via)
        event = TranscriptInterim(*fields, revision=segment.revision)
        if event.translated:
            for listener in self._room.listeners(language, self._speaker):
                listener.tell(event)
        else:
            self._room.tell(event)

    def words(self, segment: Segment, language: str, text: str) -> Entry:
        """The speaker's own words, final."""
        self._room.tell(self._final(segment, language, text))
        entry = Entry(
            "speech",
            segment.id,
            segment.utterance_id,
            self._speaker.id,
            self._speaker.name,
            language,
            text,
            segment.start_ms,
            segment.end_ms,
        )
        self._room.transcript.add(entry)
        return entry

    def translation(
        self, segment: Segment, language: str, text: str, via: tuple[str, ...], timestamp: int | None, now: float
    ) -> None:
        """The words in one language, final. `timestamp`: the stream's at which they are spoken, if they are."""
        event = self._final(segment, language, text, via)
        for listener in self._room.listeners(language, self._speaker):
            listener.tell(event if timestamp is None else self._room.place(event, listener, timestamp, now))

    def nothing(self, segment: Segment) -> None:
        """The segment has no words. Whoever saw an interim learns it."""
        if segment.interim:
            self._room.tell(self._final(segment, segment.language, ""))

    def lag(self, spoken: Spoken, language: str, now: float) -> None:
        """The first packet of a translation was sent."""
        segment = spoken.segment
        marks = [segment.ended_at, segment.cut_at, spoken.taken_at, spoken.ready_at, now]
        stages = LagStages(*(round((after - before) * 1000) for before, after in itertools.pairwise(marks)))
        lag = TranslationLag(segment.id, self._speaker.id, language, round((now - segment.ended_at) * 1000), stages)
        self._stats.lags.append(lag)
        self._followers(language, lag)

    def _followers(self, language: str, event: RoomEvent) -> None:
        for member in [*self._room.listeners(language, self._speaker), self._speaker]:
            member.tell(event)

    def _final(self, segment: Segment, language: str, text: str, via: tuple[str, ...] = ()) -> TranscriptFinal:
        return TranscriptFinal(*self._fields(segment, language, text, segment.end_ms, via))

    def _fields(self, segment: Segment, language: str, text: str, end_ms: int, via: tuple[str, ...]) -> Fields:
        return (
            segment.id,
            segment.utterance_id,
            self._speaker.id,
            language,
            segment.language,
            language != segment.language,
            text,
            segment.start_ms,
            end_ms,
            via,
        )
