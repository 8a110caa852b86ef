"""SeamlessM4T-v2's networks, taken apart so that an utterance is encoded once and decoded into all languages together.

`transformers`' own `generate()` translates into one language, runs the speech encoder twice for it, and gives other
units to the shorter rows of a batch than they get alone. Here a batch is made of rows, one for each (utterance,
language); each row is what a separate `generate()` would have made of it (tests/models/test_seamless_model.py compares
tokens and samples). One thread at a time may use a model.

Paper: Seamless Communication et al., 2023, arXiv 2312.05187 (UnitY2). Names of parts as in
https://github.com/huggingface/transformers/blob/main/src/transformers/models/seamless_m4t_v2/modeling_seamless_m4t_v2.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoTokenizer,
    GenerationMixin,
    LogitsProcessor,
    LogitsProcessorList,
    SeamlessM4TFeatureExtractor,
    SeamlessM4Tv2Model,
)
from transformers.modeling_outputs import BaseModelOutput

from models.base import SPEECH_RATE, Pcm

UNIT_SAMPLES = 320
"""Samples at SPEECH_RATE of one frame of the vocoder (20 ms); most units last one frame."""

RECEPTIVE = 20
"""Units on either side that the vocoder hears: with so many before and after, a piece equals its part of the whole."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What one utterance, spoken or written, means: any number of languages are decoded from it."""

    states: torch.Tensor
    """Shape [frames, width]; a frame of speech is 160 ms."""


@dataclass(frozen=True, slots=True)
class Row:
    """One utterance in one language."""

    encoded: Encoded
    language: str
    """Seamless' code, e.g. `spa`."""
    prefix: tuple[int, ...] = ()
    """Tokens that the translation begins with, come what may."""


