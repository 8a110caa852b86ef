"""The one thread that owns SeamlessM4T-v2: takes batches of all rooms' work from the scheduler and answers each.

Encode every utterance once, decode all languages of all utterances in one batch, then give each row its voice. What
goes wrong with a batch is tried again one by one, so that a bad utterance fails alone.
"""

import itertools
import logging
import queue
import threading
import time
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from models.base import SPEECH_RATE, EngineBroken, EngineBusy, EngineError, EngineFailed, Pcm, Rendering, Speech
from models.commit import clause_end, local_agreement, whole_words
from models.languages import LANGUAGES
from models.scheduler import Job, Kind, Scheduler
from models.seamless_model import RECEPTIVE, Encoded, Row, SeamlessModel, Sentence, Units

log = logging.getLogger(__name__)

TOKENS_PER_SECOND, TOKENS_AT_LEAST = 8, 16
"""Nobody says more: a bound on how long the model may go on."""

LETTERS_PER_SECOND, LETTERS_OF_WIDE = 15, 3
"""How fast typed text would be said; a Han character, a kana or a syllable of Hangul says as much as three letters."""

FRAME_SECONDS = 0.16
"""Of speech in one encoder frame."""

MAX_COMPRESSION, COMPRESSED_OVERHEAD = 2.4, 60
"""Text that zlib makes smaller than this repeats itself; a few words (bytes) tell nothing."""

CHARACTERS_PER_SECOND, CHARACTERS_AT_LEAST = 40, 40
"""Nobody speaks faster in any language, translated or not."""


@dataclass(slots=True)
class Voice:
    """One segment in one language: what of it can no more be changed."""

    committed: tuple[int, ...] = ()
    """Tokens."""
    spoken: int = 0
    """Of those, how many were said."""
    tail: tuple[int, ...] = ()
    """The last units that were said, RECEPTIVE of them at most."""
    hypothesis: tuple[int, ...] = ()
    """The last one, whole …"""
    heard: float = 0.0
    """… and the seconds of the segment that it was made of."""


@dataclass(slots=True, eq=False)
class Work:
    """One utterance and what is asked of it; its answers come in `results`."""

    source: str
    """BCP-47, as all languages here are; Seamless' codes are looked up where the model is called."""
    targets: Callable[[], Sequence[str]]
    """Asked when its turn has come."""
    final: bool = True
    speech: bool = True
    clip: Pcm | None = None
    """At SPEECH_RATE …"""
    text: str = ""
    """… or typed."""
    verbatim: bool = False
    """Do not translate: say the text in its own language."""
    voices: dict[str, Voice] | None = None
    """Of a segment that is interpreted simultaneously, by language; kept from pass to pass."""
    cancelled: bool = False
    done: bool = False
    """Ended, well or not."""
    job: "Job[Work] | None" = None
    """Its place in the scheduler."""
    answered: set[str] = field(default_factory=set)
    """Languages."""
    _answers: "queue.SimpleQueue[Rendering | EngineError | None]" = field(default_factory=queue.SimpleQueue)

    @property
    def seconds(self) -> float:
        """Of audio, or what the text would take to say."""
        if self.clip is not None:
            return len(self.clip) / SPEECH_RATE
        wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in self.text)
        return 1 + (len(self.text) + (LETTERS_OF_WIDE - 1) * wide) / LETTERS_PER_SECOND

    def answer(self, rendering: Rendering) -> None:
        """One language is done."""
        self.answered.add(rendering.language)
        self._answers.put(rendering)

    def end(self, error: EngineError | None = None) -> None:
        """Nothing more comes."""
        self.done = True
        self._answers.put(error)

    def results(self) -> Iterator[Rendering]:
        """As they come. Blocks; raises what the work ended with."""
        while (answer := self._answers.get()) is not None:
            if isinstance(answer, EngineError):
                raise answer
            yield answer


Asked = tuple[Work, str, Row]
"""A row, whose it is, and its language by BCP-47."""


