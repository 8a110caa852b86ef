"""SeamlessM4T-v2 behind `base.Translator`: every language of every room from one model, simultaneously.

While somebody speaks, all they said so far in this segment is translated anew about once a second; what AlignAtt finds
settled is committed, and clause by clause spoken. The weights are Meta's, for non-commercial use (CC-BY-NC 4.0).
"""

import itertools
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from models.base import (
    SPEECH_RATE,
    Clip,
    EngineError,
    EngineFailed,
    Language,
    Pcm,
    Progress,
    Recognition,
    Rendering,
    Speech,
    Transcript,
)
from models.languages import LANGUAGES
from models.seamless_model import SeamlessModel
from models.seamless_worker import Voice, Work, Worker
from models.weights import SEAMLESS, locate

FIRST_PASS, NEXT_PASS = 1.0, 1.0
"""Seconds of audio before a segment is translated for the first time, and between two times: a sooner look costs a pass
and rarely settles a word more."""

SHORTEST = 0.2
"""Seconds: of less than two frames of features the model makes no numbers."""

SILENCE = 10 ** (-75 / 20)
"""Root mean square below which nobody speaks, whatever a speech detector thought. Faint speech is above it: microphones
are heard from -65 dB on, their pauses count here too, and the model evens the level out."""

LONGEST_SENTENCE = 300
"""Characters translated in one go; the model learnt sentences."""

AT_ONCE = 8
"""Sentences of a text that wait or are computed at a time: enough for a batch, and few beside what else may wait."""

BLOCK = 64 << 20
"""Bytes between two reports of progress."""

READING, BUILDING = 0.7, 0.97
"""How far loading is when the weights are read, and when they are where they are used."""


class SeamlessRecognition:
    """One segment. Implements `base.Recognition`; the translator makes it."""

    def __init__(self, worker: Worker, source: str, room: str, simultaneous: bool) -> None:
        self._worker = worker
        self._source = source
        self._room = room
        self._voices: dict[str, Voice] | None = {} if simultaneous else None
        self._targets: Sequence[str] = ()
        self._clip = Clip()
        self._looked_at = 0
        self._interim: Work | None = None
        self._final: Work | None = None

    def push(self, pcm: Pcm) -> None:
        """Keep the samples. Never blocks."""
        if self._final is None:
            self._clip.push(pcm)

    def want(self, targets: Sequence[str]) -> None:
        """The languages in which somebody listens now."""
        self._targets = tuple(targets)

    def interim(self) -> Iterator[Rendering] | None:
        """Translate all so far, if enough is new and the last time is over."""
        due = self._looked_at + NEXT_PASS * SPEECH_RATE if self._looked_at else FIRST_PASS * SPEECH_RATE
        if (
            self._final is not None
            or self._clip.samples < due
            or (self._interim is not None and not self._interim.done)
        ):
            return None
        clip = self._clip.whole()
        if not is_speech(clip):
            return None
        self._looked_at = self._clip.samples
        self._interim = self._work(clip, final=False)
        self._worker.submit(self._interim, self._room)
        return self._interim.results()

    def finish(self) -> Iterator[Rendering]:
        """The last pass, over everything; what was committed stays."""
        if self._interim is not None:
            self._worker.cancel(self._interim)
        clip = self._clip.whole()
        if not np.isfinite(clip).all():
            return _failed("The sound holds values that are no numbers: that was not translated.")
        if not is_speech(clip):
            return iter(())
        self._final = self._work(clip, final=True)
        self._worker.submit(self._final, self._room)
        return self._final.results()

    def cancel(self) -> None:
        """What waits is not computed."""
        for work in (self._interim, self._final):
            if work is not None:
                self._worker.cancel(work)
        self._clip.clear()

    def _work(self, clip: Pcm, final: bool) -> Work:
        speech = final or self._voices is not None
        return Work(self._source, lambda: self._targets, final, speech, clip=clip, voices=self._voices)


