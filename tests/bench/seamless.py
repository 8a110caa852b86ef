"""SeamlessM4T-v2: what encoding once saves, how many passes a room costs, what a GPU holds, how soon words are settled
(`policy`) and how far behind a monologue the interpreter is (`monologue`).

    python -m tests.bench.seamless

Random weights: the same work as with real ones, for words that mean nothing. On a CPU a model of a tenth of the size,
in CPU seconds of one thread, which other programs disturb least; on a GPU the full size.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from models.base import Rendering
from models.languages import LANGUAGES
from models.seamless import SeamlessRecognition
from models.seamless_model import RECEPTIVE, Row, SeamlessModel
from models.seamless_worker import Worker
from rtc.room import Room
from tests.bench import monologue, policy
from tests.bench.figures import percentile, record
from tests.bench.monologue import CHECKPOINT
from tests.models.tiny_seamless import FULL, MID, SPOKEN, TINY, build, noise

WORDS = 24
"""Tokens of a sentence: of random weights all sentences must be told when to end."""

COUNTS = (1, 2, 4, 8)
LENGTHS = (3.0, 8.0)
GOALS = {3.0: 3.0, 8.0: 5.0}
"""How many times less work eight languages must be, by seconds of speech."""

LISTENERS, SPEAKERS, SEGMENTS = 12, 3, 5
ROOM_LANGUAGES = ("en", "es", "fr")

SPEAKER_OF = {tongue.seamless: tongue.speaker or 0 for tongue in LANGUAGES.values()}


def cpu_seconds(work: Callable[[], object], times: int = 2) -> float:
    """The least of some runs, after one to warm up."""
    work()
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def once(model: SeamlessModel, seconds: float, languages: Sequence[str]) -> None:
    """One segment in all languages, as the worker does it."""
    (encoded,) = model.encode_speech([noise(seconds)])
    speak(model, [Row(encoded, language) for language in languages])


def speak(model: SeamlessModel, rows: Sequence[Row]) -> None:
    """Words and voices of all rows."""
    words = model.decode(rows, WORDS)
    sentences = model.read([replace(row, prefix=tokens) for row, tokens in zip(rows, words, strict=True)])
    for row, units in zip(rows, model.units(sentences), strict=True):
        model.vocode(units.units, row.language, SPEAKER_OF[row.language])


def talkative(folder: Path) -> Path:
    """A checkpoint whose sentences are all of WORDS tokens, for us and for the stock model."""
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text())
    settings.pop("exponential_decay_length_penalty", None)
    path.write_text(json.dumps(settings | {"min_new_tokens": WORDS, "max_new_tokens": WORDS}))
    return folder


class Separate:
    """`generate()` of the stock model for each language."""

    def __init__(self, folder: Path, device: str) -> None:
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self._processor: Any = transformers.AutoProcessor.from_pretrained(folder)
        network: Any = transformers.SeamlessM4Tv2Model
        self._model = network.from_pretrained(folder, dtype=dtype).to(device).eval()

    def __call__(self, seconds: float, languages: Sequence[str]) -> None:
        inputs = self._processor(audio=noise(seconds), sampling_rate=16_000, return_tensors="pt").to(self._model.device)
        inputs["input_features"] = inputs["input_features"].to(self._model.dtype)
        for language in languages:
            self._model.generate(**inputs, tgt_lang=language, speaker_id=SPEAKER_OF[language])


def encode_once(folder: Path) -> None:
    """Against one `generate()` for each language."""
    model, separate = SeamlessModel(folder, "cpu"), Separate(folder, "cpu")
    print(f"{'seconds':>8} {'languages':>9} {'separate':>10} {'once':>10}   CPU ms")
    for seconds in LENGTHS:
        for count in COUNTS:
            languages = SPOKEN[:count]
            apart = cpu_seconds(partial(separate, seconds, languages))
            together = cpu_seconds(partial(once, model, seconds, languages))
            print(
                f"{seconds:>8.0f} {count:>9} {apart * 1000:>10.0f} {together * 1000:>10.0f}   × {apart / together:.2f}"
            )
            if count == COUNTS[-1]:
                ratio, goal = apart / together, GOALS[seconds]
                record(f"encode_once_{count}_languages_{seconds:.0f}s", ratio, "times", f">= {goal:.0f}", ratio >= goal)


class Person:
    """As much of a participant as a room needs to say who listens in what."""

    mix = "both"
    last_spoke = 0.0
    slots: dict[str, Any] = {}  # noqa: RUF012  # nobody's slots: nothing is sent

    def __init__(self, name: str, language: str) -> None:
        self.id = self.name = name
        self.language = self.source_language = language

    def tell(self, event: object) -> None:
        """Deaf."""


def passes(folder: Path) -> None:
    """A room of three speakers and twelve listeners in three languages: passes counted, not timed."""
    room = Room("bench", "bench", SPEAKERS + LISTENERS, 0.0, lambda source, target: True)
    people = [Person(f"p{i}", ROOM_LANGUAGES[i % len(ROOM_LANGUAGES)]) for i in range(SPEAKERS + LISTENERS)]
    for person in people:
        room.join(person)  # type: ignore[arg-type]  # what is missing of a member, nobody asks for here
    worker = Worker(SeamlessModel(folder, "cpu"))
    worker.start()
    by_listener = 0
    for speaker in people[:SPEAKERS]:
        for number in range(SEGMENTS):
            recognition = SeamlessRecognition(worker, speaker.language, room.id, simultaneous=False)
            recognition.want(room.targets(speaker, speaker.language))  # type: ignore[arg-type]
            recognition.push(noise(2.0, number))
            made: list[Rendering] = list(recognition.finish())
            assert len(made) == len(ROOM_LANGUAGES)
            # Seamless Chat: one call for each other person in the room, translated or not.
            by_listener += len(people) - 1
    statistics = worker.statistics()
    worker.close()
    segments = SPEAKERS * SEGMENTS
    record("passes_per_segment", statistics["passes"] / segments, "passes", "<= 1", statistics["passes"] <= segments)
    record("passes_per_segment_by_listener", by_listener / segments, "passes")
    record("languages_per_pass", statistics["rows_decoded"] / statistics["passes"], "rows")


def joins(folder: Path) -> None:
    """How much a sentence said in pieces differs from the same units said at once."""
    model = SeamlessModel(folder, "cpu")
    draw = np.random.default_rng(0)
    units = [int(unit) for unit in np.repeat(draw.integers(0, 60, 60), draw.integers(1, 5, 60))]
    whole = model.vocode(units, "spa", SPEAKER_OF["spa"])
    for context in (0, 4, 8, 12, 16, RECEPTIVE):
        joined = []
        for start in range(0, len(units), 25):
            before, after = min(start, context), min(context, max(0, len(units) - start - 25))
            piece = units[start - before : start + 25 + after]
            joined.append(model.vocode(piece, "spa", SPEAKER_OF["spa"], before, after))
        difference = np.concatenate(joined) - whole
        ratio = 10 * np.log10(np.sum(whole**2) / max(float(np.sum(difference**2)), 1e-20))
        record(f"joins_snr_{context}_units_db", min(float(ratio), 200.0), "dB")


def gpu(folder: Path) -> None:
    """Times, throughput and memory of the full size."""
    model, separate = SeamlessModel(folder, "cuda"), Separate(folder, "cuda")

    def seconds(work: Callable[[], object], times: int = 10) -> list[float]:
        work()
        taken = []
        for _ in range(times):
            torch.cuda.synchronize()
            began = time.perf_counter()
            work()
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - began)
        return taken

    for length in LENGTHS:
        for count in COUNTS:
            languages = SPOKEN[:count]
            together = percentile(seconds(partial(once, model, length, languages)), 0.5)
            apart = percentile(seconds(partial(separate, length, languages), 3), 0.5)
            record(f"gpu_segment_{length:.0f}s_{count}_languages_ms", together * 1000, "ms")
            record(f"gpu_encode_once_{length:.0f}s_{count}_languages", apart / together, "times")
    torch.cuda.reset_peak_memory_stats()
    for batch in (1, 2, 4, 8, 16, 32):
        clips = [noise(4.0, number) for number in range(batch)]

        def serve(clips: list[Any] = clips) -> None:
            speak(model, [Row(encoded, code) for encoded in model.encode_speech(clips) for code in SPOKEN[:2]])

        taken = percentile(seconds(serve, 5), 0.5)
        record(f"gpu_segments_per_second_batch_{batch}", batch / taken, "1/s")
    record("gpu_memory_gb", torch.cuda.max_memory_allocated() / 1e9, "GB")


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        tiny = build(Path(folder, "tiny"), TINY)
        passes(tiny)
        mid = talkative(build(Path(folder, "mid"), MID))
        encode_once(mid)
        joins(mid)
        if torch.cuda.is_available():
            gpu(talkative(build(Path(folder, "full"), FULL)))
        else:
            print("There is no GPU here: the full size is left out.")
    if (CHECKPOINT / "config.json").exists():
        policy.run(CHECKPOINT)
        asyncio.run(monologue.run(CHECKPOINT, monologue.MINUTES))
    else:
        print(
            f"There is no trained model in {CHECKPOINT}: python -m tests.bench.train_seamless {CHECKPOINT} makes one."
        )


if __name__ == "__main__":
    main()
