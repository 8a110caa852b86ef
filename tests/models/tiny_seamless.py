"""A random SeamlessM4T-v2 in the real one's layout on disk: what it says means nothing, but everything that loads,
batches and speaks the real weights runs on it. `MID` is a tenth of the real size, for figures on a CPU; `FULL` is the
real size, for figures on a GPU.
"""

import random
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from transformers import (
    SeamlessM4TFeatureExtractor,
    SeamlessM4TProcessor,
    SeamlessM4TTokenizer,
    SeamlessM4Tv2Config,
    SeamlessM4Tv2Model,
)

from models.base import SPEECH_RATE, Pcm

SPOKEN = ("eng", "fra", "spa", "deu", "ita", "por", "pol", "jpn", "cmn")
WRITTEN = (*SPOKEN, "ell", "cmn_Hant")
"""Greek has no voice, as in the real model; traditional Chinese is read by the voice of `cmn`."""

TINY, MID, FULL = (32, 2), (512, 12), (1024, 24)
"""Width and layers. On disk 2 MB, 0.9 GB and 9.2 GB."""

PIECES = 300
UNITS, OFFSET = 60, 4

WORDS = (
    "hello how are you i am fine the weather is nice today what do you want to talk about we are going home",
    "bonjour comment allez vous je vais bien le temps est beau de quoi voulez vous parler nous rentrons",
    "hola como estas estoy bien el tiempo es bueno hoy de que quieres hablar ahora vamos a casa",
    "hallo wie geht es dir mir geht es gut das wetter ist heute gut wir gehen jetzt nach hause",
)


UNITS_A_CHARACTER, FRAMES_A_UNIT = 0.92, 0.7
"""As the duration predictors say it, in log(1 + n): three units for two letters, one frame a unit."""


def build(folder: Path, size: tuple[int, int] = TINY, seed: int = 0) -> Path:
    """Write one into `folder`."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    words = tokenizer(
        (" ".join(draw.choices(line.split(), k=8)) + "." for line in WORDS for _ in range(300)), PIECES, WRITTEN
    )
    model = SeamlessM4Tv2Model(_configuration(len(words), len(characters(words)), *size)).eval()
    make_harmless(model, UNITS_A_CHARACTER, FRAMES_A_UNIT)
    configure_generation(model, words, WRITTEN, SPOKEN)
    settings = model.generation_config
    settings.max_new_tokens = 40
    settings.no_repeat_ngram_size = 2  # random weights go round in circles …
    settings.exponential_decay_length_penalty = [4, 1.15]  # … and never end; rows end at different steps so
    model.save_pretrained(folder)
    SeamlessM4TProcessor(SeamlessM4TFeatureExtractor(), words).save_pretrained(folder)
    return folder


def tokenizer(texts: Iterable[str], pieces: int, languages: Iterable[str]) -> SeamlessM4TTokenizer:
    """At most so many byte-pair pieces of `texts`, and a token for each language."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus.txt")
        corpus.write_text("\n".join(texts), "utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus),
            model_prefix=str(Path(folder, "sentencepiece.bpe")),
            model_type="bpe",
            vocab_size=pieces,
            hard_vocab_limit=False,
            character_coverage=1.0,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            minloglevel=2,
        )
        # A folder with sentencepiece.bpe.model in it is what transformers converts to its fast tokenizer.
        return SeamlessM4TTokenizer.from_pretrained(
            folder, additional_special_tokens=[f"__{code}__" for code in languages]
        )


def characters(words: SeamlessM4TTokenizer) -> list[str]:
    """All that pieces are made of."""
    return sorted({mark for piece in range(len(words)) for mark in words.convert_ids_to_tokens(piece)})


