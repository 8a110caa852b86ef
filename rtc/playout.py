"""What waits to be said by one voice in one language: phrases in, one Opus packet every 20 ms out. Time is an argument.

The lag stays bounded without cutting a word: a growing backlog is spoken up to 1.2 times as fast, and beyond the bound
the oldest phrase not yet begun is dropped whole, and counted. Silence within a phrase takes time, but few packets.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from rtc.opus import DTX_BYTES, FRAME, Encoder, Int16, silence_after
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
    frames: Int16
    """20 ms each at VOICE_RATE, shape [frames, samples]."""
    position: int = 0
    """Frames already said."""

    @property
    def waiting(self) -> int:
        """Frames not yet said."""
        return len(self.frames) - self.position


@dataclass(frozen=True, slots=True)
class Tick(Generic[T]):
    """What happened in 20 ms."""

    sent: bool = False
    """Something was said: by a packet, or by none where silence goes on (DTX)."""
    began: T | None = None
    """The phrase whose first 20 ms they were."""
    started: bool = False
    """The voice began to be heard."""
    stopped: bool = False
    """Nothing more waits."""


_IDLE: Tick[Any] = Tick()
_GOES_ON: Tick[Any] = Tick(sent=True)  # the same object for nearly every tick: making one takes longer than the rest


class Playout(Generic[T]):
    """The queue of one (speaker, language). Encodes once, whoever listens."""

    def __init__(self, stream: Stream, stats: Stats) -> None:
        self.stream = stream
        self._stats = stats
        self._encoder = Encoder(VOICE_RATE)
        self._phrases: deque[Phrase[T]] = deque()
        self._speaking = False
        self._silent = False  # the last packet said so, and stands for those that follow
        self._last = b""  # packet that was sent
        self._sequence = self._timestamp = 0

    @property
    def backlog(self) -> float:
        """Seconds waiting."""
        return sum(phrase.waiting for phrase in self._phrases) * PTIME

    def say(self, tag: T, pcm: Int16, now: float) -> int:
        """Queue a phrase, at least one sample of it; the stream's timestamp at which it will begin (48 kHz ticks) is
        returned."""
        while self.backlog > MAX_BACKLOG and len(self._phrases) > 1:
            del self._phrases[1]  # the first is being spoken: never cut a word
            self._stats.phrases_dropped += 1
        if not self._speaking and not self._phrases:  # a talkspurt's clock starts here, so that the promise is kept
            self._timestamp = (self._now(now) - FRAME) & 0xFFFFFFFF
        starts = self._now(now) + sum(phrase.waiting for phrase in self._phrases) * FRAME
        samples = self._encoder.frame_samples
        whole = np.pad(pcm, (0, -len(pcm) % samples))
        self._phrases.append(Phrase(tag, whole.reshape(-1, samples)))
        return starts & 0xFFFFFFFF

    def tick(self, now: float) -> Tick[T]:
        """Say the next 20 ms, if any wait. `now`: clock seconds."""
        if not self._phrases:
            if not self._speaking:
                return _IDLE
            self._timestamp = self._now(now)
            self._say(silence_after(self._last), False, now)
            self._speaking = False
            return Tick(stopped=True)
        phrase = self._phrases[0]
        begins, started = phrase.position == 0, not self._speaking
        if begins:
            self._encoder.begin(100 * self.stream.fraction_lost)
        self._timestamp = self._now(now)
        self._speaking = True
        frame = phrase.frames[phrase.position]
        phrase.position += 1
        if not phrase.waiting:
            self._phrases.popleft()
        self._say(self._encoder.encode(frame), started, now)
        return Tick(sent=True, began=phrase.tag, started=started) if begins else _GOES_ON

    def _say(self, payload: bytes, started: bool, now: float) -> None:
        """Send a packet, unless it only says again what the last one said: that the voice is silent. As in WebRTC
        (opus_interface.cc, WebRtcOpus_Encode), time goes on meanwhile and sequence numbers do not, so that the listener
        makes silence and sees no loss (RFC 7587 §3.1.3)."""
        was_silent, self._silent = self._silent, len(payload) <= DTX_BYTES
        if self._silent and was_silent and not started:
            return
        self._last = payload
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._stats.opus_encodes += 1
        self.stream.send(Packet(0, self._sequence, self._timestamp, int(started), payload), now)

    def _now(self, now: float) -> int:
        """The stream's clock: steady within a talkspurt, the wall's between two."""
        if self._speaking or self._phrases:
            return (self._timestamp + FRAME) & 0xFFFFFFFF
        return round(now / PTIME) * FRAME & 0xFFFFFFFF
