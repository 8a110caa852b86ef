"""What an engine makes of one speaker's words, in all languages: told to who reads them, spoken to who listens."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from models.base import EngineError, Rendering
from rtc.engine_thread import Engine
from rtc.reporting import Reporter, Segment, Spoken
from rtc.room import Member, Room
from rtc.stats import Stats
from rtc.ticker import Ticker
from rtc.voices import Sound, Voices


class Teller:
    """`tell` finals in the order in which they were said. `prepare` runs for as long as the speaker is there."""

    def __init__(self, room: Room, speaker: Member, engine: Engine, stats: Stats, ticker: Ticker) -> None:
        self.report = Reporter(room, speaker, stats)
        self.voices = Voices(room, speaker, stats, ticker, self.report)
        self._room = room
        self._speaker = speaker
        self._engine = engine
        self._stats = stats
        self._languages_changed = asyncio.Event()

    def targets(self, source: str) -> list[str]:
        """The languages in which somebody listens, and into which there is a way."""
        route = self._engine.translator.route
        return [target for target in self._room.targets(self._speaker, source) if route(source, target) is not None]

    async def each(self, renderings: Iterator[Rendering]) -> AsyncIterator[tuple[Rendering, Sound | None]]:
        """Step through the engine's answers, one thread call each, voices made ready for the encoder."""

        def step() -> tuple[Rendering, Sound | None] | None:
            rendering = next(renderings, None)
            return None if rendering is None else (rendering, self.voices.prepare(rendering))

        while (answer := await self._engine.run(step)) is not None:
            yield answer

    async def tell(self, segment: Segment, finals: Iterator[Rendering], cut_at: float, taken_at: float) -> None:
        """The final words, each language as soon as it is ready. Clock seconds. Raises EngineError."""
        async for rendering, sound in self.each(finals):
            now = asyncio.get_running_loop().time()
            spoken = Spoken(segment.id, segment.ended_at, cut_at, taken_at, now)
            timestamp = self.voices.say(rendering.language, sound, spoken, now)
            if rendering.language != segment.language:
                self._stats.translations[f"{segment.language}>{rendering.language}"] += 1
            self.report.final(segment, rendering, timestamp, now)

    # getting ready

    def languages_changed(self) -> None:
        """Somebody came, went or listens in another language."""
        self._languages_changed.set()

    async def prepare(self) -> None:
        """Warm the way from this speaker to each language in the room before the first word is said. Never returns."""
        while True:
            await self._languages_changed.wait()
            self._languages_changed.clear()
            if self._engine.state != "ready":
                continue
            source = self._speaker.source_language
            for target in self._room.targets(self._speaker, source):
                with contextlib.suppress(EngineError):  # it will fail again, and be told, when it is needed
                    await self._engine.run(self._engine.translator.prepare, source, target)