@torch.no_grad()
def make_harmless(model: SeamlessM4Tv2Model, units_a_character: float, frames_a_unit: float) -> None:
    """Let random weights say units that the vocoder has sounds for, and last about as long as told, in log(1 + n)."""
    config, units = model.config, model.t2u_model.model.decoder.embed_tokens.weight
    # Tied to the head: these logits are 0, and some other's is always above.
    units[: config.vocoder_offset] = 0
    units[config.vocoder_offset + config.unit_hifi_gan_vocab_size :] = 0
    for predictor, bias in (
        (model.t2u_model.model.decoder.duration_predictor, units_a_character),
        (model.vocoder.dur_predictor, frames_a_unit),
    ):
        weight = predictor.proj.weight
        weight.mul_(0.3 / weight.norm() / weight.shape[1] ** 0.5)  # at most 0.3 more or less than the bias
        predictor.proj.bias.fill_(bias)


def configure_generation(
    model: SeamlessM4Tv2Model, words: SeamlessM4TTokenizer, written: Iterable[str], spoken: Sequence[str]
) -> None:
    """The tables of generation_config.json, for languages by Seamless' codes."""
    settings, config = model.generation_config, model.config
    after = config.vocoder_offset + config.unit_hifi_gan_vocab_size
    settings.text_decoder_lang_to_code_id = {code: words.convert_tokens_to_ids(f"__{code}__") for code in written}
    settings.t2u_lang_code_to_id = {code: after + at for at, code in enumerate(spoken)}
    settings.vocoder_lang_code_to_id = {code: at for at, code in enumerate(spoken)}
    settings.id_to_text = {
        str(piece): words.convert_ids_to_tokens(piece) if piece < len(words) else f"▁w{piece}"
        for piece in range(config.vocab_size)
    }
    special = ("<pad>", "<unk>", "<s>", "</s>")
    settings.char_to_id = {mark: at for at, mark in enumerate((*special, *characters(words)))}
    settings._from_model_config = False  # or transformers 5 drops the tables above when it reads them back


def _configuration(pieces: int, characters: int, width: int, layers: int) -> SeamlessM4Tv2Config:
    if (width, layers) == FULL:
        return SeamlessM4Tv2Config()
    heads = max(2, width // 64)
    return SeamlessM4Tv2Config(
        vocab_size=pieces,
        hidden_size=width,
        char_vocab_size=characters + 4,
        t2u_vocab_size=OFFSET + UNITS,
        unit_hifi_gan_vocab_size=UNITS,
        vocoder_offset=OFFSET,
        vocoder_num_langs=len(SPOKEN),
        encoder_layers=layers,
        encoder_ffn_dim=4 * width,
        encoder_attention_heads=heads,
        decoder_layers=layers,
        decoder_ffn_dim=4 * width,
        decoder_attention_heads=heads,
        speech_encoder_layers=layers,
        speech_encoder_attention_heads=heads,
        speech_encoder_intermediate_size=4 * width,
        t2u_encoder_layers=(layers + 2) // 3,
        t2u_encoder_ffn_dim=4 * width,
        t2u_encoder_attention_heads=heads,
        t2u_decoder_layers=(layers + 2) // 3,
        t2u_decoder_ffn_dim=4 * width,
        t2u_decoder_attention_heads=heads,
        t2u_variance_predictor_embed_dim=width,
        t2u_variance_predictor_hidden_dim=width // 2,
        unit_embed_dim=width,
        lang_embed_dim=8,
        spkr_embed_dim=8,
        upsample_initial_channel=width // 2 if width > 64 else width,
        max_position_embeddings=512,
        t2u_max_position_embeddings=2048,
        max_new_tokens=40,
        initializer_range=0.2 if width < 64 else 0.05,
    )


def noise(seconds: float, seed: int = 0) -> Pcm:
    """Something that changes as speech does."""
    draw = np.random.default_rng(seed)
    time = np.arange(int(SPEECH_RATE * seconds)) / SPEECH_RATE
    tones = sum(np.sin(2 * np.pi * f * time + draw.uniform(0, 6)) for f in draw.uniform(80, 3000, 6))
    return (0.05 * tones * (1 + np.sin(2 * np.pi * 2 * time)) + 0.02 * draw.standard_normal(time.size)).astype(
        np.float32
    )
