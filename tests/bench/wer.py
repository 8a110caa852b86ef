"""How many words the embedded recogniser gets wrong, through the same streaming path that a call uses.

    python -m tests.bench.wer                  # Flite voices (needs the `flite` program)
    HUMAN=FOLDER python -m tests.bench.wer     # and people: FOLDER/*.wav (16 kHz mono), FOLDER/transcription
    JSON=FILE python -m tests.bench.wer        # and append one line per figure to FILE

`transcription` has CMU Sphinx' form, a line `the words (name)` for each `name.wav`; PocketSphinx' source distribution
carries such a folder (`test/data/librivox`). A speaker's sentences come one after the other, as in a meeting. Audio is
pushed in pieces of 20 ms as fast as the worker takes them (the long human clips in real time, or it would be dropped);
the time to the final words is measured in real time.
"""

import os
import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import jiwer

from models.recognizer import RecognizerPool
from tests.bench.figures import percentile, record
from tests.sentences import SENTENCES
from tests.speech import VOICES, Pcm, flite, peak, read_wav

PIECE = 320
"""Samples (20 ms) handed over at a time, as media packets bring them."""

RATE = 16_000
PACED = 8
"""Sentences per voice that are heard in real time, to see how long the final words take."""

Clip = tuple[str, Pcm]
"""(words, speech)"""


@dataclass(frozen=True)
class Result:
    """One speaker."""

    speaker: str
    errors: float
    """Words wrong, missing or too many, per word spoken."""
    exact: int
    clips: int
    load: float
    """Seconds of CPU per second of speech; NaN where /proc does not tell."""


def words(text: str) -> str:
    """Lower case, letters and apostrophes only: what counts for the word error rate."""
    return " ".join(re.findall(r"[a-z']+", text.lower().replace("-", " ")))


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hear(pool: RecognizerPool, speaker: str, speech: Pcm, paced: bool = False) -> tuple[str, float]:
    """(what was understood, seconds from the end of the speech to that)."""
    recognition = pool.hear(speaker)
    start = time.monotonic()
    for at in range(0, len(speech), PIECE):
        if paced:
            time.sleep(max(0.0, start + at / RATE - time.monotonic()))
        recognition.push(speech[at : at + PIECE])
        recognition.interim()
    ended = time.monotonic()
    text = recognition.finish().text
    assert recognition.dropped == 0, recognition.dropped
    return text, time.monotonic() - ended


def measure(pool: RecognizerPool, speaker: str, clips: list[Clip], paced: bool = False) -> Result:
    """Let one speaker say all clips."""
    (pid,) = pool.pids
    before = cpu_seconds(pid)
    heard = [words(hear(pool, speaker, speech, paced)[0]) for _, speech in clips]
    load = (cpu_seconds(pid) - before) / (sum(len(speech) for _, speech in clips) / RATE)
    said = [words(text) for text, _ in clips]
    exact = sum(one == other for one, other in zip(said, heard, strict=True))
    return Result(speaker, jiwer.wer(said, heard), exact, len(clips), load)


def human_clips(folder: Path) -> list[Clip]:
    """A folder in CMU Sphinx' form."""
    found = re.findall(r"^(.*)\((\S+)\)\s*$", (folder / "transcription").read_text("utf-8"), re.MULTILINE)
    return [(re.sub(r"</?s>", "", text), peak(read_wav(folder / f"{name}.wav")[0])) for text, name in found]


def main() -> None:
    """Measure, print, report."""
    pool = RecognizerPool(1)
    pool.load()
    try:
        people = {voice: [(text, peak(flite(text, voice))) for text in SENTENCES] for voice in VOICES}
        results = [measure(pool, voice, clips) for voice, clips in people.items()]
        folder = os.environ.get("HUMAN")
        human = measure(pool, "human", human_clips(Path(folder)), paced=True) if folder else None
        delays = [
            hear(pool, voice, speech, paced=True)[1] for voice, clips in people.items() for _, speech in clips[:PACED]
        ]
    finally:
        pool.close()
    print(f"{'speaker':8} {'WER':>6} {'exact':>7} {'CPU':>6}")
    for one in [*results, *([human] if human else [])]:
        print(f"{one.speaker:8} {one.errors:6.1%} {f'{one.exact}/{one.clips}':>7} {one.load:6.2f}")
    if human is None:
        print("human    not measured: set HUMAN to a folder of recordings")
    mean = statistics.mean(one.errors for one in results)
    record("wer_flite", mean, "ratio", "<= 0.10", mean <= 0.10)
    if human is not None:
        record("wer_human", human.errors, "ratio")
    record("recognizer_load", statistics.mean(one.load for one in results), "s/s")
    record("final_words_median", statistics.median(delays) * 1e3, "ms")
    record("final_words_p95", percentile(delays, 0.95) * 1e3, "ms")


if __name__ == "__main__":
    main()
