"""The test engine is exact, and counts its work."""

import numpy as np
import pytest

from models.base import SPEECH_RATE, EngineFailed, Transcript, Translator
from models.echo import EchoTranslator


def test_it_counts_what_it_hears_and_gives_it_back() -> None:
    engine = EchoTranslator()
    assert isinstance(engine.languages[0].code, str) and as_translator(engine) is engine
    recognition = engine.hear("anna", "en")
    pcm = np.linspace(-1, 1, int(1.2 * SPEECH_RATE), dtype=np.float32)
    told = []
    for piece in np.split(pcm, 60):
        recognition.push(piece)
        told.append(recognition.interim())
    assert [text for text in told if text] == ["heard 0.5 s", "heard 1.0 s"]
    transcript = recognition.finish()
    assert (transcript.text, transcript.language) == ("heard 1.2 s", "en")
    spanish, english = engine.render(transcript, ["es", "en", "es", "xx"], speech=True)
    assert (spanish.language, spanish.text) == ("es", "[es] heard 1.2 s")
    assert (english.language, english.text) == ("en", "heard 1.2 s")
    assert spanish.speech is not None and spanish.speech.sample_rate == SPEECH_RATE
    assert np.array_equal(spanish.speech.pcm, pcm)
    assert engine.rendered == [("en", "es"), ("en", "en")]
    assert engine.heard == [transcript] and len(engine.spoken) == 2


def test_typed_text_is_a_tone_of_its_language() -> None:
    engine = EchoTranslator()
    (rendering,) = engine.render(Transcript("hello", "en"), ["ja"], speech=True)
    assert rendering.text == "[ja] hello" and rendering.speech is not None
    assert len(rendering.speech.pcm) == len("[ja] hello") * 0.05 * SPEECH_RATE
    spectrum = np.abs(np.fft.rfft(rendering.speech.pcm))
    assert np.argmax(spectrum) * SPEECH_RATE / len(rendering.speech.pcm) == pytest.approx(700, abs=2)
    (silent,) = engine.render(Transcript("hello", "en"), ["ja"], speech=False)
    assert silent.speech is None
    with pytest.raises(ValueError, match="xx"):
        engine.speak("hello", "xx")


def test_nothing_heard_is_an_empty_text_and_a_cancelled_segment_is_not_counted() -> None:
    engine = EchoTranslator()
    assert engine.hear("anna", "en").finish().text == ""
    cancelled = engine.hear("anna", "en")
    cancelled.cancel()
    cancelled.cancel()
    assert len(engine.heard) == 1


def test_it_fails_once_when_told_to() -> None:
    engine = EchoTranslator()
    engine.fail_next = True
    with pytest.raises(EngineFailed):
        engine.hear("anna", "en").finish()
    assert engine.hear("anna", "en").finish().text == ""


def as_translator(engine: Translator) -> Translator:
    """A type checker sees here that the Protocol is met."""
    return engine
