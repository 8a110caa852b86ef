"""One speaker's way from packets to translated voices: microphone → segments → words → languages → voices.

Two tasks, owned by the participant's group. `_listen` judges and cuts, and asks for a segment's finals at the cut, so
that the engine can take them together with others'. `_interpret` tells what the engine makes of segments, one after the
other, finals before interims: words and voices of a later segment never overtake those of an earlier one.
"""

import asyncio
import logging
from collections import deque
from dataclasses import replace

import numpy as np

from models.base import SPEECH_RATE, VAD_WINDOW, EngineBroken, EngineBusy, EngineError, Pcm, Transcript
from rtc.engine_thread import Engine
from rtc.events import EngineTrouble
from rtc.inbound import Inbound
from rtc.levels import LevelGate
from rtc.opus import silence_after
from rtc.reporting import Segment, Spoken
from rtc.room import Member, Room, new_id
from rtc.rtp import Packet
from rtc.segmenter import Cut, Segmenter, SegmenterSettings
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.stream import Stream
from rtc.streaming_translation import OWED, TARGET, StreamingTranslation, StreamingTranslator
from rtc.telling import Teller
from rtc.ticker import Ticker

log = logging.getLogger(__name__)

WINDOW_SECONDS = VAD_WINDOW / SPEECH_RATE
SOURCE_PAUSE = 0.1
"""Seconds without a packet after which time is counted as silence: the sender paused (DTX, outage, tab asleep)."""
INTERIM_WINDOWS = 6
"""Look for a new hypothesis every 192 ms: faster flickers."""
BUSY_PATIENCE, BUSY_INTERVAL = 4.0, 0.05
"""Seconds for which a finished segment waits for a recogniser, and between two tries."""
PRE_ROLL = 16
"""Packets (320 ms) of a quiet microphone kept for when it is heard again."""
MAX_SEGMENTS = 8
"""Cut and waiting for words; then the oldest that nobody has begun to tell is dropped whole."""


