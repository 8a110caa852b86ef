"""The whole product on SeamlessM4T-v2, a random one in the real layout: rooms, voices, captions, chat, and a folder
that holds none."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from signaling.settings import Settings
from tests.client import RATE, joined
from tests.conftest import Server
from tests.sentences import PARAGRAPH
from tests.speech import flite

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def settings(tiny_seamless: Path) -> Settings:
    return Settings(translator="seamless", seamless_model=str(tiny_seamless))


@pytest.fixture
async def warm(server: Server) -> Server:
    """Ready: the model is loaded."""
    async with asyncio.timeout(120):
        while (await server.get("/readyz")).status != 200:
            pass
    return server


def speech(text: str = PARAGRAPH) -> np.ndarray:
    return np.concatenate([np.zeros(RATE // 2, np.float32), flite(text, rate=RATE)])


async def test_each_hears_and_reads_their_own_language_of_one_pass(warm: Server) -> None:
    """Spanish and French have a voice, Greek is read only; each segment is encoded once for all three."""
    room = await warm.room(mode="consecutive")
    async with (
        joined(warm.http, warm.base, room, "Ana", "es") as ana,
        joined(warm.http, warm.base, room, "Fleur", "fr") as fleur,
        joined(warm.http, warm.base, room, "Giorgos", "el") as giorgos,
        joined(warm.http, warm.base, room, "Bob", "en") as bob,
    ):
        bob.microphone.say(speech("The results are very important for all of us here."))
        for person, language in ((ana, "es"), (fleur, "fr"), (giorgos, "el")):
            final = await person.expect("transcript.final", lambda m: m["translated"])
            assert (final["language"], final["source_language"]) == (language, "en")
            assert final["text"]
        for person in (ana, fleur):
            ear = person.ear(bob.id, "translation")
            assert ear is not None
            await person.until(lambda ear=ear: ear.loudness() > 0.5, "the translated voice")  # type: ignore[misc]
        assert giorgos.ear(bob.id, "translation") is None
        await bob.expect("speech.stopped", lambda m: m["variant"] == "original")
        counted = (await warm.stats())["engine"]["counters"]
        segments = (await warm.stats())["segments"]
        assert counted["passes"] >= segments
        transcript = (await warm.get(f"/v1/rooms/{room}/transcript?language=el")).json()
        assert len(transcript) == segments


async def test_long_speech_is_interpreted_while_it_goes_on(warm: Server) -> None:
    room = await warm.room()
    async with (
        joined(warm.http, warm.base, room, "Ana", "es") as ana,
        joined(warm.http, warm.base, room, "Bob", "en") as bob,
    ):
        bob.microphone.say(speech())
        early = await ana.expect("transcript.interim", lambda m: m["translated"] and m["committed"] > 0)
        final = await ana.expect(
            "transcript.final", lambda m: m["translated"] and m["segment_id"] == early["segment_id"]
        )
        assert final["text"].startswith(early["text"][: early["committed"]])


async def test_a_chat_message_is_read_in_each_language(warm: Server) -> None:
    room = await warm.room()
    async with (
        joined(warm.http, warm.base, room, "Ana", "es") as ana,
        joined(warm.http, warm.base, room, "Giorgos", "el") as giorgos,
        joined(warm.http, warm.base, room, "Bob", "en") as bob,
    ):
        await bob.send("chat.send", text="hello how are you. the weather is nice")
        for person, language in ((ana, "es"), (giorgos, "el")):
            message = await person.expect("chat.message")
            assert (message["language"], message["original_text"]) == (
                language,
                "hello how are you. the weather is nice",
            )
            assert message["text"] and message["text"] != message["original_text"]


async def test_an_unknown_language_is_named(warm: Server) -> None:
    listed = {language["code"]: language for language in (await warm.get("/v1/languages")).json()}
    assert listed["es"]["speech_out"] and listed["es"]["speech_in"]
    assert listed["el"]["text"] and not listed["el"]["speech_out"]
    assert "ru" not in listed


class TestWithoutModel:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings(translator="seamless", seamless_model=str(tmp_path))

    async def test_a_folder_without_a_model_is_said_and_people_still_hear_each_other(self, server: Server) -> None:
        async with asyncio.timeout(20):
            while "error" not in (engine := (await server.get("/v1/engine")).json()):
                pass
        assert "config.json" in engine["error"]
        assert (await server.get("/readyz")).status == 503
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "es") as ana,
            joined(server.http, server.base, room, "Bob", "en") as bob,
        ):
            bob.microphone.say(speech("The results are very important."))
            await ana.expect("speech.started", lambda m: m["variant"] == "original")
            ear = ana.ear(bob.id, "original")
            assert ear is not None
            await ana.until(lambda: ear.loudness() > 0.5, "the voice as it is")
