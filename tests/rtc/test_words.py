"""Pieces of words become sentences. Pure."""

from rtc.events import TranscriptFinal, TranscriptInterim
from rtc.words import BREATH_MS, MAX_LENGTH, PAUSE_MS, Words, whole


def finals(told: list[TranscriptInterim | TranscriptFinal]) -> list[str]:
    return [event.text for event in told if isinstance(event, TranscriptFinal)]


def say(words: Words, pieces: list[str], start: int = 0) -> list[TranscriptInterim | TranscriptFinal]:
    return [event for at, piece in enumerate(pieces) for event in words.add(piece, start + 80 * at)]


def test_a_sentence_grows_and_ends_where_another_word_follows_its_mark() -> None:
    told = say(Words("assistant"), [" How", " are", "", " you", "?", " I", "'m", " 3", ".", "5", "."])
    assert finals(told) == ["How are you?"]
    assert [event.text for event in told if isinstance(event, TranscriptInterim)][:3] == [
        "How",
        "How are",
        "How are you",
    ]
    assert told[-1].text == "I'm 3.5."
    assert told[0].utterance_id == told[-1].utterance_id and told[0].segment_id != told[-1].segment_id


def test_a_pause_ends_the_sentence_and_the_turn() -> None:
    words = Words("assistant")
    first = say(words, [" Well"])
    quiet = say(words, [""] * (PAUSE_MS // 80), 80)
    assert finals(quiet) == ["Well"]
    again = say(words, [" yes"], 5000)
    assert again[0].utterance_id != first[0].utterance_id
    assert [event.text for event in words.flush()] == ["yes"] and not words.flush()


def test_a_sentence_that_has_its_mark_waits_for_a_breath_only() -> None:
    """What comes after it is of the same turn."""
    words = Words("assistant")
    first = say(words, [" Well."])
    assert not finals(say(words, [""] * (BREATH_MS // 80 - 1), 80))
    assert finals(words.add("", BREATH_MS)) == ["Well."]
    again = words.add(" Yes", BREATH_MS + 80)
    assert again[0].utterance_id == first[0].utterance_id and again[0].segment_id != first[0].segment_id


def test_a_voice_without_full_stops_is_cut_between_words() -> None:
    told = say(Words("assistant"), [" abcdefghi"] * 100)
    assert all(len(text) <= MAX_LENGTH + 10 for text in finals(told)) and len(finals(told)) == 2


def test_words_that_come_at_once() -> None:
    assert whole("p_1", "hello", 7).text == "hello"
