"""The test engine is exact, and counts its work."""

import numpy as np
import pytest

from models.base import SPEECH_RATE, EngineFailed, Recognition, Rendering, Transcript, Translator
from models.echo import EchoTranslator

SPOKEN = np.linspace(-1, 1, int(2.4 * SPEECH_RATE), dtype=np.float32)


def said(recognition: Recognition, targets: list[str]) -> list[Rendering]:
    """Everything of SPOKEN, pushed in 24 pieces: interims, then finals."""
    recognition.want(targets)
    told: list[Rendering] = []
    for piece in np.split(SPOKEN, 24):
        recognition.push(piece)
        told += recognition.interim() or ()
    return [*told, *recognition.finish()]


def test_consecutively_it_counts_what_it_hears_and_gives_it_back_at_the_end() -> None:
    engine = EchoTranslator()
    assert isinstance(engine.languages[0].code, str) and as_translator(engine) is engine
    told = said(engine.hear("anna", "en", "lima", simultaneous=False), ["es", "xx"])
    assert [(one.language, one.text) for one in told] == [
        (language, prefix + f"heard {seconds} s")
        for seconds in ("0.5", "1.0", "1.5", "2.0", "2.4")
        for language, prefix in (("en", ""), ("es", "[es] "))
    ]
    assert not any(one.committed or one.source_end for one in told)
    assert [one.speech for one in told[:-1]] == [None] * 9
    assert told[-1].speech is not None and told[-1].speech.sample_rate == SPEECH_RATE
    assert np.array_equal(told[-1].speech.pcm, SPOKEN)
    assert engine.rendered == [("en", "es")] * 5 and len(engine.spoken) == 1
    assert engine.heard == [Transcript("heard 2.4 s", "en")]
    assert engine.counters() == {"segments": 1, "renderings": 5, "spoken": 1}


def test_simultaneously_each_second_is_spoken_as_soon_as_it_is_whole() -> None:
    """Nothing is said twice or left out, and nothing later contradicts what was settled."""
    told = said(EchoTranslator().hear("anna", "en"), ["es", "fr"])
    for language in ("en", "es", "fr"):
        mine = [one for one in told if one.language == language]
        settled = [one.text[: one.committed] for one in mine[:-1]]
        assert all(one.text.startswith(before) for at, before in enumerate(settled) for one in mine[at:])
        assert [one.committed for one in mine] == [*sorted(one.committed for one in mine[:-1]), 0]
    assert [one.text for one in told if one.language == "es"] == [
        "[es] heard 0.5 s",
        "[es] heard 1 s",
        "[es] heard 1 s, 1.5 s",
        "[es] heard 1 s, 2 s",
        "[es] heard 1 s, 2 s, 2.4 s",
    ]
    for language in ("es", "fr"):
        spoken = [one for one in told if one.language == language and one.speech is not None]
        assert [one.source_end for one in spoken] == [1.0, 2.0, None]
        assert np.array_equal(np.concatenate([one.speech.pcm for one in spoken if one.speech]), SPOKEN)


def test_what_is_not_wanted_any_more_is_not_computed() -> None:
    """Neither in an interim under way nor at the end; who comes late hears all."""
    engine = EchoTranslator()
    recognition = engine.hear("anna", "en")
    recognition.push(SPOKEN)
    recognition.want(["es", "fr"])
    interim = recognition.interim()
    assert interim is not None and [next(interim).language for _ in range(2)] == ["en", "es"]
    recognition.want(["de"])
    assert list(interim) == []
    own, german = recognition.finish()
    assert (own.language, german.language) == ("en", "de")
    assert german.speech is not None and np.array_equal(german.speech.pcm, SPOKEN)
    assert engine.rendered == [("en", "es"), ("en", "de")]


def test_the_finals_overtake_an_interim() -> None:
    recognition = EchoTranslator().hear("anna", "en")
    recognition.push(SPOKEN)
    interim = recognition.interim()
    assert interim is not None and recognition.interim() is None, "nothing is new"
    finals = recognition.finish()
    assert list(interim) == [] and [one.text for one in finals] == ["heard 1 s, 2 s, 2.4 s"]


def test_typed_text_is_a_tone_of_its_language() -> None:
    engine = EchoTranslator()
    (rendering,) = engine.render(Transcript("hello", "en"), ["ja"], speech=True)
    assert rendering.text == "[ja] hello" and rendering.speech is not None
    assert len(rendering.speech.pcm) == len("[ja] hello") * 0.05 * SPEECH_RATE
    spectrum = np.abs(np.fft.rfft(rendering.speech.pcm))
    assert np.argmax(spectrum) * SPEECH_RATE / len(rendering.speech.pcm) == pytest.approx(700, abs=2)
    silent, own = engine.render(Transcript("hello", "en"), ["ja", "en", "ja", "xx"], speech=False)
    assert silent.speech is None and own.text == "hello"
    with pytest.raises(ValueError, match="xx"):
        engine.speak("hello", "xx")


def test_of_nothing_there_are_no_words() -> None:
    engine = EchoTranslator()
    assert list(engine.hear("anna", "en").finish()) == []
    cancelled = engine.hear("anna", "en")
    cancelled.push(SPOKEN)
    finals = cancelled.finish()
    cancelled.cancel()
    cancelled.cancel()
    assert list(finals) == []


def test_it_fails_once_when_told_to() -> None:
    engine = EchoTranslator()
    engine.fail_next = EngineFailed("As it was told.")
    with pytest.raises(EngineFailed, match="As it was told"):
        next(engine.hear("anna", "en").finish())
    assert list(engine.hear("anna", "en").finish()) == []


def as_translator(engine: Translator) -> Translator:
    """A type checker sees here that the Protocol is met."""
    return engine
