"""What happens in a room, as its participants are told. Field for field the wire protocol's messages."""

from dataclasses import dataclass, field

from rtc.slots import Variant


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    participant_id: str
    variant: Variant
    language: str


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    participant_id: str
    variant: Variant
    language: str


@dataclass(frozen=True, slots=True)
class TranscriptEvent:
    """Words of one segment, in one language. Times are milliseconds since the room opened, on the speaker's side."""

    segment_id: str
    utterance_id: str
    participant_id: str
    language: str
    source_language: str
    translated: bool
    text: str
    start_ms: int
    end_ms: int
    via: tuple[str, ...] = ()
    mid: str | None = None
    """The listener's slot in which it is spoken: of an interim what has settled, of a final the rest …"""
    rtp_timestamp: int | None = None
    """… and the RTP time there at which that begins."""


@dataclass(frozen=True, slots=True)
class TranscriptInterim(TranscriptEvent):
    revision: int = 0
    """Grows within a segment."""
    committed: int = 0
    """Leading characters (code points) of the text that do not change any more."""


@dataclass(frozen=True, slots=True)
class TranscriptFinal(TranscriptEvent):
    """What stays."""

    record: int | None = None
    """The number under which the room's transcript keeps it."""


@dataclass(frozen=True, slots=True)
class LagStages:
    """Milliseconds, in the order in which they pass."""

    segment: int
    """End of the phrase → the engine is asked for it: when the segment is cut, or, for a clause that is spoken before
    that, at the interim in which it had settled."""
    queue: int
    """→ its turn has come."""
    translate: int
    """→ words recognised, translated, and spoken into memory."""
    playout: int
    """→ first packet sent: the wait behind what is still being said."""


@dataclass(frozen=True, slots=True)
class TranslationLag:
    """Of one phrase, a segment or a clause of it: from when its speaker had said it to its first packet."""

    segment_id: str
    participant_id: str
    language: str
    lag_ms: int
    stages: LagStages = field(default_factory=lambda: LagStages(0, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class SlotsUpdated:
    slots: tuple[tuple[str, str, Variant, str], ...]
    """(mid, participant_id, variant, language) of every occupied slot."""


@dataclass(frozen=True, slots=True)
class EngineTrouble:
    """Something this participant said is lost."""

    code: str
    message: str


RoomEvent = (
    SpeechStarted | SpeechStopped | TranscriptInterim | TranscriptFinal | TranslationLag | SlotsUpdated | EngineTrouble
)
