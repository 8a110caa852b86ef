"""The embedded partner: somebody to talk with on a machine with no GPU, and it says what it is.

Silero hears when somebody speaks, PocketSphinx which words, rules find an answer, espeak-ng says it. It listens while
it speaks, if only for being interrupted. A step never waits for any of that: words and voices are made in threads of
its own, and said when they are there.
"""

import importlib.util
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from models import espeak
from models.base import (
    VAD_WINDOW,
    DialogueFrame,
    EngineBusy,
    EngineError,
    Pcm,
    Progress,
    SpeechDetector,
)
from models.recognizer import LANGUAGE, PocketSphinxRecognition, RecognizerPool
from models.resample import Decimator, resample
from models.small_talk import BUSY, GREETING, SmallTalk
from models.vad import SileroDetector

logger = logging.getLogger(__name__)

SPEECH, SILENCE = 0.5, 0.35
"""Probabilities from which on a window is speech, and below which it is none. Between them it is what it was."""

BEGIN, END = 3, 20
"""Windows of speech (96 ms) that begin a turn of the person, or interrupt ours; of silence (640 ms) that end one."""

PRE_ROLL = 12
"""Windows (384 ms) from before a turn began that are heard too: weak consonants."""

MAX_TURN = 625
"""Windows (20 s) after which somebody is answered though they go on."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be said, ready to be said."""

    heard: str
    text: str
    pcm: Pcm


