"""Growing audio, commit policies, and what each would have said when: the simulation behind `policy.py`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from models.commit import WORD_START, local_agreement, whole_words
from tests.bench.decoding import Hypothesis, Listener, Tokens
from tests.bench.grammar import LANGUAGES
from tests.bench.readers import RATE, Recording

Settle = Callable[[Sequence[Hypothesis], int], int]
"""(hypotheses so far, how many tokens are committed) → how many of the last hypothesis' tokens are settled."""


def agreement(count: int) -> Settle:
    """LocalAgreement of the last `count` hypotheses."""

    def settle(history: Sequence[Hypothesis], _committed: int) -> int:
        if len(history) < count:
            return 0
        return min(local_agreement(one.tokens, other.tokens) for one, other in pairwise(history[-count:]))

    return settle


def align_att(frames: Sequence[int], heard: int, margin: int) -> int:
    """AlignAtt (Papi et al. 2023, arXiv 2305.11408): how many leading tokens look away from the end of the audio. The
    first that looks at one of its last `margin` frames may change with what comes next, and so may all after it.

    `frames[i]`: the encoder frame that got most cross-attention, over heads, when token i was predicted. `heard`:
    encoder frames of audio so far. Give the tokens that are not yet committed, and add the count to those that are."""
    for count, frame in enumerate(frames):
        if frame >= heard - margin:
            return count
    return len(frames)


def hold(count: int, withheld: int) -> int:
    """Hold-n (Liu et al. 2020): all but the last `withheld` of `count` tokens."""
    return max(0, count - withheld)


def attention(margin: int, layer: str) -> Settle:
    """AlignAtt with `margin` encoder frames, by one of `Hypothesis.frames`."""

    def settle(history: Sequence[Hypothesis], committed: int) -> int:
        newest = history[-1]
        return committed + align_att(newest.frames[layer][committed:], newest.heard, margin)

    return settle


def holding(withheld: int) -> Settle:
    """All but the last `withheld` tokens."""
    return lambda history, _committed: hold(len(history[-1].tokens), withheld)


def both(one: Settle, other: Settle) -> Settle:
    """Only what two policies settle."""
    return lambda history, committed: min(one(history, committed), other(history, committed))


@dataclass
class Commitment:
    """What one policy has committed of one recording in one language."""

    settle: Settle
    tokens: Tokens = ()
    after: list[float] = field(default_factory=list)
    """For each token, seconds of audio heard when it was committed."""
    history: list[Hypothesis] = field(default_factory=list)

    def take(self, newest: Hypothesis, pieces: Sequence[str], seconds: float) -> None:
        """The next hypothesis. One that was not made to begin with what is committed, and does not, commits nothing."""
        self.history.append(newest)
        known = len(self.tokens)
        if newest.tokens[:known] != self.tokens:
            return
        count = whole_words(pieces, self.settle(self.history, known))
        if count > known:
            self.tokens = newest.tokens[:count]
            self.after += [seconds] * (count - known)


@dataclass(frozen=True)
class Outcome:
    """One policy at the end of one recording, in one language."""

    language: str
    policy: str
    recording: Recording
    early: list[str]
    """Words committed before the end."""
    after: list[float]
    """For each of them, seconds of audio heard by then."""
    loose: list[str]
    """Words that the policy would have committed before the end, had nothing been forced."""
    final: list[str]
    """All words, the decoder made to begin with the early ones."""
    offline: list[str]
    """All words, nothing forced."""


def replay(listener: Listener, recording: Recording, step: float, policies: dict[str, Settle]) -> list[Outcome]:
    """Hear `recording` in steps of `step` seconds, everything so far anew each time, with every policy side by side."""
    keys = [(language, policy) for language in LANGUAGES for policy in policies]
    forced = {key: Commitment(policies[key[1]]) for key in keys}
    loose = {key: Commitment(policies[key[1]]) for key in keys}

    def hypotheses(samples: int) -> dict[tuple[str, Tokens], Hypothesis]:
        """Of the beginning of the audio, one for each language and each beginning of a text that anybody needs."""
        rows = {(language, ()) for language in LANGUAGES} | {(key[0], one.tokens) for key, one in forced.items()}
        ordered = sorted(rows)
        return dict(zip(ordered, listener.decode(listener.encode(recording.pcm[:samples]), ordered), strict=True))

    for samples in range(round(step * RATE), len(recording.pcm), round(step * RATE)):
        made = hypotheses(samples)
        pieces = {one: listener.pieces(hypothesis.tokens) for one, hypothesis in made.items()}
        for key in keys:
            for commitment, start in ((forced[key], forced[key].tokens), (loose[key], ())):
                row = (key[0], start)
                commitment.take(made[row], pieces[row], samples / RATE)
    made = hypotheses(len(recording.pcm))
    return [
        Outcome(
            language,
            policy,
            recording,
            listener.words(one.tokens),
            word_times(listener.pieces(one.tokens), one.after),
            listener.words(loose[language, policy].tokens),
            listener.words(made[language, one.tokens].tokens),
            listener.words(made[language, ()].tokens),
        )
        for (language, policy), one in forced.items()
    ]


def word_times(pieces: Sequence[str], after: Sequence[float]) -> list[float]:
    """When each word was there, of when each piece was: with its last."""
    starts = [at for at, piece in enumerate(pieces) if at == 0 or piece.startswith(WORD_START)]
    return [after[end - 1] for end in [*starts[1:], len(pieces)] if end]


def aligned(one: Sequence[str], other: Sequence[str], open_end: bool = False) -> list[int | None]:
    """For each word of `one`, the place of the same word in `other` by the fewest edits, or None if it has none there.

    `open_end`: `one` is only the beginning, what follows in `other` costs nothing."""
    cost = np.zeros((len(one) + 1, len(other) + 1), np.int64)
    cost[:, 0], cost[0] = np.arange(len(one) + 1), np.arange(len(other) + 1)
    for row, word in enumerate(one, 1):
        for column, candidate in enumerate(other, 1):
            cost[row, column] = min(
                cost[row - 1, column - 1] + (word != candidate), cost[row - 1, column] + 1, cost[row, column - 1] + 1
            )
    row = len(one)
    # Of equally good ends the latest would pair too little with too much; the nearest to a word for a word is fair.
    column = min(range(len(other) + 1), key=lambda at: (cost[row, at], abs(at - row))) if open_end else len(other)
    found: list[int | None] = [None] * len(one)
    while row and column:
        same = one[row - 1] == other[column - 1]
        if cost[row, column] == cost[row - 1, column - 1] + (not same):
            row, column = row - 1, column - 1
            found[row] = column if same else None
        elif cost[row, column] == cost[row - 1, column] + 1:
            row -= 1
        else:
            column -= 1
    return found
