"""An engine that runs in other containers: both ends of the line between a room's server and a GPU.

`RemoteTranslator` is a `models.base.Translator` that has its work done elsewhere; `TranslatorService` does it there,
with any engine. A segment is one call, with all languages that are wanted of it, begun at the cut; renderings stream
back as they are made. What crosses is plain: dictionaries, strings, and samples as 16-bit integers.
"""

import itertools
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from models.base import (
    SPEECH_RATE,
    Clip,
    EngineBroken,
    EngineBusy,
    EngineError,
    EngineFailed,
    Language,
    Pcm,
    Progress,
    Recognition,
    Rendering,
    Speech,
    Transcript,
    Translator,
)

log = logging.getLogger(__name__)

Answer = Mapping[str, Any]
"""A rendering on its way, or `{"error": kind, "message": sentence}`."""

MAX_CALLS = 48
"""Under way at once from one server; each has a thread that waits."""

PATIENCE = 60.0
"""Seconds without any answer after which a segment is given up; loading a model may take longer, see `load`."""

LOAD_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Seconds between attempts to reach the other end at the start; the last again and again, for as long as we live."""

WARM = 60.0
"""Seconds for which nobody need wake the other end again."""

INTERIM_EVERY = 1.5
"""Seconds of new audio between two interim texts."""

ERRORS: dict[str, type[EngineError]] = {"busy": EngineBusy, "failed": EngineFailed}


class Calls(Protocol):
    """How the other end is reached; iterators and calls block. Anything may be raised: the line may be down."""

    def describe(self) -> Mapping[str, Any]:
        """`TranslatorService.describe`."""

    def interpret(self, request: Mapping[str, Any]) -> Iterator[Answer]:
        """`TranslatorService.interpret`."""

    def render(self, request: Mapping[str, Any]) -> Iterator[Answer]:
        """`TranslatorService.render`."""


class TranslatorService:
    """The end where the engine is. Thread-safe, as engines are: calls share the engine's batches."""

    def __init__(self, translator: Translator, broken: Callable[[], None]) -> None:
        """`translator` is loaded. `broken` is called when it will never work again: this end is to be replaced, while
        the other loses a segment and goes on."""
        self._translator = translator
        self._broken = broken

    def describe(self) -> dict[str, Any]:
        """The engine: name, notice, languages, and the ways between them that are not direct."""
        translator = self._translator
        codes = [language.code for language in translator.languages]
        routes = {(a, b): translator.route(a, b) for a in codes for b in codes if a != b}
        return {
            "name": translator.name,
            "notice": translator.notice,
            "languages": [asdict(language) for language in translator.languages],
            "indirect": [(a, b, route) for (a, b), route in routes.items() if route != ()],
        }

    def interpret(self, request: Mapping[str, Any]) -> Iterator[Answer]:
        """`{pcm, source, targets, speaker, room, final}`: a segment in all languages, its own first."""

        def work() -> Iterator[Rendering]:
            recognition = self._translator.hear(request["speaker"], request["source"], request["room"], False)
            try:
                recognition.want(request["targets"])
                recognition.push(unpack(request["pcm"]))
                renderings = recognition.finish() if request["final"] else recognition.interim()
                yield from renderings or ()
            finally:
                recognition.cancel()

        return self._answers(work())

    def render(self, request: Mapping[str, Any]) -> Iterator[Answer]:
        """`{text, language, targets, speech}`: typed text in all languages, or read aloud as it is (`verbatim`)."""

        def work() -> Iterator[Rendering]:
            text, language = request["text"], request["language"]
            if request["verbatim"]:
                yield Rendering(language, text, speech=self._translator.speak(text, language))
            else:
                yield from self._translator.render(Transcript(text, language), request["targets"], request["speech"])

        return self._answers(work())

    def _answers(self, renderings: Iterator[Rendering]) -> Iterator[Answer]:
        """Renderings, and what went wrong, in plain words."""
        try:
            for one in renderings:
                speech = None if one.speech is None else (pack(one.speech.pcm), one.speech.sample_rate)
                yield {"language": one.language, "text": one.text, "via": one.via, "speech": speech}
        except EngineError as error:
            if isinstance(error, EngineBroken):
                self._broken()
            yield {"error": "busy" if isinstance(error, EngineBusy) else "failed", "message": str(error)}


