"""What a duplex voice says to one listener: frames in as the model makes them, one Opus packet every 20 ms out.

A model makes 80 ms at once, a little late at times, and several frames at once after it has stood still. What waits is
kept at what the model's own unsteadiness asks for: after a stall the surplus is taken out in silences and whole pitch
periods, so the delay shrinks back and the listener does not stay behind for the rest of the call.
"""

import numpy as np

from models.base import Pcm
from rtc.loudness import Loudness, rms
from rtc.opus import FRAME
from rtc.packetizer import Packetizer, talkspurt_time
from rtc.stats import Stats
from rtc.steady import Steady
from rtc.stream import Stream
from rtc.ticker import PTIME

CUSHION = 0.04
"""Seconds that still wait when the next frame comes in time: what a model and two threads are late by at times."""

QUIET = 0.3
"""Seconds without a sound after which a voice has stopped speaking."""


class Talking:
    """`push` frames, `tick` every 20 ms."""

    def __init__(self, stream: Stream, stats: Stats, rate: int) -> None:
        """`rate`: hertz of what is pushed, one of Opus'."""
        self.stream = stream
        self._steady = Steady(rate)
        self._rate = rate
        self._packets = Packetizer(stream, stats, rate)
        self._timestamp = 0
        self._started = False
        self._loudness = Loudness(QUIET)

    @property
    def speaking(self) -> bool:
        """Something was to be heard, a moment ago at the latest."""
        return self._loudness.speaking

    @property
    def delay(self) -> float:
        """Seconds that wait to be said."""
        return self._steady.level / self._rate

    @property
    def shortened(self) -> float:
        """Seconds taken out, in all, to catch up."""
        return (self._steady.removed + self._steady.dropped) / self._rate

    @property
    def underruns(self) -> int:
        """Times that there was nothing left to say."""
        return self._steady.underruns

    def push(self, pcm: Pcm) -> None:
        """The next frame."""
        self._steady.push(np.rint(np.clip(pcm, -1, 1) * 32767).astype(np.int16))

    def tick(self, now: float) -> bool:
        """Say the next 20 ms; always True: a call is never over by itself. `now`: clock seconds."""
        frame = self._steady.pull(CUSHION)
        if frame is None:
            self._loudness.hear(0.0, PTIME)
            if self._started:
                self._started = False
                self._timestamp += FRAME
                self._packets.stop(self._timestamp, now)
            return True
        started, self._started = not self._started, True
        if started:
            self._packets.adapt()
            self._timestamp = talkspurt_time(now, self._timestamp)
        else:
            self._timestamp += FRAME
        self._loudness.hear(rms(np.divide(frame, 32768, dtype=np.float32)), PTIME)
        self._packets.say(frame, self._timestamp, started, now)
        return True
