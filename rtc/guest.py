"""The duplex voice as somebody in a room: it hears what is said there in English, and what it says is heard, read and
interpreted like anybody's words.

    English voices → sum → frames of the model → stage ⇄ model's thread → frames ─┬─→ one packet per 20 ms → room
                                                                                  └─→ words → sentences → translations

Its speech is not recognised, since a model tells its words as it says them. It never hears itself: a room gives nobody
their own streams, and what it says is not translated into the one language that it hears.
"""

import asyncio
from collections.abc import Callable

import numpy as np

from models.base import DialogueFrame, EngineError, Pcm, Rendering, Transcript
from rtc.conversation import Stage
from rtc.engine_thread import Engine
from rtc.events import RoomEvent, TranscriptFinal, TranscriptInterim
from rtc.fan_out import Outlet
from rtc.mixer import Sum
from rtc.reporting import Segment
from rtc.room import Room, new_id
from rtc.slots import Mix, StreamKey
from rtc.stats import Stats
from rtc.talking import Talking
from rtc.telling import Teller
from rtc.ticker import PTIME, Ticker
from rtc.words import LANGUAGE, Words

EARS = 8
"""Voices that it hears at once; of more people, those who spoke last."""

MAX_SENTENCES = 8
"""Said and waiting for their translation; then the oldest stays untranslated."""


class Guest:
    """A member of a room (`rtc.room.Member`): `enter`, `run`, and `leave` at any time."""

    def __init__(
        self,
        room: Room,
        name: str,
        stage: Stage,
        engine: Engine,
        stats: Stats,
        ticker: Ticker,
        released: Callable[[], None],
    ) -> None:
        """`engine` translates. `released` is called once, when it has left."""
        dialogue = stage.engine.dialogue
        self.id = new_id("p")
        self.name = name
        self.room = room
        self.language = self.speaks = LANGUAGE
        self.mix: Mix = "translated"
        self.muted = False
        self.last_spoke = 0.0
        self._stage = stage
        self._engine = engine
        self._stats = stats
        self._ticker = ticker
        self._released = released
        self._seat: int | None = None
        self._sum = Sum("voice", EARS, lambda: ticker.play(self._listen), dialogue.sample_rate, LANGUAGE)
        self._frame_samples = dialogue.frame_samples
        self._silence = np.zeros(round(dialogue.sample_rate * PTIME), np.int16)
        self._heard: Pcm = np.zeros(0, np.float32)  # less than a frame
        self._talking = Talking(room.stream(StreamKey(self.id, "original", LANGUAGE)), stats, dialogue.sample_rate)
        self._speaking = False
        self._words = Words(self.id)
        self._teller = Teller(room, self, engine, stats, ticker)
        self._sentences: asyncio.Queue[Segment] = asyncio.Queue(MAX_SENTENCES)
        self._gone = asyncio.Event()

    # as a member

    @property
    def source_language(self) -> str:
        """What it speaks."""
        return self.speaks

    @property
    def slots(self) -> dict[str, Outlet]:
        """Where it hears."""
        return {**self._sum.inputs}

    def tell(self, event: RoomEvent) -> None:
        """It reads nothing: what it knows, it has heard."""

    def room_changed(self) -> None:
        """It talks to others in other languages, or leaves when nobody else is there any more."""
        if len(self.room) == 1:
            self.leave()
        else:
            self._teller.languages_changed()

    # life

    def enter(self) -> None:
        """Come in and sit down; it talks from now on. Raises RoomFull. There must be a seat."""
        self.room.join(self)
        self._seat = self._stage.sit(self)
        assert self._seat is not None, "whoever invites counts seats"
        self._ticker.play(self._talking.tick)

    async def run(self) -> None:
        """Until it has left."""
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [tasks.create_task(one) for one in (self._translate(), self._teller.prepare())]
                await self._gone.wait()
                for task in work:
                    task.cancel()
        finally:
            self._teller.voices.close()

    def leave(self) -> None:
        """Rise and go, at once. Idempotent. What it was saying stays as far as it was said."""
        if self._seat is None:
            return
        seat, self._seat = self._seat, None
        self._stage.rise(seat)
        for voice in (self._talking.tick, self._listen):
            self._ticker.silence(voice)
        now = asyncio.get_running_loop().time()
        for sentence in self._words.flush():
            self._told(sentence, now)
        if self._speaking:
            self._teller.report.speech(False, "original", LANGUAGE)
        self.room.leave(self, now)
        self._gone.set()
        self._released()

    # in

    def _listen(self, now: float) -> bool:
        """Hear 20 ms. Frames that nobody speaks in are the stage's business."""
        pcm = self._sum.take(now)
        asleep = self._sum.asleep
        self._heard = np.concatenate([self._heard, (self._silence if pcm is None else pcm).astype(np.float32) / 32768])
        if asleep:
            self._heard = np.pad(self._heard, (0, -len(self._heard) % self._frame_samples))
        while len(self._heard) >= self._frame_samples and self._seat is not None:
            frame, self._heard = self._heard[: self._frame_samples], self._heard[self._frame_samples :]
            self._stage.push(self._seat, frame)
        return not asleep

    # out

    def hear(self, frame: DialogueFrame) -> None:
        """What it says now. From the stage."""
        self._talking.push(frame.pcm)
        now = asyncio.get_running_loop().time()
        for event in self._words.add(frame.text, self.room.milliseconds(now)):
            if isinstance(event, TranscriptInterim):
                self.room.tell(event)
            else:
                self._ask(self._told(event, now))
        if self._talking.speaking != self._speaking:
            self._speaking = self._talking.speaking
            self.last_spoke = float("inf") if self._speaking else now
            self._teller.report.speech(self._speaking, "original", LANGUAGE)
            if self._speaking:
                self.room.reassign()

    def _told(self, sentence: TranscriptFinal, now: float) -> Segment:
        """Everybody reads the sentence as it was said."""
        begun, ended = (self.room.opened_at + ms / 1000 for ms in (sentence.start_ms, sentence.end_ms))
        segment = Segment(sentence.segment_id, sentence.utterance_id, LANGUAGE, begun, sentence.start_ms)
        segment.end_ms, segment.ended_at, segment.cut_at = sentence.end_ms, ended, now
        self._teller.report.final(segment, Rendering(LANGUAGE, sentence.text), None, now)
        return segment

    def _ask(self, segment: Segment) -> None:
        """For its translations."""
        if self._sentences.full():
            self._sentences.get_nowait()
            self._stats.segments_dropped += 1
        self._sentences.put_nowait(segment)

    async def _translate(self) -> None:
        """Sentence by sentence. Never returns."""
        while True:
            segment = await self._sentences.get()
            assert segment.entry is not None and segment.cut_at is not None, "it was told"
            targets = self._teller.targets(LANGUAGE)
            if not targets or self._engine.state != "ready":
                continue
            taken_at = asyncio.get_running_loop().time()
            transcript = Transcript(segment.entry.text, LANGUAGE)
            finals = self._engine.translator.render(transcript, targets, speech=True)
            try:
                await self._teller.tell(segment, finals, segment.cut_at, taken_at)
            except EngineError:
                self._stats.segments_dropped += 1