class Partner:
    """Implements `base.Dialogue`. Recognisers are started with it: who comes first is heard like everybody else."""

    name = "embedded"
    notice = (
        "A simple program, not Moshi: it hears English only, and nearly one word in three wrong. It knows the time, "
        "counts, repeats, and otherwise turns your own words round."
    )
    sample_rate = 24_000
    frame_samples = 1_920

    def __init__(
        self,
        seats: int = 4,
        recognizers: int = 2,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        """`recognizers`: how many may speak at the same moment. `clock`: for who asks what time it is."""
        self.seats = seats
        self.detector: SpeechDetector = SileroDetector()
        self._clock = clock
        self._pool = RecognizerPool(recognizers)
        self._threads = ThreadPoolExecutor(recognizers, thread_name_prefix="partner")
        self._greeting: Pcm = np.zeros(0, np.float32)
        self._listeners: dict[int, Listener] = {}
        self._here: Collection[int] = ()  # seats of the last step
        self.counts: Counter[str] = Counter()

    def load(self, progress: Progress) -> None:
        """Look whether all parts are there, and start the recognisers. Raises EngineError."""
        progress(0.0, "looking for the recogniser and the voice")
        if importlib.util.find_spec("pocketsphinx") is None:
            raise EngineError("The speech recogniser is not installed (pip install pocketsphinx).")
        if not espeak.available():
            raise EngineError("There is no voice to answer with: espeak-ng is not installed.")
        self.detector.load()
        self._greeting = self.speak(GREETING)
        progress(0.5, "starting the recogniser")
        self._pool.load()

    def reset(self, seats: Sequence[int]) -> None:
        """Begin new conversations with a greeting."""
        self._check(seats)
        for seat in seats:
            if seat in self._listeners:
                self._listeners[seat].close()
            self.counts["resets"] += 1
            # Recognisers know voices by these names: a seat's would be that of whoever sat there before.
            name = f"conversation {self.counts['resets']}"
            self._listeners[seat] = Listener(self, name, SmallTalk(self._clock))
            self._listeners[seat].say(Turn("", GREETING, self._greeting))

    def step(self, frames: Mapping[int, Pcm]) -> Mapping[int, DialogueFrame]:
        """One frame on for the seats in `frames`. See `base.Dialogue`."""
        self._check(frames)
        for seat, frame in frames.items():
            if frame.shape != (self.frame_samples,) or not np.isfinite(frame).all():
                raise ValueError(f"seat {seat}: a frame has {self.frame_samples} finite numbers")
        self._here = frames.keys()
        self.counts["steps"] += 1
        self.counts["frames"] += len(frames)
        return {seat: self._listeners[seat].step(frame) for seat, frame in frames.items()}

    def counters(self) -> Mapping[str, float]:
        """Steps, frames, resets, turns, interruptions, and turns that were lost because too many spoke at once."""
        return dict(self.counts)

    def close(self) -> None:
        """End every program. Idempotent."""
        self._pool.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    # for those who listen

    def hear(self, speaker: str) -> PocketSphinxRecognition | None:
        """Begin to hear somebody. None while all recognisers are busy."""
        while True:
            try:
                return self._pool.hear(speaker)
            except EngineBusy:
                # Nobody says when a seat is left: who left in the midst of a word still has theirs.
                others = (one for seat, one in self._listeners.items() if seat not in self._here)
                away = next((one for one in others if one.hears), None)
                if away is None:
                    return None
                away.close()

    def think(self, talk: SmallTalk, recognition: PocketSphinxRecognition | None) -> "Future[Turn]":
        """An answer, in a moment."""
        return self._threads.submit(self._think, talk, recognition)

    def _think(self, talk: SmallTalk, recognition: PocketSphinxRecognition | None) -> Turn:
        heard = "" if recognition is None else recognition.finish().text
        text = BUSY if recognition is None else talk.reply(heard)
        return Turn(heard, text, self.speak(text))

    def speak(self, text: str) -> Pcm:
        """The text, said, at our rate. Blocks for 20 ms. Raises EngineFailed."""
        speech = espeak.speak(text, LANGUAGE)
        return resample(speech.pcm, speech.sample_rate, self.sample_rate)

    def _check(self, seats: Sequence[int] | Mapping[int, Pcm]) -> None:
        if wrong := [seat for seat in seats if not 0 <= seat < self.seats]:
            raise ValueError(f"there is no seat {wrong[0]}: there are {self.seats}, from 0")


class Listener:
    """One seat: hears, waits for an answer, says it, stops when it is interrupted."""

    def __init__(self, partner: Partner, name: str, talk: SmallTalk) -> None:
        self._partner = partner
        self._name = name
        self._talk = talk
        self._memory = partner.detector.memory()
        self._decimator = Decimator()
        self._rest: Pcm = np.zeros(0, np.float32)
        self._before: deque[Pcm] = deque(maxlen=PRE_ROLL)
        self._speaks = False  # the person
        self._run = 0  # windows in a row that say otherwise
        self._windows = 0  # of their turn
        self._recognition: PocketSphinxRecognition | None = None
        self._answer: Future[Turn] | None = None
        self._turn: Turn | None = None
        self._position = self._told = 0  # samples said, characters told

    def say(self, turn: Turn) -> None:
        """From the next frame on."""
        self._turn, self._position, self._told = turn, 0, 0

    @property
    def hears(self) -> bool:
        """It has a recogniser."""
        return self._recognition is not None

    def close(self) -> None:
        """Hear no more of what is being said, which frees the recogniser."""
        if self._recognition is not None:
            self._recognition.cancel()
            self._recognition = None

    def step(self, frame: Pcm) -> DialogueFrame:
        """Hear a frame, and say one."""
        heard = ""
        samples = np.concatenate([self._rest, self._decimator.push(np.clip(frame, -1, 1))])
        whole = len(samples) // VAD_WINDOW * VAD_WINDOW
        self._rest = samples[whole:]
        for start in range(0, whole, VAD_WINDOW):
            self._listen(samples[start : start + VAD_WINDOW])
        if self._answer is not None and self._answer.done():
            answer, self._answer = self._answer, None
            try:
                turn = answer.result()
            except EngineError as error:
                logger.warning("no answer for %s: %s", self._name, error)
                self._partner.counts["failures"] += 1
            else:
                heard = turn.heard
                if not self._speaks:
                    self.say(turn)
        return self._speak(heard)

    def _listen(self, window: Pcm) -> None:
        self._before.append(window)
        if self._recognition is not None:
            self._recognition.push(window)
        [probability] = self._partner.detector.probabilities([self._memory], [window])
        otherwise = probability < SILENCE if self._speaks else probability > SPEECH
        self._run = self._run + 1 if otherwise else 0
        self._windows += self._speaks
        if not self._speaks and self._run >= BEGIN:
            self._begin()
        elif self._speaks and (self._run >= END or self._windows >= MAX_TURN):
            self._end()

    def _begin(self) -> None:
        self._speaks, self._run, self._windows = True, 0, 0
        if self._turn is not None:
            self._partner.counts["interruptions"] += 1
        self._recognition = self._partner.hear(self._name)
        if self._recognition is not None:
            self._recognition.push(np.concatenate(self._before))

    def _end(self) -> None:
        if self._run < END:
            self._before.clear()  # they go on: the next turn does not begin with the words of this one
        self._speaks, self._run = False, 0
        recognition, self._recognition = self._recognition, None
        self._partner.counts["turns" if recognition is not None else "turns_lost"] += 1
        if recognition is not None:
            recognition.end()
        self._answer = self._partner.think(self._talk, recognition)

    def _speak(self, heard: str) -> DialogueFrame:
        size = self._partner.frame_samples
        pcm = np.zeros(size, np.float32)
        turn = self._turn
        if turn is None:
            return DialogueFrame(pcm, "", heard)
        piece = turn.pcm[self._position : self._position + size]
        pcm[: len(piece)] = piece
        self._position += len(piece)
        if self._speaks:  # they talk over us: fade out within this frame, and forget the rest
            self._turn = None
            return DialogueFrame(pcm * np.linspace(1, 0, size, dtype=np.float32) ** 2, "", heard)
        text = self._words(turn)
        if self._position >= len(turn.pcm):
            self._turn = None
        return DialogueFrame(pcm, text, heard)

    def _words(self, turn: Turn) -> str:
        """Those whose time has come: words are taken to be as long as they are written."""
        until = round(len(turn.text) * self._position / max(1, len(turn.pcm)))
        if until < len(turn.text):  # no word before it is whole
            until = turn.text.rfind(" ", 0, until + 1)
        if until <= self._told:
            return ""
        start, self._told = self._told, until
        return (" " if not start else "") + turn.text[start:until]