class RemoteRecognition:
    """One segment: its samples are kept here until it is cut. Implements `base.Recognition`."""

    def __init__(self, translator: "RemoteTranslator", speaker: str, source: str, room: str) -> None:
        self._translator = translator
        self._request = {"speaker": speaker, "source": source, "room": room}
        self._targets: tuple[str, ...] = ()
        self._clip = Clip()
        self._looked_at = 0
        self._interim: _Line | None = None
        self._final: _Line | None = None

    def push(self, pcm: Pcm) -> None:
        """Keep the samples."""
        if self._final is None:
            self._clip.push(pcm)

    def want(self, targets: Sequence[str]) -> None:
        """Languages in which somebody listens; those of the cut are computed."""
        self._targets = tuple(dict.fromkeys(targets))

    def interim(self) -> Iterator[Rendering] | None:
        """What was said so far, if the last such question is answered. Never simultaneous: nothing is committed."""
        due = self._looked_at + INTERIM_EVERY * SPEECH_RATE
        under_way = self._interim is not None and not self._interim.ended
        if self._final is not None or self._clip.samples < due or under_way or self._translator.crowded:
            return None
        self._looked_at = self._clip.samples
        self._interim = self._call(final=False)
        return self._interim.renderings()

    def finish(self) -> Iterator[Rendering]:
        """The one call for all languages; it is on its way when this returns."""
        if self._interim is not None:
            self._interim.cancel()
        if not self._clip.samples:
            return iter(())
        self._final = self._call(final=True)
        return self._final.renderings()

    def cancel(self) -> None:
        """Nobody listens to the answers any more."""
        for line in (self._interim, self._final):
            if line is not None:
                line.cancel()
        self._clip.clear()

    def _call(self, final: bool) -> "_Line":
        pcm = pack(self._clip.whole())
        request = {**self._request, "pcm": pcm, "targets": self._targets, "final": final}
        calls = self._translator.calls
        return self._translator.begin(lambda: calls.interpret(request))


class RemoteTranslator:
    """Implements `base.Translator`. Several segments are under way at once, each in a thread that only waits."""

    def __init__(self, calls: Calls, known: Mapping[str, Any] | None = None, patience: float = PATIENCE) -> None:
        """`known`: an earlier `describe`, so that languages can be chosen while the other end still starts."""
        self.calls = calls
        self.name = "remote"
        self.notice = ""
        self.languages: Sequence[Language] = []
        self.described: Mapping[str, Any] | None = None
        """What the other end said of itself the last time."""
        self._patience = patience
        self._indirect: dict[tuple[str, str], tuple[str, ...] | None] = {}
        self._threads = ThreadPoolExecutor(MAX_CALLS, thread_name_prefix="remote")
        self._slots = threading.BoundedSemaphore(MAX_CALLS)
        self._closed = threading.Event()
        self._warmed_at = -WARM
        self._counted: Counter[str] = Counter()
        if known is not None:
            try:
                self._learn(known)
            except (AttributeError, KeyError, TypeError, ValueError) as error:  # of another version: it is asked anew
                log.warning("what the interpreter said of itself before cannot be read: %r", error)

    def load(self, progress: Progress) -> None:
        """Ask the other end who it is: a container that has to start, and to load a model, answers when it has. However
        long that takes: whoever gave up would be a server that never interprets. Raises EngineError once closed."""
        progress(0.0, "waiting for the interpreter's container")
        for pause in itertools.chain(LOAD_PAUSES, itertools.repeat(LOAD_PAUSES[-1])):
            try:
                self._learn(self.calls.describe())
            except Exception as error:  # the line may raise anything, and it may be better in a moment
                log.warning("the interpreter's container does not answer: %r", error)
                progress(0.0, "the interpreter's container does not answer, trying again")
                if self._closed.wait(pause):
                    raise EngineError("The interpreter is closed.") from error
            else:
                self._warmed_at = time.monotonic()
                return progress(1.0, "")

    def _learn(self, described: Mapping[str, Any]) -> None:
        """All of it, or nothing."""
        name, notice = described["name"], described["notice"]
        indirect = {(a, b): None if route is None else tuple(route) for a, b, route in described["indirect"]}
        languages = [Language(**language) for language in described["languages"]]
        self.described, self.name, self.notice = described, name, notice
        self._indirect, self.languages = indirect, languages

    def route(self, source: str, target: str) -> tuple[str, ...] | None:
        """As the other end told."""
        codes = {language.code for language in self.languages}
        if source not in codes or target not in codes:
            return None
        return self._indirect.get((source, target), ())

    def prepare(self, source: str, target: str) -> None:
        """Somebody will be interpreted soon: wake the other end, which may have been stopped for want of work."""
        if time.monotonic() - self._warmed_at < WARM:
            return
        self._warmed_at = time.monotonic()
        try:
            self.calls.describe()
        except Exception as error:  # the line may raise anything
            raise EngineFailed("The interpreter could not be reached.") from error

    def hear(self, speaker: str, source: str, room: str = "", simultaneous: bool = True) -> Recognition:
        """Begin a segment. Raises EngineBusy when too many are under way."""
        if self.crowded:
            raise EngineBusy("The interpreter has too much to do at this moment.")
        return RemoteRecognition(self, speaker, source, room)

    def render(self, transcript: Transcript, targets: Sequence[str], speech: bool) -> Iterator[Rendering]:
        """Typed text in all targets, one call."""
        routed = [target for target in dict.fromkeys(targets) if self._known(transcript.language, target)]
        if not routed:
            return iter(())
        return self._text(transcript.text, transcript.language, routed, speech).renderings()

    def _known(self, source: str, target: str) -> bool:
        return source == target or self.route(source, target) is not None

    def speak(self, text: str, language: str) -> Speech:
        """Say the text."""
        if not any(one.code == language and one.speech_out for one in self.languages):
            raise ValueError(f"there is no voice for {language!r}")
        for rendering in self._text(text, language, [], True, verbatim=True).renderings():
            if rendering.speech is not None:
                return rendering.speech
        raise EngineFailed("The interpreter gave no voice to that.")

    def _text(self, text: str, language: str, targets: list[str], speech: bool, verbatim: bool = False) -> "_Line":
        request = {"text": text, "language": language, "targets": targets, "speech": speech, "verbatim": verbatim}
        return self.begin(lambda: self.calls.render(request))

    def counters(self) -> Mapping[str, float]:
        """calls, calls_failed, calls_given_up (no answer in time), calls_refused (too many)."""
        return dict(self._counted)

    def close(self) -> None:
        """Wait for nothing: what is under way elsewhere ends there."""
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # for recognitions

    @property
    def crowded(self) -> bool:
        """No call can be begun now."""
        free = self._slots.acquire(blocking=False)
        if free:
            self._slots.release()
        return not free

    def begin(self, call: Callable[[], Iterator[Answer]]) -> "_Line":
        """Have a thread follow the call. Never blocks; the line tells what goes wrong."""
        line = _Line(self._patience, self._counted)
        if self._closed.is_set():
            line.end(EngineFailed("The interpreter is closed."))
        elif not self._slots.acquire(blocking=False):
            self._counted["calls_refused"] += 1
            line.end(EngineBusy("The interpreter has too much to do at this moment."))
        else:
            self._counted["calls"] += 1
            self._threads.submit(line.follow, call).add_done_callback(lambda _: self._slots.release())
        return line


