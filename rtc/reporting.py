"""What a room is told of one speaker: who hears which event, and what is kept for the transcript."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from models.base import Pcm, Recognition, Rendering
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
    started_at: float
    """Clock seconds at which its audio begins …"""
    start_ms: int
    """… and the same in room time."""
    recognition: Recognition | None = None
    held: list[Pcm] = field(default_factory=list)
    """Windows no recogniser has heard yet."""
    finals: Iterator[Rendering] | None = None
    """Asked for since it was cut."""
    revision: int = 0
    settled: dict[str, str] = field(default_factory=dict)
    """By language in which an interim was told, and no final yet: the text that no later one contradicts."""
    entry: Entry | None = None
    """Its place in the transcript, once anything of it is final."""
    abandoned: bool = False
    """Nothing more of it is told."""
    streamed: str = ""
    """A language in which it is told by rtc.streaming_translation."""
    speech: float = 0.0
    """Seconds of it that were speech."""
    end_ms: int = 0
    ended_at: float = 0.0
    """Clock seconds of the last speech …"""
    cut_at: float | None = None
    """… and of the cut."""

    def push(self, window: Pcm) -> bool:
        """To the recogniser, or kept for it. False if too much is kept already: it is lost."""
        if self.recognition is not None:
            self.recognition.push(window)
        elif len(self.held) < MAX_HELD:
            self.held.append(window)
        else:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a phrase in playout was made of, for its lag. Clock seconds."""

    segment_id: str
    said_at: float
    """Its speaker had said it …"""
    asked_at: float
    """… the engine was asked for it …"""
    taken_at: float
    """… its turn had come …"""
    ready_at: float
    """… and it was speech."""


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

    def interim(self, segment: Segment, rendering: Rendering, timestamp: int | None, now: float) -> None:
        """A hypothesis. `timestamp`: the stream's at which what has just settled is spoken, if it is. `now`: clock
        seconds."""
        segment.settled[rendering.language] = rendering.text[: rendering.committed]
        fields = self._fields(segment, rendering, self._room.milliseconds(now))
        event = TranscriptInterim(*fields, revision=segment.revision, committed=rendering.committed)
        self._tell(event, timestamp, now)

    def final(self, segment: Segment, rendering: Rendering, timestamp: int | None, now: float) -> None:
        """The words in one language. `timestamp`: the stream's at which what was not spoken before is, if it is."""
        if segment.entry is None and rendering.language != segment.language:
            self.final(segment, Rendering(segment.language, ""), None, now)  # an engine that cannot write what it hears
        segment.settled.pop(rendering.language, None)
        record = self._keep(segment, rendering.language, rendering.text)
        self._tell(TranscriptFinal(*self._fields(segment, rendering, segment.end_ms), record=record), timestamp, now)

    def abandoned(self, segment: Segment) -> None:
        """The segment has no more words. Of what was shown in interims stays what had settled, some of it spoken."""
        segment.abandoned = True
        for language, text in segment.settled.items():
            record = self._keep(segment, language, text) if text else None
            fields = self._fields(segment, Rendering(language, text), segment.end_ms)
            self._tell(TranscriptFinal(*fields, record=record))
        segment.settled.clear()

    def concluded(self, segment: Segment) -> None:
        """All its final words were told. Where somebody still reads an interim, since in their language there were none
        in the end, stays what had settled; where nobody does, half of it is not to pass for a translation."""
        for language in list(segment.settled):
            if language != segment.language and not self._room.listeners(language, self._speaker):
                del segment.settled[language]
        self.abandoned(segment)

    def lag(self, spoken: Spoken, language: str, now: float) -> None:
        """The first packet of a phrase was sent."""
        marks = [spoken.said_at, spoken.asked_at, spoken.taken_at, spoken.ready_at, now]
        stages = LagStages(*(round((after - before) * 1000) for before, after in itertools.pairwise(marks)))
        total = round((now - spoken.said_at) * 1000)
        lag = TranslationLag(spoken.segment_id, self._speaker.id, language, total, stages)
        self._stats.lags.append(lag)
        self._followers(language, lag)

    def _keep(self, segment: Segment, language: str, text: str) -> int:
        """For the transcript: the number under which it is there, before anybody is told."""
        if segment.entry is None:
            speaker = self._speaker
            segment.entry = Entry(
                "speech",
                segment.id,
                segment.utterance_id,
                speaker.id,
                speaker.name,
                segment.language,
                "",
                segment.start_ms,
                segment.end_ms,
                streamed=segment.streamed,
            )
        return self._room.transcript.record(segment.entry, language, text)

    def _tell(self, event: TranscriptInterim | TranscriptFinal, timestamp: int | None = None, now: float = 0.0) -> None:
        if not event.translated:
            self._room.tell(event)
            return
        for listener in self._room.listeners(event.language, self._speaker):
            listener.tell(event if timestamp is None else self._room.place(event, listener, timestamp, now))

    def _followers(self, language: str, event: RoomEvent) -> None:
        for member in [*self._room.listeners(language, self._speaker), self._speaker]:
            member.tell(event)

    def _fields(self, segment: Segment, rendering: Rendering, end_ms: int) -> Fields:
        return (
            segment.id,
            segment.utterance_id,
            self._speaker.id,
            rendering.language,
            segment.language,
            rendering.language != segment.language,
            rendering.text,
            segment.start_ms,
            end_ms,
            rendering.via,
        )
