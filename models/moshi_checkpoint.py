"""A Moshi or Hibiki checkpoint on disk: what it holds, how much memory it needs, and how it is read.

A folder is laid out as on the Hub (kyutai/moshiko-pytorch-bf16): config.json, the language model and the codec Mimi as
safetensors, the tokenizer of sentencepiece. config.json may name the files; without it, it is the first Moshi, of 7 B.
Nothing is looked for anywhere else: the library's own `CheckpointInfo` asks the Hub for every file that is only named.

Moshi: Défossez et al., arXiv 2410.00037. Hibiki: Labiausse et al., arXiv 2502.03382.
"""

import copy
import json
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.base import EngineError

if TYPE_CHECKING:
    import sentencepiece
    import torch

NOTES = frozenset(
    "moshi_name mimi_name mimi_config_name tokenizer_name lora_name model_type lm_gen_config tts_config stt_config "
    "model_id".split()
)
"""What config.json says besides the arguments of the language model."""

MOSHI_7B: Mapping[str, Any] = {
    "dim": 4096,
    "text_card": 32000,
    "existing_text_padding_id": 3,
    "n_q": 16,
    "dep_q": 8,
    "card": 2048,
    "num_heads": 32,
    "num_layers": 32,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "context": 3000,
    "max_period": 10000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 1024,
    "depformer_dim_feedforward": 4224,
    "depformer_num_heads": 16,
    "depformer_num_layers": 6,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_context": 8,
    "depformer_max_period": 10000,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
    "delays": [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1],
}
"""The language model of a checkpoint without config.json, as the library has it in `loaders._lm_kwargs`."""

MIMI_BYTES = 385_000_000
"""Mimi's weights in float32, whatever the language model is in."""

MIMI_SEAT_BYTES = 16_500_000
"""Mimi's state for one seat: the rings of its two transformers (250 steps), and what its convolutions keep."""

GIGA = 10**9


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a folder holds."""

    kind: str
    """`moshi` talks, `hibiki` interprets."""
    lm: Mapping[str, Any]
    """Arguments of `moshi.models.LMModel`."""
    sampling: Mapping[str, Any]
    """Arguments of `moshi.models.LMGen` that the checkpoint asks for: temperatures and the like."""
    weights: Path
    mimi: Path
    mimi_config: Path | None
    tokenizer: Path

    @property
    def codebooks(self) -> int:
        """Of Mimi's, how many are heard or spoken, whichever is more."""
        spoken: int = self.lm["dep_q"]
        heard: int = self.lm["n_q"] - spoken
        return max(spoken, heard)


def read(folder: Path) -> Checkpoint:
    """What the folder holds, as far as config.json and the names of files tell. Raises EngineError."""
    if not folder.is_dir():
        raise EngineError(f"There is no folder {folder}: download kyutai/moshiko-pytorch-bf16, for one, to it.")
    config: dict[str, Any] = dict(MOSHI_7B)
    if (path := folder / "config.json").exists():
        try:
            config = json.loads(path.read_text())
            if min(parameters(config), config["context"]) < 1:
                raise ValueError("it has no context")
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError(f"{path} does not describe a Moshi ({error!r}): download the checkpoint again.") from None
    kind = config.get("model_type", "moshi")
    if kind not in ("moshi", "hibiki") or not config["dep_q"]:
        raise EngineError(f"{folder} holds a model of type {kind}, which is no voice: a Moshi or a Hibiki is needed.")
    if config.get("quantize") or config.get("lora"):
        raise EngineError(f"{folder} holds 8-bit or LoRA weights, which cannot be used: take the bf16 checkpoint.")

    def named(key: str, default: str) -> Path:
        # A name may be an address on the Hub; the file was downloaded to this folder with the others.
        return folder / Path(config.get(key) or default).name

    checkpoint = Checkpoint(
        kind,
        {key: value for key, value in config.items() if key not in NOTES},
        config.get("lm_gen_config") or {},
        named("moshi_name", "model.safetensors"),
        named("mimi_name", "tokenizer-e351c8d8-checkpoint125.safetensors"),
        named("mimi_config_name", "") if config.get("mimi_config_name") else None,
        named("tokenizer_name", "tokenizer_spm_32k_3.model"),
    )
    needed = (checkpoint.weights, checkpoint.mimi, checkpoint.mimi_config, checkpoint.tokenizer)
    if missing := [path.name for path in needed if path and not path.is_file()]:
        raise EngineError(f"{folder} lacks {' and '.join(missing)}: download the checkpoint again.")
    return checkpoint


