"""The whole engine: English in, other languages out, written and spoken."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.apertium import installed_pairs
from models.base import EngineError, Transcript, Translator
from models.embedded import EmbeddedTranslator
from models.espeak import available
from tests.sentences import SURE
from tests.speech import flite, peak

needs_everything = pytest.mark.skipif(
    not {("en", "es"), ("en", "ca"), ("es", "it")} <= set(installed_pairs()) or not available(),
    reason="Apertium's pairs or espeak-ng are not installed",
)


@pytest.fixture(scope="module")
def engine() -> Iterator[EmbeddedTranslator]:
    translator = EmbeddedTranslator(workers=1)
    translator.load()
    yield translator
    translator.close()


@needs_everything
@pytest.mark.parametrize(("english", "spanish"), SURE)
def test_english_speech_becomes_spanish_speech(engine: Translator, english: str, spanish: str) -> None:
    recognition = engine.hear("anna", "en")
    pcm = peak(flite(english))
    for at in range(0, len(pcm), 320):
        recognition.push(pcm[at : at + 320])
    transcript = recognition.finish()
    assert (transcript.text, transcript.language) == (english, "en")
    (rendering,) = engine.render(transcript, ["es"], speech=True)
    assert rendering.text.lower().rstrip(".") == spanish
    assert (rendering.language, rendering.via) == ("es", ())
    assert rendering.speech is not None and np.abs(rendering.speech.pcm).max() > 0.1


@needs_everything
def test_the_readiest_targets_come_first(engine: EmbeddedTranslator) -> None:
    transcript = Transcript("I will send you the document after the call.", "en")
    renderings = list(engine.render(transcript, ["it", "es", "xx", "en", "es", "fr"], speech=False))
    assert [one.language for one in renderings] == ["en", "es", "it", "fr"]
    assert renderings[0].text == transcript.text
    assert "enviaré" in renderings[1].text
    assert [one.via for one in renderings] == [(), (), ("es",), ("ca",)]
    assert all(one.speech is None for one in renderings)
    assert engine.route("en", "it") == ("es",) and engine.route("en", "xx") is None


@needs_everything
def test_typed_text_goes_in_every_direction(engine: EmbeddedTranslator) -> None:
    codes = [language.code for language in engine.languages]
    assert codes[:2] == ["en", "es"]
    for source in codes:
        for target in codes:
            if engine.route(source, target) != ():  # two hops are made of these, and starting a chain takes a while
                continue
            (rendering,) = engine.render(Transcript("1 <b> 2", source), [target], speech=False)
            assert [mark for mark in rendering.text if mark in "1<b>2"] == list("1<b>2")
    assert engine.route("it", "en") == ("es",)


@needs_everything
def test_a_text_with_nothing_to_say_is_not_spoken(engine: Translator) -> None:
    (rendering,) = engine.render(Transcript("", "en"), ["es"], speech=True)
    assert (rendering.text, rendering.speech) == ("", None)


def test_only_english_is_understood(engine: EmbeddedTranslator) -> None:
    assert [language.code for language in engine.languages if language.speech_in] == ["en"]
    with pytest.raises(EngineError, match="Spanish"):
        engine.hear("ana", "es")


def test_the_notice_is_honest(engine: EmbeddedTranslator) -> None:
    assert "English only" in engine.notice and "one word in three" in engine.notice


def test_without_other_programs_it_still_captions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pcm = peak(flite(SURE[1][0]))
    monkeypatch.setenv("PATH", str(tmp_path))
    bare = EmbeddedTranslator(workers=1)
    try:
        bare.load()
        (english,) = bare.languages
        assert (english.code, english.speech_in, english.speech_out) == ("en", True, False)
        recognition = bare.hear("anna", "en")
        recognition.push(pcm)
        (rendering,) = bare.render(recognition.finish(), ["en", "es"], speech=True)
        assert (rendering.text, rendering.speech) == (SURE[1][0], None)
        with pytest.raises(ValueError, match="espeak-ng"):
            bare.speak("hello", "en")
        assert "does not translate" in bare.notice and "Does not read aloud" in bare.notice
    finally:
        bare.close()
