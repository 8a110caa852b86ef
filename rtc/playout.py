"""What waits to be said by one voice in one language: phrases in, one Opus packet every 20 ms out. Time is an argument.

Phrases of one segment are pieces of one sound and meet without a sample in between; before anything else comes, and
where nothing more waits, the voice fades out within 5 ms, and fades in again after it.

The lag stays bounded without cutting a word: a growing backlog is spoken up to 1.2 times as fast, and beyond the bound
the oldest segment not yet begun is dropped as far as it waits, and counted. Silence within a phrase takes time, but few
packets.
"""

import itertools
from collections import deque
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from rtc.opus import CLOCK_RATE, FRAME, RATES, Int16
from rtc.packetizer import Packetizer, talkspurt_time
from rtc.stats import Stats
from rtc.stream import Stream

VOICE_RATE = 24_000
"""Hertz of voices that Opus has no rate for, and of mixes."""

FADE = 0.005
"""Seconds."""

MAX_BACKLOG = 20.0
"""Seconds of speech that may wait. A listener further behind than this is no longer in the conversation."""

RELAXED_BACKLOG, URGENT_BACKLOG, MAX_TEMPO = 1.0, 5.0, 1.2


def voice_rate(rate: int) -> int:
    """Hertz at which a voice made at `rate` is encoded: the same, where Opus can."""
    return rate if rate in RATES else VOICE_RATE


def tempo(backlog: float) -> float:
    """How fast to speak with `backlog` seconds waiting: 1.0 up to MAX_TEMPO. Faster than that, words are lost."""
    urgency = (backlog - RELAXED_BACKLOG) / (URGENT_BACKLOG - RELAXED_BACKLOG)
    return 1.0 + (MAX_TEMPO - 1.0) * min(1.0, max(0.0, urgency))


T = TypeVar("T")
"""What the caller knows a phrase by."""


@dataclass(slots=True)
class Phrase(Generic[T]):
    """A piece of a segment, spoken."""

    tag: T
    pcm: Int16
    segment: str
    joins: bool
    """It goes on where the phrase before it ends."""
    position: int = 0
    """Samples already said."""

    @property
    def waiting(self) -> int:
        """Samples not yet said."""
        return len(self.pcm) - self.position


@dataclass(frozen=True, slots=True)
class Tick(Generic[T]):
    """What happened in 20 ms."""

    sent: bool = False
    """Something was said: by a packet, or by none where silence goes on (DTX)."""
    began: tuple[T, ...] = ()
    """The phrases whose first samples were among them."""
    started: bool = False
    """The voice began to be heard."""
    stopped: bool = False
    """Nothing more waits."""


_IDLE: Tick[Any] = Tick()
_GOES_ON: Tick[Any] = Tick(sent=True)  # the same object for nearly every tick: making one takes longer than the rest


