"""Train a small SeamlessM4T-v2 from nothing, on synthetic speech: an interpreter that is good at sixty words.

    python -m tests.bench.train_seamless OUT_DIR                # about half an hour of one core
    python -m tests.bench.train_seamless OUT_DIR --minutes 10   # at most
    python -m tests.bench.train_seamless OUT_DIR --corpus FILE  # keep the features of its speech there for next time

Random weights are enough to test that code runs, but not to see how hypotheses on growing audio behave: how soon they
settle, and how often they change their mind. This model's do, since it is trained as the real one is: offline, on whole
utterances only, one encoder for all target languages. What was never trained is random: text input, and the voice.

It is saved in the real layout, for `SeamlessM4Tv2Model.from_pretrained` and `AutoProcessor`. Needs torch, transformers,
sentencepiece, protobuf and jiwer, and the programs flite and espeak-ng.
"""

import argparse
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoProcessor, SeamlessM4TProcessor, SeamlessM4Tv2Model
from transformers.models.seamless_m4t_v2.modeling_seamless_m4t_v2 import _compute_new_attention_mask

from tests.bench.corpus import (
    LONG,
    READERS,
    SHORT_WORDS,
    SINGLE,
    Spoken,
    check_features,
    features,
    held_out,
    training_set,
)
from tests.bench.decoding import Listener
from tests.bench.figures import record
from tests.bench.grammar import LANGUAGES, Sentence, together
from tests.bench.readers import Recording
from tests.bench.small_seamless import build, save

SEED = 7
STEPS = 6000
PEAK = 1.5e-3
"""Learning rate after the warm-up."""
WARM_UP = 200
"""Steps."""
SMOOTHING = 0.1

BATCH = 1000
"""Frames of 20 ms (20 s) at most in one step, padding and all."""
LONGEST = 1000
"""Frames of 20 ms (20 s) in one example at most."""

SHORT_UNTIL, ONE_VOICE_UNTIL, SINGLE_UNTIL = 0.1, 0.2, 0.4
"""Parts of the training with short sentences only, with one voice only (first to find out what hearing is), and with
single sentences only; then some are strung together."""
FIRST_VOICE = "kal16"
"""Flite's diphone voice: the most regular."""
STRUNG = 0.6
"""Part of the batches that are of several sentences in a row."""

CTC_FRAMES, CTC_STATES = 0.5, 0.3
"""Weights of the two helpers' losses: letters before the encoder's adapter (50 Hz), words after it (6.25 Hz)."""
LETTERS = " abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Batch:
    inputs: Tensor
    """[examples, frames of 20 ms, 160]"""
    mask: Tensor
    """[examples, frames]"""
    letters: list[list[int]]
    words: list[list[int]]
    tokens: list[list[int]]
    """With language and end, for each example in each of LANGUAGES."""


class Helpers(nn.Module):
    """CTC heads (Graves et al. 2006) that teach the encoder to keep apart in time what is said when. Not saved: without
    them the decoder's attention takes hours to find anything."""

    def __init__(self, hidden: int, words: int) -> None:
        super().__init__()
        self.letters = nn.Linear(hidden, 1 + len(LETTERS))
        self.words = nn.Linear(hidden, 1 + words)


