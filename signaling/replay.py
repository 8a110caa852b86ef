"""What somebody missed while their room moved from one process to another. Pure."""

from collections.abc import Iterator
from typing import Any

from rtc.events import TranscriptFinal
from rtc.transcript import Entry, TranscriptLog
from signaling.participant import Participant, chat_message
from signaling.protocol import dump


def replay(transcript: TranscriptLog, last_record: int, listener: Participant) -> Iterator[dict[str, Any]]:
    """The finals and chat messages after `last_record` that the listener would have been sent, in order: each once, for
    who has seen a number has seen all that concerned them before it."""
    for number, entry, language in transcript.since(last_record):
        follows = entry.language if entry.participant_id == listener.id else listener.language
        if entry.kind == "chat":
            if language == follows:
                yield chat_message(entry, language)
        elif language in (entry.language, follows):
            yield dump(_final(number, entry, language))


def _final(number: int, entry: Entry, language: str) -> TranscriptFinal:
    return TranscriptFinal(
        entry.segment_id,
        entry.utterance_id,
        entry.participant_id,
        language,
        entry.language,
        language != entry.language,
        entry.in_language(language) or "",
        entry.start_ms,
        entry.end_ms,
        record=number,
    )
