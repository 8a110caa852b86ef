"""What an engine is, as its callers see it: types and Protocols, nothing that runs.

An engine is a synchronous object, numbers in and numbers out. It knows nothing of event loops: its callers run it in
threads of their own (`rtc/engine_thread.py`). A method that may block says so; the others return at once.
"""

from collections.abc import Iterator, Sequence
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


class EngineError(Exception):
    """An engine could not do what was asked. The message is a sentence fit for the person who waits."""


class EngineBusy(EngineError):
    """No capacity at this moment; the same call may succeed later."""


class EngineFailed(EngineError):
    """This piece of work is lost (a worker died, a model raised). The engine itself recovers for the next one."""


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
    """The words of one segment (or of a typed message). An engine may subclass it to carry its encoder's state."""

    text: str
    language: str
    """BCP-47 tag of the words."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A transcript in one target language."""

    language: str
    text: str
    via: tuple[str, ...] = ()
    """Languages in between, when there is no direct translation: `("es",)` for English → Spanish → French."""
    speech: Speech | None = None
    """None when speech was not asked for or the language has no voice."""


class Recognition(Protocol):
    """One segment of speech while it is being heard. Use: push* (interim)* then finish or cancel, once."""

    def push(self, pcm: Pcm) -> None:
        """Hand over the next samples at SPEECH_RATE, any number. Never blocks: overload is dropped and counted."""

    def interim(self) -> str | None:
        """The newest hypothesis of all so far, or None if it has not changed since the last call. Never blocks."""

    def finish(self) -> Transcript:
        """The final words; an empty text means nothing was understood. Blocks. Raises EngineFailed."""

    def cancel(self) -> None:
        """Forget the segment. Idempotent, allowed after finish."""


class Translator(Protocol):
    """Understands, translates and speaks. Thread-safe: its callers use several threads."""

    name: str
    """Short and stable, e.g. `embedded`."""
    notice: str
    """A sentence for people: what this engine can and cannot do. Empty when nothing needs saying."""
    languages: Sequence[Language]

    def load(self) -> None:
        """Make ready; blocks for seconds (minutes for a large model). Raises EngineError."""

    def route(self, source: str, target: str) -> tuple[str, ...] | None:
        """Languages between source and target: `()` if direct (or the same), None if there is no way at all."""

    def prepare(self, source: str, target: str) -> None:
        """Warm the way from source to target so that the first sentence is not slower than the second. Blocks."""

    def hear(self, speaker: str, source: str) -> Recognition:
        """Begin a segment of this speaker (any stable key) in `source`. Never blocks. Raises EngineBusy."""

    def render(self, transcript: Transcript, targets: Sequence[str], speech: bool) -> Iterator[Rendering]:
        """Translate into all targets, one call: each Rendering is yielded as soon as it is ready. `next()` blocks.

        The transcript's own language among the targets is yielded untranslated (spoken if asked for). A target without
        a route is left out. Raises EngineFailed."""

    def speak(self, text: str, language: str) -> Speech:
        """Say the text. Blocks. Raises EngineFailed, or ValueError if the language has no voice."""

    def close(self) -> None:
        """Free everything. Blocks for a moment. Idempotent."""


class SpeechDetector(Protocol):
    """How probable it is that somebody speaks. One instance per source: it has state."""

    def probability(self, window: Pcm) -> float:
        """Judge the next VAD_WINDOW samples, in [0, 1]. Takes about 0.1 ms of CPU; not for the event loop."""

    def reset(self) -> None:
        """Forget the past (after a gap in the audio)."""
