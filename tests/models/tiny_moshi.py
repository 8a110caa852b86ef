"""Random checkpoints of a few hundred kilobytes in the layout that kyutai publishes, for tests and benches.

The language model and Mimi are the library's own, smaller; the text tokenizer is a real one, trained on a few words, so
that loading, checking and speaking go the same ways as with a checkpoint of 16 GB. What such a voice says is noise, but
always the same noise for the same words, and other noise for others.
"""

import atexit
import copy
import functools
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from safetensors.torch import save_file

from models.base import Pcm
from models.moshi_checkpoint import library

CARD = 64
CODEBOOKS = 4
"""Of each direction."""

CONTEXT = 24
"""Steps that the language model remembers: a conversation of a few seconds wraps its rings."""

MIMI: Mapping[str, Any] = {
    "sample_rate": 24000,
    "channels": 1,
    "frame_rate": 12.5,
    "seanet": {
        "channels": 1,
        "dimension": 32,
        "causal": True,
        "n_filters": 2,
        "n_residual_layers": 1,
        "activation": "ELU",
        "compress": 2,
        "dilation_base": 2,
        "disable_norm_outer_blocks": 0,
        "kernel_size": 7,
        "residual_kernel_size": 3,
        "last_kernel_size": 3,
        "norm": "none",
        "pad_mode": "constant",
        "ratios": [32, 30],
        "true_skip": True,
    },
    "quantizer": {"dimension": 16, "n_q": CODEBOOKS, "bins": CARD, "input_dimension": 32, "output_dimension": 32},
    "transformer": {
        "d_model": 32,
        "num_heads": 2,
        "num_layers": 1,
        "causal": True,
        "layer_scale": 0.5,
        "context": 20,
        "conv_layout": True,
        "max_period": 10000,
        "gating": "none",
        "norm": "layer_norm",
        "positional_embedding": "rope",
        "dim_feedforward": 64,
        "input_dimension": 32,
        "output_dimensions": [32],
    },
}

LM: Mapping[str, Any] = {
    "dim": 64,
    "existing_text_padding_id": 3,
    "n_q": 2 * CODEBOOKS,
    "dep_q": CODEBOOKS,
    "card": CARD,
    "num_heads": 4,
    "num_layers": 2,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "context": CONTEXT,
    "max_period": 10000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 32,
    "depformer_dim_feedforward": 132,
    "depformer_num_heads": 2,
    "depformer_num_layers": 1,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_context": 8,
    "depformer_max_period": 10000,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
    "delays": [0, *[0, 1, 1, 1] * 2],
}

LATER = [0, *[0, 2, 2, 2] * 2]
DESCRIPTION = {
    "type": "lut",
    "lut": {
        "n_bins": 31,
        "dim": 16,
        "tokenizer": "noop",
        "possible_values": ["very_bad", "bad", "neutral", "good", "very_good"],
    },
}

KINDS: Mapping[str, Mapping[str, Any]] = {
    "moshi": {},
    "hibiki": {
        "model_type": "hibiki",
        "delays": LATER,
        "conditioners": {"description": DESCRIPTION},
        "fuser": {"sum": ["description"]},
    },
    "hibiki-zero": {
        "model_type": "hibiki",
        "delays": LATER,
        "kv_repeat": 2,
        "depformer_kv_repeat": 1,
        "depformer_weights_per_step_schedule": [0, 1, 2, 2],
        "positional_embedding": "rope_concat",
    },
}
"""What each kind of checkpoint has otherwise."""

FILES = {
    "moshi_name": "model.safetensors",
    "mimi_name": "tokenizer-tiny-checkpoint.safetensors",
    "mimi_config_name": "mimi_config.json",
    "tokenizer_name": "tokenizer_spm_tiny.model",
}


