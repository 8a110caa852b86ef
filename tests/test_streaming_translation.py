"""French into English while it is spoken, over real WebRTC: by a voice that repeats what it hears, so that words and
sound are known, and by a random Hibiki in the real layout."""

import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models import moshi_checkpoint
from models.base import EngineBroken, EngineError, Progress
from models.echo import EchoTranslator
from rtc.dialogue_thread import DialogueThread
from rtc.streaming_translation import StreamingTranslator
from signaling.settings import Settings
from tests.client import RATE, Client, Message, joined
from tests.conftest import Server, serve
from tests.parrot import Parrot
from tests.speech import flite, trim

SETTINGS = Settings(translator="echo", grace=0.3)

with contextlib.suppress(EngineError):  # not everybody has it
    moshi_checkpoint.library()  # here, since it warns of its own ways when it is imported


@pytest.fixture
def parrot() -> Parrot:
    return Parrot(seats=1)


@pytest.fixture
async def server(parrot: Parrot) -> AsyncIterator[Server]:
    async for running in serve(SETTINGS, streaming=StreamingTranslator(DialogueThread(parrot))):
        await until(running, state="ready")
        yield running


def speech(times: int = 1) -> np.ndarray:
    """1.5 s each, without a pause; half a second of silence before it."""
    sentence = trim(flite("The results are very important.", rate=RATE), RATE)
    return np.concatenate([np.zeros(RATE // 2, np.float32), *[sentence] * times])


async def state(server: Server) -> dict[str, Any]:
    return dict((await server.stats())["streaming"])


async def until(server: Server, **fields: Any) -> dict[str, Any]:
    """Wait until the stats say so."""
    while not fields.items() <= (now := await state(server)).items():
        pass  # each turn is an HTTP request; the test's time limit ends one that never comes true
    return now


def rendered(server: Server) -> list[str]:
    """Languages into which the engine for segments translated, one each time."""
    translator = server.house.engine.translator
    assert isinstance(translator, EchoTranslator)
    return [target for _, target in translator.rendered]


def loudness(listener: Client, speaker: Client) -> float:
    ear = listener.ear(speaker.id, "translation")
    return 0.0 if ear is None else ear.loudness()


def break_it(server: Server) -> None:
    assert server.house.streaming is not None
    server.house.streaming.engine.give_up(EngineBroken("The GPU is gone."))


def english(message: Message) -> bool:
    return bool(message["translated"]) and message["language"] == "en"


def streamed(message: Message) -> bool:
    """In the parrot's words: it counts."""
    return english(message) and message["text"][0].isdigit()


def in_segments(message: Message) -> bool:
    """In the echo's."""
    return english(message) and message["text"].startswith("[en] heard")


async def over(variant: str, listener: Client, speaker: Client, start: int = 0) -> None:
    """Wait until the voice, or its translation, has stopped."""
    await listener.expect(
        "speech.stopped", lambda m: (m["participant_id"], m["variant"]) == (speaker.id, variant), start
    )


def told_of(listener: Client, speaker: Client, what: str) -> int:
    """Times that the translation started, or stopped: between two clauses it may."""
    who = (speaker.id, "translation")
    return sum((m["participant_id"], m["variant"]) == who for m in listener.of(f"speech.{what}"))


async def test_english_is_streamed_and_other_languages_come_in_segments(server: Server) -> None:
    """Sound and words while they speak, nothing of it twice; and one English transcript."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "en") as ana,
        joined(server.http, server.base, room, "Pilar", "es") as pilar,
        joined(server.http, server.base, room, "Fleur", "fr", "fr") as fleur,
    ):
        await until(server, seats_taken=1)
        fleur.microphone.say(speech(2))
        interim = await ana.expect("transcript.interim", streamed)
        assert (interim["source_language"], interim["participant_id"]) == ("fr", fleur.id)
        assert not any(m["type"] == "transcript.final" for m in ana.messages)  # she speaks still
        await ana.expect("speech.started", lambda m: m["variant"] == "translation")
        final = await ana.expect("transcript.final", streamed)
        assert final["text"].endswith("2.")
        await ana.until(lambda: loudness(ana, fleur) > 1.5, "the stream")
        await pilar.expect("transcript.final", lambda m: m["language"] == "es")
        await pilar.until(lambda: loudness(pilar, fleur) > 1.5, "the segments")
        await over("original", ana, fleur)
        assert set(rendered(server)) == {"es"}
        now, segments = await state(server), (await server.stats())["segments"]
        assert (now["segments_streamed"], now["segments_no_seat"]) == (segments, 0)
        assert not [m for m in pilar.messages if m["type"].startswith("transcript") and m["language"] == "en"]
        original = await ana.expect("transcript.final", lambda m: m["language"] == "fr")
        await ana.expect("transcript.interim", lambda m: streamed(m) and m["utterance_id"] == original["utterance_id"])
        for language, wanted in (("en", final["text"]), ("es", "[es] heard"), ("fr", "heard")):
            lines = (await server.get(f"/v1/rooms/{room}/transcript?language={language}")).json()
            assert lines and all(line["language"] == language for line in lines)
            assert lines[0]["text"].startswith(wanted)
        assert (await server.get(f"/v1/utterances/{final['utterance_id']}/audio?language=en")).status == 200
        metrics = (await server.get("/metrics")).text
        assert 'dragoman_streaming_total{counter="segments_streamed"}' in metrics


async def test_without_a_seat_it_is_the_usual_way_until_one_is_free(server: Server) -> None:
    """The second French speaker is told in segments, and streamed once the first has gone."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "en") as ana,
        joined(server.http, server.base, room, "Frank", "de", "fr") as frank,
    ):
        await until(server, seats_taken=1)
        async with joined(server.http, server.base, room, "Fleur", "fr") as fleur:
            fleur.microphone.say(speech())
            await ana.expect("transcript.final", lambda m: in_segments(m) and m["participant_id"] == fleur.id)
            await ana.until(lambda: loudness(ana, fleur) > 0.5, "the segment")
            assert (await state(server))["segments_no_seat"] > 0
            await frank.send("session.leave")
            await over("original", ana, fleur)
            await ana.expect(
                "speech.stopped", lambda m: (m["participant_id"], m["variant"]) == (fleur.id, "translation")
            )
            start, before = len(ana.messages), loudness(ana, fleur)
            fleur.microphone.say(speech())
            await ana.expect("transcript.interim", lambda m: streamed(m) and m["participant_id"] == fleur.id, start)
            await ana.until(lambda: loudness(ana, fleur) > before + 0.5, "the stream in the same slot")
            await over("original", ana, fleur, start)
            assert (await state(server))["segments_streamed"] > 0


async def test_an_engine_that_does_not_understand_french_needs_none(server: Server) -> None:
    """The stream is in a slot though the engine for segments has no way from French."""
    translator = server.house.engine.translator
    assert isinstance(translator, EchoTranslator)
    translator.languages = [replace(one, speech_in=one.code != "fr") for one in translator.languages]
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "en") as ana,
        joined(server.http, server.base, room, "Pilar", "es") as pilar,
        joined(server.http, server.base, room, "Fleur", "fr") as fleur,
    ):
        fleur.microphone.say(speech(2))
        final = await ana.expect("transcript.final", streamed)
        await ana.until(lambda: loudness(ana, fleur) > 1.5, "the stream")
        assert pilar.ear(fleur.id, "translation") is None and not pilar.of("transcript.final")
        lines = (await server.get(f"/v1/rooms/{room}/transcript?language=en")).json()
        assert lines[0]["text"] == final["text"]
        await ana.send("session.update", language="de")
        await ana.until(lambda: ana.ear(fleur.id, "translation") is None, "no slot for what is not streamed any more")


