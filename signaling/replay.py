"""What the room's transcript holds, as messages for somebody: as it happens, and later for who was not there. Pure."""

from collections.abc import Iterator
from typing import Any

from rtc.events import TranscriptFinal
from rtc.transcript import Entry, TranscriptLog
from signaling.protocol import dump

UNFINISHED_MS = 30_000
"""Room time after which words are not translated any more for who missed them."""


def words_message(entry: Entry, language: str, via: tuple[str, ...] = ()) -> dict[str, Any]:
    """`chat.message` or `transcript.final`: what is recorded of an entry for who reads that language; as it was said
    where there are no words in it."""
    text = entry.in_language(language)
    if entry.kind == "speech":
        said = (entry.segment_id, entry.utterance_id, entry.participant_id, language, entry.language)
        times = (entry.start_ms, entry.end_ms)
        translated = language != entry.language
        return dump(TranscriptFinal(*said, translated, text or "", *times, via, record=entry.records[language]))
    return {
        "type": "chat.message",
        "message_id": entry.segment_id,
        "utterance_id": entry.utterance_id,
        "participant_id": entry.participant_id,
        "name": entry.name,
        "language": entry.language if text is None else language,
        "source_language": entry.language,
        "text": entry.text if text is None else text,
        "original_text": entry.text,
        "via": via,
        "record": entry.records[language],
    }


def replay(transcript: TranscriptLog, last_record: int, participant_id: str, reads: str) -> Iterator[dict[str, Any]]:
    """What was recorded after `last_record` and that participant would have been sent, in order: each once, for who has
    seen a number has seen all that concerned them before it."""
    for _, entry, language in transcript.since(last_record):
        follows = entry.language if entry.participant_id == participant_id else reads
        if language == follows or (language == entry.language and entry.kind == "speech"):
            yield words_message(entry, language)


def unfinished(transcript: TranscriptLog, participant_id: str, reads: str, now_ms: int) -> list[Entry]:
    """What was said a moment ago and the process that held the room did not live to translate for that participant."""
    return [
        entry
        for entry in transcript
        if now_ms - entry.end_ms < UNFINISHED_MS
        and entry.participant_id != participant_id
        and reads not in entry.records
        and entry.words[1]
    ]