class SeamlessTranslator:
    """Hears, translates, writes and speaks about a hundred languages. Implements `base.Translator`."""

    name = "seamless"

    def __init__(self, model: str = SEAMLESS.repository, device: str | None = None) -> None:
        """`model`: a folder, or a repository whose files are in the hub's cache. `device`: as PyTorch names it; the
        first GPU if there is one. Loads nothing yet."""
        self._wanted = model
        self._device = device
        self._worker: Worker | None = None
        self._closed = threading.Event()
        self.languages: Sequence[Language] = [
            Language(t.code, t.name, t.english, speech_in=t.heard, speech_out=t.speaker is not None, text=t.text)
            for t in LANGUAGES.values()
        ]
        self.notice = (
            "SeamlessM4T v2 by Meta, for non-commercial use (CC BY-NC 4.0). It makes mistakes: names, numbers and "
            "negations above all. It does not replace an interpreter."
        )

    def load(self, progress: Progress) -> None:
        """Read 9 GB, once. Raises EngineError: files missing or of something else, no memory, closed meanwhile."""
        folder = locate(self._wanted)
        for read, size in read_ahead(folder):
            progress(READING * read / size, f"reading weights, {read / 1e9:.1f} of {size / 1e9:.1f} GB")
            self._assert_open()
        progress(READING, "putting the model together")
        worker = Worker(_model(folder, self._device))
        self._assert_open()
        worker.start()
        self._worker = worker
        self.languages = [
            Language(
                one.code,
                one.name,
                one.english,
                one.speech_in,
                speech_out=one.speech_out and LANGUAGES[one.code].voice in worker.spoken,
                text=one.text and LANGUAGES[one.code].seamless in worker.written,
            )
            for one in self.languages
            if not one.text or LANGUAGES[one.code].seamless in worker.written
        ]
        progress(BUILDING, "translating for the first time")
        self._warm_up()
        progress(1.0, "")

    def _warm_up(self) -> None:
        """Use every part once, written and heard: on a GPU that is when its code is loaded. Raises EngineError."""
        targets = [one.code for one in self.languages if one.speech_out and one.text and one.code != "en"][:1]
        for _ in self.render(Transcript("Hello.", "en"), ["en", *targets], speech=True):
            pass
        recognition = self.hear("", "en", simultaneous=False)
        recognition.want(targets)
        recognition.push(np.sin(np.arange(SPEECH_RATE, dtype=np.float32)))
        for _ in recognition.finish():
            pass

    def route(self, source: str, target: str) -> tuple[str, ...] | None:
        """Always direct: whatever is heard or written can be written in every language that has text."""
        known = {language.code: language for language in self.languages}
        if source not in known or target not in known:
            return None
        return () if known[target].text or source == target else None

    def prepare(self, source: str, target: str) -> None:
        """Nothing to do: one model knows all."""

    def hear(self, speaker: str, source: str, room: str = "", simultaneous: bool = True) -> Recognition:
        """Begin a segment. `source` is what it will be written in; the model needs not be told what it hears."""
        return SeamlessRecognition(self._ready(), source, room or speaker, simultaneous)

    def render(self, transcript: Transcript, targets: Sequence[str], speech: bool) -> Iterator[Rendering]:
        """Translate typed text sentence by sentence, some of them and all languages in one batch."""
        source = transcript.language
        asked = [target for target in dict.fromkeys(targets) if self.route(source, target) is not None]
        if source in asked:
            asked.remove(source)
            yield Rendering(source, transcript.text, speech=self._own(transcript) if speech else None)
        if not asked or not LANGUAGES[source].text:  # understood only when spoken: from its letters there is no way
            return
        works = (Work(source, lambda: asked, speech=speech, text=sentence) for sentence in sentences(transcript.text))
        texts: dict[str, list[str]] = defaultdict(list)
        voices: dict[str, list[Pcm]] = defaultdict(list)
        understood: set[str] = set()
        for work, renderings in self._served(works):
            made = {rendering.language: rendering for rendering in renderings}
            understood.update(made if has_words(work.text) else asked)
            for target in asked:  # a sentence of which the model makes nothing is better read as it is than not at all
                texts[target].append(made[target].text if target in made else work.text)
                if target in made and (said := made[target].speech) is not None:
                    voices[target].append(said.pcm)
        for target in [target for target in asked if target in understood]:
            pcm = voices.get(target)
            yield Rendering(
                target, " ".join(texts[target]), speech=Speech(np.concatenate(pcm), SPEECH_RATE) if pcm else None
            )

    def speak(self, text: str, language: str) -> Speech:
        """Say the text as it is. Raises EngineFailed, or ValueError if the language has no voice."""
        if not any(one.code == language and one.speech_out for one in self.languages):
            raise ValueError(f"there is no voice for {language!r}")
        works = (Work(language, tuple, text=sentence, verbatim=True) for sentence in sentences(text))
        pieces = [one.speech.pcm for _, made in self._served(works) for one in made if one.speech is not None]
        return Speech(np.concatenate(pieces) if pieces else np.zeros(0, np.float32), SPEECH_RATE)

    def counters(self) -> Mapping[str, float]:
        """The scheduler's and the worker's."""
        return {} if self._worker is None else self._worker.statistics()

    def close(self) -> None:
        """End the thread, and a `load` under way at its next step. Idempotent."""
        self._closed.set()
        if self._worker is not None:
            self._worker.close()

    def _served(self, works: Iterable[Work]) -> Iterator[tuple[Work, list[Rendering]]]:
        """Each text and what is made of it, in order; nothing of one without words. A text of hundreds of sentences
        must not fill the queue, where it would cost others theirs; when nobody waits for it any more, or part of it has
        failed, the rest is not computed."""
        worker, coming = self._ready(), iter(works)
        while under_way := list(itertools.islice(coming, AT_ONCE)):
            for work in under_way:
                if has_words(work.text):
                    worker.submit(work, room="")
                else:
                    work.end()
            try:
                for work in under_way:
                    yield work, list(work.results())
            finally:
                for work in under_way:
                    worker.cancel(work)

    def _assert_open(self) -> None:
        if self._closed.is_set():
            raise EngineError("The server stopped while the model was being loaded.")

    def _ready(self) -> Worker:
        if self._worker is None:
            raise EngineError("The interpreter is still being loaded.")
        return self._worker

    def _own(self, transcript: Transcript) -> Speech | None:
        try:
            return self.speak(transcript.text, transcript.language)
        except ValueError:
            return None


