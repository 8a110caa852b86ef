"""One speaker's way from packets to segments, in the real detector's judgement: nothing twice, and no pause twice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import numpy as np
import pytest

from models.base import SPEECH_RATE, VAD_WINDOW, EngineBusy, Rendering
from models.echo import EchoRecognition, EchoTranslator
from rtc.events import SpeechStarted, SpeechStopped, TranscriptFinal, TranscriptInterim
from rtc.interpreting import Interpreter
from rtc.opus import FRAME, Encoder
from rtc.reporting import MAX_HELD
from rtc.rtp import Packet
from rtc.segmenter import SegmenterSettings
from rtc.ticker import PTIME, Ticker
from tests.rtc.test_guest import Reader, Scene
from tests.sentences import PARAGRAPH
from tests.speech import flite, trim

PATIENCE = 10.0


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene(EchoTranslator())
    await scene.engine.detection.load()
    yield scene
    await scene.engine.close()


@contextlib.asynccontextmanager
async def interpreting(scene: Scene, settings: SegmenterSettings) -> AsyncIterator[Interpreter]:
    """Bob speaks; Ana, who listens in another language, is told."""
    bob = Reader("bob", "en")
    scene.room.join(bob)
    interpreter = Interpreter(scene.room, bob, scene.engine, scene.stats, Ticker(scene.stats), settings)
    running = asyncio.create_task(interpreter.run())
    try:
        yield interpreter
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def packets(pcm: np.ndarray) -> list[Packet]:
    encoder = Encoder(48_000)
    samples = (pcm[: len(pcm) // FRAME * FRAME] * 32767).astype(np.int16).reshape(-1, FRAME)
    return [Packet(1, index, index * FRAME, 0, encoder.encode(frame)) for index, frame in enumerate(samples)]


def speech(seconds: float) -> np.ndarray:
    return trim(flite(PARAGRAPH, rate=48_000), 48_000)[: round(seconds * 48_000)]


async def turns_over(scene: Scene, count: int) -> None:
    """Wait until so many turns have ended."""
    while sum(isinstance(event, SpeechStopped) for event in scene.ana.told) < count:
        scene.ana.news.clear()
        await scene.ana.news.wait()


async def test_speech_that_is_cut_goes_into_one_segment_only(scene: Scene) -> None:
    """Six seconds without a pause are cut wherever they are, every second: nothing is understood twice."""
    now = asyncio.get_running_loop().time()
    async with interpreting(scene, SegmenterSettings(soft_limit=1000, hard_limit=31)) as interpreter:
        for packet in packets(np.concatenate([speech(6.0), np.zeros(2 * 48_000)])):
            interpreter.packet(packet, now + packet.sequence * PTIME)
            while interpreter.inbound.behind:  # noqa: ASYNC110  # nobody is told when a reader has caught up
                await asyncio.sleep(0)
        await turns_over(scene, 1)
        translator = scene.engine.translator
        assert isinstance(translator, EchoTranslator)
        heard = [  # "heard 1 s, 1.2 s"
            float(transcript.text.split()[-2]) for transcript in translator.heard
        ]
        assert len(heard) >= 5
        silence = 12 * VAD_WINDOW / SPEECH_RATE  # that ends the last segment
        assert sum(heard) <= 6.0 + silence + 0.05 * len(heard)  # each is rounded


@pytest.mark.parametrize("lost", [False, True])
async def test_a_pause_without_packets_is_as_long_as_it_is(scene: Scene, lost: bool) -> None:
    """600 ms in which the sender sends nothing (DTX), or nothing arrives, end no turn: that takes 896."""
    loop = asyncio.get_running_loop()
    sent, pause = packets(speech(2.4)), 30
    async with interpreting(scene, SegmenterSettings()) as interpreter:
        begun = loop.time()
        for packet in sent:
            at = packet.sequence + pause * (packet.sequence >= 60)
            await asyncio.sleep(begun + at * PTIME - loop.time())
            number = at if lost else packet.sequence
            interpreter.packet(replace(packet, sequence=number, timestamp=at * FRAME), loop.time())
        await turns_over(scene, 1)
    assert sum(isinstance(event, SpeechStarted) for event in scene.ana.told) == 1


async def test_what_is_not_translated_in_the_end_does_not_stay_half_said() -> None:
    """An engine may show words while somebody speaks and find in the end that they were none in one language."""

    class Doubting(EchoRecognition):
        def finish(self) -> Iterator[Rendering]:
            return (rendering for rendering in super().finish() if rendering.language == "en")

    class Translator(EchoTranslator):
        def hear(self, speaker: str, source: str, room: str = "", simultaneous: bool = True) -> EchoRecognition:
            return Doubting(self, source, simultaneous)

    scene = Scene(Translator())
    await scene.engine.detection.load()
    now = asyncio.get_running_loop().time()
    async with interpreting(scene, SegmenterSettings()) as interpreter:
        for packet in packets(np.concatenate([speech(2.4), np.zeros(2 * 48_000)])):
            interpreter.packet(packet, now + packet.sequence * PTIME)
            while interpreter.inbound.behind:  # noqa: ASYNC110  # nobody is told when a reader has caught up
                await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            while not {"en", "es"} <= {one.language for one in scene.ana.told if isinstance(one, TranscriptFinal)}:
                scene.ana.news.clear()
                await scene.ana.news.wait()
    await scene.engine.close()
    shown = [event for event in scene.ana.told if isinstance(event, TranscriptInterim) and event.language == "es"]
    (final,) = [event for event in scene.ana.told if isinstance(event, TranscriptFinal) and event.language == "es"]
    assert shown[-1].committed and final.text == shown[-1].text[: shown[-1].committed], "what had settled stays"


async def test_what_is_said_while_all_recognisers_are_busy_is_kept_or_counted() -> None:
    class Busy(EchoTranslator):
        def hear(self, speaker: str, source: str, room: str = "", simultaneous: bool = True) -> EchoRecognition:
            raise EngineBusy("All are taken.")

    scene = Scene(Busy())
    await scene.engine.detection.load()
    now = asyncio.get_running_loop().time()
    endless = SegmenterSettings(endpoint=1000, patient_endpoint=1000, soft_limit=1000, hard_limit=1000)
    async with interpreting(scene, endless) as interpreter:
        for packet in packets(np.concatenate([speech(6.0), np.zeros(6 * 48_000)])):
            interpreter.packet(packet, now + packet.sequence * PTIME)
            while interpreter.inbound.behind:  # noqa: ASYNC110  # nobody is told when a reader has caught up
                await asyncio.sleep(0)
    await scene.engine.close()
    beyond = 12.0 * SPEECH_RATE / VAD_WINDOW - MAX_HELD
    assert 0 < beyond - 10 <= scene.stats.windows_dropped <= beyond
