"""A duplex model as interpreter (Hibiki): it hears a speaker without a break and speaks another language meanwhile.

    microphone ─┬─► segments ─► captions, every other language          rtc.interpreting
                └─► frames ─► a seat on the stage ⇄ model ─► voice and text in TARGET

Who speaks SOURCE while somebody listens in TARGET has a seat, if one is free. Translations change over to it in a pause
in which everything has been said: a segment belongs to the stream or to the engine for segments as a whole, so that
nobody hears it twice. The way back is at once, and whatever the stream still owed is told from segments.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from models.base import DialogueFrame
from rtc.conductor import LATE
from rtc.conversation import Stage
from rtc.dialogue_thread import DialogueThread
from rtc.events import TranscriptFinal
from rtc.inbound import Inbound
from rtc.reporting import Reporter
from rtc.room import Member, Room
from rtc.rtp import Packet
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.talking import Talking
from rtc.ticker import Ticker
from rtc.transcript import Entry
from rtc.words import Words

SOURCE, TARGET = "fr", "en"
"""What Hibiki understands and speaks."""

OWED = 3.0
"""Seconds after its end for which a phrase may not have been said whole: Hibiki ends 2.7 to 2.9 s after its speaker
(Labiausse et al., arXiv 2502.03382)."""


class StreamingTranslator:
    """The model and its seats, for all rooms. `run` it in a TaskGroup."""

    def __init__(self, engine: DialogueThread) -> None:
        self.engine = engine
        self.stage = Stage(engine)
        self.segments: Counter[str] = Counter()
        """Segments of those who might have a seat: `streamed`, or told by the engine for segments, by why they were:
        `no_seat`, `warming`, `failed`, `no_pause` to change over in."""

    async def run(self, changed: Callable[[], None]) -> None:
        """Load the model, then step it; `changed` is called when it is ready and when it is broken. Never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.stage.run())
            await self.engine.load()
            self.stage.wake()
            changed()
            await self.engine.broken.wait()
            changed()

    def counters(self) -> dict[str, float]:
        """What was conducted and translated so far, by snake_case names."""
        ways = ("streamed", "no_seat", "warming", "failed", "no_pause")
        return {**self.stage.counters(), **{f"segments_{way}": self.segments[way] for way in ways}}


class StreamingTranslation:
    """One speaker's part in it: `push` what is heard of them, `update` and `begin` when something may have changed."""

    def __init__(
        self,
        translator: StreamingTranslator,
        room: Room,
        speaker: Member,
        stats: Stats,
        ticker: Ticker,
        report: Reporter,
        utterance: Callable[[], str],
    ) -> None:
        """`utterance`: id of the speaker's turn, for the words that translate it."""
        dialogue = translator.engine.dialogue
        self._translator = translator
        self._room = room
        self._speaker = speaker
        self._ticker = ticker
        self._report = report
        self._running = False
        self._seat: int | None = None
        self._stats = stats
        self._utterance = utterance
        self._words: Words  # while active
        self._voice: Talking  # while active
        self._speaking = False
        self.active = False
        """What is said from now on is translated here."""
        self.inbound = Inbound(stats, dialogue.sample_rate, dialogue.frame_samples)

    @property
    def _wanted(self) -> bool:
        speaks = self._running and self._speaker.source_language == SOURCE
        return speaks and bool(self._room.listeners(TARGET, self._speaker))

    def update(self) -> bool:
        """Take a seat, or give it back, as the room and the model are now. True if it was translating, and is not any
        more."""
        usable = self._wanted and self._translator.engine.state != "failed"
        if usable and self._seat is None:
            self._seat = self._translator.stage.sit(self)
        return not usable and self._rise()

    def begin(self, pause: bool) -> None:
        """Translate from the next packet on, if that can be. `pause`: nothing is being said, nor waits to be."""
        if self.active or not pause or not self._wanted or self._translator.engine.state != "ready":
            return
        self.update()
        if self._seat is None:
            return
        self.active = True
        stream = self._room.stream(StreamKey(self._speaker.id, "translation", TARGET))
        stream.gap()  # packets of another encoder follow
        self._voice = Talking(stream, self._stats, self._translator.engine.dialogue.sample_rate)
        self._words = Words(self._speaker.id, TARGET, SOURCE, self._utterance)
        self._ticker.play(self._voice.tick)
        self._room.streamed.add((self._speaker.id, TARGET))
        self._room.reassign()

    def claim(self) -> str:
        """A segment begins: the language in which it is translated here, if it is."""
        if not self._wanted:
            return ""
        state = self._translator.engine.state
        why_not = "no_seat" if self._seat is None and state != "failed" else "no_pause" if state == "ready" else state
        self._translator.segments["streamed" if self.active else why_not] += 1
        return TARGET if self.active else ""

    def push(self, packet: Packet, now: float) -> None:
        """A packet in which the speaker is heard. While none come, the model hears silence."""
        if self.active:
            self.inbound.push(packet, now)

    async def run(self) -> None:
        """Give the model its frames. Never returns. There is a seat only meanwhile: packets come before and after."""
        self._running = True
        try:
            self.update()
            while True:
                frame = await self.inbound.window(LATE if self.active else None)
                if frame is not None and self.active and self._seat is not None:
                    self._translator.stage.push(self._seat, frame)
        finally:
            self._running = False
            self.update()

    def hear(self, frame: DialogueFrame) -> None:
        """What the model says now. From the stage."""
        if not self.active:
            return
        self._voice.push(frame.pcm)
        self._tell(frame.text)
        if self._voice.speaking != self._speaking:
            self._speaking = self._voice.speaking
            self._report.speech(self._speaking, "translation", TARGET)

    def _tell(self, piece: str | None) -> None:
        """The next words; with None there are no more."""
        now_ms = self._room.milliseconds(asyncio.get_running_loop().time())
        for event in self._words.flush() if piece is None else self._words.add(piece, now_ms):
            if isinstance(event, TranscriptFinal):
                ids = (event.segment_id, event.utterance_id, self._speaker.id, self._speaker.name)
                entry = Entry("stream", *ids, TARGET, event.text, event.start_ms, event.end_ms)
                event = replace(event, record=self._room.transcript.record(entry, TARGET, event.text))
            for listener in self._room.listeners(TARGET, self._speaker):
                listener.tell(event)

    def _rise(self) -> bool:
        """Give the seat back, at once, if there is one. True if it was translating."""
        if self._seat is None:
            return False
        self._translator.stage.rise(self._seat)
        self._seat = None
        was_active, self.active = self.active, False
        if was_active:
            self._ticker.silence(self._voice.tick)
            self._voice.stream.gap()
            self._tell(None)
            self.inbound.gap()
            if self._speaking:
                self._speaking = False
                self._report.speech(False, "translation", TARGET)
            self._room.streamed.discard((self._speaker.id, TARGET))
            self._room.reassign()
        return was_active