def is_speech(clip: Pcm) -> bool:
    """Whether it is worth asking the model: of silence it makes up words."""
    return len(clip) >= SHORTEST * SPEECH_RATE and float(np.sqrt(np.mean(np.square(clip)))) >= SILENCE


def has_words(text: str) -> bool:
    """Whether there is anything to translate or say: of emoji and punctuation alone, the model makes up words."""
    return any(letter.isalnum() for letter in text)


def sentences(text: str) -> list[str]:
    """The text cut at the ends of sentences and lines; what is too long still, at a space."""
    parts = [part for part in re.split(r"(?<=[.!?…؟۔।॥։።፧။។])\s+|(?<=[。！？])|\n+", text) if part.strip()]
    return [piece for part in parts for piece in _cut(part.strip())]


def _cut(sentence: str) -> list[str]:
    pieces = []
    while len(sentence) > LONGEST_SENTENCE:
        at = sentence.rfind(" ", 1, LONGEST_SENTENCE)
        at = at if at > 0 else LONGEST_SENTENCE
        pieces.append(sentence[:at].strip())
        sentence = sentence[at:].strip()
    return [*pieces, sentence] if sentence else pieces


def _failed(message: str) -> Iterator[Rendering]:
    raise EngineFailed(message)
    yield  # makes this a generator, so that it fails when it is stepped


def read_ahead(folder: Path) -> Iterator[tuple[int, int]]:
    """Bring the weights into the page cache: this is what takes long, and here one can say how far it is.

    Yields (bytes read, bytes in all), block by block."""
    files = sorted(folder.glob("*.safetensors"))
    size, read = sum(path.stat().st_size for path in files), 0
    for path in files:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                read += len(block)
                yield read, size


def _model(folder: Path, device: str | None) -> SeamlessModel:
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return SeamlessModel(folder, device)
    except torch.OutOfMemoryError as error:
        raise EngineError(f"The model does not fit into the GPU's memory (5 GB in bfloat16): {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise EngineError(f"The model in {folder} cannot be loaded: {error}") from error
