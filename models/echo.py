"""An engine that understands nothing: for tests of what surrounds an engine, and for hearing one's own microphone.

It counts what it hears (`heard 1.2 s`), translates by naming the language (`[es] heard 1.2 s`) and speaks by giving the
speaker's own voice back. Simultaneously, each whole second is a clause that is settled and spoken at once (`heard 1 s,
1.2 s`, of which the voice has said `heard 1 s`). Everything is exact and immediate, and it keeps a list of what it did.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from models.base import SPEECH_RATE, EngineError, Language, Pcm, Progress, Rendering, Speech, Transcript

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

CLAUSE = SPEECH_RATE
"""Samples of a clause: once heard whole it is settled."""


class EchoRecognition:
    """Counts samples. Implements `base.Recognition`."""

    def __init__(self, engine: "EchoTranslator", language: str, simultaneous: bool) -> None:
        self._engine = engine
        self._language = language
        self._simultaneous = simultaneous
        self._targets: tuple[str, ...] = ()
        self._pieces: list[Pcm] = []
        self._samples = 0
        self._told = 0
        self._spoken: dict[str, int] = {}  # samples, by language
        self._over = False

    def push(self, pcm: Pcm) -> None:
        """Hand over samples at SPEECH_RATE."""
        self._pieces.append(pcm.astype(np.float32))  # a copy: the caller may use its buffer again
        self._samples += len(pcm)

    def want(self, targets: Sequence[str]) -> None:
        """Languages in which somebody listens; each is looked at again when its turn comes."""
        self._targets = tuple(dict.fromkeys(targets))

    def interim(self) -> Iterator[Rendering] | None:
        """`heard 0.5 s`, then `heard 1.0 s` and so on, each once."""
        steps = self._samples // INTERIM_EVERY
        if steps == self._told:
            return None
        self._told = steps
        return self._interim(steps * INTERIM_EVERY)

    def _interim(self, samples: int) -> Iterator[Rendering]:
        settled = samples // CLAUSE * CLAUSE if self._simultaneous else 0
        for language in self._languages():
            if self._over:
                return
            text = self._text(samples, language)
            committed = len(self._text(settled, language)) if settled else 0
            speech = self._speech(text, language, settled)
            yield Rendering(language, text, (), speech, committed, settled / SPEECH_RATE if speech else None)

    def finish(self) -> Iterator[Rendering]:
        """`heard 1.2 s`; nothing if there was nothing. Raises what the engine was told to raise."""
        self._over = True
        return self._finals()

    def _finals(self) -> Iterator[Rendering]:
        samples = self._samples
        self._engine.on_finish(Transcript(self._text(samples, self._language), self._language))
        if samples:
            for language in self._languages():
                text = self._text(samples, language)
                yield Rendering(language, text, (), self._speech(text, language, samples))

    def cancel(self) -> None:
        """Forget the segment."""
        self._over = True
        self._samples = 0
        self._pieces.clear()

    def _languages(self) -> Iterator[str]:
        """The speaker's own, then those wanted; `want` may come in between."""
        yield self._language
        for target in self._targets:
            if target in self._targets and self._engine.route(self._language, target) is not None:
                yield target

    def _text(self, samples: int, language: str) -> str:
        return translate(describe(samples, self._simultaneous), self._language, language)

    def _speech(self, text: str, language: str, until: int) -> Speech | None:
        """The speaker's voice up to `until` samples, as far as the language has not said it yet."""
        if language == self._language:
            return None
        self._engine.on_rendering(self._language, language)
        begin = self._spoken.get(language, 0)
        if until <= begin:
            return None
        self._spoken[language] = until
        pieces = list(self._pieces)  # a copy: more are pushed meanwhile
        pcm = np.concatenate(pieces)[begin:until] if pieces else np.zeros(0, np.float32)
        self._engine.on_speech(text, language)
        return Speech(pcm, SPEECH_RATE)


