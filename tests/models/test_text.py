"""A recogniser's bare words become sentences, and a translator's raw output becomes prose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text import MAX_CHARACTERS, clean, is_noise, polish, restore


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("", ""),
        ("   ", ""),
        ("i", "I."),
        ("we agree with the plan", "We agree with the plan."),
        ("i think i'm late and i'll call", "I think I'm late and I'll call."),
        ("i will call you on monday", "I will call you on Monday."),
        ("tuesday's meeting is in april", "Tuesday's meeting is in April."),
        ("i may march in march or in may", "I may march in March or in May."),
        ("i want to learn spanish in spain", "I want to learn Spanish in Spain."),
        ("what time is the meeting", "What time is the meeting?"),
        ("where is the train station", "Where is the train station?"),
        ("who is there", "Who is there?"),
        ("how many people are coming", "How many people are coming?"),
        ("how are you", "How are you?"),
        ("can you hear me now", "Can you hear me now?"),
        ("is the report ready", "Is the report ready?"),
        ("do you agree", "Do you agree?"),
        ("don't you agree", "Don't you agree?"),
        ("when is the meeting", "When is the meeting?"),
        ("what i need is time", "What I need is time."),
        ("what a nice day", "What a nice day."),
        ("when he comes we will begin", "When he comes we will begin."),
        ("do the work today", "Do the work today."),
        ("do not forget the report", "Do not forget the report."),
        ("have a nice day", "Have a nice day."),
        ("may the best one win", "May the best one win."),
        ("will", "Will."),
    ],
)
def test_restored(heard: str, written: str) -> None:
    assert restore(heard) == written


def test_an_unfinished_sentence_has_no_ending_yet() -> None:
    assert restore("what time is", ended=False) == "What time is"


@pytest.mark.parametrize(
    ("raw", "source", "language", "prose"),
    [
        (" Tenemos  un problema .", "We have a problem.", "es", "Tenemos un problema."),
        ("Qué tiempo es la reunión ?", "What time is the meeting?", "es", "¿Qué tiempo es la reunión?"),
        ("Qué hora é ?", "What time is it?", "gl", "¿Qué hora é?"),
        ("Hola. Vienes ?", "Hello. Do you come?", "es", "Hola. Vienes?"),
        ("nous agrees", "We agree", "fr", "Nous agrees"),
        ("Où est-il ?", "Where is he?", "fr", "Où est-il ?"),
        ("hola", "hello", "es", "hola"),
        ("", "Hello", "es", ""),
    ],
)
def test_polished(raw: str, source: str, language: str, prose: str) -> None:
    assert polish(raw, source, language) == prose


def test_cleaning_keeps_what_people_write() -> None:
    assert clean("a\n b\t c\x00d \u2028 e") == "a b c d e"
    assert clean("👩‍👧 cafe\u0301 «ok» 日本") == "👩‍👧 café «ok» 日本"


def test_a_long_text_is_cut_at_a_word() -> None:
    cut = clean("word " * 2_000)
    assert len(cut) <= MAX_CHARACTERS and cut.endswith("word")
    assert len(clean("x" * 10_000)) == MAX_CHARACTERS


@given(st.text(st.characters(codec=None)))
def test_cleaned_text_is_one_line_of_utf_8(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert "\x00" not in cleaned and len(cleaned.splitlines()) <= 1
    assert clean(cleaned) == cleaned


@given(st.text())
def test_nothing_is_too_odd_for_the_restorer(text: str) -> None:
    restored = restore(text)
    assert bool(restored) == bool(text.split())


@pytest.mark.parametrize(
    ("hypothesis", "noise"),
    [
        ("the", True),
        ("and in the", True),
        ("", True),
        ("the plan", False),
        ("no", False),
        ("i", False),
        ("on monday", False),
    ],
)
def test_words_that_nobody_says_alone_are_noise(hypothesis: str, noise: bool) -> None:
    """A cough must not be read aloud in six languages as `and`."""
    assert is_noise(hypothesis) is noise
