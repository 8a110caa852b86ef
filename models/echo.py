"""An engine that understands nothing: for tests of what surrounds an engine, and for hearing one's own microphone.

It counts what it hears (`heard 1.2 s`), translates by naming the language (`[es] heard 1.2 s`) and speaks by giving the
speaker's own voice back. Everything is exact and immediate, and it keeps a list of what it was asked to do.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.base import SPEECH_RATE, EngineFailed, Language, Pcm, Rendering, Speech, Transcript

NAMES = {
    "en": ("English", "English"),
    "es": ("español", "Spanish"),
    "fr": ("français", "French"),
    "de": ("Deutsch", "German"),
    "ja": ("日本語", "Japanese"),
}
"""Code: (own name, English name)."""

TONES = {"en": 300.0, "es": 400.0, "fr": 500.0, "de": 600.0, "ja": 700.0}
"""Hertz of the tone that stands for typed text in each language."""

SECONDS_PER_CHARACTER = 0.05

INTERIM_EVERY = SPEECH_RATE // 2
"""Samples between two interim texts."""


@dataclass(frozen=True, slots=True, eq=False)
class HeardTranscript(Transcript):
    """A segment with what was heard in it, as a model's transcript would carry its encoder's output."""

    pcm: Pcm
    """At SPEECH_RATE."""


class EchoRecognition:
    """Counts samples. Implements `base.Recognition`."""

    def __init__(self, engine: "EchoTranslator", language: str) -> None:
        self._engine = engine
        self._language = language
        self._pieces: list[Pcm] = []
        self._samples = 0
        self._told = 0

    def push(self, pcm: Pcm) -> None:
        """Hand over samples at SPEECH_RATE."""
        self._pieces.append(pcm.astype(np.float32))  # a copy: the caller may use its buffer again
        self._samples += len(pcm)

    def interim(self) -> str | None:
        """`heard 0.5 s`, then `heard 1.0 s` and so on, each once."""
        steps = self._samples // INTERIM_EVERY
        if steps == self._told:
            return None
        self._told = steps
        return describe(steps * INTERIM_EVERY)

    def finish(self) -> HeardTranscript:
        """`heard 1.2 s`; an empty text if there was nothing. Raises EngineFailed if the engine was told to fail."""
        pcm = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)
        text = describe(len(pcm)) if len(pcm) else ""
        transcript = HeardTranscript(text, self._language, pcm)
        self._engine.on_heard(transcript)
        return transcript

    def cancel(self) -> None:
        """Forget the segment."""
        self._pieces.clear()


class EchoTranslator:
    """Deterministic, without any model. Implements `base.Translator`."""

    name = "echo"
    notice = "Test engine: repeats what it hears and translates nothing."

    def __init__(self) -> None:
        self.languages: Sequence[Language] = [
            Language(code, name, english, speech_in=True, speech_out=True, text=True)
            for code, (name, english) in NAMES.items()
        ]
        self.heard: list[HeardTranscript] = []
        """Every segment that was finished."""
        self.rendered: list[tuple[str, str]] = []
        """(source, target) of every rendering that was made: a language that five people hear is here once."""
        self.spoken: list[tuple[str, str]] = []
        """(text, language) of every piece of speech that was made."""
        self.fail_next = False
        """Set it, and the next `finish` raises EngineFailed."""
        self._lock = threading.Lock()

    def load(self) -> None:
        """Nothing to do."""

    def route(self, source: str, target: str) -> tuple[str, ...] | None:
        """Always direct between its languages."""
        return () if source in NAMES and target in NAMES else None

    def prepare(self, source: str, target: str) -> None:
        """Nothing to do."""

    def hear(self, speaker: str, source: str) -> EchoRecognition:
        """Begin a segment. Never busy."""
        return EchoRecognition(self, source)

    def render(self, transcript: Transcript, targets: Sequence[str], speech: bool) -> Iterator[Rendering]:
        """`[es] ` and the text; spoken in the segment's own voice at SPEECH_RATE, or for typed text as a tone."""
        for target in dict.fromkeys(targets):
            if self.route(transcript.language, target) is None:
                continue
            text = transcript.text if target == transcript.language else f"[{target}] {transcript.text}"
            with self._lock:
                self.rendered.append((transcript.language, target))
            yield Rendering(target, text, (), self._voice(transcript, text, target) if speech else None)

    def speak(self, text: str, language: str) -> Speech:
        """A tone, SECONDS_PER_CHARACTER long for each character. Raises ValueError for a language it does not have."""
        if language not in TONES:
            raise ValueError(f"there is no voice for {language!r}")
        with self._lock:
            self.spoken.append((text, language))
        time = np.arange(round(len(text) * SECONDS_PER_CHARACTER * SPEECH_RATE)) / SPEECH_RATE
        return Speech((0.3 * np.sin(2 * np.pi * TONES[language] * time)).astype(np.float32), SPEECH_RATE)

    def close(self) -> None:
        """Nothing to do."""

    def on_heard(self, transcript: HeardTranscript) -> None:
        """A recognition is finished."""
        with self._lock:
            failing, self.fail_next = self.fail_next, False
            if failing:
                raise EngineFailed("The test engine was told to fail.")
            self.heard.append(transcript)

    def _voice(self, transcript: Transcript, text: str, language: str) -> Speech:
        if not isinstance(transcript, HeardTranscript):
            return self.speak(text, language)
        with self._lock:
            self.spoken.append((text, language))
        return Speech(transcript.pcm, SPEECH_RATE)


def describe(samples: int) -> str:
    """What is said of so much audio: `heard 1.2 s`."""
    return f"heard {samples / SPEECH_RATE:.1f} s"
