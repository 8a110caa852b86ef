"""What an engine is, as its callers see it: types and Protocols; nothing that runs but the buffer of a segment.

An engine is a synchronous object, numbers in and numbers out. It knows nothing of event loops: its callers run it in
threads of their own (`rtc/engine_thread.py`). A method that may block says so; the others return at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.float32]
"""Mono samples in [-1, 1], shape [samples]."""

SPEECH_RATE = 16_000
"""Hertz: what every recogniser and speech detector here hears."""

VAD_WINDOW = 512
"""Samples at SPEECH_RATE (32 ms): what a speech detector judges at a time."""

Memory = npt.NDArray[np.float32]
"""What a speech detector remembers of a source; its shape is the detector's own."""


class EngineError(Exception):
    """An engine could not do what was asked. The message is a sentence fit for the person who waits."""


class EngineBusy(EngineError):
    """No capacity at this moment; the same call may succeed later."""


class EngineFailed(EngineError):
    """This piece of work is lost (a worker died, a model raised). The engine itself recovers for the next one."""


class EngineBroken(EngineError):
    """Nothing more will work until the process is started anew (a GPU that lost its context)."""


@dataclass(frozen=True, slots=True)
class Language:
    """One language as the engine in use offers it."""

    code: str
    """BCP-47 tag, e.g. `es`."""
    name: str
    """In the language itself, e.g. `español`."""
    english: str
    """In English, for search."""
    speech_in: bool
    """Its speech is understood."""
    speech_out: bool
    """It can be spoken."""
    text: bool
    """Its text can be translated."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Synthesised speech."""

    pcm: Pcm
    sample_rate: int
    """Hertz."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of one segment, or of a typed message."""

    text: str
    language: str
    """BCP-47 tag of the words."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A segment in one language."""

    language: str
    text: str
    """All of the segment, as far as it was heard."""
    via: tuple[str, ...] = ()
    """Languages in between, when there is no direct translation: `("es",)` for English → Spanish → French."""
    speech: Speech | None = None
    """What is to be said now: in a final what was not said before, in an interim a clause that is settled. None when
    there is nothing to say, or the language has no voice."""
    committed: int = 0
    """Of an interim: leading characters of `text` that every later rendering of the segment begins with."""
    source_end: float | None = None
    """Of an interim with speech: seconds of the segment after which its words were said by the speaker."""


Progress = Callable[[float, str], None]
"""How far loading is, in [0, 1], and what is being done, in a few words. Called from the loading thread."""


class Clip:
    """The samples of a segment, for an engine that wants them whole: `push` as they come."""

    def __init__(self) -> None:
        self._pieces: list[Pcm] = []
        self.samples = 0
        """Pushed so far."""

    def push(self, pcm: Pcm) -> None:
        """Keep the samples: a copy, since the caller may use its buffer again."""
        self._pieces.append(pcm.astype(np.float32))
        self.samples += len(pcm)

    def whole(self) -> Pcm:
        """All that is kept."""
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0] if self._pieces else np.zeros(0, np.float32)

    def clear(self) -> None:
        """Nobody needs them any more."""
        self._pieces.clear()


class Recognition(Protocol):
    """One segment of speech while it is being heard and interpreted.

    Use: push*, want*, interim* in any order, then finish or cancel, once. Iterators are stepped one at a time, in the
    order in which they were made.
    """

    def push(self, pcm: Pcm) -> None:
        """Hand over the next samples at SPEECH_RATE, any number. Never blocks: overload is dropped and counted."""

    def want(self, targets: Sequence[str]) -> None:
        """The languages, besides the speaker's, in which somebody listens now. Never blocks. What is no longer wanted
        when its turn comes is not computed."""

    def interim(self) -> Iterator[Rendering] | None:
        """Ask for the newest hypothesis of all so far: in the speaker's language, then in those wanted. None if there
        is nothing new yet. Never blocks; `next()` does, and raises EngineError. Ends early if `finish` overtakes it."""

    def finish(self) -> Iterator[Rendering]:
        """The final words: in the speaker's language first, then in each wanted language as soon as it is ready, with
        speech. Nothing at all when nothing was understood. Never blocks; `next()` does, and raises EngineError."""

    def cancel(self) -> None:
        """Forget the segment; what waits of it is not computed. Idempotent, allowed after finish."""


