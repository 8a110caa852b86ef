"""A steady beat of PCM for those who need one (a mix, a duplex model), made of audio that comes when it comes.

Adaptive playout (Liang, Färber, Girod 2003; WebRTC's NetEQ): the level follows the depth that the network asks for.
When too much waits, whole pitch periods are taken out by overlap-add (WSOLA), silence first; when too little does, they
are doubled; when nothing is left, the last period fades out. Pure: a frame out is 20 ms gone by, so it needs no clock,
and the drift between a sender's clock and ours is one more thing to make good.
"""

from collections import deque

import numpy as np
import numpy.typing as npt

from rtc.opus import Int16

MAX_LEVEL = 0.5
"""Seconds that wait at most; older audio goes."""

MAX_STRETCH = 0.25
"""Speech is played at most this much faster or slower; silence is dropped as it is."""

FADE = 3
"""Frames (60 ms) in which the last pitch period fades out when there is nothing to play."""

QUIET = 100
"""Peak (-50 dBFS) of what nobody misses; beside loud speech, a thirtieth of it."""

MEMORY = 50
"""Arrivals (1 s of 20 ms packets) over which the level is judged."""


class Steady:
    """`push` mono PCM at `rate` in any lengths at any time, `pull` every 20 ms."""

    def __init__(self, rate: int) -> None:
        self.frame = rate // 50
        """Samples that a pull gives."""
        self._rate = rate
        self._shortest, self._longest = rate // 400, rate // 66  # samples of a pitch period: 66 to 400 Hz
        self._overlap = rate // 100
        self._rising = np.linspace(0, 1, self._overlap, dtype=np.float32)
        self._max = round(MAX_LEVEL * rate)
        self._history = self._longest + self._overlap  # samples kept after they were played
        self._pcm = np.zeros(self._history + self._longest + 2 * self._max, np.int16)
        self._start = self._stop = self._history + self._longest
        self._ending = np.zeros(0, np.int16)  # what is played while nothing waits
        self._arrivals: deque[int] = deque(maxlen=MEMORY)  # samples that were left when audio came, plus `_shortened`
        self._shortened = 0  # samples taken out, minus those put in
        self._left: int | None = None  # samples left after the last pull, if nothing was pushed since
        self._waited = 0  # samples of time since the first push, while not playing
        self._budget = 0.0  # samples by which the next frame may be stretched
        self._playing = False  # until enough waits
        self.underruns = 0
        """Times that nothing was left in the midst of playing, the ends of talkspurts included."""
        self.removed = self.added = self.dropped = 0
        """Samples: taken out and put in by stretching; lost because too many waited."""

    @property
    def level(self) -> int:
        """Samples that wait."""
        return self._stop - self._start

    def clear(self) -> None:
        """Forget what waits: another source follows."""
        if self._playing:
            self._stop = self._start
            self._fade_out()
        self._start = self._stop
        self._fill()

    def push(self, pcm: Int16) -> None:
        """Take audio that follows on what was pushed before."""
        if self._left is not None:
            self._arrivals.append(self._left + self._shortened)
            self._left = None
        self.dropped += max(0, len(pcm) - self._max)
        pcm = pcm[-self._max :]
        if self._stop + len(pcm) > len(self._pcm):
            kept = self._pcm[self._start - self._history : self._stop].copy()
            self._pcm[self._longest : self._longest + len(kept)] = kept
            self._start, self._stop = self._longest + self._history, self._longest + len(kept)
        self._pcm[self._stop : self._stop + len(pcm)] = pcm
        self._stop += len(pcm)
        if (excess := self.level - self._max) > 0:
            self._skip(excess)
            self.dropped += excess

    def pull(self, depth: float) -> Int16 | None:
        """The next 20 ms, None while silent. `depth`: seconds by which packets are late at times; as much is left
        waiting when audio comes in time."""
        target = round(depth * self._rate)
        if not self._playing:
            self._waited += self.frame if self.level else 0
            if max(self.level, self._waited) < target + self.frame:
                return self._end()
            self._playing, self._waited = True, 0
            self._fade_in()
        elif self._arrivals:
            self._budget = min(self._budget + MAX_STRETCH * self.frame, self._longest)
            surplus = max(self._arrivals) - self._shortened - target
            if surplus > self.frame:  # less may be the phase between arrivals and pulls
                self._shorten(surplus)
            elif surplus < 0:
                self._lengthen()
        if self.level < self.frame:
            return self._run_dry()
        start, self._start = self._start, self._start + self.frame
        self._left = self.level
        return self._pcm[start : self._start].copy()

    def _shorten(self, surplus: int) -> None:
        spare = self.level - self.frame - self._overlap
        if (silence := min(surplus, spare, self._quiet() - self._overlap)) >= self._overlap:
            self._stretch(silence)
        elif spare >= self._shortest:
            later, likeness = self._match(
                self._start, self._start + self._shortest, self._start + min(self._longest, spare)
            )
            # The more waits, the less alike two periods need be.
            if later - self._start <= self._budget and likeness >= 0.9 - 5 * surplus / self._rate:
                self._budget -= later - self._start
                self._stretch(later - self._start)

    def _lengthen(self) -> None:
        if self.level >= self._overlap:
            earlier, likeness = self._match(self._start, self._start - self._longest, self._start - self._shortest)
            if self._start - earlier <= self._budget and (likeness >= 0.7 or self._quiet() >= self._overlap):
                self._budget -= self._start - earlier
                self._stretch(earlier - self._start)

    def _stretch(self, count: int) -> None:
        self._skip(count)
        self._shortened += count
        self.removed += max(0, count)
        self.added += max(0, -count)

    def _skip(self, count: int) -> None:
        """Go on `count` samples later, or, if it is negative, earlier, without a step."""
        start, self._start = self._start, self._start + count
        length = min(self._overlap, self.level)
        joint = self._blend(self._pcm[start : start + length], self._pcm[self._start : self._start + length])
        self._pcm[self._start - self._history : self._start] = self._pcm[start - self._history : start]
        self._pcm[self._start : self._start + length] = joint

    def _blend(self, old: Int16, new: Int16) -> Int16:
        """From the one to the other, for the length of the overlap or of the shorter."""
        length = min(self._overlap, len(old), len(new))
        rising = self._rising[:length] if length == self._overlap else np.linspace(0, 1, length, dtype=np.float32)
        return _int16(old[:length] + (new[:length].astype(np.float32) - old[:length]) * rising)

    def _quiet(self) -> int:
        """Samples at the start before anything is heard."""
        loud = np.abs(self._pcm[self._start - self._history : self._stop].astype(np.int32))
        heard = np.flatnonzero(loud[self._history :] > max(QUIET, int(loud.max()) // 30))
        return int(heard[0]) if len(heard) else self.level

    def _match(self, at: int, first: int, last: int) -> tuple[int, float]:
        """Where between `first` and `last` it sounds most as it does at `at`, and how much so: their correlation."""
        template = self._pcm[at : at + self._overlap].astype(np.float32)
        others = self._pcm[first : last + self._overlap].astype(np.float32)
        energy = np.cumsum(np.square(others, dtype=np.float64))
        powers = energy[self._overlap - 1 :].copy()
        powers[1:] -= energy[: -self._overlap]
        likeness = np.correlate(others, template, "valid") / np.sqrt(powers * float(template @ template) + 1.0)
        best = int(np.argmax(likeness))
        return first + best, float(likeness[best])

    def _run_dry(self) -> Int16 | None:
        """Play what is left, and let its last pitch period fade out."""
        self.underruns += 1
        self._fade_out()
        return self._end()

    def _fade_out(self) -> None:
        """Make the ending: what is left, then its last pitch period again and again, quieter and quieter."""
        known = self._pcm[self._start - self._history : self._stop]
        last = self._stop - self._overlap
        earlier, _ = self._match(last, last - self._longest, last - self._shortest)
        period = last - earlier
        again, turn = known[-period:].copy(), min(self._overlap, period)
        again[-turn:] = self._blend(known[-turn:], known[-period - turn : -period])  # its end leads to its beginning
        left = self.level
        ending = np.resize(again, FADE * self.frame - left).astype(np.float32)
        # No step, however unlike the last sample is the one that the period followed on.
        ending[: self._overlap] += (float(known[-1]) - known[-period - 1]) * (1 - self._rising)
        ending *= np.linspace(1, 0, len(ending), dtype=np.float32)
        self._ending = np.concatenate([known[len(known) - left :], _int16(ending)])
        self._start = self._stop
        self._fill()

    def _fade_in(self) -> None:
        """From the ending, or from silence, to what waits."""
        overlap = min(self._overlap, self.level)
        old = self._ending[:overlap] if len(self._ending) else np.zeros(overlap, np.int16)
        self._pcm[self._start : self._start + overlap] = self._blend(old, self._pcm[self._start :][:overlap])
        self._ending = self._ending[:0]

    def _fill(self) -> None:
        """Play nothing until enough waits."""
        self._playing, self._waited, self._left, self._budget = False, 0, None, 0.0
        self._arrivals.clear()

    def _end(self) -> Int16 | None:
        if not len(self._ending):
            return None
        frame, self._ending = self._ending[: self.frame], self._ending[self.frame :]
        return frame


def _int16(pcm: npt.NDArray[np.float32]) -> Int16:
    return np.clip(np.rint(pcm), -32768, 32767).astype(np.int16)