class Trainer:
    """A model in training, and how its examples are put together."""

    def __init__(self, examples: Sequence[Spoken], start: Path | None = None) -> None:
        self.examples = examples
        self.beginner = start is None
        self.random = random.Random(SEED)
        self.progress = 0.0
        texts = [one.sentence.text(language) for one in examples for language in LANGUAGES]
        if start is None:
            self.processor, self.model = build(texts)
        else:
            self.processor, self.model = AutoProcessor.from_pretrained(start), SeamlessM4Tv2Model.from_pretrained(start)
        self.number = {word: at for at, word in enumerate(sorted({w for one in examples for w in one.sentence.spoken}))}
        self.helpers = Helpers(self.model.config.hidden_size, len(self.number))
        first = {at for at, reader in enumerate(READERS) if reader.voice == FIRST_VOICE}
        self.one_voice = [one for one in examples if one.voice in first]
        self.short = [one for one in self.one_voice if len(one.sentence.spoken) <= SHORT_WORDS]
        self.before_adapter = torch.empty(0)
        self.model.speech_encoder.encoder.register_forward_hook(self._keep)
        encoder, decoder = self.model.speech_encoder, self.model.text_decoder
        modules = (encoder, decoder, self.helpers)
        self.parameters = list({id(one): one for module in modules for one in module.parameters()}.values())
        self.optimizer = torch.optim.AdamW(self.parameters, PEAK, betas=(0.9, 0.98), weight_decay=0.01, fused=True)

    def _keep(self, _module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        self.before_adapter = output if isinstance(output, Tensor) else output[0]  # transformers 5, and 4

    def batches(self) -> Iterator[Batch]:
        """Without end, harder as the training goes on."""
        while True:
            done, pool = self.progress if self.beginner else 1.0, self.examples
            if done < ONE_VOICE_UNTIL:
                pool = self.short if done < SHORT_UNTIL else self.one_voice
            if done > SINGLE_UNTIL and self.random.random() < STRUNG:
                made = [self._strung() for _ in range(6)]
            else:
                made = [(one.sentence, one.fbank) for one in self.random.sample(pool, min(128, len(pool)))]
            made.sort(key=lambda one: len(one[1]))
            groups: list[list[tuple[Sentence, np.ndarray]]] = [[]]
            for one in made:
                if groups[-1] and len(one[1]) // 2 * (len(groups[-1]) + 1) > BATCH:
                    groups.append([])
                groups[-1].append(one)
            self.random.shuffle(groups)
            yield from map(self._batch, groups[:6])

    def _strung(self) -> tuple[Sentence, np.ndarray]:
        """Two to six sentences by one voice."""
        first = self.random.choice(self.examples)
        chosen, frames = [first], len(first.fbank) // 2
        same = [one for one in self.random.sample(self.examples, 200) if one.voice == first.voice]
        for one in same[: self.random.randint(1, 5)]:
            frames += len(one.fbank) // 2
            if frames <= LONGEST:
                chosen.append(one)
        return together([one.sentence for one in chosen]), np.concatenate([one.fbank for one in chosen])

    def _batch(self, examples: Sequence[tuple[Sentence, np.ndarray]]) -> Batch:
        heard = [torch.from_numpy(self._masked(features(fbank))) for _, fbank in examples]
        mask = torch.zeros(len(heard), max(map(len, heard)), dtype=torch.long)
        for row, one in zip(mask, heard, strict=True):
            row[: len(one)] = 1
        sentences = [sentence for sentence, _ in examples]
        return Batch(
            nn.utils.rnn.pad_sequence(heard, batch_first=True),
            mask,
            [[1 + LETTERS.index(mark) for mark in " ".join(one.spoken)] for one in sentences],
            [[1 + self.number[word] for word in one.spoken] for one in sentences],
            [self.tokens(one, language) for one in sentences for language in LANGUAGES],
        )

    def _masked(self, heard: np.ndarray) -> np.ndarray:
        """SpecAugment (Park et al. 2019), gently: a few bands and a moment are silent."""
        bands, low = self.random.randint(0, 10), self.random.randint(0, 69)
        for half in (0, 80):
            heard[:, half + low : half + low + bands] = 0
        start, length = self.random.randrange(len(heard)), self.random.randint(0, 8)
        heard[start : start + length] = 0
        return heard

    def tokens(self, sentence: Sentence, language: str) -> list[int]:
        settings, text = self.model.generation_config, sentence.text(language)
        pieces = self.processor.tokenizer(text, add_special_tokens=False).input_ids
        return [settings.text_decoder_lang_to_code_id[language], *pieces, settings.eos_token_id]

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        model = self.model
        states = model.speech_encoder(input_features=batch.inputs, attention_mask=batch.mask).last_hidden_state
        lengths = model._compute_sub_sample_lengths_from_attention_mask(batch.mask).long()
        letters = ctc(self.helpers.letters(self.before_adapter), batch.mask.sum(1), batch.letters)
        words = ctc(self.helpers.words(states), lengths, batch.words)

        each = len(LANGUAGES)
        wanted = nn.utils.rnn.pad_sequence([torch.tensor(one) for one in batch.tokens], True, -100)
        said = wanted.masked_fill(wanted == -100, model.config.pad_token_id).roll(1, 1)
        said[:, 0] = model.config.decoder_start_token_id
        hidden = model.text_decoder(
            input_ids=said,
            encoder_hidden_states=states.repeat_interleave(each, 0),
            encoder_attention_mask=_compute_new_attention_mask(states, lengths).repeat_interleave(each, 0),
            use_cache=False,
        ).last_hidden_state
        wanted[:, 0] = -100  # the language is given
        logits = model.lm_head(hidden)
        text = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), label_smoothing=SMOOTHING)
        total = text + CTC_FRAMES * letters + CTC_STATES * words
        right = ((logits.argmax(-1) == wanted).sum() / (wanted != -100).sum()).item()
        return total, {"text": text.item(), "letters": letters.item(), "words": words.item(), "right": right}

    def train(self, minutes: float, steps: int, out: Path) -> None:
        """Ends after `steps`, or after `minutes`; the same again unless time ran out first. Saves at each quarter."""
        begun, last, saved = time.monotonic(), 0.0, 0
        batches = self.batches()
        self.model.train()
        step = 0
        while self.progress < 1:
            rate = (
                (PEAK if self.beginner else PEAK / 2)
                * min(1.0, (step + 1) / WARM_UP)
                * (0.01 + 0.99 * math.cos(self.progress * math.pi / 2) ** 2)
            )
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss, parts = self.loss(next(batches))
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            step += 1
            spent = (time.monotonic() - begun) / 60
            self.progress = max(step / steps, spent / minutes)
            if spent - last > 0.5:
                last = spent
                told = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
                print(f"{spent:5.1f} min  step {step:5}  {told}", flush=True)
            if self.progress * 4 >= saved + 1:
                saved += 1
                save(self.processor, self.model, out)


