"""Typed text as rooms have it translated and read aloud, on a random SeamlessM4T-v2 in the real layout: sentence by
sentence, whole, in every script."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import SPEECH_RATE, Rendering, Transcript

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from models.seamless import SeamlessTranslator, sentences  # noqa: E402  # after the skips
from models.seamless_model import Row, SeamlessModel  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def test_text_is_written_in_every_language_and_spoken_where_there_is_a_voice(engine: SeamlessTranslator) -> None:
    typed = Transcript("hello how are you. the weather is nice", "en")
    made = {rendering.language: rendering for rendering in engine.render(typed, ["en", "es", "el", "xx"], speech=True)}
    assert set(made) == {"en", "es", "el"}
    assert made["en"].text == typed.text
    assert made["en"].speech is not None
    assert made["es"].text
    assert made["es"].speech is not None
    assert made["el"].text
    assert made["el"].speech is None


def test_a_text_is_said_in_its_own_language(engine: SeamlessTranslator) -> None:
    short, long = engine.speak("hola", "es"), engine.speak("hola como estas estoy bien", "es")
    assert short.sample_rate == SPEECH_RATE
    assert 0 < len(short.pcm) < len(long.pcm)
    assert np.abs(long.pcm).max() > 0
    with pytest.raises(ValueError, match="voice"):
        engine.speak("γεια", "el")


def test_a_text_of_many_sentences_is_translated_and_spoken_whole(engine: SeamlessTranslator) -> None:
    """It takes no more places of the queue than others leave: nobody's words are dropped for it, not its own either."""
    many = "hello. " * 100
    (one,) = engine.render(Transcript("hello.", "en"), ["es"], speech=False)
    (all_,) = engine.render(Transcript(many, "en"), ["es"], speech=False)
    assert all_.text == " ".join([one.text] * 100)
    assert len(engine.speak(many, "es").pcm) == 100 * len(engine.speak("hello.", "es").pcm)
    assert not engine.counters().get("finals_dropped")


@pytest.mark.parametrize("text", ["👍", "?!", "🙂 …", "\u200d"])
def test_what_has_no_words_is_the_same_in_every_language(engine: SeamlessTranslator, text: str) -> None:
    (translation,) = engine.render(Transcript(text, "en"), ["es"], speech=True)
    assert translation == Rendering("es", text)
    assert len(engine.speak(text, "es").pcm) == 0
    assert next(engine.render(Transcript(f"hello. {text}", "en"), ["es"], speech=False)).text.endswith(text)


@pytest.mark.parametrize("mark", ["</s>", "<pad>", "__fra__"])
def test_what_the_model_writes_for_itself_is_text_like_any_other_when_typed(
    engine: SeamlessTranslator, mark: str
) -> None:
    typed = f"hello {mark} how are you"
    (translation,) = engine.render(Transcript(typed, "en"), ["es"], speech=True)
    (alike,) = engine.render(Transcript(typed.translate({ord(each): "#" for each in "<>/_"}), "en"), ["es"], True)
    assert translation.text == alike.text, "signs that it does not know"
    said, less = engine.speak(typed, "es"), engine.speak("hello how are you", "es")
    assert len(said.pcm) > len(less.pcm)


def test_a_sentence_that_cannot_be_translated_is_read_as_it_is(
    tiny_seamless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is to miss it unknowingly. If none can, there is no translation: callers say so."""

    class Laughing(SeamlessModel):
        def decode(self, rows: Sequence[Row], max_tokens: int) -> list[tuple[int, ...]]:
            return [self.tokenize("ha " * 60 if len(row.encoded.states) > 30 else "hola") for row in rows]

    monkeypatch.setattr("models.seamless.SeamlessModel", Laughing)
    engine = SeamlessTranslator(str(tiny_seamless), device="cpu")
    engine.load(lambda done, doing: None)
    laugh = "ha " * 40 + "ha."
    (translation,) = engine.render(Transcript(f"hello. {laugh} hello.", "en"), ["es"], speech=False)
    nothing = list(engine.render(Transcript(laugh, "en"), ["es"], speech=False))
    engine.close()
    assert translation.text == f"hola {laugh} hola"
    assert not nothing


@pytest.mark.parametrize(
    "text",
    [
        "Hi. Bye.",
        "नमस्ते। आप कैसे हैं?",
        "كيف حالك؟ أنا بخير.",
        "آپ کیسے ہیں۔ شکریہ۔",
        "ինչպես ես։ լավ։",
        "ሰላም። ደህና።",
        "ကောင်းပါတယ်။ ကျေးဇူး။",
    ],
)
def test_sentences_end_in_every_script(text: str) -> None:
    assert len(sentences(text)) == 2


@given(st.text(max_size=900))
def test_no_character_of_a_text_is_lost_when_it_is_cut_into_sentences(text: str) -> None:
    parts = sentences(text)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(part and len(part) <= 300 for part in parts)