class EchoTranslator:
    """Deterministic, without any model. Implements `base.Translator`."""

    name = "echo"
    notice = "Test engine: repeats what it hears and translates nothing."

    def __init__(self) -> None:
        self.languages: Sequence[Language] = [
            Language(code, name, english, speech_in=True, speech_out=True, text=True)
            for code, (name, english) in NAMES.items()
        ]
        self.heard: list[Transcript] = []
        """Every segment that was finished."""
        self.rendered: list[tuple[str, str]] = []
        """(source, target) of every rendering that was made: a language that five people hear is here once."""
        self.spoken: list[tuple[str, str]] = []
        """(text, language) of every piece of speech that was made."""
        self.fail_next: EngineError | None = None
        """Set it, and the next `finish` raises it."""
        self._lock = threading.Lock()

    def load(self, progress: Progress) -> None:
        """Nothing to do."""

    def route(self, source: str, target: str) -> tuple[str, ...] | None:
        """Always direct between its languages."""
        return () if source in NAMES and target in NAMES else None

    def prepare(self, source: str, target: str) -> None:
        """Nothing to do."""

    def hear(self, speaker: str, source: str, room: str = "", simultaneous: bool = True) -> EchoRecognition:
        """Begin a segment. Never busy."""
        return EchoRecognition(self, source, simultaneous)

    def render(self, transcript: Transcript, targets: Sequence[str], speech: bool) -> Iterator[Rendering]:
        """`[es] ` and the text; spoken as a tone."""
        for target in dict.fromkeys(targets):
            if self.route(transcript.language, target) is None:
                continue
            text = translate(transcript.text, transcript.language, target)
            self.on_rendering(transcript.language, target)
            yield Rendering(target, text, (), self.speak(text, target) if speech else None)

    def speak(self, text: str, language: str) -> Speech:
        """A tone, SECONDS_PER_CHARACTER long for each character. Raises ValueError for a language it does not have."""
        if language not in TONES:
            raise ValueError(f"there is no voice for {language!r}")
        self.on_speech(text, language)
        time = np.arange(round(len(text) * SECONDS_PER_CHARACTER * SPEECH_RATE)) / SPEECH_RATE
        return Speech((0.3 * np.sin(2 * np.pi * TONES[language] * time)).astype(np.float32), SPEECH_RATE)

    def counters(self) -> Mapping[str, float]:
        """What the lists hold."""
        return {"segments": len(self.heard), "renderings": len(self.rendered), "spoken": len(self.spoken)}

    def close(self) -> None:
        """Nothing to do."""

    # What recognitions report.

    def on_finish(self, transcript: Transcript) -> None:
        """The final words of a segment are asked for. Raises `fail_next`."""
        with self._lock:
            failure, self.fail_next = self.fail_next, None
            if failure is not None:
                raise failure
            self.heard.append(transcript)

    def on_rendering(self, source: str, target: str) -> None:
        """A rendering is made."""
        with self._lock:
            self.rendered.append((source, target))

    def on_speech(self, text: str, language: str) -> None:
        """A piece of speech is made."""
        with self._lock:
            self.spoken.append((text, language))


def translate(text: str, source: str, target: str) -> str:
    """`[es] ` and the text, unless it is in that language."""
    return text if target == source else f"[{target}] {text}"


def describe(samples: int, clauses: bool = False) -> str:
    """What is said of so much audio: `heard 1.2 s`; in clauses, each of which begins every longer text: `heard 1 s,
    1.2 s`. Nothing of nothing."""
    if not samples:
        return ""
    if not clauses:
        return f"heard {samples / SPEECH_RATE:.1f} s"
    whole = [f"{second} s" for second in range(1, samples // CLAUSE + 1)]
    rest = [f"{samples / SPEECH_RATE:.1f} s"] if samples % CLAUSE else []
    return "heard " + ", ".join(whole + rest)