class Translator(Protocol):
    """Understands, translates and speaks. Thread-safe: its callers use several threads."""

    name: str
    """Short and stable, e.g. `embedded`."""
    notice: str
    """A sentence for people: what this engine can and cannot do. Empty when nothing needs saying."""
    languages: Sequence[Language]

    def load(self, progress: Progress) -> None:
        """Make ready; blocks for seconds (minutes for a large model). Raises EngineError."""

    def route(self, source: str, target: str) -> tuple[str, ...] | None:
        """Languages between source and target: `()` if direct (or the same), None if there is no way at all."""

    def prepare(self, source: str, target: str) -> None:
        """Warm the way from source to target so that the first sentence is not slower than the second. Blocks."""

    def hear(self, speaker: str, source: str, room: str = "", simultaneous: bool = True) -> Recognition:
        """Begin a segment of this speaker in this room (any stable keys) in `source`. Never blocks. Raises EngineBusy.

        `simultaneous`: settled clauses may be spoken before the segment ends, where the engine can."""

    def render(self, transcript: Transcript, targets: Sequence[str], speech: bool) -> Iterator[Rendering]:
        """Translate typed text into all targets, one call: each is yielded as soon as it is ready. `next()` blocks.

        The transcript's own language among the targets is yielded untranslated (spoken if asked for). A target without
        a route, or in which nothing can be made of the text, is left out. Raises EngineFailed."""

    def speak(self, text: str, language: str) -> Speech:
        """Say the text. Blocks. Raises EngineFailed, or ValueError if the language has no voice."""

    def counters(self) -> Mapping[str, float]:
        """What was done, dropped and failed so far, by snake_case names; for operators. Never blocks."""

    def close(self) -> None:
        """Free everything. Blocks for a moment. Idempotent."""


class SpeechDetector(Protocol):
    """How probable it is that somebody speaks. One for all sources: what it remembers of each, the source keeps."""

    def load(self) -> None:
        """Make ready; blocks for a moment. Raises EngineError."""

    def memory(self) -> Memory:
        """Of a source that nothing was heard of yet, or not for long."""

    def probabilities(self, memories: Sequence[Memory], windows: Sequence[Pcm]) -> list[float]:
        """Judge the next VAD_WINDOW samples of each source, in [0, 1], as if it were alone. The memories, of as many
        sources, are brought up to date. One window takes 0.3 ms of CPU, six take 0.7; not for the event loop. Raises
        ValueError, before anything has happened, for a window of another size."""


@dataclass(frozen=True, slots=True)
class DialogueFrame:
    """What a voice says in one frame."""

    pcm: Pcm
    """`frame_samples` of them; silence until the voice begins, in the first frames of a conversation."""
    text: str
    """The next piece of its words, often empty. A new word begins with a space."""
    heard: str = ""
    """What the person has said, once it is understood; always empty where the voice writes down only its own words."""


class Dialogue(Protocol):
    """A voice that listens and speaks at the same time, with several people at once: each has a seat in one batch.

    A conversation is a sequence of frames; its time is their number. Whatever happens in one seat, the others hear and
    say the same as without it. One thread makes all calls but `counters`, as a GPU's graphs and buffers ask for.
    """

    name: str
    """Short and stable, e.g. `moshi`."""
    notice: str
    """A sentence for people: what this voice can and cannot do. Empty when nothing needs saying."""
    seats: int
    """How many people it talks with at once. They are numbered from 0."""
    sample_rate: int
    """Hertz, of what it hears and of what it says."""
    frame_samples: int
    """Samples in a frame, the one unit in which it hears and speaks."""

    def load(self, progress: Progress) -> None:
        """Make ready, all seats included; blocks for minutes. Raises EngineError."""

    def reset(self, seats: Sequence[int]) -> None:
        """Forget the conversations of these seats: the next frame of each begins a new one. Costs about as much for
        many as for one. Blocks for milliseconds. Raises EngineFailed (none of them may be used before another reset),
        EngineBroken, or ValueError for a seat that does not exist."""

    def step(self, frames: Mapping[int, Pcm]) -> Mapping[int, DialogueFrame]:
        """One frame on for the seats in `frames` (seat → what the person says), with an answer for each. The others
        stay as they are. Blocks for tens of milliseconds, however many they are.

        Raises ValueError, before anything has happened, for a seat that does not exist or a frame that is not
        `frame_samples` finite numbers; EngineFailed (these frames are lost, the conversations go on); EngineBroken."""

    def counters(self) -> Mapping[str, float]:
        """What was done and failed so far, by snake_case names; for operators. Never blocks."""

    def close(self) -> None:
        """Free everything. Blocks for a moment. Idempotent."""
