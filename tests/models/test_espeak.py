"""espeak-ng speaks every language of the table, and speaks a text whatever it looks like."""

import numpy as np
import pytest

from models.base import EngineFailed, Speech
from models.espeak import MARGIN, SAMPLE_RATE, SILENCE, available, speak
from models.languages import TONGUES

pytestmark = pytest.mark.skipif(not available(), reason="espeak-ng is not installed")


def seconds(speech: Speech) -> float:
    return len(speech.pcm) / speech.sample_rate


@pytest.mark.parametrize("language", [tongue.code for tongue in TONGUES])
def test_every_language_has_a_voice(language: str) -> None:
    speech = speak("1, 2, 3", language)
    assert speech.pcm.dtype == np.float32 and speech.pcm.ndim == 1
    assert speech.sample_rate == SAMPLE_RATE
    assert 0.5 < seconds(speech) < 5
    assert 0.05 < np.sqrt(np.mean(speech.pcm**2)) < 0.5
    assert np.abs(speech.pcm).max() <= 1


def test_it_begins_and_ends_with_the_voice() -> None:
    pcm = speak("Hola.", "es").pcm
    loud = np.flatnonzero(np.abs(pcm) > SILENCE)
    margin = round(MARGIN * SAMPLE_RATE)
    assert loud[0] <= margin and len(pcm) - 1 - loud[-1] <= margin


@pytest.mark.parametrize("text", ["-w /nowhere/x.wav", "--version", "-f /etc/hostname", "--help"])
def test_what_looks_like_an_option_is_spoken(text: str) -> None:
    assert seconds(speak(text, "en")) > 0.4


def test_two_brackets_are_no_phonemes() -> None:
    assert np.array_equal(speak("[[hello]]", "en").pcm, speak("[ [hello]]", "en").pcm)
    assert np.array_equal(speak("[[[hello]]]", "en").pcm, speak("[ [ [hello]]]", "en").pcm)
    assert seconds(speak("[[h@l'oU]]", "en")) != seconds(speak("hello", "en"))


@pytest.mark.parametrize("text", ["", " ", "\x00", "\n\n"])
def test_nothing_to_say_is_silence(text: str) -> None:
    assert len(speak(text, "en").pcm) == 0


def test_lines_are_one_utterance_and_long_texts_come_whole() -> None:
    assert seconds(speak("one\ntwo\x00three", "en")) > 0.8
    assert seconds(speak("word " * 400, "en")) > 60


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="xx"):
        speak("hello", "xx")


def test_a_missing_program_is_an_engine_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not available()
    with pytest.raises(EngineFailed, match="Spanish"):
        speak("hola", "es")
