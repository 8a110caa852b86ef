"""The whole engine: English in, other languages out, written and spoken."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.apertium import installed_pairs
from models.base import SPEECH_RATE, EngineError, EngineFailed, Rendering, Transcript, Translator
from models.embedded import EmbeddedTranslator
from models.espeak import available
from tests.sentences import PARAGRAPH, SURE
from tests.speech import flite, peak

needs_everything = pytest.mark.skipif(
    not {("en", "es"), ("en", "ca"), ("es", "it")} <= set(installed_pairs()) or not available(),
    reason="Apertium's pairs or espeak-ng are not installed",
)


@pytest.fixture(scope="module")
def engine() -> Iterator[EmbeddedTranslator]:
    translator = EmbeddedTranslator(workers=1)
    translator.load(lambda progress, doing: None)
    yield translator
    translator.close()


@needs_everything
@pytest.mark.parametrize(("english", "spanish"), SURE)
def test_english_speech_becomes_spanish_speech(engine: Translator, english: str, spanish: str) -> None:
    recognition = engine.hear("anna", "en")
    recognition.want(["es", "xx"])
    pcm = peak(flite(english))
    for at in range(0, len(pcm), 320):
        recognition.push(pcm[at : at + 320])
    own, rendering = recognition.finish()
    recognition.cancel()
    assert (own.text, own.language, own.speech) == (english, "en", None)
    assert rendering.text.lower().rstrip(".") == spanish
    assert (rendering.language, rendering.via) == ("es", ())
    assert rendering.speech is not None and np.abs(rendering.speech.pcm).max() > 0.1


@needs_everything
def test_words_appear_in_every_language_before_the_end_and_without_a_voice(engine: EmbeddedTranslator) -> None:
    """What is not wanted any more when its turn comes is left out; so is what the finals overtake."""
    recognition = engine.hear("anna", "en")
    recognition.want(["es", "fr"])
    interims = []
    for piece in np.split(peak(flite(PARAGRAPH))[: 6 * SPEECH_RATE], 3):
        recognition.push(piece)
        while (interim := recognition.interim()) is None:  # the recogniser tells by itself: ask until it has
            recognition.push(np.zeros(320, np.float32))
            threading.Event().wait(0.02)  # as long as the silence: it must not pile up
        interims.append(interim)
    first = list(interims[0])
    assert [one.language for one in first] == ["en", "es", "fr"]
    assert not any(one.speech or one.committed for one in first)
    assert next(interims[1]).language == "en"
    recognition.want(["fr"])
    assert [one.language for one in interims[1]] == ["fr"]
    finals = recognition.finish()
    assert [one.language for one in interims[2]] == ["en"]
    assert [one.language for one in finals] == ["en", "fr"]
    assert engine.counters()["segments"] >= 1


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


@needs_everything
def test_what_cannot_be_spoken_can_be_read(engine: Translator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A voice that fails costs nobody the words, and no other voice; and it is told."""
    program = tmp_path / "espeak-ng"
    program.write_text(f'#!/bin/sh\n[ "$2" = es ] && exit 1\nexec {shutil.which("espeak-ng")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told: list[Rendering] = []
    with pytest.raises(EngineFailed, match="The voice for Spanish failed"):
        told.extend(engine.render(Transcript("1, 2, 3.", "en"), ["en", "es", "ca"], speech=True))
    said = [(one.language, one.text, one.speech is not None) for one in told]
    assert said == [("en", "1, 2, 3.", True), ("es", "1, 2, 3.", False), ("ca", "1, 2, 3.", True)]


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
        bare.load(lambda progress, doing: None)
        (english,) = bare.languages
        assert (english.code, english.speech_in, english.speech_out) == ("en", True, False)
        recognition = bare.hear("anna", "en")
        recognition.push(pcm)
        recognition.want(["es"])
        (rendering,) = recognition.finish()
        assert (rendering.text, rendering.speech) == (SURE[1][0], None)
        with pytest.raises(ValueError, match="espeak-ng"):
            bare.speak("hello", "en")
        assert "does not translate" in bare.notice and "Does not read aloud" in bare.notice
    finally:
        bare.close()
