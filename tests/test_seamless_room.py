"""The whole product on SeamlessM4T-v2, a random one in the real layout: rooms, voices, captions, chat, and a folder
that holds none."""

from pathlib import Path

import numpy as np
import pytest

from signaling.settings import Settings
from tests.client import RATE, joined
from tests.conftest import Server, serve
from tests.sentences import PARAGRAPH
from tests.speech import flite

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def settings(tiny_seamless: Path) -> Settings:
    return Settings(translator="seamless", seamless_model=str(tiny_seamless))


def speech(text: str = PARAGRAPH) -> np.ndarray:
    return np.concatenate([np.zeros(RATE // 2, np.float32), flite(text, rate=RATE)])


async def test_each_hears_and_reads_their_own_language_of_one_pass(server: Server) -> None:
    """Spanish and French have a voice, Greek is read only; each segment is encoded once for all three."""
    room = await server.room(mode="consecutive")
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Fleur", "fr") as fleur,
        joined(server.http, server.base, room, "Giorgos", "el") as giorgos,
        joined(server.http, server.base, room, "Bob", "en") as bob,
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
        counted = (await server.stats())["engine"]["counters"]
        segments = (await server.stats())["segments"]
        assert counted["passes"] >= segments
        transcript = (await server.get(f"/v1/rooms/{room}/transcript?language=el")).json()
        assert len(transcript) == segments


async def test_who_reads_the_speaker_s_language_in_another_script_hears_the_speaker(server: Server) -> None:
    room = await server.room(mode="consecutive")
    async with (
        joined(server.http, server.base, room, "Mei", "zh-Hant") as mei,
        joined(server.http, server.base, room, "Bo", "zh") as bo,
    ):
        bo.microphone.say(speech("The results are very important for all of us here."))
        final = await mei.expect("transcript.final", lambda m: m["translated"])
        assert final["language"] == "zh-Hant"
        assert mei.ear(bo.id, "translation") is None
        ear = mei.ear(bo.id, "original")
        assert ear is not None
        await mei.until(lambda: ear.loudness() > 0.5, "the speaker's own voice")


async def test_long_speech_is_interpreted_while_it_goes_on(server: Server) -> None:
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        bob.microphone.say(speech())
        early = await ana.expect("transcript.interim", lambda m: m["translated"] and m["committed"] > 0)
        final = await ana.expect(
            "transcript.final", lambda m: m["translated"] and m["segment_id"] == early["segment_id"]
        )
        assert final["text"].startswith(early["text"][: early["committed"]])


async def test_a_chat_message_is_read_in_each_language(server: Server) -> None:
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Giorgos", "el") as giorgos,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        await bob.send("chat.send", text="hello how are you. the weather is nice")
        for person, language in ((ana, "es"), (giorgos, "el")):
            message = await person.expect("chat.message")
            assert (message["language"], message["original_text"]) == (
                language,
                "hello how are you. the weather is nice",
            )
            assert message["text"] and message["text"] != message["original_text"]


async def test_what_is_typed_in_a_language_that_is_only_understood_when_spoken_is_read_as_it_is(server: Server) -> None:
    """And the transcript of the room can be read in every language all the same."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Jaufre", "en", speaks="oc") as jaufre,
    ):
        await jaufre.send("chat.send", text="Bonjorn")
        message = await ana.expect("chat.message")
        assert (message["language"], message["text"]) == ("oc", "Bonjorn")
        transcript = await server.get(f"/v1/rooms/{room}/transcript?language=es")
        assert transcript.status == 200
        assert [line["text"] for line in transcript.json()] == ["Bonjorn"]
        assert not jaufre.of("error")


async def test_an_unknown_language_is_named(server: Server) -> None:
    listed = {language["code"]: language for language in (await server.get("/v1/languages")).json()}
    assert listed["es"]["speech_out"] and listed["es"]["speech_in"]
    assert listed["el"]["text"] and not listed["el"]["speech_out"]
    assert "ru" not in listed


async def test_a_folder_without_a_model_is_said_and_people_still_hear_each_other(tmp_path: Path) -> None:
    async for server in serve(Settings(translator="seamless", seamless_model=str(tmp_path)), ready=False):
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "es") as ana,
            joined(server.http, server.base, room, "Bob", "en") as bob,
        ):
            state = await ana.expect("session.state", lambda m: "error" in m)
            assert "config.json" in state["error"]
            assert (await server.get("/readyz")).status == 503
            bob.microphone.say(speech("The results are very important."))
            await ana.until(
                lambda: (ear := ana.ear(bob.id, "original")) is not None and ear.loudness() > 0.5, "the voice as it is"
            )