async def test_who_comes_and_goes_leaves_no_seat_taken(server: Server) -> None:
    """Though packets go on coming until the connection is closed."""
    room = await server.room()
    async with joined(server.http, server.base, room, "Ana", "en") as ana:
        for _ in range(3):
            async with joined(server.http, server.base, room, "Fleur", "fr") as fleur:
                await ana.expect("transcript.interim", lambda m, fleur=fleur: m["participant_id"] == fleur.id)  # type: ignore[misc]
                await fleur.send("session.leave")
                await ana.expect("participant.left", lambda m, fleur=fleur: m["participant"]["id"] == fleur.id)  # type: ignore[misc]
                await until(server, seats_taken=0)
        assert not any(one.streamed for one in server.house.lobby)


async def test_when_the_model_breaks_the_segment_is_told_whole(server: Server) -> None:
    """In the midst of a sentence; the next ones go the usual way."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "en") as ana,
        joined(server.http, server.base, room, "Fleur", "fr") as fleur,
    ):
        fleur.microphone.say(speech(3))
        begun = await ana.expect("transcript.interim", streamed)
        break_it(server)
        kept = await ana.expect("transcript.final", lambda m: m["segment_id"] == begun["segment_id"])
        assert kept["text"].startswith(begun["text"])
        final = await ana.expect("transcript.final", in_segments)
        original = await ana.expect("transcript.final", lambda m: m["language"] == "fr")
        assert (final["segment_id"], final["text"]) == (original["segment_id"], "[en] " + original["text"])
        await ana.until(lambda: loudness(ana, fleur) > 3, "all three sentences")
        await over("original", ana, fleur)
        assert (await state(server))["seats_taken"] == 0
        start = len(ana.messages)
        fleur.microphone.say(speech())
        await ana.expect("transcript.final", in_segments, start)
        assert (await state(server))["segments_failed"] > 0


async def test_what_the_model_still_owed_is_told_from_text(server: Server) -> None:
    """It breaks just after a sentence, before it can have said all of it."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "en") as ana,
        joined(server.http, server.base, room, "Fleur", "fr") as fleur,
    ):
        fleur.microphone.say(speech())
        original = await ana.expect("transcript.final", lambda m: m["language"] == "fr")
        break_it(server)
        final = await ana.expect("transcript.final", in_segments)
        assert (final["segment_id"], final["text"]) == (original["segment_id"], "[en] " + original["text"])
        lines = (await server.get(f"/v1/rooms/{room}/transcript?language=en")).json()
        assert final["text"] in [line["text"] for line in lines]


