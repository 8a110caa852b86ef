"""Which policy should say when a translation is settled: LocalAgreement, AlignAtt or hold-n, on the same recordings.

    python -m tests.bench.policy CHECKPOINT             # a folder that tests.bench.train_seamless made
    JSON=FILE python -m tests.bench.policy CHECKPOINT   # and append one line per figure to FILE

Held-out sentences grow in steps; each time all so far is encoded anew and decoded greedily, with what is committed
forced (as the product does) and without (loose). Columns, as means over the languages:

    early     words that were committed before the speech had ended, of all words
    against   of these, words that the translation of all the audio, nothing forced, has otherwise
    loose     the same had nothing been forced: how unstable what a policy picks is by itself
    lag       seconds from when a word could be known (the last word it depends on was said) to its commitment
    p90       that lag, 90th percentile
    LAAL      length-adaptive average lagging, seconds (Papi et al. 2022, arXiv 2206.05807)
    WER       of the final text with the early words forced
    worse     that, less the word error rate of the translation of all the audio at once

Lag and LAAL count audio only, as if computing took no time, and take the end of the speech for the final words.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from time import monotonic

import jiwer
import torch

from tests.bench.corpus import SINGLE, held_out
from tests.bench.figures import percentile, record
from tests.bench.grammar import LANGUAGES
from tests.bench.replay import Outcome, agreement, aligned, attention, both, holding, replay
from tests.bench.train_seamless import load, plain

STEPS = (0.5, 1.0)
"""Seconds of new audio per hypothesis."""
USED = 1.0
"""What the product takes, with LocalAgreement-2."""

POLICIES = {
    "LA-2": agreement(2),
    "LA-3": agreement(3),
    **{f"AlignAtt first-0 f={margin}": attention(margin, "first-0") for margin in (1, 2, 4, 6, 8)},
    **{f"AlignAtt last-0 f={margin}": attention(margin, "last-0") for margin in (2, 4, 8)},
    **{f"AlignAtt {layer} f=4": attention(4, layer) for layer in ("first", "last")},
    **{f"LA-2 & AlignAtt f={margin}": both(agreement(2), attention(margin, "first-0")) for margin in (2, 4)},
    **{f"hold-{count}": holding(count) for count in (3, 6, 9)},
}
"""AlignAtt's f is in encoder frames of 160 ms. The model has two decoder layers: the first stands for the middle of a
larger one. With `-0`, the first frame of the audio does not count (see `Hypothesis.frames`)."""


@dataclass(frozen=True)
class Figures:
    """One policy, in one language or in several; fractions and seconds."""

    early: float
    against: float
    loose: float
    lag: float
    p90: float
    laal: float
    wer: float
    worse: float

    def __str__(self) -> str:
        return (
            f"{self.early:7.1%} {self.against:8.2%} {self.loose:8.2%} {self.lag:6.2f} {self.p90:6.2f} {self.laal:6.2f}"
            f" {self.wer:7.2%} {self.worse:+7.2%}"
        )


HEAD = f"{'early':>7} {'against':>8} {'loose':>8} {'lag':>6} {'p90':>6} {'LAAL':>6} {'WER':>7} {'worse':>7}"


def plain_words(words: Sequence[str]) -> list[str]:
    """One for one, without punctuation."""
    return [plain(word) for word in words]


def contradicted(outcome: Outcome, early: Sequence[str]) -> int:
    """How many of `early` are not what the translation of everything has there."""
    return aligned(plain_words(early), plain_words(outcome.offline), open_end=True).count(None)


def commit_times(outcome: Outcome) -> list[float]:
    """Seconds of audio heard when each word of the final text was settled. The early ones are its first."""
    return outcome.after + [outcome.recording.seconds] * (len(outcome.final) - len(outcome.after))


def lags(outcome: Outcome) -> list[float]:
    """Of each final word that is right: how much later it was settled than anybody could have known it."""
    written = outcome.recording.sentence.written[outcome.language]
    known = list(accumulate((outcome.recording.ends[index] for _, index in written), max))
    places = aligned(plain_words(outcome.final), [plain(word) for word, _ in written])
    return [time - known[at] for time, at in zip(commit_times(outcome), places, strict=True) if at is not None]


def laal(outcome: Outcome) -> float:
    """Seconds; as SimulEval computes it: up to the first word that came with the end of the audio."""
    times, seconds = commit_times(outcome), outcome.recording.seconds
    pace = seconds / max(len(times), len(outcome.recording.sentence.written[outcome.language]))
    counted = next((at + 1 for at, time in enumerate(times) if time >= seconds), len(times))
    return fmean(time - at * pace for at, time in enumerate(times[:counted])) if times else seconds


def judge(outcomes: Sequence[Outcome]) -> Figures:
    """Several recordings with one policy."""
    early, loose = (sum(map(len, words)) for words in ([o.early for o in outcomes], [o.loose for o in outcomes]))
    late = [lag for one in outcomes for lag in lags(one)]
    said = [plain(one.recording.sentence.text(one.language)) for one in outcomes]
    final = jiwer.wer(said, [plain(" ".join(one.final)) for one in outcomes])
    return Figures(
        early / sum(len(one.final) for one in outcomes),
        sum(contradicted(one, one.early) for one in outcomes) / max(early, 1),
        sum(contradicted(one, one.loose) for one in outcomes) / max(loose, 1),
        fmean(late),
        percentile(late, 0.9),
        fmean(map(laal, outcomes)),
        final,
        final - jiwer.wer(said, [plain(" ".join(one.offline)) for one in outcomes]),
    )


def mean(figures: Sequence[Figures]) -> Figures:
    """Of several languages, each counting the same."""
    return Figures(*(fmean(values) for values in zip(*(vars(one).values() for one in figures), strict=True)))


def table(title: str, outcomes: Sequence[Outcome]) -> dict[str, Figures]:
    """Print a row per policy, and give the rows."""
    print(f"\n{title}\n{'':24} {HEAD}")
    rows = {}
    for policy in POLICIES:
        chosen = [one for one in outcomes if one.policy == policy]
        languages = sorted({one.language for one in chosen})
        rows[policy] = mean([judge([one for one in chosen if one.language == language]) for language in languages])
        print(f"{policy:24} {rows[policy]}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--long", action="store_true", help="also several sentences in a row, by themselves")
    arguments = parser.parse_args()
    run(arguments.checkpoint, arguments.long)


def run(checkpoint: Path, long: bool = False) -> None:
    """Measure and tell. `long`: also recordings of several sentences in a row."""
    torch.set_num_threads(1)
    listener = load(checkpoint)
    recordings = held_out()[: None if long else SINGLE]
    total = sum(one.seconds for one in recordings)
    print(f"{len(recordings)} recordings, {total:.0f} s; the longest {max(one.seconds for one in recordings):.1f} s")
    for step in STEPS:
        begun = monotonic()
        outcomes = [outcome for one in recordings for outcome in replay(listener, one, step, POLICIES)]
        print(f"\n=== a hypothesis every {step} s ({monotonic() - begun:.0f} s to compute)")
        single = {id(one) for one in recordings[:SINGLE]}
        rows = table("One sentence each, means", [one for one in outcomes if id(one.recording) in single])
        for language in LANGUAGES:
            table(language, [one for one in outcomes if id(one.recording) in single and one.language == language])
        if long:
            table("Several sentences each, means", [one for one in outcomes if id(one.recording) not in single])
        print()
        for policy, figures in rows.items():
            name = f"commit_{policy}_every_{step}".lower().replace(" ", "_").replace("=", "")
            record(f"{name}_early", figures.early, "ratio")
            record(f"{name}_contradicted", figures.against, "ratio")
            record(f"{name}_lag", figures.lag, "s")
            record(f"{name}_worse", figures.worse, "ratio")
        if step == USED:
            record("contradicted_words_percent", 100 * rows["LA-2"].against, "%")


if __name__ == "__main__":
    main()
