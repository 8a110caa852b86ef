"""The voice as a member of a room, by itself: what it says while nobody keeps up, and how it leaves."""

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from models.base import DialogueFrame, EngineFailed, Rendering, Transcript
from models.echo import EchoTranslator
from models.vad import SileroDetector
from rtc.conversation import Stage
from rtc.dialogue_thread import DialogueThread
from rtc.engine_thread import Engine
from rtc.events import RoomEvent, SpeechStarted, SpeechStopped, TranscriptFinal
from rtc.guest import MAX_SENTENCES, Guest
from rtc.room import Room, RoomFull
from rtc.stats import Stats
from rtc.ticker import Ticker
from tests.parrot import Parrot
from tests.rtc.test_room import Somebody

FRAME = np.zeros(Parrot.frame_samples, np.float32)


class Reader(Somebody):
    """A member one can wait for."""

    def __init__(self, id: str, language: str) -> None:
        super().__init__(id, language)
        self.news = asyncio.Event()

    def tell(self, event: RoomEvent) -> None:
        super().tell(event)
        self.news.set()

    def read(self) -> list[str]:
        """Translations."""
        return [event.text for event in self.told if isinstance(event, TranscriptFinal) and event.translated]

    async def until_read(self, count: int) -> list[str]:
        """So many translations, at least."""
        while len(self.read()) < count:
            self.news.clear()
            await self.news.wait()
        return self.read()


class Scene:
    """Ana listens in Spanish in a room for two."""

    def __init__(self, translator: EchoTranslator) -> None:
        self.stats = Stats()
        self.room = Room("lima", "Lima", 2, asyncio.get_running_loop().time(), lambda source, target: True)
        self.ana = Reader("ana", "es")
        self.room.join(self.ana)
        self.engine = Engine(translator, SileroDetector())
        self.engine.state = "ready"
        self.stage = Stage(DialogueThread(Parrot(1)))
        self.released = 0

    def guest(self) -> Guest:
        return Guest(self.room, "Parrot", self.stage, self.engine, self.stats, Ticker(self.stats), self._release)

    def _release(self) -> None:
        assert self.stage.taken == 0, "whoever comes next finds the seat free"
        self.released += 1


def say(guest: Guest, *words: str) -> None:
    """A sentence is over when the next one begins."""
    for word in words:
        guest.hear(DialogueFrame(FRAME, word))


async def test_of_too_many_sentences_the_oldest_stay_untranslated() -> None:
    """They are told and kept all the same, and counted."""
    scene = Scene(EchoTranslator())
    guest = scene.guest()
    guest.enter()
    say(guest, *(f" Word{number}." for number in range(MAX_SENTENCES + 3)), " End.")
    assert scene.stats.segments_dropped == 3
    running = asyncio.create_task(guest.run())
    read = await scene.ana.until_read(MAX_SENTENCES)
    guest.leave()
    await running
    assert read == [f"[es] Word{number}." for number in range(3, MAX_SENTENCES + 3)]
    assert [entry.text for entry in scene.room.transcript][-2:] == [f"Word{MAX_SENTENCES + 2}.", "End."]
    await scene.engine.close()


async def test_a_sentence_whose_translation_fails_is_the_only_one_lost() -> None:
    class Stumbling(EchoTranslator):
        def render(self, transcript: Transcript, targets: Sequence[str], speech: bool) -> Iterator[Rendering]:
            if transcript.text == "One.":
                raise EngineFailed("not this one")
            yield from super().render(transcript, targets, speech)

    scene = Scene(Stumbling())
    guest = scene.guest()
    guest.enter()
    say(guest, " One.", " Two.", " Three.")
    running = asyncio.create_task(guest.run())
    read = await scene.ana.until_read(1)
    guest.leave()
    await running
    assert read == ["[es] Two."] and scene.stats.segments_dropped == 1
    await scene.engine.close()


async def test_it_leaves_in_the_midst_of_a_word_and_only_once() -> None:
    """What it has said stays; nobody is shown as speaking who has gone."""
    scene = Scene(EchoTranslator())
    guest = scene.guest()
    guest.enter()
    loud = np.full(Parrot.frame_samples, 0.3, np.float32)
    guest._talking._loudness.hear(0.3, 0.02)
    guest.hear(DialogueFrame(loud, " Well"))
    assert [type(event) for event in scene.ana.told].count(SpeechStarted) == 1
    for _ in range(2):
        guest.leave()
    await guest.run()
    assert scene.released == 1 and [entry.text for entry in scene.room.transcript] == ["Well"]
    assert [type(event) for event in scene.ana.told].count(SpeechStopped) == 1
    assert len(scene.room) == 1
    await scene.engine.close()


async def test_in_a_full_room_it_takes_no_seat() -> None:
    scene = Scene(EchoTranslator())
    scene.room.join(Somebody("bob", "en"))
    with pytest.raises(RoomFull):
        scene.guest().enter()
    assert scene.stage.taken == 0


async def test_a_cancelled_one_leaves_nothing_running() -> None:
    scene = Scene(EchoTranslator())
    guest = scene.guest()
    guest.enter()
    running = asyncio.create_task(guest.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    guest.leave()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await scene.engine.close()
