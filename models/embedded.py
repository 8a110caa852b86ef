"""The engine for a machine with no GPU and no download: PocketSphinx, Apertium and espeak-ng behind `base.Translator`.

A demo and a test bed, and it says so: spoken English in, seven related languages out, each in a machine's voice. It
offers what it finds installed: without Apertium it captions English, without espeak-ng it writes and does not speak.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from models import espeak
from models.apertium import Apertium
from models.base import (
    SPEECH_RATE,
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
from models.languages import BY_CODE, TONGUES
from models.recognizer import LANGUAGE as HEARD
from models.recognizer import PocketSphinxRecognition, RecognizerPool


def default_workers() -> int:
    """How many people may speak at the same moment: one for each core, but two at least and four at most."""
    return max(2, min(4, os.cpu_count() or 1))


class EmbeddedRecognition:
    """One segment: its words from a recogniser, other languages by rules. Implements `base.Recognition`."""

    def __init__(self, engine: "EmbeddedTranslator", words: PocketSphinxRecognition) -> None:
        self._engine = engine
        self._words = words
        self._targets: frozenset[str] = frozenset()
        self._over = False

    def push(self, pcm: Pcm) -> None:
        """Hand over samples at SPEECH_RATE. Never blocks."""
        self._words.push(pcm)

    def want(self, targets: Sequence[str]) -> None:
        """Languages in which somebody listens; each is looked at again when its turn comes."""
        self._targets = frozenset(targets)

    def interim(self) -> Iterator[Rendering] | None:
        """The newest words as an unfinished sentence, in text only: nothing of it is settled before the end."""
        text = self._words.interim()
        return None if text is None else self._interim(text)

    def _interim(self, text: str) -> Iterator[Rendering]:
        yield Rendering(HEARD, text)
        transcript = Transcript(text, HEARD)
        yield from self._engine.renderings(
            transcript, sorted(self._targets), False, lambda target: target in self._targets and not self._over
        )

    def finish(self) -> Iterator[Rendering]:
        """The final words, which the recogniser begins to work out now."""
        self._over = True
        self._words.end()
        return self._finals()

    def _finals(self) -> Iterator[Rendering]:
        transcript = self._words.finish()
        if not transcript.text:
            return
        yield Rendering(transcript.language, transcript.text)
        yield from self._engine.renderings(
            transcript, sorted(self._targets), True, lambda target: target in self._targets
        )

    def cancel(self) -> None:
        """Forget the segment. The recogniser is free at once."""
        self._over = True
        self._targets = frozenset()
        self._words.cancel()


class EmbeddedTranslator:
    """Understands English, translates between related languages, speaks them. Implements `base.Translator`."""

    name = "embedded"

    def __init__(self, workers: int | None = None) -> None:
        """`workers`: how many people may speak at the same moment; each costs 120 MB. Starts nothing yet."""
        self._pool = RecognizerPool(workers or default_workers())
        self._apertium = Apertium()
        self._speaks = espeak.available()
        written = {HEARD} | {code for pair in self._apertium.pipelines for code in pair}
        self.languages: Sequence[Language] = [
            Language(
                code=tongue.code,
                name=tongue.name,
                english=tongue.english,
                speech_in=tongue.code == HEARD,
                speech_out=self._speaks,
                text=True,
            )
            for tongue in TONGUES
            if tongue.code in written
        ]
        self.notice = self._describe()

    def load(self, progress: Progress) -> None:
        """Start the recognisers. Blocks for about a second. Raises EngineError if they do not start."""
        progress(0.0, "starting the recognisers")
        self._pool.load()
        progress(0.9, "trying the voice")
        if self._speaks:
            self.speak("ready", HEARD)  # so that its program and data are in the page cache

    def route(self, source: str, target: str) -> tuple[str, ...] | None:
        """Languages between source and target: at most one, `()` if direct, None if there is no way."""
        codes = {language.code for language in self.languages}
        if source not in codes or target not in codes:
            return None
        return self._apertium.route(source, target)

    def prepare(self, source: str, target: str) -> None:
        """Start the translators on the route. Blocks for up to a second each. Raises EngineFailed."""
        if self.route(source, target) is not None:
            self._apertium.prepare(source, target)

    def hear(self, speaker: str, source: str, room: str = "", simultaneous: bool = True) -> Recognition:
        """Begin a segment in English. Never blocks. Raises EngineBusy, or EngineError for another language.

        Rules need the whole sentence: nothing is spoken before the segment ends, `simultaneous` or not."""
        if source != HEARD:
            spoken = BY_CODE[source].english if source in BY_CODE else source
            raise EngineError(f"This engine does not understand spoken {spoken}, only {BY_CODE[HEARD].english}.")
        return EmbeddedRecognition(self, self._pool.hear(speaker))

    def render(self, transcript: Transcript, targets: Sequence[str], speech: bool) -> Iterator[Rendering]:
        """Each target as soon as it is ready: first the transcript's own language, then direct ones, then the rest.

        Text alone takes 2 to 6 ms a target, speech 15 ms more. Raises EngineFailed after the targets that went well,
        and those that could be written, but not spoken."""
        return self.renderings(transcript, targets, speech, lambda target: True)

    def renderings(
        self, transcript: Transcript, targets: Sequence[str], speech: bool, is_wanted: Callable[[str], bool]
    ) -> Iterator[Rendering]:
        """`render`, but a target is left out that is not wanted any more when its turn comes."""
        source = transcript.language
        routes = {target: self.route(source, target) for target in targets}
        ways = [(target, via) for target, via in routes.items() if via is not None]
        ways.sort(key=lambda way: (way[0] != source, len(way[1])))
        # Where two targets share their first hop (English to Spanish to French and Italian) it is made once.
        known: dict[tuple[str, ...], str] = {(source,): transcript.text}
        failure: EngineFailed | None = None
        for target, via in ways:
            if not is_wanted(target):
                continue
            try:
                path: tuple[str, ...] = (source,)
                for stop in (*via, target) if target != source else ():
                    before, path = path, (*path, stop)
                    if path not in known:
                        known[path] = self._apertium.hop(known[before], before[-1], stop)
            except EngineFailed as error:
                failure = error
                continue
            spoken = None
            if speech:
                try:
                    spoken = self._spoken(known[path], target)
                except EngineFailed as error:  # it can still be read
                    failure = error
            yield Rendering(target, known[path], via, spoken)
        if failure is not None:
            raise failure

    def speak(self, text: str, language: str) -> Speech:
        """Say the text. Blocks for 15 ms. Raises EngineFailed, or ValueError if the language has no voice."""
        if not self._speaks:
            raise ValueError("espeak-ng is not installed: no language has a voice")
        return espeak.speak(text, language)

    def counters(self) -> Mapping[str, float]:
        """Of the recognisers: what rules and voices do is counted by who asks for it."""
        return {
            "segments": self._pool.segments,
            "audio_dropped_s": self._pool.dropped / SPEECH_RATE,
            "recognizers_lost": self._pool.deaths,
        }

    def close(self) -> None:
        """End every program. Idempotent."""
        self._pool.close()
        self._apertium.close()

    def _spoken(self, text: str, language: str) -> Speech | None:
        if not self._speaks:
            return None
        speech = self.speak(text, language)
        return speech if len(speech.pcm) else None  # `...` or an emoji: nothing to say

    def _describe(self) -> str:
        """What people are told about this engine."""
        others = [language.english for language in self.languages if language.code != HEARD]
        parts = ["Demo engine: understands spoken English only, and nearly one word in three of natural speech wrong."]
        if others:
            listed = ", ".join(others[:-1]) + " and " + others[-1] if len(others) > 1 else others[0]
            parts.append(f"Translates by rules between English and {listed}: the gist, not every word.")
        else:
            parts.append("Shows captions and does not translate: no Apertium language pair is installed.")
        if self._speaks:
            accents = [tongue for tongue in TONGUES if tongue.accent and tongue.english in others]
            borrowed = "".join(f" ({one.english} with the {BY_CODE[one.accent].english} one)" for one in accents)
            parts.append(f"Reads aloud with a synthetic voice{borrowed}.")
        else:
            parts.append("Does not read aloud: espeak-ng is not installed.")
        parts.append("It does not replace an interpreter.")
        return " ".join(parts)