@dataclass(frozen=True, slots=True, eq=False)
class Sentence:
    """The words of a row, and what its voice is made of."""

    tokens: tuple[int, ...]
    """Without the language and the end of sentence."""
    states: torch.Tensor
    """Of the text decoder: for `</s>`, the language and each token. Shape [2 + tokens, width]."""
    attended: tuple[int, ...]
    """For each token the frame of the utterance that it was mostly made of."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """What is to be said, for the vocoder."""

    units: tuple[int, ...]
    ends: tuple[int, ...]
    """For each token the number of units up to its end."""


class SeamlessModel:
    """`encode_speech` or `encode_text`, then `decode`; for a voice `read`, `units` and `vocode` after that."""

    def __init__(self, folder: Path, device: str) -> None:
        """Load a checkpoint from disk: bfloat16 on a GPU, float32 on a CPU. Raises OSError or ValueError for files
        that are none."""
        self.device = torch.device(device)
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._extractor: Any = SeamlessM4TFeatureExtractor.from_pretrained(folder)
        self._model = _network(folder, dtype)
        self._model.to(self.device).eval()
        self._model.vocoder.float()  # 42 million parameters; its sums of many small samples want the precision
        if self.device.type == "cpu":
            _channels_last(self._model.vocoder.hifi_gan)
        # Our masks are the encoder's, for speech and for text: the model must not sub-sample them once more.
        self._model.set_modality("text")
        self._generation = self._model.generation_config
        self._subwords: list[str] = [
            self._generation.id_to_text.get(str(i), "") for i in range(self._model.config.vocab_size)
        ]
        self._durations = _Tap(self._model.t2u_model.model.decoder.duration_predictor)
        self._frames = _Tap(self._model.vocoder.dur_predictor)
        attention = self._model.text_decoder.layers[self._aligning_layer()].cross_attention
        self._queries, self._keys = _Tap(attention.q_proj), _Tap(attention.k_proj)
        self._padding = _PaddingMask(self._model.speech_encoder.adapter)

    # languages

    @property
    def text_languages(self) -> dict[str, int]:
        """Seamless' codes of what can be written."""
        return dict(self._generation.text_decoder_lang_to_code_id)

    @property
    def voice_languages(self) -> dict[str, int]:
        """Seamless' codes of what can be spoken."""
        return dict(self._generation.vocoder_lang_code_to_id)

    # encoders

    @torch.inference_mode()
    def encode_speech(self, clips: Sequence[Pcm]) -> list[Encoded]:
        """Each clip (at SPEECH_RATE, 0.1 s or longer) as if it were alone: padding leaks nowhere."""
        inputs = self._extractor(
            [np.ascontiguousarray(clip) for clip in clips],
            sampling_rate=SPEECH_RATE,
            return_tensors="pt",
            padding=True,
        )
        features = inputs["input_features"].to(self.device, self._model.dtype)
        mask = inputs["attention_mask"].to(self.device)
        with self._padding.at(mask):
            states = self._model.speech_encoder(input_features=features, attention_mask=mask).last_hidden_state
        lengths = self._model._compute_sub_sample_lengths_from_attention_mask(mask).long().tolist()
        return [Encoded(row[:length]) for row, length in zip(states, lengths, strict=True)]

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str], language: str) -> list[Encoded]:
        """Each text, in Seamless' language."""
        inputs = self.tokenizer(
            list(texts), src_lang=language, return_tensors="pt", padding=True, split_special_tokens=True
        )
        mask = inputs["attention_mask"].to(self.device)
        states = self._model.text_encoder(
            input_ids=inputs["input_ids"].to(self.device), attention_mask=mask
        ).last_hidden_state
        kept = mask.bool()
        return [Encoded(row[keep]) for row, keep in zip(states, kept, strict=True)]

    # words

    @torch.inference_mode()
    def decode(self, rows: Sequence[Row], max_tokens: int) -> list[tuple[int, ...]]:
        """Greedy search for all rows together: the tokens of each, prefix included, as they would be alone.
        `max_tokens`: of new ones."""
        states, mask = self._batch(rows)
        forced = [(self._language(row.language), *row.prefix) for row in rows]
        common = min(len(tokens) for tokens in forced)
        sequences = GenerationMixin.generate(
            self._model,
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            # One pass for what all rows have; the rest of the longer prefixes is forced token by token, since rows of
            # unequal length would need padding on the left, which gives them other positions than they have alone.
            decoder_input_ids=torch.tensor([tokens[:common] for tokens in forced], device=self.device),
            logits_processor=LogitsProcessorList([_Forced(forced)] if max(map(len, forced)) > common else []),
            max_new_tokens=max_tokens + max(map(len, forced)) - common,
            num_beams=1,
            do_sample=False,
        )
        return [self._tokens(sequence, len(tokens)) for sequence, tokens in zip(sequences, forced, strict=True)]

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Tokens of a text, in whichever language. Who types `</s>` ends nothing: those are letters like others."""
        return tuple(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def text(self, tokens: Sequence[int]) -> str:
        """The words."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()

    def subwords(self, tokens: Sequence[int]) -> list[str]:
        """The pieces of words that tokens stand for; `▁` begins a word."""
        return [self._subwords[token] for token in tokens]

    @torch.inference_mode()
    def read(self, rows: Sequence[Row]) -> list[Sentence]:
        """One pass over finished sentences, the rows' prefixes: the states that speech is made of, and what was heard
        at each word."""
        start, pad = self._model.config.decoder_start_token_id, self._generation.pad_token_id
        sentences = [(start, self._language(row.language), *row.prefix) for row in rows]
        states, mask = self._batch(rows)
        ids = torch.full((len(rows), max(map(len, sentences))), pad, device=self.device)
        for i, sentence in enumerate(sentences):
            ids[i, : len(sentence)] = torch.tensor(sentence)
        # The decoder is causal: what comes after the end of a shorter row changes nothing before it.
        out = self._model.text_decoder(
            input_ids=ids, encoder_hidden_states=states, encoder_attention_mask=mask
        ).last_hidden_state
        attended = self._attended(mask)
        return [
            Sentence(row.prefix, out[i, : len(sentence)], tuple(attended[i, 1 : len(sentence) - 1].tolist()))
            for i, (row, sentence) in enumerate(zip(rows, sentences, strict=True))
        ]

    def _attended(self, mask: torch.Tensor) -> torch.Tensor:
        """For each position the encoder frame with the greatest weight, averaged over heads. Position i makes token
        i + 1. Shape [rows, positions]."""
        heads = self._model.config.decoder_attention_heads
        queries, keys = (
            tap.value.view(*tap.value.shape[:2], heads, -1).transpose(1, 2).float()
            for tap in (self._queries, self._keys)
        )
        weights = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        weights = weights.masked_fill(~mask[:, None, None, :].bool(), -torch.inf).softmax(-1)
        frames: torch.Tensor = weights.mean(1).argmax(-1)
        return frames

    def _batch(self, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder states [rows, frames, width] and their mask [rows, frames]."""
        states = torch.nn.utils.rnn.pad_sequence([row.encoded.states for row in rows], batch_first=True)
        lengths = torch.tensor([len(row.encoded.states) for row in rows], device=self.device)
        return states, (torch.arange(states.shape[1], device=self.device) < lengths[:, None]).long()

    def _language(self, code: str) -> int:
        return int(self._generation.text_decoder_lang_to_code_id[code])

    def _tokens(self, sequence: torch.Tensor, forced: int) -> tuple[int, ...]:
        """Of a generated row: `</s> language … </s> pad …`. The end may not be in what was forced."""
        tokens = sequence.tolist()[2:]
        eos = self._generation.eos_token_id
        end = next((i for i, token in enumerate(tokens) if token == eos and i >= forced - 1), len(tokens))
        return tuple(tokens[:end])

    def _aligning_layer(self) -> int:
        return len(self._model.text_decoder.layers) - 1

    # voices

    @torch.inference_mode()
    def units(self, rows: Sequence[Sentence]) -> list[Units]:
        """What is to be said for the words. Rows without words have none."""
        spoken = [row for row in rows if row.tokens]
        if not spoken:
            return [Units((), ()) for _ in rows]
        model, pad = self._model, self._generation.pad_token_id
        states = torch.nn.utils.rnn.pad_sequence([row.states for row in spoken], batch_first=True)
        lengths = torch.tensor([len(row.states) for row in spoken], device=self.device)
        mask = (torch.arange(states.shape[1], device=self.device) < lengths[:, None]).long()
        ids = torch.full((len(spoken), states.shape[1] - 2), pad, device=self.device)
        for i, row in enumerate(spoken):
            ids[i, : len(row.tokens)] = torch.tensor(row.tokens)
        ids = ids.masked_fill(ids == self._generation.eos_token_id, pad)
        subwords = model._indices_to_subwords(ids)
        counts = model._count_character_length_in_subword(ids, subwords, pad_token_id=pad)
        none = counts.new_zeros((len(spoken), 1))
        counts = torch.cat([none, counts, none], dim=1)  # the states before the language, and after the last word
        characters = model._get_char_input_ids(ids, subwords, counts, pad_token_id=pad)
        out = model.t2u_model(
            inputs_embeds=states, attention_mask=mask, char_input_ids=characters, char_count_per_id=counts
        )
        units = out[0].argmax(-1)
        config = model.config
        none_of_speech = (units == config.t2u_eos_token_id) | (units == config.t2u_pad_token_id)
        # As stock: control symbols become the unit that has the padding's number. Below that there is none.
        units = (units - config.vocoder_offset).clamp(min=0).masked_fill(none_of_speech, config.t2u_pad_token_id)
        durations = torch.clamp(torch.round(torch.expm1(self._durations.value)).long(), min=1).tolist()
        made = iter(
            _units(row, line, duration, count)
            for row, line, duration, count in zip(
                spoken, units.tolist(), durations, counts[:, 1:].tolist(), strict=True
            )
        )
        return [next(made) if row.tokens else Units((), ()) for row in rows]

    @torch.inference_mode()
    def vocode(self, units: Sequence[int], language: str, speaker: int, before: int = 0, after: int = 0) -> Pcm:
        """Speech at SPEECH_RATE. The first `before` and the last `after` units are only there so that what lies between
        them joins with what was said before and will be said after; they are not in the result."""
        if before + after >= len(units):
            return np.zeros(0, np.float32)
        ids = torch.tensor([list(units)], device=self.device)
        waveform, _ = self._model.vocoder(
            input_ids=ids,
            speaker_id=torch.tensor([[speaker]], device=self.device),
            lang_id=torch.tensor([[self.voice_languages[language]]], device=self.device),
        )
        frames = torch.clamp(torch.round(torch.expm1(self._frames.value[0])).long(), min=1).tolist()
        begin = sum(frames[:before]) * UNIT_SAMPLES
        end = (sum(frames) - sum(frames[len(frames) - after :])) * UNIT_SAMPLES
        samples: Pcm = waveform[0, begin:end].float().cpu().numpy()
        return samples


def _units(row: Sentence, units: list[int], durations: list[int], counts: list[int]) -> Units:
    """Of one row: units of all its characters, and where each token's end."""
    ends: list[int] = []
    character = end = 0
    for count in counts[: len(row.tokens)]:
        end += sum(durations[character : character + count])
        character += count
        ends.append(end)
    return Units(tuple(units[:end]), tuple(ends))


def _network(folder: Path, dtype: torch.dtype) -> Any:
    """As what it is typed to us: transformers' annotations do not know what a checkpoint brings along."""
    return SeamlessM4Tv2Model.from_pretrained(folder, dtype=dtype)


def _channels_last(gan: torch.nn.Module) -> None:
    """Twice as fast on a CPU: oneDNN's convolutions of one dimension, dilated and with few channels as here, run far
    below what those of two dimensions reach with the channels last in memory. The sums are the same."""
    for module in list(gan.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
                setattr(module, name, _flat(layer))
    gan.register_forward_pre_hook(
        lambda _, inputs: (inputs[0].unsqueeze(2).contiguous(memory_format=torch.channels_last),)
    )
    gan.register_forward_hook(lambda _, inputs, waveform: waveform.squeeze(1))  # [batch, 1, samples] as it is left


def _flat(layer: torch.nn.Conv1d | torch.nn.ConvTranspose1d) -> torch.nn.Module:
    """The same convolution of an image that is one pixel high."""
    kind = torch.nn.ConvTranspose2d if isinstance(layer, torch.nn.ConvTranspose1d) else torch.nn.Conv2d
    flat = kind(
        layer.in_channels,
        layer.out_channels,
        (1, layer.kernel_size[0]),
        stride=(1, layer.stride[0]),
        padding=(0, int(layer.padding[0])),
        dilation=(1, layer.dilation[0]),
        bias=layer.bias is not None,
        device="meta",
    )
    weight = layer.weight.detach().unsqueeze(2).contiguous(memory_format=torch.channels_last)
    flat.weight = torch.nn.Parameter(weight, requires_grad=False)
    flat.bias = layer.bias
    return flat


class _Tap:
    """The last output of a module in the middle of the network."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.value = torch.empty(0)
        module.register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self.value = output


class _PaddingMask:
    """Zeroes what lies behind the end of a shorter row before the adapter's convolutions see it. Alone, a row has zeros
    there; in a batch the stock encoder has what the layers before made of padding, and the last 160 ms change."""

    def __init__(self, adapter: Any) -> None:
        self._mask: torch.Tensor | None = None
        for layer in adapter.layers:
            layer.residual_layer_norm.register_forward_hook(self._apply)
            layer.self_attn_layer_norm.register_forward_hook(self._apply)

    def at(self, mask: torch.Tensor) -> "_PaddingMask":
        self._mask = mask
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        self._mask = None

    def _apply(self, module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if self._mask is None or self._mask.shape[1] != output.shape[1]:
            return output
        return output.masked_fill(~self._mask.bool()[..., None], 0.0)


class _Forced(LogitsProcessor):
    """The rest of the prefixes, for rows whose prefix is longer than the one that all rows have."""

    def __init__(self, forced: Sequence[tuple[int, ...]]) -> None:
        self._forced = forced

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        position = input_ids.shape[1] - 1  # `</s>` comes before what is forced
        for row, tokens in enumerate(self._forced):
            if position < len(tokens):
                scores[row] = -torch.inf
                scores[row, tokens[position]] = 0.0
        return scores