class Playout(Generic[T]):
    """The queue of one (speaker, language). Encodes once, whoever listens."""

    def __init__(self, stream: Stream, stats: Stats, rate: int = VOICE_RATE) -> None:
        """`rate`: hertz of all that is said, one of Opus'."""
        self.stream = stream
        self.rate = rate
        self._stats = stats
        self._packets = Packetizer(stream, stats, rate)
        self._phrases: deque[Phrase[T]] = deque()
        self._waiting = 0  # samples in them
        self._segment = ""  # of the phrase that came last
        self._fade = round(FADE * rate)
        self._gain = 0  # of the last sample, in steps of which `_fade` are full
        self._speaking = False
        self._timestamp = 0

    @property
    def backlog(self) -> float:
        """Seconds waiting. May be asked from any thread."""
        return self._waiting / self.rate

    @property
    def idle(self) -> bool:
        """Nothing is said, nor waits to be."""
        return not self._phrases and not self._speaking

    def say(self, tag: T, pcm: Int16, now: float, segment: str = "") -> int:
        """Queue a phrase, at least one sample of it; the stream's timestamp at which it will begin (48 kHz ticks) is
        returned. A phrase of the same `segment` as the one before goes on where that ends."""
        while self.backlog > MAX_BACKLOG and self._drop_oldest():
            pass
        if not self._speaking and not self._phrases:  # a talkspurt's clock starts here, so that the promise is kept
            self._timestamp = self._now(now) - FRAME
        joins = bool(segment) and segment == self._segment
        starts = self._now(now) + self._ticks_before(joins)
        self._phrases.append(Phrase(tag, pcm, segment, joins))
        self._waiting += len(pcm)
        self._segment = segment
        return starts & 0xFFFFFFFF

    def _drop_oldest(self) -> bool:
        """Give up what waits of the oldest segment that is not being spoken, if there is one: never cut a word."""
        phrases = list(self._phrases)
        start = next((at for at, phrase in enumerate(phrases) if at and not phrase.joins), None)
        if start is None:
            return False
        end = next((at for at in range(start + 1, len(phrases)) if not phrases[at].joins), len(phrases))
        self._stats.phrases_dropped += end - start
        self._waiting -= sum(phrase.waiting for phrase in phrases[start:end])
        self._phrases = deque(phrases[:start] + phrases[end:])
        if end == len(phrases):
            self._segment = ""  # what may follow of it does not go on where the one before it ends
        return True

    def _ticks_before(self, joins: bool) -> int:
        """RTP ticks until the next phrase begins: each sound but one that goes on takes whole packets."""
        size, ticks, samples = self._packets.frame_samples, 0, 0
        for phrase in self._phrases:
            if not phrase.joins:
                ticks += -(-samples // size) * FRAME
                samples = 0
            samples += phrase.waiting
        return ticks + (samples * CLOCK_RATE // self.rate if joins else -(-samples // size) * FRAME)

    def tick(self, now: float) -> Tick[T]:
        """Say the next 20 ms, if any wait. `now`: clock seconds."""
        if not self._phrases:
            if not self._speaking:
                return _IDLE
            self._timestamp = self._now(now)
            self._packets.stop(self._timestamp, now)
            self._speaking = False
            return Tick(stopped=True)
        phrase, started = self._phrases[0], not self._speaking
        if not phrase.position and (started or not phrase.joins):
            self._packets.adapt()
        self._timestamp = self._now(now)
        self._speaking = True
        frame, began = self._frame()
        self._packets.say(frame, self._timestamp, started, now)
        return Tick(sent=True, began=began, started=started) if began else _GOES_ON

    def _frame(self) -> tuple[Int16, tuple[T, ...]]:
        """The next 20 ms of the sound that is being said, and the phrases that begin in them."""
        size = self._packets.frame_samples
        rest = self._rest(size + self._fade)
        count = min(size, rest)
        frame = np.zeros(size, np.int16)
        began: list[T] = []
        filled = 0
        while filled < count:
            phrase = self._phrases[0]
            if not phrase.position:
                began.append(phrase.tag)
            piece = phrase.pcm[phrase.position : phrase.position + count - filled]
            frame[filled : filled + len(piece)] = piece
            filled += len(piece)
            phrase.position += len(piece)
            if not phrase.waiting:
                self._phrases.popleft()
        self._waiting -= count
        if self._gain < self._fade or rest < size + self._fade:
            rising, falling = self._gain + 1 + np.arange(count), rest - np.arange(count)
            gain = np.minimum(np.minimum(rising, falling), self._fade)
            frame[:count] = np.rint(frame[:count] * (gain / self._fade))
            self._gain = int(gain[-1])
        if count == rest:
            self._gain = 0
        return frame, tuple(began)

    def _rest(self, enough: int) -> int:
        """Samples left of the sound that is being said, as far as that matters."""
        rest = self._phrases[0].waiting
        for phrase in itertools.islice(self._phrases, 1, None):
            if rest >= enough or not phrase.joins:
                break
            rest += phrase.waiting
        return rest

    def _now(self, now: float) -> int:
        """The stream's clock: steady within a talkspurt, the wall's between two."""
        if self._speaking or self._phrases:
            return self._timestamp + FRAME
        return talkspurt_time(now, self._timestamp)