async def test_a_seat_is_taken_only_while_somebody_needs_it(server: Server, parrot: Parrot) -> None:
    """Somebody speaks French, somebody listens in English, both are here."""
    room = await server.room()
    async with joined(server.http, server.base, room, "Fleur", "fr") as fleur:
        async with joined(server.http, server.base, room, "Ana", "es") as ana:
            assert (await state(server))["seats_taken"] == 0
            await ana.send("session.update", language="en")
            await until(server, seats_taken=1)
            await ana.send("session.update", language="es")
            await until(server, seats_taken=0)
            await ana.send("session.update", language="en")
            await until(server, seats_taken=1)
            await fleur.send("session.update", speaks="de")
            await until(server, seats_taken=0)
            await fleur.send("session.update", speaks="fr")
            await until(server, seats_taken=1)
        await until(server, seats_taken=0)
    assert parrot.resets in ([0] * 3, [0] * 2, [0])  # a seat taken and given back between two steps has no reset


class SlowParrot(Parrot):
    """Loads when it is told to."""

    def __init__(self) -> None:
        super().__init__(seats=1)
        self.go = threading.Event()

    def load(self, progress: Progress) -> None:
        self.go.wait()


async def test_it_changes_over_in_a_pause_and_nothing_is_heard_twice() -> None:
    """Ready in the midst of a sentence: that one is told in segments to its end, the next one streamed."""
    parrot = SlowParrot()
    async for server in serve(SETTINGS, streaming=StreamingTranslator(DialogueThread(parrot))):
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "en") as ana,
            joined(server.http, server.base, room, "Fleur", "fr") as fleur,
        ):
            fleur.microphone.say(speech(3))
            await ana.expect("transcript.interim", in_segments)
            parrot.go.set()
            await until(server, state="ready")
            await ana.expect("transcript.final", in_segments)
            await over("original", ana, fleur)
            await ana.until(lambda: told_of(ana, fleur, "started") == told_of(ana, fleur, "stopped"), "a pause")
            assert (await state(server))["segments_warming"] == 1
            segment = loudness(ana, fleur)
            assert 3 < segment < 6
            start, told = len(ana.messages), rendered(server).count("en")
            fleur.microphone.say(speech(2))
            await ana.expect("transcript.final", streamed, start)
            await over("original", ana, fleur, start)
            await over("translation", ana, fleur, start)
            assert rendered(server).count("en") == told
            assert 2 < loudness(ana, fleur) - segment < 4


@pytest.mark.usefixtures("one_thread")
async def test_a_random_hibiki_speaks_and_writes() -> None:
    """The real loader, the real layout; then its speaker says that they speak something else."""
    pytest.importorskip("moshi")
    from tests.models.tiny_moshi import checkpoint

    async for server in serve(replace(SETTINGS, hibiki_model=str(checkpoint("hibiki")), hibiki_seats=2)):
        await until(server, state="ready")
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "en") as ana,
            joined(server.http, server.base, room, "Fleur", "fr") as fleur,
        ):
            await until(server, name="hibiki", seats_taken=1)
            fleur.microphone.say(speech(4))
            interim = await ana.expect("transcript.interim", english)
            assert (interim["participant_id"], interim["source_language"]) == (fleur.id, "fr")
            await ana.until(lambda: loudness(ana, fleur) > 0.5, "the stream")
            await fleur.send("session.update", speaks="de")
            await ana.expect("transcript.final", english)
            await until(server, seats_taken=0)
