"""People talking with a duplex voice: one stage, on which a model steps for all of them, and what each says and hears.

    microphone → packets → frames of the model's own rate → conductor ⇄ model's thread → frames → one packet per 20 ms

The stage owns time: when the model steps, and with whose frames, is decided by `rtc.conductor` and done here. A seat is
taken, begun and released between two steps. What the model says to somebody who has just gone is dropped.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

from models.base import DialogueFrame, Pcm
from rtc.conductor import LATE, Conductor
from rtc.dialogue_thread import DialogueThread
from rtc.events import RoomEvent, SpeechStarted, SpeechStopped
from rtc.fan_out import Outlet
from rtc.hush import Hush
from rtc.inbound import Inbound
from rtc.loudness import Loudness, rms
from rtc.rtp import Packet
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.stream import Stream
from rtc.talking import Talking
from rtc.ticker import Ticker
from rtc.words import LANGUAGE, Words, whole

ASSISTANT = "assistant"
"""The voice's participant_id."""

PERSON_QUIET = 0.6
"""Seconds without a sound after which a person has stopped speaking: longer than within a sentence."""

STEP_TIMES = 1500
"""Step durations remembered: two minutes."""


class Seated(Protocol):
    """Who sits in a seat."""

    def hear(self, frame: DialogueFrame) -> None:
        """What the voice says now. Never blocks."""


class Stage:
    """The model and its seats. `run` it in a TaskGroup."""

    def __init__(self, engine: DialogueThread) -> None:
        self.engine = engine
        dialogue = engine.dialogue
        self._conductor = Conductor(dialogue.seats, dialogue.frame_samples)
        self._seats: dict[int, Seated] = {}
        self._changed = asyncio.Event()
        self.step_seconds: deque[float] = deque(maxlen=STEP_TIMES)
        """The most recent ones, by the loop's clock: with the hop to the thread and back."""

    @property
    def taken(self) -> int:
        """Seats in which somebody sits."""
        return self._conductor.taken

    def counters(self) -> dict[str, float]:
        """What was conducted so far, by snake_case names."""
        return {
            "steps": self._conductor.steps,
            "frames_silent": self._conductor.silent,
            "frames_dropped": self._conductor.dropped,
            "steps_late": self.engine.late,
            "steps_failed": self.engine.failed,
        }

    def sit(self, sitter: Seated) -> int | None:
        """Take a free seat, whose conversation begins with the next step. None if all are taken."""
        seat = self._conductor.join()
        if seat is not None:
            self._seats[seat] = sitter
            self._changed.set()
        return seat

    def rise(self, seat: int) -> None:
        """Give the seat back, at once."""
        del self._seats[seat]
        self._conductor.leave(seat)
        self._changed.set()

    def push(self, seat: int, frame: Pcm) -> None:
        """The next frame of who sits there."""
        self._conductor.push(seat, frame)
        self._changed.set()

    async def run(self) -> None:
        """Step the model whenever it is time. Never returns."""
        clock = asyncio.get_running_loop().time
        while True:
            self._changed.clear()
            step = self._conductor.take(clock()) if self.engine.state == "ready" else None
            if step is None:
                await self._wait()
                continue
            seated = dict(self._seats)
            begun = clock()
            said = await self.engine.make(step)
            self.step_seconds.append(clock() - begun)
            for seat in said.unset:
                if self._seats.get(seat) is seated[seat]:
                    self._conductor.restart(seat)
            for seat, frame in said.frames.items():
                if self._seats.get(seat) is seated[seat]:
                    seated[seat].hear(frame)

    async def _wait(self) -> None:
        """Until a step is due, or something happens."""
        due = self._conductor.due if self.engine.state == "ready" else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._changed.wait()

    def wake(self) -> None:
        """The engine's state has changed."""
        self._changed.set()


class Conversation:
    """One person's talk with the voice: `packet` in, `attach` to where they hear it, `run` while they are here."""

    def __init__(
        self, stage: Stage, stats: Stats, ticker: Ticker, participant_id: str, tell: Callable[[RoomEvent], None]
    ) -> None:
        dialogue = stage.engine.dialogue
        self._stage = stage
        self._ticker = ticker
        self._participant_id = participant_id
        self._tell = tell
        self._seat: int | None = None
        self._frames = 0  # said so far
        self._frame_ms = dialogue.frame_samples * 1000 / dialogue.sample_rate
        self._words = Words(ASSISTANT)
        self._speaking = False
        self._person = Loudness(PERSON_QUIET, noisy=True)
        self._hush = Hush(self._frame_ms)
        self.inbound = Inbound(stats, dialogue.sample_rate, dialogue.frame_samples)
        self.muted = False
        stream = Stream(StreamKey(ASSISTANT, "original", LANGUAGE))
        self.voice = Talking(stream, stats, dialogue.sample_rate)
        self._outlet: Outlet | None = None

    def packet(self, packet: Packet, now: float) -> None:
        """A packet of the microphone. `now`: clock seconds."""
        if not self.muted:
            self.inbound.push(packet, now)

    def mute(self, muted: bool) -> None:
        """Muted, the voice hears silence."""
        self.muted = muted
        self.inbound.gap()
        if self._person.stop():
            self._tell(SpeechStopped(self._participant_id, "original", LANGUAGE))

    @property
    def mid(self) -> str | None:
        """Of the slot in which the voice is heard."""
        return None if self._outlet is None else self._outlet.mid

    def attach(self, outlet: Outlet | None) -> None:
        """Where the voice is heard from now on."""
        if self._outlet is not None:
            self.voice.stream.detach(self._outlet)
        self._outlet = outlet
        if outlet is not None:
            self.voice.stream.attach(outlet)

    async def run(self) -> None:
        """Sit down, talk, and rise when it ends. Never returns. There must be a seat for who comes."""
        self._seat = self._stage.sit(self)
        assert self._seat is not None, "whoever lets people in counts seats"
        self._ticker.play(self.voice.tick)
        try:
            away = 0.0  # seconds for which nothing came
            while True:
                frame = await self.inbound.window(LATE if away < PERSON_QUIET else None)
                if frame is not None:
                    away, changed = 0.0, self._person.hear(rms(frame), self._frame_ms / 1000)
                    self._stage.push(self._seat, frame)
                else:
                    away, changed = away + LATE, self._person.hear(None, LATE)
                    if away >= PERSON_QUIET:  # a pause, however long: what comes next follows on nothing
                        self.inbound.gap()
                if changed:
                    happened = SpeechStarted if self._person.speaking else SpeechStopped
                    self._tell(happened(self._participant_id, "original", LANGUAGE))
        finally:
            self._ticker.silence(self.voice.tick)
            self._stage.rise(self._seat)
            self._seat = None

    def hush(self) -> None:
        """Let nothing more of this turn be heard or read."""
        self._hush.begin()
        for event in self._words.flush():
            self._tell(event)

    def hear(self, frame: DialogueFrame) -> None:
        """What the voice says now. From the stage."""
        frame = self._hush.apply(frame)
        self.voice.push(frame.pcm)
        now_ms = round(self._frames * self._frame_ms)
        self._frames += 1
        if frame.heard:
            self._tell(whole(self._participant_id, frame.heard, now_ms))
        for event in self._words.add(frame.text, now_ms):
            self._tell(event)
        if self.voice.speaking != self._speaking:
            self._speaking = self.voice.speaking
            happened = SpeechStarted if self._speaking else SpeechStopped
            self._tell(happened(ASSISTANT, "original", LANGUAGE))