class Worker:
    """`submit` from any thread; served from `start` on."""

    def __init__(self, model: SeamlessModel) -> None:
        self._model = model
        self._scheduler: Scheduler[Work] = Scheduler()
        self._changed = threading.Condition()
        self._closed = False
        self._broken: EngineBroken | None = None
        self.counters: defaultdict[str, float] = defaultdict(float)
        """passes (decoder batches), rows_decoded, utterances_encoded, failed, alone, hallucinations, seconds_busy;
        cut_short: finals whose last words are lost, or that never end, at the bound of TOKENS_PER_SECOND."""
        self.written, self.spoken = frozenset(model.text_languages), frozenset(model.voice_languages)
        """Languages that the model can write, and those that it can speak, by Seamless' codes."""
        self._thread = threading.Thread(target=self._run, name="seamless", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def submit(self, work: Work, room: str) -> Work:
        """Queue it. Never blocks; what cannot be done is answered at once."""
        job = Job(work, room, Kind.FINAL if work.final else Kind.INTERIM, work.seconds, 1 + len(work.targets()))
        with self._changed:
            if self._closed or self._broken:
                work.end(self._broken or EngineFailed("The interpreter is shutting down."))
                return work
            work.job = job
            for dropped in self._scheduler.add(job, time.monotonic()):
                dropped.tag.end(EngineBusy("The interpreter has too much to do: that was not translated."))
            self._changed.notify()
        return work

    def cancel(self, work: Work) -> None:
        """If it still waits, it ends at once with nothing; if it is being computed, what is left of it is not."""
        work.cancelled = True
        with self._changed:
            if work.job is not None and self._scheduler.cancel(work.job):
                work.end()

    def statistics(self) -> dict[str, float]:
        """Counters, ours and the scheduler's."""
        with self._changed:
            return {**self._scheduler.counters, **self.counters, "waiting": len(self._scheduler)}

    def close(self) -> None:
        """End the thread after the batch it is at; everything that waits fails. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    # the thread

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            began = time.monotonic()
            try:
                self._try(batch)
            except Exception as error:  # the GPU's, or while making good what failed: nobody may wait for ever
                self._broken = EngineBroken(f"The GPU failed and the server must be started anew: {error}")
                for work in batch:
                    work.end(self._broken)
                break
            self.counters["seconds_busy"] += time.monotonic() - began
        with self._changed:
            failure = self._broken or EngineFailed("The interpreter is shutting down.")
            while waiting := self._scheduler.take():
                for job in waiting:
                    job.tag.end(failure)

    def _next(self) -> list[Work] | None:
        with self._changed:
            while True:
                for late in self._scheduler.stale(time.monotonic()):
                    late.tag.end()
                if self._closed:
                    return None
                if batch := self._scheduler.take():
                    return [job.tag for job in batch]
                self._changed.wait()

    def _try(self, batch: Sequence[Work]) -> None:
        """Serve a batch; if that fails, each of it alone. Raises what nothing can be done about."""
        try:
            self._serve(batch)
        except Exception as error:  # whatever a network raises is told to those who wait for it
            if _is_fatal(error):
                raise
            if len(batch) > 1:
                log.warning("a batch of %d failed, going on one by one: %s", len(batch), error)
                self._release_memory()
                for work in batch:
                    self.counters["alone"] += 1
                    self._try([work])
            else:
                log.exception("a segment failed")
                self._release_memory()
                self.counters["failed"] += 1
                batch[0].end(EngineFailed("The interpreter could not translate that."))
        else:
            for work in batch:
                work.end()

    def _release_memory(self) -> None:
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()

    # one batch

    def _serve(self, batch: Sequence[Work]) -> None:
        wanted = [(work, self._languages(work)) for work in batch if not work.cancelled]
        wanted = [(work, languages) for work, languages in wanted if languages]
        if not wanted:
            return
        encoded = self._encode([work for work, _ in wanted])
        asked = [
            (work, language, Row(meaning, LANGUAGES[language].seamless, self._prefix(work, language)))
            for (work, languages), meaning in zip(wanted, encoded, strict=True)
            for language in languages
        ]
        lines = [line for line in map(self._settle, *zip(*self._decode(asked), strict=True)) if line.text]
        loud = [line for line in lines if self._is_spoken(line)]
        for line in lines:
            if line not in loud:
                line.work.answer(Rendering(line.language, line.text, committed=line.committed))
        sentences = self._model.read([replace(line.row, prefix=line.tokens) for line in loud]) if loud else []
        for line, sentence, units in zip(loud, sentences, self._model.units(sentences), strict=True):
            if not line.work.cancelled:
                line.work.answer(self._speak(line, sentence, units))

    def _languages(self, work: Work) -> list[str]:
        """What is still to be done: the speaker's own language first, if it can be written."""
        own = [work.source] if work.clip is not None or work.verbatim else []
        asked = dict.fromkeys([*own, *(() if work.verbatim else work.targets())])
        return [code for code in asked if code not in work.answered and LANGUAGES[code].seamless in self.written]

    def _prefix(self, work: Work, language: str) -> tuple[int, ...]:
        if work.verbatim:
            return self._model.tokenize(work.text)
        return work.voices[language].committed if work.voices and language in work.voices else ()

    def _encode(self, works: Sequence[Work]) -> list[Encoded]:
        """Each utterance once, whatever the number of languages."""
        self.counters["utterances_encoded"] += len(works)
        clips = [work.clip for work in works if work.clip is not None]
        spoken = iter(self._model.encode_speech(clips) if clips else [])
        return [
            next(spoken)
            if work.clip is not None
            else self._model.encode_text([work.text], LANGUAGES[work.source].seamless)[0]
            for work in works
        ]

    def _decode(self, asked: Sequence[Asked]) -> list[tuple[Asked, tuple[int, ...]]]:
        """All rows in one pass of the decoder. What is to be said as it stands needs no search."""
        searched = [one for one in asked if not one[0].verbatim]
        tokens: Iterator[tuple[int, ...]] = iter(())
        if searched:
            longest = max(work.seconds for work, _, _ in searched)
            most = TOKENS_AT_LEAST + round(TOKENS_PER_SECOND * longest)
            decoded = self._model.decode([row for _, _, row in searched], most)
            tokens = iter(decoded)
            self.counters["passes"] += 1
            self.counters["rows_decoded"] += len(searched)
            self.counters["cut_short"] += sum(
                work.final and len(made) - len(row.prefix) >= most
                for (work, _, row), made in zip(searched, decoded, strict=True)
            )
        return [(one, one[2].prefix if one[0].verbatim else next(tokens)) for one in asked]

    def _settle(self, asked: Asked, tokens: tuple[int, ...]) -> "Line":
        """Decide what of a hypothesis stays, and what of that is said now.

        LocalAgreement-2: what two hypotheses in a row begin with. Measured on the same recordings
        (tests/bench/policy.py) it settles more words, and takes back fewer, than attention tells (AlignAtt)."""
        work, language, row = asked
        voice = Voice() if work.voices is None else work.voices.setdefault(language, Voice())
        text = self._model.text(tokens)
        if not work.verbatim and is_hallucination(text, work.seconds):
            self.counters["hallucinations"] += 1
            tokens = voice.committed
            text = self._model.text(tokens)
        line = Line(work, language, row, voice, tokens, text, voice.heard)
        if work.final:
            line.until = len(tokens)
            return line
        if work.voices is None:
            return line
        # A pass that is made again, because something else in its batch failed, would agree with itself.
        agreed = local_agreement(voice.hypothesis, tokens) if work.seconds > voice.heard else 0
        settled = max(len(voice.committed), whole_words(self._model.subwords(tokens), agreed))
        voice.committed, voice.hypothesis, voice.heard = tokens[:settled], tokens, work.seconds
        line.committed = _common(text, self._model.text(voice.committed))
        end = clause_end(text, line.committed, _common(text, self._model.text(tokens[: voice.spoken])))
        line.until = voice.spoken
        while line.until < settled and len(self._model.text(tokens[: line.until + 1])) <= end:
            line.until += 1
        return line

    def _is_spoken(self, line: "Line") -> bool:
        """Something is to be said, and somebody can say it. Nobody needs their own language in another's voice, in
        whichever script they read it."""
        work, tongue = line.work, LANGUAGES[line.language]
        foreign = tongue.voice != LANGUAGES[work.source].voice or work.verbatim
        new = line.until > line.voice.spoken
        return work.speech and foreign and new and tongue.speaker is not None and tongue.voice in self.spoken

    def _speak(self, line: "Line", sentence: Sentence, units: Units) -> Rendering:
        """The clause's units, heard by the vocoder in the company of those said before and of those that will probably
        follow, so that the pieces join."""
        voice, tongue = line.voice, LANGUAGES[line.language]
        assert tongue.voice is not None and tongue.speaker is not None, "only lines with a voice come here"
        begin = units.ends[voice.spoken - 1] if voice.spoken else 0
        end = units.ends[line.until - 1]
        new, following = units.units[begin:end], units.units[end : end + RECEPTIVE]
        pcm = self._model.vocode(
            (*voice.tail, *new, *following), tongue.voice, tongue.speaker, len(voice.tail), len(following)
        )
        voice.tail = (*voice.tail, *new)[-RECEPTIVE:]
        said, voice.spoken = slice(voice.spoken, line.until), line.until
        # It was in the hypothesis before this one too: whatever attention says, it was heard by then.
        source_end = min(line.heard_before, (max(sentence.attended[said]) + 1) * FRAME_SECONDS)
        return Rendering(
            line.language,
            line.text,
            speech=Speech(pcm, SPEECH_RATE) if len(pcm) else None,
            committed=line.committed,
            source_end=None if line.work.final else source_end,
        )


@dataclass(slots=True, eq=False)
class Line:
    """What became of a row."""

    work: Work
    language: str
    row: Row
    voice: Voice
    tokens: tuple[int, ...]
    text: str
    heard_before: float
    """Seconds of the segment that the hypothesis before this one was made of."""
    committed: int = 0
    """Characters, of an interim."""
    until: int = 0
    """Tokens up to which it is said now."""


def _common(text: str, beginning: str) -> int:
    """Characters that both begin with: what follows a token may change how it is written."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(text, beginning, strict=False)))


def is_hallucination(text: str, seconds: float) -> bool:
    """Whether a model made this up, as they do of silence and noise: the same words over and over, or more of them than
    anybody can say. The first bound is Whisper's (Radford et al. 2022, arXiv 2212.04356, §4.5), but of letters: in
    UTF-8 all those of a script begin alike, and good Hindi, Thai or Georgian would seem to repeat itself."""
    letters = bytes(ord(letter) & 0xFF for letter in text)  # tells those of one script apart; of Han, nearly all
    enough = len(text.encode()) > COMPRESSED_OVERHEAD
    repeats = enough and len(letters) / len(zlib.compress(letters)) > MAX_COMPRESSION
    return repeats or len(text) > CHARACTERS_AT_LEAST + CHARACTERS_PER_SECOND * seconds


def _is_fatal(error: Exception) -> bool:
    """A GPU that failed once answers nothing any more; one that is only full does."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, RuntimeError) and ("CUDA error" in str(error) or "device-side assert" in str(error))
