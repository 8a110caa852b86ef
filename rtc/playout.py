"""What waits to be said by one voice in one language: phrases in, one Opus packet every 20 ms out. Time is an argument.

The lag stays bounded without cutting a word: a growing backlog is spoken up to 1.2 times as fast, and beyond the bound
the oldest phrase not yet begun is dropped whole, and counted.
"""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from rtc.opus import FRAME, Encoder, Int16
from rtc.rtp import Packet
from rtc.stats import Stats
from rtc.stream import Stream
from rtc.ticker import PTIME

VOICE_RATE = 24_000
"""Hertz of synthesised voices between the engine and the encoder."""

MAX_BACKLOG = 20.0
"""Seconds of speech that may wait. A listener further behind than this is no longer in the conversation."""

RELAXED_BACKLOG, URGENT_BACKLOG, MAX_TEMPO = 1.0, 5.0, 1.2


def tempo(backlog: float) -> float:
    """How fast to speak with `backlog` seconds waiting: 1.0 up to MAX_TEMPO. Faster than that, words are lost."""
    urgency = (backlog - RELAXED_BACKLOG) / (URGENT_BACKLOG - RELAXED_BACKLOG)
    return 1.0 + (MAX_TEMPO - 1.0) * min(1.0, max(0.0, urgency))


T = TypeVar("T")
"""What the caller knows a phrase by."""


@dataclass(slots=True)
class Phrase(Generic[T]):
    """One segment, spoken."""

    tag: T
    pcm: Int16
    """At VOICE_RATE."""
    position: int = 0
    """Samples already sent."""


@dataclass(frozen=True, slots=True)
class Tick(Generic[T]):
    """What happened in 20 ms."""

    sent: bool = False
    """A packet went out."""
    began: T | None = None
    """The phrase whose first packet it was."""
    started: bool = False
    """The voice began to be heard."""
    stopped: bool = False
    """Nothing more waits."""


class Playout(Generic[T]):
    """The queue of one (speaker, language). Encodes once, whoever listens."""

    def __init__(self, stream: Stream, stats: Stats) -> None:
        self.stream = stream
        self._stats = stats
        self._encoder = Encoder(VOICE_RATE)
        self._phrases: deque[Phrase[T]] = deque()
        self._speaking = False
        self._sequence = self._timestamp = 0

    @property
    def backlog(self) -> float:
        """Seconds waiting."""
        return sum(len(phrase.pcm) - phrase.position for phrase in self._phrases) / VOICE_RATE

    def say(self, tag: T, pcm: Int16, now: float) -> int:
        """Queue a phrase; the stream's timestamp at which it will begin (48 kHz ticks) is returned."""
        while self.backlog > MAX_BACKLOG and len(self._phrases) > 1:
            del self._phrases[1]  # the first is being spoken: never cut a word
            self._stats.phrases_dropped += 1
        if not self._speaking and not self._phrases:  # a talkspurt's clock starts here, so that the promise is kept
            self._timestamp = (self._now(now) - FRAME) & 0xFFFFFFFF
        starts = self._now(now) + sum(self._ticks(phrase) for phrase in self._phrases)
        self._phrases.append(Phrase(tag, pcm))
        return starts & 0xFFFFFFFF

    def tick(self, now: float) -> Tick[T]:
        """Send the next 20 ms, if any wait. `now`: clock seconds."""
        if not self._phrases:
            stopped, self._speaking = self._speaking, False
            return Tick(stopped=stopped)
        started = not self._speaking
        self._timestamp = self._now(now)
        self._speaking = True
        phrase = self._phrases[0]
        began = phrase.tag if phrase.position == 0 else None
        size = self._encoder.frame_samples
        frame = phrase.pcm[phrase.position : phrase.position + size]
        phrase.position += len(frame)
        if phrase.position >= len(phrase.pcm):
            self._phrases.popleft()
        if len(frame) < size:
            padded = frame.copy()
            padded.resize(size)
            frame = padded
        self._stats.opus_encodes += 1
        self._sequence = (self._sequence + 1) & 0xFFFF
        packet = Packet(0, self._sequence, self._timestamp, int(started), self._encoder.encode(frame))
        self.stream.send(packet, now)
        return Tick(sent=True, began=began, started=started)

    def _now(self, now: float) -> int:
        """The stream's clock: steady within a talkspurt, the wall's between two."""
        if self._speaking or self._phrases:
            return (self._timestamp + FRAME) & 0xFFFFFFFF
        return round(now / PTIME) * FRAME & 0xFFFFFFFF

    def _ticks(self, phrase: Phrase[T]) -> int:
        frames = -(-(len(phrase.pcm) - phrase.position) // self._encoder.frame_samples)
        return frames * FRAME
