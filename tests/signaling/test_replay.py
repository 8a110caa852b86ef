"""What somebody is told who comes late to words: exactly what they would have been told, once."""

from typing import Literal

import pytest

from rtc.transcript import Entry, TranscriptLog
from signaling.replay import UNFINISHED_MS, replay, unfinished, words_message

Kind = Literal["speech", "chat"]


def said(
    log: TranscriptLog, segment: str, by: str, language: str, kind: Kind = "speech", **others: str | None
) -> Entry:
    """Words that are final in their own language, then in others."""
    entry = Entry(kind, segment, f"utt {segment}", by, by.title(), language, "", 0, 1000)
    log.record(entry, language, f"{segment} in {language}")
    for code, text in others.items():
        log.record(entry, code, text)
    return entry


@pytest.fixture
def log() -> TranscriptLog:
    """1, 2: Ana in Spanish, translated; 3, 4: Bob in English, translated; 5–7: Bob writes, and French cannot be had."""
    log = TranscriptLog()
    said(log, "a", "ana", "es", en="a in en")
    said(log, "b", "bob", "en", es="b in es")
    said(log, "c", "bob", "en", "chat", es="c in es", fr=None)
    return log


def told(log: TranscriptLog, after: int, who: str, reads: str) -> list[tuple[int, str, str]]:
    return [(m["record"], m["language"], m["text"]) for m in replay(log, after, who, reads)]


def test_each_is_told_originals_and_their_own_language(log: TranscriptLog) -> None:
    """Of speech both, of a message one; of one's own words no translation."""
    assert [text for _, _, text in told(log, 0, "ana", "es")] == ["a in es", "b in en", "b in es", "c in es"]
    assert [text for _, _, text in told(log, 0, "bob", "en")] == ["a in es", "a in en", "b in en", "c in en"]


def test_who_cannot_have_a_message_in_their_language_has_it_as_it_is(log: TranscriptLog) -> None:
    """It says in which language it is."""
    assert told(log, 4, "zoe", "fr") == [(7, "en", "c in en")]


@pytest.mark.parametrize("seen", range(8))
def test_nothing_is_told_twice_and_nothing_is_left_out(log: TranscriptLog, seen: int) -> None:
    """Wherever the connection broke, what came before and what is told after are the whole."""
    whole = told(log, 0, "ana", "es")
    assert [one for one in whole if one[0] <= seen] + told(log, seen, "ana", "es") == whole


def test_they_are_the_messages_that_were_sent(log: TranscriptLog) -> None:
    """Field for field, but for the time at which a voice said them."""
    entry = next(iter(log))
    assert words_message(entry, "en") == {
        "type": "transcript.final",
        "segment_id": "a",
        "utterance_id": "utt a",
        "participant_id": "ana",
        "language": "en",
        "source_language": "es",
        "translated": True,
        "text": "a in en",
        "start_ms": 0,
        "end_ms": 1000,
        "via": (),
        "record": 2,
    }


def test_what_was_said_a_moment_ago_and_not_translated_is_unfinished(log: TranscriptLog) -> None:
    """For who needs it: not for its speaker, not where it was told, not when it is long past, not without words."""
    entry = said(log, "d", "bob", "en")
    silent = said(log, "e", "bob", "en")
    silent.text = ""
    assert unfinished(log, "ana", "es", 2000) == [entry]
    assert unfinished(log, "bob", "es", 2000) == unfinished(log, "ana", "en", 2000) == []
    assert unfinished(log, "ana", "es", 1000 + UNFINISHED_MS) == []