class _Line:
    """One call under way: a thread of ours puts answers in, the engine's takes them out."""

    def __init__(self, patience: float, counted: Counter[str]) -> None:
        self._patience = patience
        self._counted = counted
        self._answers: queue.SimpleQueue[Rendering | EngineError | None] = queue.SimpleQueue()
        self._cancelled = False
        self.ended = False

    def follow(self, call: Callable[[], Iterator[Answer]]) -> None:
        """In the thread: until the call ends or nobody listens."""
        try:
            for answer in call():
                if self._cancelled:
                    return
                self._answers.put(_rendering(answer))
            self.end()
        except EngineError as error:
            self.end(error)
        except Exception:  # the line may raise anything: a container that died, a control plane that fails
            self.end(EngineFailed("The interpreter could not be reached: that was not translated."))

    def end(self, error: EngineError | None = None) -> None:
        """Nothing more comes."""
        self._counted["calls_failed"] += error is not None
        self.ended = True
        self._answers.put(error)

    def cancel(self) -> None:
        """Let go of what comes, and of who waits for it."""
        self._cancelled = self.ended = True
        self._answers.put(None)

    def renderings(self) -> Iterator[Rendering]:
        """As they come. Raises EngineError, also when nothing comes for too long."""
        while True:
            try:
                answer = self._answers.get(timeout=self._patience)
            except queue.Empty:
                self.cancel()
                self._counted["calls_given_up"] += 1
                raise EngineFailed("The interpreter took too long: that was not translated.") from None
            if answer is None or self._cancelled:
                return
            if isinstance(answer, EngineError):
                raise answer
            yield answer


def _rendering(answer: Answer) -> Rendering:
    """Raises EngineError if that is the answer."""
    if "error" in answer:
        raise ERRORS.get(answer["error"], EngineFailed)(answer["message"])
    speech = answer["speech"]
    return Rendering(
        answer["language"],
        answer["text"],
        tuple(answer["via"]),
        None if speech is None else Speech(unpack(speech[0]), speech[1]),
    )


def pack(pcm: Pcm) -> bytes:
    """Samples in [-1, 1] as 16-bit little-endian integers: 32 kB a second at 16 kHz."""
    return (np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes()


def unpack(data: bytes) -> Pcm:
    """The samples again."""
    return np.frombuffer(data, "<i2").astype(np.float32) * np.float32(1 / 32767)
