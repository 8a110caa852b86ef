"""When a duplex model makes its next step, and with whose frames. Pure: no loop, no clock, no model.

A step serves every seat at once, so it waits until all have a frame of speech, but not for ever: when somebody's is
late or lost, that seat alone hears a frame of silence, and after a few of them is not waited for until it sends again.
So one bad network delays nobody, and a voice goes on talking to somebody who is not heard.

A conversation stays in the present: a seat's frames wait in a short queue, the oldest of which goes when it is full,
and what has waited for seconds without being needed (it came in a burst, after a stall) goes as well.

There are as many steps as time has passed, give or take the length of that queue and HASTE: a client that sends faster
than real time cannot drive the voices of the others. This is the generic cell rate algorithm (ITU-T I.371), and
`_earliest` its theoretical arrival time.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np

from models.base import Pcm

PERIOD = 0.08
"""Seconds of speech in a frame."""

GRACE = 0.02
"""Seconds beyond PERIOD after which a frame is late: one packet. With none, half of all jitter would be loss."""

LATE = PERIOD + GRACE
"""Seconds after its last frame from which on somebody who sends nothing hears silence in the model's steps."""

PATIENCE = 3
"""Frames in a row that a seat misses before it is not waited for. With less, one lost packet would cost two frames: the
next would come just after others had made the step."""

DEPTH = 3
"""Frames of one seat that wait at most, and steps that may be made up for after the model has stood still."""

HASTE = 0.05
"""By this much may steps follow each other faster than frames are long. After a stall, steps made of silence have used
up all that may be made up for; at the very pace of the frames, each would wait for ever for its step to be allowed."""

WINDOW = 25
"""Steps (2 s) of a seat in which a frame that always waits is found not to be needed."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the model is to do now: `reset(resets)`, if there are any, then `step(frames)`. Should the reset fail,
    `restart` those seats."""

    resets: tuple[int, ...]
    """Seats in which a conversation begins. They are in `frames` too."""
    frames: Mapping[int, Pcm]
    """Of every seat that is taken, speech or silence."""


@dataclass(slots=True)
class _Seat:
    waiting: deque[Pcm] = field(default_factory=deque)
    missed: int = PATIENCE  # frames in a row
    spare: int = DEPTH  # the fewest frames that a step left waiting, in this window
    steps: int = 0  # in this window


class Conductor:
    """`join`, `push` and `leave` whenever they happen; `take` at `due`, or after any of them, while the model is free.

    `now` is in seconds, on any clock that never goes back.
    """

    def __init__(self, seats: int, frame_samples: int) -> None:
        self._shape = (frame_samples,)
        self._silence = np.zeros(frame_samples, np.float32)
        self._silence.flags.writeable = False  # every silent frame is this one
        self._free = list(range(seats))
        self._seats: dict[int, _Seat] = {}
        self._resets: set[int] = set()
        self._last = self._earliest = -inf  # the beat of the last step; when a step is allowed
        self.steps = self.silent = self.dropped = 0
        """Steps taken; frames of silence that stood in for late or missing ones; frames lost because too many waited or
        waited too long."""

    @property
    def taken(self) -> int:
        """Seats in which somebody sits."""
        return len(self._seats)

    def join(self) -> int | None:
        """Take a free seat, whose conversation begins with the next step, in silence if need be. None if all are
        taken."""
        if not self._free:
            return None
        seat = self._free.pop(0)
        self._seats[seat] = _Seat()
        self._resets.add(seat)
        return seat

    def restart(self, seat: int) -> None:
        """Begin the seat's conversation anew with the next step; what waits is forgotten."""
        if seat not in self._seats:
            raise KeyError(seat)
        self._seats[seat] = _Seat()
        self._resets.add(seat)

    def leave(self, seat: int) -> None:
        """Give the seat back. The next to get it is whoever joins when all others that are free now have been taken."""
        del self._seats[seat]
        self._resets.discard(seat)
        self._free.append(seat)
        if not self._seats:
            self._last = -inf

    def push(self, seat: int, frame: Pcm) -> None:
        """Take the next frame that the seat's person says; it is kept, not copied. Raises ValueError for one that the
        model would refuse: it costs this seat a frame, and not all of them a step."""
        if frame.shape != self._shape:
            raise ValueError(f"a frame has shape {self._shape}, not {frame.shape}")
        if not np.isfinite(frame).all():
            raise ValueError("a frame has finite numbers only")
        state = self._seats[seat]
        state.missed = 0
        state.waiting.append(frame)
        if len(state.waiting) > DEPTH:
            state.waiting.popleft()
            self.dropped += 1
            state.spare, state.steps = DEPTH, 0  # a burst: what came before it says nothing of what is needed now

    @property
    def due(self) -> float | None:
        """From when on `take` gives a step, unless a frame comes before. None while nobody is here."""
        if not self._seats:
            return None
        if self._all_here():
            return self._earliest
        return max(self._earliest, self._last + LATE)

    def take(self, now: float) -> Step | None:
        """The step to make now, None before its time. Call it again as soon as that is done."""
        due = self.due
        if due is None or now < due:
            return None
        # Speech sets the pace. Without it the beat is kept, however late a timer calls: voices go on at their speed.
        behind = now - DEPTH * PERIOD
        self._last = now if self._all_here() or self._last == -inf else max(self._last + PERIOD, behind)
        self._earliest = max(self._earliest, behind) + PERIOD * (1 - HASTE)
        frames = {seat: self._next(state) for seat, state in self._seats.items()}
        resets, self._resets = tuple(sorted(self._resets)), set()
        self.steps += 1
        return Step(resets, frames)

    def _all_here(self) -> bool:
        """Everybody who is waited for has a frame, and somebody is."""
        awaited = [state for state in self._seats.values() if state.missed < PATIENCE]
        return bool(awaited) and all(state.waiting for state in awaited)

    def _next(self, state: _Seat) -> Pcm:
        if not state.waiting:
            state.missed += 1
            self.silent += 1
        frame = state.waiting.popleft() if state.waiting else self._silence
        state.steps += 1
        state.spare = min(state.spare, len(state.waiting))
        if state.steps == WINDOW:
            for _ in range(state.spare):
                state.waiting.popleft()
            self.dropped += state.spare
            state.spare, state.steps = DEPTH, 0
        return frame