class Interpreter:
    """`packet` for each packet of the microphone, `run` for as long as the participant is there."""

    def __init__(
        self,
        room: Room,
        speaker: Member,
        engine: Engine,
        stats: Stats,
        ticker: Ticker,
        settings: SegmenterSettings | None = None,
        streaming: StreamingTranslator | None = None,
    ) -> None:
        self._room = room
        self._speaker = speaker
        self._engine = engine
        self._stats = stats
        self._teller = Teller(room, speaker, engine, stats, ticker)
        self._report = self._teller.report
        self._settings = settings or SegmenterSettings()
        self._segmenter = Segmenter(self._settings)
        self._memory = engine.detection.memory()
        self._before: deque[Pcm] = deque(maxlen=self._settings.pre_roll)
        self._segment: Segment | None = None
        self._utterance_id = ""
        self._cut: deque[Segment] = deque()  # the first is being told
        self._stream: StreamingTranslation | None = None
        if streaming is not None:
            self._stream = StreamingTranslation(streaming, room, speaker, stats, ticker, self._report, self._turn)
        self._streamed: deque[Segment] = deque(maxlen=MAX_SEGMENTS)  # told, but in TARGET by the stream
        self._owed: deque[Segment] = deque()  # told, and to be told in TARGET, since the stream has ended
        self._work = asyncio.Event()  # for _interpret
        self._gate = LevelGate()
        self._heard = False  # the last packet was
        self._quiet: deque[tuple[Packet, float]] = deque(maxlen=PRE_ROLL)  # and when they came
        self.inbound = Inbound(stats)
        self.muted = False

    # in: packets

    def packet(self, packet: Packet, now: float) -> None:
        """A packet of the microphone: forwarded as it is, then decoded for the models. `now`: clock seconds."""
        heard = not self.muted and self._gate.hears(packet.level, now)
        if heard:
            if self._stream is not None and not self._stream.active:
                self._stream.begin(self._all_is_said)
            while self._quiet:  # weak consonants lie before the first loud packet
                self._decode(*self._quiet.popleft())
            self._original.send(packet, now)
            self._decode(packet, now)
        elif self._heard:
            if packet.payload:
                self._original.send(replace(packet, payload=silence_after(packet.payload)), now)
            self._pause()
        elif not self.muted:  # nothing is decoded or sent for a quiet microphone
            self._quiet.append((packet, now))
        self._heard = heard

    def _decode(self, packet: Packet, now: float) -> None:
        self.inbound.push(packet, now)
        if self._stream is not None:
            self._stream.push(packet, now)

    @property
    def _all_is_said(self) -> bool:
        """By the speaker, and in TARGET."""
        unsaid = self._segmenter.in_utterance or self._segments() or self._owed
        return not unsaid and self._teller.voices.is_idle(TARGET)

    def mute(self, muted: bool) -> None:
        """Muted, nothing of the microphone goes anywhere; what was said before is still interpreted."""
        self.muted = muted
        if not muted:
            self._pause()

    def _pause(self) -> None:
        """What comes next does not follow on what came last: nothing between them was lost."""
        self._quiet.clear()
        self._original.gap()
        self.inbound.gap()
        if self._stream is not None:
            self._stream.inbound.gap()

    @property
    def _original(self) -> Stream:
        return self._room.stream(StreamKey(self._speaker.id, "original", self._speaker.source_language))

    async def run(self) -> None:
        """Never returns."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen())
                tasks.create_task(self._interpret())
                tasks.create_task(self._teller.prepare())
                if self._stream is not None:
                    tasks.create_task(self._stream.run())
        finally:
            self._teller.voices.close()
            for segment in self._segments():
                if segment.recognition is not None:
                    segment.recognition.cancel()

    def languages_changed(self) -> None:
        """Somebody came, went or listens in another language: what nobody wants any more is not computed. Or the model
        that streams became ready, or broke."""
        self._teller.languages_changed()
        if self._stream is not None and self._stream.update():
            self._take_over()
        for segment in self._segments():
            if segment.recognition is not None:
                segment.recognition.want(self._targets(segment))

    def _turn(self) -> str:
        return self._utterance_id or new_id("utt")

    def _take_over(self) -> None:
        """The stream ended: what it can not have said whole is told from its beginning."""
        now = asyncio.get_running_loop().time()
        self._owed.extend(segment for segment in self._streamed if now - segment.ended_at < OWED)
        self._streamed.clear()
        if self._segment is not None:
            self._segment.streamed = ""
        self._work.set()

    def _segments(self) -> list[Segment]:
        """All that are not over."""
        return [*self._cut, *([self._segment] if self._segment is not None else [])]

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
            if self._segment is not None and not self._segment.push(window):
                self._stats.windows_dropped += 1
            probability = await self._engine.detection.judge(self._memory, window, self.inbound.behind)
            inside = self._segmenter.in_segment
            self._apply(self._segmenter.push(probability))
            if (inside or self._segmenter.in_segment) and not self._segmenter.silence:
                self._before.clear()  # these words are in a segment: the next does not begin with them
            if self._segment is not None:
                self._try_to_hear(self._segment)
                if windows % INTERIM_WINDOWS == 0:
                    self._work.set()

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
        known = any(one.code == language and one.speech_in for one in self._engine.translator.languages)
        if not known or self._engine.state != "ready":  # of which everybody was told
            return
        started_at = now - len(self._before) * WINDOW_SECONDS
        start_ms = self._room.milliseconds(started_at)
        held = list(self._before)
        self._segment = Segment(new_id("seg"), self._utterance_id, language, started_at, start_ms, held=held)
        if self._stream is not None:
            self._segment.streamed = self._stream.claim()
        self._try_to_hear(self._segment)

    def _try_to_hear(self, segment: Segment) -> None:
        if segment.recognition is not None or self._engine.state != "ready":
            return
        simultaneous = self._room.mode == "simultaneous"
        try:
            recognition = self._engine.translator.hear(self._speaker.id, segment.language, self._room.id, simultaneous)
        except EngineBusy:
            return  # the windows are held; the next one tries again
        except EngineBroken as error:
            self._engine.give_up(error)
            return
        segment.recognition = recognition
        recognition.want(self._targets(segment))
        if segment.held:
            recognition.push(np.concatenate(segment.held))
            segment.held.clear()
        if segment.cut_at is not None:
            segment.finals = recognition.finish()

    def _end_segment(self, now: float, dropped: bool) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        segment.ended_at = now - self._segmenter.silence * WINDOW_SECONDS
        segment.end_ms = self._room.milliseconds(segment.ended_at)
        segment.cut_at = now
        segment.speech = self._segmenter.speech * WINDOW_SECONDS
        if dropped:
            self._abandon(segment)
            return
        self._stats.segments += 1
        self._stats.speech_seconds += segment.speech
        if segment.recognition is not None:
            segment.finals = segment.recognition.finish()
        if len(self._cut) >= MAX_SEGMENTS:
            self._stats.segments_dropped += 1
            self._abandon(self._cut[1])
            del self._cut[1]
        self._cut.append(segment)
        self._work.set()

    def _abandon(self, segment: Segment) -> None:
        """The segment has no more words."""
        if segment.recognition is not None:
            segment.recognition.cancel()
        self._report.abandoned(segment)

    # words and voices

    async def _interpret(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._cut or self._owed:
                while self._owed:
                    await self._tell_from_text(self._owed.popleft())
                if self._cut:
                    await self._finish(self._cut[0])
                    self._pass_on(self._cut.popleft())
            if self._segment is not None:
                await self._look_ahead(self._segment)

    async def _look_ahead(self, segment: Segment) -> None:
        """Tell the newest hypothesis, in other languages where somebody needs it, and say what of it has settled."""
        if segment.recognition is None or (renderings := segment.recognition.interim()) is None:
            return
        asked_at = asyncio.get_running_loop().time()
        segment.revision += 1
        try:
            async for rendering, sound in self._teller.each(renderings):
                if segment.abandoned:
                    return
                # Counted in samples, which come in bursts at times: never later than it was asked for.
                said_at = min(segment.started_at + (rendering.source_end or 0.0), asked_at)
                now = asyncio.get_running_loop().time()
                spoken = Spoken(segment.id, said_at, asked_at, asked_at, now)
                timestamp = self._teller.voices.say(rendering.language, sound, spoken, now)
                self._report.interim(segment, rendering, timestamp, now)
        except EngineError as error:
            log.info("interim of %s is lost: %s", self._speaker.id, error)

    async def _finish(self, segment: Segment) -> None:
        await self._wait_for_recogniser(segment)
        taken_at = asyncio.get_running_loop().time()
        if segment.recognition is None or segment.finals is None or segment.cut_at is None:
            failed = self._engine.state == "failed"
            busy = "Too many people speak at once for this engine: that was not understood."
            self._lost(segment, "engine_failed" if failed else "engine_busy", self._engine.error if failed else busy)
            return
        try:
            await self._teller.tell(segment, segment.finals, segment.cut_at, taken_at)
            self._report.concluded(segment)
        except EngineError as error:
            self._lost(segment, "engine_busy" if isinstance(error, EngineBusy) else "engine_failed", str(error))
        finally:
            segment.recognition.cancel()

    def _pass_on(self, segment: Segment) -> None:
        """The segment has been told, but for what the stream says of it, or owes if it has ended meanwhile."""
        if segment.streamed and self._stream is not None:
            (self._streamed if self._stream.active else self._owed).append(segment)

    async def _tell_from_text(self, segment: Segment) -> None:
        """Tell what the stream owed, from the words that the engine understood."""
        entry, taken_at = segment.entry, asyncio.get_running_loop().time()
        if entry is None or not entry.text or not self._room.listeners(TARGET, self._speaker):
            return
        entry.streamed = ""
        try:
            words = Transcript(entry.text, segment.language)
            renderings = self._engine.translator.render(words, [TARGET], speech=True)
            await self._teller.tell(segment, renderings, segment.cut_at or segment.ended_at, taken_at)
        except EngineError as error:
            self._lost(segment, "engine_failed", str(error))

    async def _wait_for_recogniser(self, segment: Segment) -> None:
        """If all recognisers were busy while the segment was spoken, one may become free in a moment."""
        for _ in range(round(BUSY_PATIENCE / BUSY_INTERVAL)):
            self._try_to_hear(segment)
            if segment.recognition is not None or self._engine.state == "failed":
                return
            await asyncio.sleep(BUSY_INTERVAL)  # an engine has no way to call back: it knows no event loop

    def _targets(self, segment: Segment) -> list[str]:
        return [target for target in self._teller.targets(segment.language) if target != segment.streamed]

    def _lost(self, segment: Segment, code: str, message: str) -> None:
        self._stats.segments_dropped += 1
        self._abandon(segment)
        self._speaker.tell(EngineTrouble(code, message))
