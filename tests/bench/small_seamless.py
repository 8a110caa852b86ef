"""A small SeamlessM4T-v2, new and untrained, in the real one's layout: a tokenizer, a model, and the folder they go to.

What is trained of it (`train_seamless.py`) is the speech encoder and the text decoder. The text encoder, the unit model
and the vocoder are random, but such that they run: units and durations are in range, the voice is noise.
"""

from collections.abc import Iterable
from pathlib import Path

from transformers import SeamlessM4TFeatureExtractor, SeamlessM4TProcessor, SeamlessM4Tv2Config, SeamlessM4Tv2Model

from tests.bench.grammar import LANGUAGES
from tests.models.tiny_seamless import characters, configure_generation, make_harmless, tokenizer

PIECES = 200
"""Few enough that some words are of several pieces, as in the real model."""

UNITS = 60
UNIT_OFFSET = 4
"""Units below it are special: the vocoder has no sound for them."""

UNITS_A_CHARACTER = 1.2
FRAMES_A_UNIT = 0.7
"""As the duration predictors say it, in log(1 + count): about 2 and 1."""


def build(
    texts: Iterable[str], hidden: int = 128, conformers: int = 3
) -> tuple[SeamlessM4TProcessor, SeamlessM4Tv2Model]:
    """The pair, new. Seed torch first."""
    words = tokenizer(texts, PIECES, LANGUAGES)
    model = SeamlessM4Tv2Model(configuration(len(words), len(characters(words)), hidden, conformers)).eval()
    make_harmless(model, UNITS_A_CHARACTER, FRAMES_A_UNIT)
    configure_generation(model, words, LANGUAGES, list(LANGUAGES))
    model.generation_config.max_new_tokens = 256
    return SeamlessM4TProcessor(SeamlessM4TFeatureExtractor(), words), model


def save(processor: SeamlessM4TProcessor, model: SeamlessM4Tv2Model, folder: Path) -> None:
    """In the real layout: what `AutoProcessor` and `SeamlessM4Tv2Model.from_pretrained` read."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def configuration(pieces: int, characters: int, hidden: int, conformers: int) -> SeamlessM4Tv2Config:
    """Sizes. What is not named is as in the real model: strides, kernels, chunks, relative positions."""
    return SeamlessM4Tv2Config(
        vocab_size=pieces,
        hidden_size=hidden,
        speech_encoder_layers=conformers,
        speech_encoder_attention_heads=4,
        speech_encoder_intermediate_size=3 * hidden,
        # No dropout: the training is too short to learn its sentences by heart, and a third of it would be dice.
        speech_encoder_dropout=0.0,
        speech_encoder_layerdrop=0.0,
        adaptor_dropout=0.0,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=2 * hidden,
        decoder_layerdrop=0.0,
        dropout=0.0,
        attention_dropout=0.0,
        encoder_layers=1,
        encoder_attention_heads=4,
        encoder_ffn_dim=hidden,
        encoder_layerdrop=0.0,
        char_vocab_size=characters + UNIT_OFFSET,
        t2u_vocab_size=UNIT_OFFSET + UNITS,
        t2u_encoder_layers=1,
        t2u_encoder_attention_heads=4,
        t2u_encoder_ffn_dim=hidden,
        t2u_decoder_layers=1,
        t2u_decoder_attention_heads=4,
        t2u_decoder_ffn_dim=hidden,
        t2u_variance_predictor_embed_dim=hidden,
        t2u_variance_predictor_hidden_dim=hidden // 2,
        unit_hifi_gan_vocab_size=UNITS,
        unit_embed_dim=hidden,
        vocoder_offset=UNIT_OFFSET,
        vocoder_num_langs=len(LANGUAGES),
        vocoder_num_spkrs=75,  # as many as the real one: languages name theirs by number
        lang_embed_dim=8,
        spkr_embed_dim=8,
        upsample_initial_channel=32,
        max_position_embeddings=1024,
        t2u_max_position_embeddings=2048,
    )
