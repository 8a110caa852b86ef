"""Who is heard where: which streams a listener gets, and in which of their slots. Pure.

A slot is one receiving m-line of the listener, negotiated once. Streams come and go in it without SDP, so what a
listener costs is bounded by their slots, not by the size of the room.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Variant = Literal["original", "translation"]
Mix = Literal["translated", "original", "both"]


class StreamKey(NamedTuple):
    """Names one audible source."""

    participant_id: str
    variant: Variant
    language: str
    """What is spoken on it, BCP-47."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A participant as a listener's ear needs them."""

    participant_id: str
    speaks: str
    """BCP-47."""
    last_spoke: float
    """Clock seconds; infinite while speaking: the most relevant are who speaks now, then who spoke last."""
    translatable: bool
    """There is a voice in the listener's language."""


def wanted(language: str, mix: Mix, speakers: Iterable[Speaker]) -> list[StreamKey]:
    """The streams a listener of `language` should hear, most relevant first.

    A listener who understands the speaker hears the original alone. Others hear both, so that ducking is their choice,
    or only what `mix` asks for; the original stands in where there is no translation.
    """
    keys: list[StreamKey] = []
    for speaker in sorted(speakers, key=lambda s: (-s.last_spoke, s.participant_id)):
        translated = speaker.translatable and speaker.speaks != language and mix != "original"
        if translated:
            keys.append(StreamKey(speaker.participant_id, "translation", language))
        if not translated or mix == "both":
            keys.append(StreamKey(speaker.participant_id, "original", speaker.speaks))
    return keys


def assign(mids: Sequence[str], current: Mapping[str, StreamKey], keys: Sequence[StreamKey]) -> dict[str, StreamKey]:
    """Put the first len(mids) of `keys` into slots; a stream that already has a slot stays in it."""
    chosen = keys[: len(mids)]
    result = {mid: key for mid, key in current.items() if mid in mids and key in chosen}
    placed = set(result.values())
    free = (mid for mid in mids if mid not in result)
    for key in chosen:
        if key not in placed:
            result[next(free)] = key
    return result