@functools.cache
def checkpoint(kind: str) -> Path:
    """A folder with a checkpoint of this kind, built once and there until the process ends. Not to be written to."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-"))
    atexit.register(shutil.rmtree, folder)
    return build(folder / kind, kind)


def build(folder: Path, kind: str = "moshi", lm: Mapping[str, Any] = LM, seed: int = 0) -> Path:
    """Write a checkpoint of this kind, the same for the same seed. Gives the folder back."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    tokenizer = _tokenizer(seed)
    (folder / FILES["tokenizer_name"]).write_bytes(tokenizer)
    text_card = sentencepiece.SentencePieceProcessor(model_proto=tokenizer).vocab_size()
    config = {**lm, **KINDS[kind], "text_card": text_card}
    (folder / FILES["mimi_config_name"]).write_text(json.dumps(MIMI))
    _save(random_mimi(MIMI), folder / FILES["mimi_name"])
    arguments = {key: value for key, value in config.items() if key != "model_type"}
    _save(random_lm(arguments), folder / FILES["moshi_name"])
    sampling = {"temp": 0.8, "temp_text": 0.7, "top_k": 250, "top_k_text": 25}
    config |= {**FILES, "model_type": config.get("model_type", "moshi"), "lm_gen_config": sampling}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return folder


def _tokenizer(seed: int) -> bytes:
    """A few words, and an octet each for all other characters, as the tokenizers of many languages have."""
    words = "hello how are you i am fine the weather is nice today what do you want to talk about".split()
    rng, model = np.random.default_rng(seed), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(rng.choice(words, 8)) for _ in range(400)]),
        model_writer=model,
        vocab_size=340,
        hard_vocab_limit=False,
        byte_fallback=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        minloglevel=2,
    )
    return model.getvalue()


def random_mimi(config: Mapping[str, Any] | None, device: str = "cpu", codebooks: int = CODEBOOKS) -> torch.nn.Module:
    """A codec that nobody trained; of full size if `config` is None."""
    mimi = library().loaders.get_mimi(None, config, device=device, num_codebooks=codebooks)
    with torch.no_grad():
        latent = mimi.encode_to_latent(torch.randn(4, 1, 24_000, device=device) * 0.3, quantize=False)
        for quantizer in (mimi.quantizer.rvq_first, mimi.quantizer.rvq_rest):
            # Codes as far apart as what they stand for, so that speech is spread over them.
            spread = quantizer.input_proj(latent).std()
            for layer in quantizer.vq.layers:
                codebook = layer._codebook
                codebook.embedding_sum.copy_(torch.randn_like(codebook.embedding_sum) * spread)
                codebook.cluster_usage.fill_(1.0)
                codebook._initialized.fill_(1.0)
                spread = spread * 0.7
            quantizer.output_proj.weight.mul_(30.0)  # louder than the biases of the decoder
        mimi.upsample.convtr.convtr.convtr.weight.mul_(4.0)
    return mimi


def random_lm(arguments: Mapping[str, Any], device: str = "cpu", dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """A language model that nobody trained."""
    own = copy.deepcopy(dict(arguments))  # the library writes into nested parts of it
    lm = library().loaders.get_moshi_lm(None, own, device=device, dtype=dtype)
    with torch.no_grad():
        for name, weights in lm.named_parameters():
            # Louder, so that what is likeliest depends on what is heard now, and on what was said long before.
            if weights.dim() > 1 and not name.startswith("condition_provider"):
                weights.mul_(3.0 if "emb" in name or "self_attn" in name else 1.6)
    return lm


def _save(model: torch.nn.Module, path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)


def speech(seed: int, frames: int) -> Pcm:
    """Something that sounds different for each seed: five tones with a slow beat, and noise. Shape [frames, 1920]."""
    rng, seconds = np.random.default_rng(seed), np.arange(frames * 1920) / 24_000
    tones = sum(np.sin(2 * np.pi * pitch * seconds + rng.uniform(0, 6)) for pitch in rng.uniform(80, 3_000, 5))
    beat = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(1, 4) * seconds)
    pcm = 0.1 * tones * beat + 0.05 * rng.standard_normal(seconds.size)
    return np.clip(pcm, -1, 1).astype(np.float32).reshape(frames, 1920)
