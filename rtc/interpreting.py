"""One speaker's way from packets to translated voices: microphone → segments → words → languages → playout.

Three tasks, owned by the participant's group. `_listen` judges and cuts; `_interpret` makes words and voices of
segments, finals before interims; `_play` sends one packet of each speaking voice every 20 ms.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator

import numpy as np

from models.base import SPEECH_RATE, VAD_WINDOW, EngineBusy, EngineError, Pcm, Rendering, Transcript
from rtc.engine_thread import Engine
from rtc.events import EngineTrouble
from rtc.inbound import Inbound
from rtc.opus import Int16, to_int16
from rtc.playout import PTIME, VOICE_RATE, Playout, tempo
from rtc.reporting import Reporter, Segment, Spoken
from rtc.room import Member, Room, new_id
from rtc.segmenter import Cut, Segmenter, SegmenterSettings
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.transport import Packet

log = logging.getLogger(__name__)

WINDOW_SECONDS = VAD_WINDOW / SPEECH_RATE
SOURCE_PAUSE = 0.1
"""Seconds without a packet after which time is counted as silence: the sender paused (DTX, outage, tab asleep)."""
INTERIM_WINDOWS = 6
"""Look for a new hypothesis every 192 ms: faster flickers."""
BUSY_PATIENCE, BUSY_INTERVAL = 4.0, 0.05
"""Seconds for which a finished segment waits for a recogniser, and between two tries."""
MAX_SEGMENTS = 8
"""Cut and waiting for words; then the oldest is dropped whole."""


class Interpreter:
    """`packet` for each packet of the microphone, `run` for as long as the participant is there."""

    def __init__(
        self, room: Room, speaker: Member, engine: Engine, stats: Stats, settings: SegmenterSettings | None = None
    ) -> None:
        self._room = room
        self._speaker = speaker
        self._engine = engine
        self._stats = stats
        self._report = Reporter(room, speaker, stats)
        self._settings = settings or SegmenterSettings()
        self._segmenter = Segmenter(self._settings)
        self._detector = engine.new_detector()
        self._before: deque[Pcm] = deque(maxlen=self._settings.pre_roll)
        self._segment: Segment | None = None
        self._utterance_id = ""
        self._cut: deque[Segment] = deque()
        self._work = asyncio.Event()  # for _interpret
        self._voices: dict[str, Playout[Spoken]] = {}
        self._voice_work = asyncio.Event()  # for _play
        self.inbound = Inbound(stats)
        self.muted = False

    # in: packets

    def packet(self, packet: Packet) -> None:
        """A packet of the microphone: forwarded as it is, then decoded for the models."""
        if self.muted:
            return
        speaker = self._speaker
        original = self._room.stream(StreamKey(speaker.id, "original", speaker.source_language))
        original.send(packet, asyncio.get_running_loop().time())
        self.inbound.push(packet, asyncio.get_running_loop().time())

    def mute(self, muted: bool) -> None:
        """Muted, nothing of the microphone goes anywhere; what was said before is still interpreted."""
        self.muted = muted
        self._room.stream(StreamKey(self._speaker.id, "original", self._speaker.source_language)).gap()

    async def run(self) -> None:
        """Never returns."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen())
                tasks.create_task(self._interpret())
                tasks.create_task(self._play())
        finally:
            for segment in [*self._cut, *([self._segment] if self._segment else [])]:
                if segment.recognition is not None:
                    segment.recognition.cancel()

    # hear and cut

    async def _listen(self) -> None:
        windows = 0
        while True:
            window = await self.inbound.window(SOURCE_PAUSE if self._segmenter.in_utterance else None)
            if window is None:
                for _ in range(round(SOURCE_PAUSE / WINDOW_SECONDS)):
                    self._apply(self._segmenter.push(0.0))
                continue
            windows += 1
            self._before.append(window)
            if self._segment is not None:
                self._segment.push(window)
            self._apply(self._segmenter.push(await self._judge(window)))
            if self._segment is not None:
                self._try_to_hear(self._segment)
                if windows % INTERIM_WINDOWS == 0:
                    self._work.set()

    async def _judge(self, window: Pcm) -> float:
        try:
            return await self._engine.run(self._detector.probability, window)
        except EngineBusy:
            self._stats.windows_dropped += 1
            return 0.0

    def _apply(self, cuts: list[Cut]) -> None:
        now = asyncio.get_running_loop().time()
        speaker = self._speaker
        for cut in cuts:
            match cut:
                case Cut.UTTERANCE_STARTED:
                    self._utterance_id = new_id("utt")
                    self._stats.utterances += 1
                    speaker.last_spoke = float("inf")
                    self._report.speech(True, "original", speaker.source_language)
                    self._room.reassign()
                case Cut.SEGMENT_STARTED:
                    self._begin_segment(now)
                case Cut.SEGMENT_ENDED | Cut.SEGMENT_DROPPED:
                    self._end_segment(now, dropped=cut is Cut.SEGMENT_DROPPED)
                case Cut.UTTERANCE_ENDED:
                    speaker.last_spoke = now
                    self._report.speech(False, "original", speaker.source_language)

    def _begin_segment(self, now: float) -> None:
        language = self._speaker.source_language
        if not any(known.code == language and known.speech_in for known in self._engine.translator.languages):
            return
        start = self._room.milliseconds(now - len(self._before) * WINDOW_SECONDS)
        self._segment = Segment(new_id("seg"), self._utterance_id, language, start, held=list(self._before))
        self._try_to_hear(self._segment)

    def _try_to_hear(self, segment: Segment) -> None:
        if segment.recognition is not None or self._engine.state != "ready":
            return
        try:
            recognition = self._engine.translator.hear(self._speaker.id, segment.language)
        except EngineBusy:
            return  # the windows are held; the next one tries again
        segment.recognition = recognition
        if segment.held:
            recognition.push(np.concatenate(segment.held))
            segment.held.clear()

    def _end_segment(self, now: float, dropped: bool) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        segment.ended_at = now - self._segmenter.silence * WINDOW_SECONDS
        segment.end_ms = self._room.milliseconds(segment.ended_at)
        segment.cut_at = now
        if dropped:
            self._abandon(segment)
            return
        self._stats.segments += 1
        if len(self._cut) >= MAX_SEGMENTS:
            self._stats.segments_dropped += 1
            self._abandon(self._cut.popleft())
        self._cut.append(segment)
        self._work.set()

    def _abandon(self, segment: Segment) -> None:
        """The segment has no words."""
        if segment.recognition is not None:
            segment.recognition.cancel()
        self._report.nothing(segment)

    # words and voices

    async def _interpret(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._cut:
                await self._finish(self._cut.popleft())
            if self._segment is not None:
                await self._look_ahead(self._segment)

    async def _look_ahead(self, segment: Segment) -> None:
        """Tell the newest hypothesis, translated where somebody needs it."""
        if segment.recognition is None or not (text := segment.recognition.interim()):
            return
        segment.interim = text
        segment.revision += 1
        now = asyncio.get_running_loop().time()
        self._report.interim(segment, segment.language, text, now)
        targets = self._targets(segment)
        if not targets:
            return
        try:
            renderings = self._engine.translator.render(Transcript(text, segment.language), targets, speech=False)
            async for rendering, _ in self._each(renderings):
                self._report.interim(segment, rendering.language, rendering.text, now, rendering.via)
        except EngineError as error:
            log.info("interim of %s not translated: %s", self._speaker.id, error)

    async def _finish(self, segment: Segment) -> None:
        await self._wait_for_recogniser(segment)
        taken_at = asyncio.get_running_loop().time()
        if segment.recognition is None:
            self._lost(
                segment, "engine_busy", "Too many people speak at once for this engine: that was not understood."
            )
            return
        try:
            transcript = await self._engine.run(segment.recognition.finish)
            if not transcript.text:
                self._abandon(segment)
                return
            entry = self._report.words(segment, transcript.language, transcript.text)
            targets = [target for target in self._targets(segment) if target != transcript.language]
            if targets:
                renderings = self._engine.translator.render(transcript, targets, speech=True)
                async for rendering, pcm in self._each(renderings):
                    entry.translations[rendering.language] = rendering.text
                    self._deliver(segment, rendering, pcm, taken_at)
        except EngineError as error:
            self._lost(segment, "engine_failed", str(error))
        finally:
            segment.recognition.cancel()

    async def _wait_for_recogniser(self, segment: Segment) -> None:
        """If all recognisers were busy while the segment was spoken, one may become free in a moment."""
        for _ in range(round(BUSY_PATIENCE / BUSY_INTERVAL)):
            self._try_to_hear(segment)
            if segment.recognition is not None:
                return
            await asyncio.sleep(BUSY_INTERVAL)  # an engine has no way to call back: it knows no event loop

    def _targets(self, segment: Segment) -> list[str]:
        route = self._engine.translator.route
        return [t for t in self._room.targets(self._speaker) if route(segment.language, t) is not None]

    async def _each(self, renderings: Iterator[Rendering]) -> AsyncIterator[tuple[Rendering, Int16 | None]]:
        """Step through the engine's answers, one thread call each, voices made ready for the encoder."""

        def step() -> tuple[Rendering, Int16 | None] | None:
            rendering = next(renderings, None)
            if rendering is None:
                return None
            if rendering.speech is None:
                return rendering, None
            voice = self._voices.get(rendering.language)
            pace = tempo(voice.backlog) if voice is not None else 1.0
            return rendering, to_int16(rendering.speech.pcm, rendering.speech.sample_rate, VOICE_RATE, pace)

        while (answer := await self._engine.run(step)) is not None:
            yield answer

    def _deliver(self, segment: Segment, rendering: Rendering, pcm: Int16 | None, taken_at: float) -> None:
        """Words and voice of one language, to those who want it."""
        now = asyncio.get_running_loop().time()
        language = rendering.language
        self._stats.translations[f"{segment.language}>{language}"] += 1
        timestamp: int | None = None
        if pcm is not None and len(pcm) and self._room.listeners(language, self._speaker):
            if language not in self._voices:
                stream = self._room.stream(StreamKey(self._speaker.id, "translation", language))
                self._voices[language] = Playout(stream, self._stats)
            timestamp = self._voices[language].say(Spoken(segment, taken_at, now), pcm, now)
            self._voice_work.set()
        self._report.translation(segment, language, rendering.text, rendering.via, timestamp, now)

    def _lost(self, segment: Segment, code: str, message: str) -> None:
        self._stats.segments_dropped += 1
        self._abandon(segment)
        self._speaker.tell(EngineTrouble(code, message))

    # out: packets

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._voice_work.wait()
            self._voice_work.clear()
            due = loop.time()
            speaking = True
            while speaking:
                speaking = False
                for language, voice in self._voices.items():
                    speaking |= self._tick(language, voice, loop.time())
                due += PTIME
                await asyncio.sleep(max(0.0, due - loop.time()))

    def _tick(self, language: str, voice: Playout[Spoken], now: float) -> bool:
        """One packet of one voice; False when it has nothing more to say."""
        tick = voice.tick(now)
        if tick.started or tick.stopped:
            self._report.speech(tick.started, "translation", language)
        if tick.began is not None:
            self._report.lag(tick.began, language, now)
        return tick.sent
