"""Greedy decoding of one piece of audio with several beginnings at once, and where each token looked in the audio."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import SeamlessM4TProcessor, SeamlessM4Tv2Model

from tests.bench.readers import RATE
from tests.speech import Pcm

Tokens = tuple[int, ...]
"""Without language and end tokens."""

FRAME = 0.16
"""Seconds that the encoder moves on with each state: 10 ms, two in a row, then every eighth."""


@dataclass(frozen=True)
class Hypothesis:
    """What the model makes of the audio so far."""

    tokens: Tokens
    frames: dict[str, Tokens]
    """For each token the encoder frame that it looked at most when it was predicted, by the mean over heads: of the
    first and of the last decoder layer, and of both with all frames but the first (`first-0`, `last-0`). Where there is
    nothing to look at, attention goes to the first frame, whatever is said there."""
    heard: int
    """Encoder frames."""


class Listener:
    """A checkpoint on the CPU."""

    def __init__(self, model: SeamlessM4Tv2Model, processor: SeamlessM4TProcessor) -> None:
        self.model, self.processor = model.eval(), processor
        self.model.set_attn_implementation("eager")  # the other implementations give no attention weights
        self.end: int = model.generation_config.eos_token_id
        self.language: dict[str, int] = model.generation_config.text_decoder_lang_to_code_id

    @torch.inference_mode()
    def encode(self, pcm: Pcm) -> torch.Tensor:
        """Encoder states [1, frames, hidden]."""
        inputs = self.processor(audio=pcm, sampling_rate=RATE, return_tensors="pt")
        states = self.model.speech_encoder(**inputs).last_hidden_state
        count = self.model._compute_sub_sample_lengths_from_attention_mask(inputs.attention_mask)
        return states[:, : int(count[0])]

    @torch.inference_mode()
    def decode(self, states: torch.Tensor, rows: Sequence[tuple[str, Tokens]]) -> list[Hypothesis]:
        """A hypothesis for each (language, tokens that it must begin with), as a batch."""
        forced = [[self.end, self.language[language], *tokens] for language, tokens in rows]
        states = states.expand(len(rows), -1, -1)
        written: list[list[int]] = [row[:1] for row in forced]
        done = [False] * len(rows)
        limit = 8 + 2 * states.shape[1] + max(map(len, forced))
        cache = None
        while not all(done) and len(written[0]) < limit:
            step = torch.tensor([row[-1:] for row in written])
            output = self.model.text_decoder(
                input_ids=step, encoder_hidden_states=states, past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            best = self.model.lm_head(output.last_hidden_state[:, -1]).argmax(-1).tolist()
            for at, (row, must) in enumerate(zip(written, forced, strict=True)):
                row.append(must[len(row)] if len(row) < len(must) else self.end if done[at] else best[at])
                done[at] = len(row) > len(must) and row[-1] == self.end
        return self._attended(states, written)

    def _attended(self, states: torch.Tensor, written: list[list[int]]) -> list[Hypothesis]:
        """The second pass, over everything at once: with attention weights."""
        output = self.model.text_decoder(
            input_ids=torch.tensor(written), encoder_hidden_states=states, output_attentions=True, use_cache=False
        )
        # The token at place i + 1 is predicted at place i; [row, place].
        looked = {}
        for name, layer in (("first", output.cross_attentions[0]), ("last", output.cross_attentions[-1])):
            heads = layer.mean(1)
            looked[name] = heads.argmax(-1).tolist()
            looked[f"{name}-0"] = (heads[..., 1:].argmax(-1) + 1).tolist()
        hypotheses = []
        for at, row in enumerate(written):
            count = row.index(self.end, 1) - 2 if self.end in row[1:] else len(row) - 2
            frames = {name: tuple(rows[at][1 : 1 + count]) for name, rows in looked.items()}
            hypotheses.append(Hypothesis(tuple(row[2 : 2 + count]), frames, states.shape[1]))
        return hypotheses

    def pieces(self, tokens: Tokens) -> list[str]:
        return list(self.processor.tokenizer.convert_ids_to_tokens(list(tokens)))

    def words(self, tokens: Tokens) -> list[str]:
        """As written, with punctuation."""
        return "".join(self.pieces(tokens)).replace("▁", " ").split()
