"""A batch of utterances and languages says what separate calls of the stock model say: same tokens, same samples."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.base import Pcm

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from models.languages import LANGUAGES  # noqa: E402  # after the skips
from models.seamless_model import RECEPTIVE, UNIT_SAMPLES, Row, SeamlessModel, Sentence  # noqa: E402
from tests.models.tiny_seamless import SPOKEN, WRITTEN, noise  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

SPEAKERS = {tongue.seamless: tongue.speaker for tongue in LANGUAGES.values() if tongue.speaker is not None}
CLIPS = [noise(2.0, 1), noise(3.1, 2), noise(0.9, 3)]
TEXTS = ["hello how are you", "the weather is nice today and we are going home"]
MOST = 40


class Stock:
    """`generate()`, one utterance and one language at a time."""

    def __init__(self, folder: Path) -> None:
        self._processor: Any = transformers.AutoProcessor.from_pretrained(folder)
        self._model: Any = transformers.SeamlessM4Tv2Model.from_pretrained(folder).eval()

    def __call__(self, source: Pcm | str, language: str, speech: bool) -> tuple[tuple[int, ...], Pcm | None]:
        """(tokens without language and end, samples)."""
        if isinstance(source, str):
            inputs = self._processor(text=source, src_lang="eng", return_tensors="pt")
        else:
            inputs = self._processor(audio=source, sampling_rate=16_000, return_tensors="pt")
        options = {"speaker_id": SPEAKERS[language], "return_intermediate_token_ids": True} if speech else {}
        made = self._model.generate(**inputs, tgt_lang=language, generate_speech=speech, **options)
        tokens = made.sequences[0].tolist()[2:]
        if tokens[-1] == self._model.generation_config.eos_token_id:
            tokens.pop()
        return tuple(tokens), made.waveform[0].numpy() if speech else None


@pytest.fixture(scope="module")
def stock(tiny_seamless: Path) -> Stock:
    return Stock(tiny_seamless)


def spoken_as(model: SeamlessModel, rows: list[Row], words: list[tuple[int, ...]]) -> list[Sentence]:
    return model.read([replace(row, prefix=tokens) for row, tokens in zip(rows, words, strict=True)])


@pytest.mark.parametrize("kind", ["spoken", "written"])
def test_every_row_of_a_batch_is_what_a_call_of_its_own_gives(model: SeamlessModel, stock: Stock, kind: str) -> None:
    """Speech and text in, speech and text out, utterances of unequal length, all languages together."""
    sources: list[Any] = CLIPS if kind == "spoken" else TEXTS
    encoded = model.encode_speech(CLIPS) if kind == "spoken" else model.encode_text(TEXTS, "eng")
    rows = [Row(meaning, language) for meaning in encoded for language in WRITTEN]
    decoded = model.decode(rows, MOST)
    units = model.units(spoken_as(model, rows, decoded))
    asked = [(source, language) for source in sources for language in WRITTEN]
    lengths = set()
    for (source, language), words, said in zip(asked, decoded, units, strict=True):
        tokens, samples = stock(source, language, language in SPOKEN)
        assert words == tokens
        lengths.add(len(tokens))
        if samples is not None:
            ours = model.vocode(said.units, language, SPEAKERS[language])
            assert ours.shape == samples.shape
            assert np.abs(ours - samples).max() < 1e-4
    assert len(lengths) > 1, "rows that all end together prove nothing"


def test_speech_and_text_share_a_batch(model: SeamlessModel, stock: Stock) -> None:
    rows = [Row(model.encode_speech(CLIPS[:1])[0], "spa"), Row(model.encode_text(TEXTS[:1], "eng")[0], "spa")]
    spoken, written = model.decode(rows, MOST)
    assert spoken == stock(CLIPS[0], "spa", False)[0]
    assert written == stock(TEXTS[0], "spa", False)[0]


def test_what_was_committed_comes_first_whatever_its_length_in_each_language(model: SeamlessModel) -> None:
    encoded = model.encode_speech(CLIPS[:1])[0]
    free = model.decode([Row(encoded, "spa"), Row(encoded, "fra")], MOST)
    kept = [free[0][:2], free[1][:5]]
    forced = model.decode([Row(encoded, "spa", kept[0]), Row(encoded, "fra", kept[1]), Row(encoded, "deu")], MOST)
    assert forced[0][:2] == kept[0]
    assert forced[1][:5] == kept[1]
    others = (free[0][0] + 1, free[0][1])  # what the model would never have said
    assert model.decode([Row(encoded, "spa", others), Row(encoded, "fra")], MOST)[0][:2] == others


def test_given_words_are_spoken_as_they_are(model: SeamlessModel) -> None:
    tokens = model.tokenize("hola como estas")
    (words,) = model.read([Row(model.encode_text(["hola como estas"], "spa")[0], "spa", tokens)])
    assert words.tokens == tokens
    assert model.text(words.tokens) == "hola como estas"
    (units,) = model.units([words])
    assert len(units.ends) == len(tokens)
    assert units.ends[-1] == len(units.units)


def test_a_sentence_spoken_in_pieces_sounds_as_if_spoken_at_once(model: SeamlessModel) -> None:
    rows = [Row(model.encode_speech(CLIPS[1:2])[0], "spa")]
    (units,) = model.units(spoken_as(model, rows, model.decode(rows, MOST)))
    whole = model.vocode(units.units, "spa", 45)
    first, second = len(units.units) // 3, 2 * len(units.units) // 3
    pieces = [
        model.vocode(
            units.units[max(0, start - RECEPTIVE) : end + RECEPTIVE],
            "spa",
            45,
            before=min(start, RECEPTIVE),
            after=len(units.units[end : end + RECEPTIVE]),
        )
        for start, end in ((0, first), (first, second), (second, len(units.units)))
    ]
    joined = np.concatenate(pieces)
    assert joined.shape == whole.shape
    assert len(pieces[0]) % UNIT_SAMPLES == 0
    assert np.abs(joined - whole).max() < 1e-5


def test_each_word_looks_at_a_frame_that_was_heard(model: SeamlessModel) -> None:
    encoded = model.encode_speech(CLIPS)
    rows = [Row(each, "spa") for each in encoded]
    for meaning, words in zip(encoded, spoken_as(model, rows, model.decode(rows, MOST)), strict=True):
        assert len(words.attended) == len(words.tokens)
        assert all(0 <= frame < len(meaning.states) for frame in words.attended)


def test_no_words_make_no_sound(model: SeamlessModel) -> None:
    row = Row(model.encode_speech(CLIPS[:1])[0], "spa")
    (words,) = spoken_as(model, [row], model.decode([row], MOST))
    nothing, something = model.units([*model.read([row]), words])
    assert nothing.units == ()
    assert something.units == model.units([words])[0].units
    assert len(model.vocode((), "spa", 45)) == 0