def parameters(lm: Mapping[str, Any]) -> int:
    """How many the language model has, from the arguments it is made with. KeyError if they are of something else.

    LMModel: embeddings and heads; a temporal transformer; a small one (Depformer) for the codebooks of a frame, which
    has weights of its own for each.
    """
    dim: int = lm["dim"]
    small: int = lm["depformer_dim"]
    audio, text = lm["card"] + 1, lm["text_card"] + 1
    dep_q, repeat = lm["dep_q"], lm.get("kv_repeat", 1)
    schedule = lm.get("depformer_weights_per_step_schedule")
    sets = max(schedule) + 1 if schedule else dep_q
    rank: int | None = lm.get("depformer_low_rank_embeddings")

    def attention(width: int, repeat: int) -> int:
        return 2 * width * width + 2 * width * (width // repeat)

    def feedforward(width: int, hidden: int, gating: str) -> int:
        if gating == "none":
            return 2 * width * hidden
        return 3 * width * (21 * width // 8 if hidden == 4 * width else 2 * hidden // 3)

    def small_embedding(tokens: int) -> int:
        return tokens * rank + rank * small if rank else tokens * small

    layer = attention(dim, repeat) + feedforward(dim, int(lm["hidden_scale"] * dim), lm["gating"]) + 2 * dim
    hidden = lm.get("depformer_dim_feedforward") or int(lm["hidden_scale"] * small)
    small_sets = [hidden] * sets if isinstance(hidden, int) else hidden
    small_layer = sets * attention(small, lm.get("depformer_kv_repeat", repeat)) + 2 * small
    small_layer += sum(feedforward(small, one, lm.get("depformer_gating", lm["gating"])) for one in small_sets)
    total: int = (
        lm["n_q"] * audio * dim
        + text * dim
        + lm.get("text_card_out", lm["text_card"]) * dim
        + lm["num_layers"] * layer
        + dim
        + (sets if lm.get("depformer_multi_linear") else 1) * dim * small
        + small_embedding(text)
        + (dep_q - 1) * small_embedding(audio)
        + lm["depformer_num_layers"] * small_layer
        + dep_q * small * lm["card"]
    )
    return total


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a model takes. It takes them all at once: the rings of every seat are there from the start."""

    fixed: int
    """Weights, and what the device's libraries and graphs need besides."""
    seat: int
    """For each person: keys and values of the whole context, and Mimi's state."""
    context: int
    """Steps."""

    def need(self, seats: int) -> int:
        """Bytes for so many seats."""
        return self.fixed + seats * self.seat

    def check(self, seats: int, available: int, where: str) -> None:
        """Raise EngineError if the seats do not fit into `available` bytes of `where` (e.g. `this GPU`)."""
        if self.need(seats) <= available:
            return
        most = (available - self.fixed) // self.seat
        if most > 0:
            advice = f"use at most {most}, or a shorter context"
        elif available > self.fixed:
            advice = "use a shorter context"
        else:
            advice = f"{self.fixed / GIGA:.0f} are needed before the first seat"
        needed = "1 seat" if seats == 1 else f"{seats} seats"
        raise EngineError(
            f"{needed} at context {self.context} need{'s' if seats == 1 else ''} {self.need(seats) / GIGA:.0f} GB; "
            f"{where} has {available / GIGA:.0f}: {advice}."
        )


def memory(lm: Mapping[str, Any], context: int, number: int, guided: bool, reserve: int) -> Memory:
    """What a language model with this `context` (steps) takes, when a number of its has `number` bytes.

    Guidance runs every seat twice. `reserve`: bytes for the device's libraries, graphs and scratch.
    """
    step = 2 * lm["num_layers"] * (lm["dim"] // lm.get("kv_repeat", 1)) * number
    return Memory(
        fixed=parameters(lm) * number + MIMI_BYTES + reserve,
        seat=step * context * (2 if guided else 1) + MIMI_SEAT_BYTES,
        context=context,
    )


def library() -> Any:
    """The module `moshi.models`. Raises EngineError if it or what it needs is not installed."""
    # Read when moshi is imported. Compiling takes longer than it saves here, and needs a C++ compiler; CUDA graphs,
    # which save more, work without.
    os.environ.setdefault("NO_TORCH_COMPILE", "1")
    try:
        import moshi.models
    except ImportError as error:
        raise EngineError(
            f"Moshi is not installed ({error}): pip install torch einops sentencepiece safetensors huggingface-hub, "
            "then pip install --no-deps moshi==0.2.13."
        ) from None
    return moshi.models


def load_codec(checkpoint: Checkpoint, device: "torch.device") -> Any:
    """Mimi, in float32. Blocks for a second. Raises EngineError."""
    loaders = library().loaders
    try:
        config = json.loads(checkpoint.mimi_config.read_text()) if checkpoint.mimi_config else None
        return loaders.get_mimi(checkpoint.mimi, config, device=device, num_codebooks=checkpoint.codebooks)
    except Exception as error:  # whatever a file that is not Mimi makes torch, safetensors or json raise
        raise _unreadable(checkpoint.mimi, error) from error


def load_lm(checkpoint: Checkpoint, device: "torch.device", dtype: "torch.dtype", context: int) -> Any:
    """The language model. Blocks for seconds to minutes. Raises EngineError."""
    loaders = library().loaders
    try:
        lm = loaders.get_moshi_lm(
            checkpoint.weights,
            copy.deepcopy(dict(checkpoint.lm)),  # the library writes into nested parts of it
            device=device,
            dtype=dtype,
            lm_kwargs_overrides={"context": context},
        )
    except Exception as error:  # whatever a file that is not this model makes torch or safetensors raise
        raise _unreadable(checkpoint.weights, error) from error
    if checkpoint.kind == "hibiki":
        # It may say that it has ended (2) while somebody still speaks: heard as padding (3), it goes on. As upstream
        # (CheckpointInfo.get_moshi).
        lm.text_emb.weight.data[2] = lm.text_emb.weight.data[3]
    return lm


def load_tokenizer(checkpoint: Checkpoint) -> "sentencepiece.SentencePieceProcessor":
    """The tokenizer, which must have the model's vocabulary. Raises EngineError."""
    library()
    import sentencepiece

    try:
        tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(checkpoint.tokenizer))
    except (RuntimeError, OSError) as error:
        raise _unreadable(checkpoint.tokenizer, error) from error
    words, known = tokenizer.vocab_size(), checkpoint.lm["text_card"]
    if words != known:
        raise EngineError(
            f"{checkpoint.tokenizer} has {words} pieces and the model {known}: it belongs to another checkpoint."
        )
    return tokenizer


def _unreadable(path: Path, error: Exception) -> EngineError:
    # torch says on its first line that there are errors, and on the next which.
    reason = textwrap.shorten(str(error), 200, placeholder=" …")
    return EngineError(f"{path} could not be loaded ({reason}): download the checkpoint again.")
