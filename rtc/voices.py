"""The translated voices of one speaker: in each language what is to be said, in the order in which it was made.

The room's ticker sends one packet of each voice that speaks every 20 ms.
"""

from dataclasses import dataclass

from models.base import Rendering
from rtc.opus import Int16, to_int16
from rtc.playout import Playout, tempo, voice_rate
from rtc.reporting import Reporter, Spoken
from rtc.room import Member, Room
from rtc.slots import StreamKey
from rtc.stats import Stats
from rtc.ticker import Ticker


@dataclass(frozen=True, slots=True)
class Sound:
    """Speech as an encoder takes it."""

    pcm: Int16
    rate: int
    """Hertz, one of Opus'."""


class Voices:
    """`prepare` in a thread, then `say`."""

    def __init__(self, room: Room, speaker: Member, stats: Stats, ticker: Ticker, report: Reporter) -> None:
        self._room = room
        self._speaker = speaker
        self._stats = stats
        self._ticker = ticker
        self._report = report
        self._playouts: dict[str, Playout[Spoken]] = {}  # by language

    def prepare(self, rendering: Rendering) -> Sound | None:
        """Its speech, faster if much waits. Takes up to 2 ms of CPU per second of it: not for the event loop."""
        speech = rendering.speech
        if speech is None or not len(speech.pcm):
            return None
        voice = self._playouts.get(rendering.language)
        rate = voice_rate(speech.sample_rate) if voice is None else voice.rate
        pace = 1.0 if voice is None else tempo(voice.backlog)
        return Sound(to_int16(speech.pcm, speech.sample_rate, rate, pace), rate)

    def say(self, language: str, sound: Sound | None, spoken: Spoken, now: float) -> int | None:
        """After all that was said before. The stream's timestamp at which it begins; None if there is nothing to say,
        or nobody to listen. `now`: clock seconds."""
        if sound is None or not len(sound.pcm) or not self._room.listeners(language, self._speaker):
            return None
        if language not in self._playouts:
            stream = self._room.stream(StreamKey(self._speaker.id, "translation", language))
            self._playouts[language] = Playout(stream, self._stats, sound.rate)
        timestamp = self._playouts[language].say(spoken, sound.pcm, now, spoken.segment_id)
        self._ticker.play(self._tick)
        return timestamp

    def is_idle(self, language: str) -> bool:
        """Nothing is said in it, nor waits to be."""
        return language not in self._playouts or self._playouts[language].idle

    def close(self) -> None:
        """Say nothing more."""
        self._ticker.silence(self._tick)

    def _tick(self, now: float) -> bool:
        """One packet of each voice that speaks; False when none has anything more to say."""
        speaking = False
        for language, voice in self._playouts.items():
            tick = voice.tick(now)
            speaking |= tick.sent
            if tick.started or tick.stopped:
                self._report.speech(tick.started, "translation", language)
            for spoken in tick.began:
                self._report.lag(spoken, language, now)
        return speaking