def ctc(logits: Tensor, lengths: Tensor, targets: list[list[int]]) -> Tensor:
    """Mean loss per target symbol; what cannot be said in so few frames is left out."""
    return nn.functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        torch.tensor([symbol for one in targets for symbol in one]),
        lengths,
        torch.tensor([len(one) for one in targets]),
        zero_infinity=True,
    )


def plain(text: str) -> str:
    """What counts for the word error rate: no punctuation."""
    return " ".join(text.replace(".", " ").replace(",", " ").split())


def errors(listener: Listener, recordings: Sequence[Recording]) -> dict[str, float]:
    """Word error rate by language."""
    said: dict[str, list[str]] = {language: [] for language in LANGUAGES}
    heard: dict[str, list[str]] = {language: [] for language in LANGUAGES}
    for one in recordings:
        results = listener.decode(listener.encode(one.pcm), [(language, ()) for language in LANGUAGES])
        for language, result in zip(LANGUAGES, results, strict=True):
            said[language].append(plain(one.sentence.text(language)))
            heard[language].append(plain(" ".join(listener.words(result.tokens))))
    return {language: jiwer.wer(said[language], heard[language]) for language in LANGUAGES}


def load(folder: Path) -> Listener:
    """As a stranger loads it."""
    processor: SeamlessM4TProcessor = AutoProcessor.from_pretrained(folder)
    return Listener(SeamlessM4Tv2Model.from_pretrained(folder), processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--minutes", type=float, default=35.0, help="at most (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="at most (default: %(default)s)")
    parser.add_argument("--start", type=Path, metavar="DIR", help="go on from what was trained, without the easy part")
    parser.add_argument("--espeak", action="store_true", help="learn espeak-ng's voices too: takes about twice as long")
    parser.add_argument("--corpus", type=Path, metavar="FILE", help="keeps the features (.npz)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # small matrices: a second thread makes them slower
    torch.manual_seed(SEED)
    check_features()
    examples = training_set(arguments.corpus)
    trainer = Trainer([one for one in examples if arguments.espeak or READERS[one.voice].is_flite], arguments.start)
    print(f"{trainer.model.num_parameters() / 1e6:.2f} million parameters, {len(trainer.examples)} sentences")
    trainer.train(arguments.minutes, arguments.steps, arguments.out)

    listener = load(arguments.out)
    recordings = held_out()
    for name, chosen in (("single", recordings[:SINGLE]), ("long", recordings[-LONG:])):
        for language, rate in errors(listener, chosen).items():
            record(f"small_seamless_wer_{name}_{language}", rate, "ratio", "<= 0.15", rate <= 0.15)


if __name__ == "__main__":
    main()
