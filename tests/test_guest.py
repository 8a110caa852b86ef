"""The voice that one can talk with, invited into a room: who hears it, what it hears, and when its seat is free."""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from models.base import Dialogue, DialogueFrame, EngineBroken, Pcm
from models.partner import Partner
from rtc.dialogue_thread import DialogueThread
from signaling.settings import Settings
from tests.client import RATE, Client, Message, joined
from tests.conftest import Server, serve
from tests.parrot import Parrot
from tests.speech import flite

SETTINGS = Settings(translator="echo", grace=0.3)
SPANISH = 400.0
"""Hertz of the tone that the echo engine says typed Spanish with."""


class Listening(Parrot):
    """Says what it hears, and keeps it."""

    def __init__(self, seats: int = 1) -> None:
        super().__init__(seats)
        self.heard: list[Pcm] = []

    def step(self, frames: Mapping[int, Pcm]) -> Mapping[int, DialogueFrame]:
        self.heard += frames.values()
        return super().step(frames)

    def loudness(self, hertz: float) -> float:
        """Of that tone in the loudest second that it heard."""
        pcm = np.concatenate(self.heard)
        seconds = pcm[: len(pcm) // self.sample_rate * self.sample_rate].reshape(-1, self.sample_rate)
        return max((loudness(second, hertz, self.sample_rate) for second in seconds), default=0.0)


@pytest.fixture
def parrot() -> Listening:
    return Listening()


@pytest.fixture
def settings() -> Settings:
    """Tests that need other ones are parametrised with them."""
    return SETTINGS


@pytest.fixture
def dialogue(parrot: Listening) -> Dialogue:
    return parrot


@pytest.fixture
async def server(settings: Settings, dialogue: Dialogue) -> AsyncIterator[Server]:
    async for running in serve(settings, dialogue=DialogueThread(dialogue)):
        yield running


def tone(hertz: float, seconds: float = 3.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


def loudness(pcm: np.ndarray, hertz: float, rate: int = RATE) -> float:
    """Amplitude of that tone."""
    return float(2 * np.abs(np.mean(pcm * np.exp(-2j * np.pi * hertz * np.arange(len(pcm)) / rate)))) if len(pcm) else 0


async def invite(client: Client) -> Message:
    """The voice, as those in the room see it."""
    start = len(client.messages)
    await client.send("room.update", voice=True)
    came = await client.expect("participant.joined", lambda m: m["participant"].get("kind") == "voice", start=start)
    return dict(came["participant"])


async def hears(client: Client, voice: Message, variant: str, hertz: float) -> None:
    """Wait until they hear the voice say that tone."""

    def heard() -> bool:
        ear = client.ear(voice["id"], variant)
        return ear is not None and loudness(ear.pcm()[-RATE:], hertz) > 0.02

    await client.until(heard, f"{hertz} Hz in the {variant}")


async def until_taken(server: Server, seats: int) -> None:
    while (await server.stats())["dialogue"]["seats_taken"] != seats:
        pass  # each turn is an HTTP request; the test's time limit ends one that never comes true


async def test_one_talks_with_it_and_everybody_understands(server: Server) -> None:
    """Its own voice and words for who listens in English, its words in another voice for who does not."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        assert bob.joined["voice"] == {"name": "Parrot", "notice": "Says what you say."}
        voice = await invite(bob)
        assert voice == {
            "id": voice["id"],
            "name": "Parrot",
            "language": "en",
            "speaks": "en",
            "muted": False,
            "kind": "voice",
        }
        present = (await server.get(f"/v1/rooms/{room}")).json()["participants"]
        assert [person["name"] for person in present] == ["Ana", "Bob", "Parrot"]
        bob.microphone.say(tone(700, 8.0))
        await hears(bob, voice, "original", 700)
        await hears(ana, voice, "translation", SPANISH)
        await ana.expect("speech.started", lambda m: (m["participant_id"], m["variant"]) == (voice["id"], "original"))
        said = await bob.expect("transcript.final", lambda m: m["participant_id"] == voice["id"])
        read = await ana.expect("transcript.final", lambda m: m["translated"] and m["participant_id"] == voice["id"])
        assert (said["text"], read["text"]) == ("0 1 2.", "[es] 0 1 2.")
        assert read["segment_id"] == said["segment_id"] and read["mid"] in {slot["mid"] for slot in ana.slots}
        assert not [m for m in bob.of("transcript.final") if m["translated"]]
        interims = [m["text"] for m in bob.of("transcript.interim") if m["segment_id"] == said["segment_id"]]
        assert interims == ["0", "0 1", "0 1 2."]
        await ana.expect("translation.lag", lambda m: m["participant_id"] == voice["id"])
        lines = (await server.get(f"/v1/rooms/{room}/transcript?language=es")).json()
        assert (lines[0]["name"], lines[0]["text"], lines[0]["kind"]) == ("Parrot", "[es] 0 1 2.", "speech")
        assert [m["seq"] for m in ana.messages] == list(range(1, len(ana.messages) + 1))


async def test_it_hears_english_only_and_never_itself(server: Server, parrot: Listening) -> None:
    """Who speaks English, and translations of the others; not their originals, nor what it says, in any language."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        voice = await invite(ana)
        bob.microphone.say(tone(700))
        ana.microphone.say(tone(1000, 10.0))  # no words, so there is nothing to translate
        await hears(bob, voice, "original", 700)
        await hears(bob, await person(bob, "Ana"), "original", 1000)
        await hears(ana, voice, "translation", SPANISH)
        await bob.expect("speech.stopped", lambda m: m["participant_id"] == voice["id"])
        assert parrot.loudness(700) > 0.02
        assert max(parrot.loudness(1000), parrot.loudness(SPANISH)) < 0.002
        await ana.microphone.finished.wait()
        before = len(parrot.heard)
        ana.microphone.say(np.concatenate([np.zeros(RATE // 2, np.float32), flite("Los resultados.", rate=RATE)]))
        final = await bob.expect("transcript.final", lambda m: m["participant_id"] == ana.id and m["language"] == "en")
        assert final["text"].startswith("[en]")
        await bob.until(
            lambda: any(np.abs(frame).max() > 0.05 for frame in parrot.heard[before:]), "the translation in its ear"
        )


async def person(client: Client, name: str) -> Message:
    return dict(next(one for one in client.joined["participants"] if one["name"] == name))


async def test_what_it_says_ends_with_what_it_hears(server: Server, parrot: Listening) -> None:
    """It repeats what it hears: if it could hear itself, in the mix of a room, it would go on for ever."""
    room = await server.room()
    async with joined(server.http, server.base, room, "Bob", "en") as bob:
        voice = await invite(bob)
        bob.microphone.say(tone(700, 1.0))
        await bob.expect("speech.started", lambda m: m["participant_id"] == voice["id"])
        await bob.expect("speech.stopped", lambda m: m["participant_id"] == voice["id"])
        quiet_at = time.monotonic()
        ear = bob.ear(voice["id"], "original")
        await bob.until(lambda: len(parrot.heard) > 60 and len(ear.chunks) > 60, "some time")
        assert ear.loudness(quiet_at) == 0
        assert sum(np.abs(frame).max() > 0.05 for frame in parrot.heard) < 20


async def test_a_dismissed_voice_frees_its_seat_at_once(server: Server, parrot: Listening) -> None:
    """There is one voice in a room, however often it is invited; it may come back, and begins anew."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        voice = await invite(bob)
        await ana.send("room.update", voice=True)
        await ana.send("ping", t=1)
        await ana.expect("pong")
        assert len([m for m in ana.of("participant.joined") if m["participant"].get("kind")]) == 1
        await ana.expect("transcript.interim", lambda m: m["participant_id"] == voice["id"])
        await ana.send("room.update", voice=False)
        for client in (ana, bob):
            left = await client.expect("participant.left")
            assert left["participant"]["id"] == voice["id"]
            await client.until(lambda c=client: voice["id"] not in {s["participant_id"] for s in c.slots}, "free slots")
        assert (await server.stats())["dialogue"]["seats_taken"] == 0
        await ana.send("room.update", voice=False)
        again = await invite(ana)
        assert again["id"] != voice["id"]
        await ana.expect("transcript.interim", lambda m: m["participant_id"] == again["id"])
        assert parrot.resets == [0, 0]


async def test_in_a_full_house_that_is_said_at_once(server: Server) -> None:
    """To who asked, with the place in the line and when to ask again; nobody else is troubled."""
    first, second = await server.room(), await server.room()
    async with (
        joined(server.http, server.base, first, "Ana", "es") as ana,
        joined(server.http, server.base, second, "Bob", "en") as bob,
        joined(server.http, server.base, second, "Cat", "en") as cat,
    ):
        await invite(ana)
        await bob.send("room.update", voice=True)
        error = await bob.expect("error")
        assert (error["code"], error["fatal"], error["position"]) == ("house_full", False, 1)
        assert error["retry_after_s"] > 0
        await ana.send("room.update", voice=False)
        await ana.expect("participant.left")
        await invite(bob)
        assert not cat.of("error")


@pytest.mark.parametrize("settings", [replace(SETTINGS, room_capacity=1)])
async def test_it_takes_a_place_of_the_room(server: Server) -> None:
    async with joined(server.http, server.base, await server.room(), "Ana", "es") as ana:
        await ana.send("room.update", voice=True)
        assert (await ana.expect("error"))["code"] == "room_full"
        assert (await server.stats())["dialogue"]["seats_taken"] == 0


async def test_it_does_not_stay_alone(server: Server) -> None:
    """When the last person has left or vanished, its seat is free and the room is empty."""
    room = await server.room()
    async with joined(server.http, server.base, room, "Ana", "es") as ana:
        async with joined(server.http, server.base, room, "Bob", "en") as bob:
            await invite(bob)
            await bob.send("session.leave")
            await ana.expect("participant.left")
        assert (await server.stats())["dialogue"]["seats_taken"] == 1
    await until_taken(server, 0)
    await server.empty(room)


async def test_when_it_breaks_the_room_is_told_and_goes_on(server: Server) -> None:
    """It leaves; people hear each other as before; nobody can invite it again."""
    room = await server.room()
    assert server.house.parlour is not None
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        await invite(bob)
        server.house.parlour.engine.give_up(EngineBroken("The GPU is gone."))
        for client in (ana, bob):
            error = await client.expect("error")
            assert (error["code"], error["fatal"]) == ("engine_failed", False)
            assert "The GPU is gone." in error["message"]
            await client.expect("participant.left", lambda m: m["participant"]["kind"] == "voice")
        bob.microphone.say(tone(700))
        await hears(ana, await person(bob, "Bob"), "original", 700)
        start = len(ana.messages)
        await ana.send("room.update", voice=True)
        assert (await ana.expect("error", start=start))["code"] == "engine_failed"
        await until_taken(server, 0)


async def test_it_goes_with_the_server(server: Server) -> None:
    """Nothing is left of it (the fixture looks)."""
    async with joined(server.http, server.base, await server.room(), "Ana", "es") as ana:
        await invite(ana)
        server.house.close()
        await ana.closed()


@pytest.mark.parametrize("settings", [replace(SETTINGS, max_call=0.5)])
async def test_its_time_may_be_up(server: Server) -> None:
    async with joined(server.http, server.base, await server.room(), "Ana", "es") as ana:
        await invite(ana)
        assert (await ana.expect("error"))["code"] == "time_up"
        await ana.expect("participant.left")
        assert (await server.stats())["dialogue"]["seats_taken"] == 0


async def test_before_it_has_warmed_up_it_cannot_come(server: Server) -> None:
    assert server.house.parlour is not None
    async with joined(server.http, server.base, await server.room(), "Ana", "es") as ana:
        server.house.parlour.engine.state = "warming"
        await ana.send("room.update", voice=True)
        error = await ana.expect("error")
        assert error["code"] == "warming" and error["retry_after_s"] > 0


async def test_where_there_is_no_voice_nobody_comes() -> None:
    async for server in serve(SETTINGS):
        async with joined(server.http, server.base, await server.room(), "Ana", "es") as ana:
            await ana.send("room.update", voice=True)
            assert "voice" not in ana.joined
            assert (await ana.expect("error"))["code"] == "no_dialogue"


class TestEmbedded:
    """With an engine that does not understand every language."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(translator="embedded")

    async def test_what_nobody_translates_it_does_not_hear(self, server: Server, parrot: Listening) -> None:
        """Spoken Spanish is not understood here: it is no English, so the voice hears nothing of it."""
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "es") as ana,
            joined(server.http, server.base, room, "Bob", "en") as bob,
        ):
            voice = await invite(ana)
            ana.microphone.say(tone(1000, 10.0))
            await hears(bob, await person(bob, "Ana"), "original", 1000)
            bob.microphone.say(tone(700))
            await hears(bob, voice, "original", 700)
            await bob.until(lambda: parrot.loudness(700) > 0.02, "a second of it in its ear")
            assert parrot.loudness(1000) < 0.002


class TestPartner:
    """Nothing but what a machine without a GPU has."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(translator="embedded")

    @pytest.fixture
    def dialogue(self) -> Dialogue:
        return Partner(clock=lambda: datetime(2026, 3, 2, 14, 5))

    async def test_it_answers_a_question_in_two_languages(self, server: Server) -> None:
        """Whoever asks first is understood."""
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "es") as ana,
            joined(server.http, server.base, room, "Bob", "en") as bob,
        ):
            voice = await invite(bob)
            await bob.expect("transcript.final", lambda m: "not a person" in m["text"])
            await bob.expect("speech.stopped", lambda m: m["participant_id"] == voice["id"])
            clock = "My clock says 14:05."
            words = flite("Do you know what time it is now?", rate=RATE)
            question = np.concatenate([words, np.zeros(5 * RATE, np.float32)])
            for _ in range(5):  # on a busy machine a word may get lost
                bob.microphone.say(question)
                await bob.microphone.finished.wait()
                if clock in [m["text"] for m in bob.of("transcript.final")]:
                    break
            said = await bob.expect("transcript.final", lambda m: m["text"] == clock)
            read = await ana.expect(
                "transcript.final", lambda m: m["translated"] and m["segment_id"] == said["segment_id"]
            )
            assert "reloj" in read["text"]
            spoken = ana.ear(voice["id"], "translation")
            await ana.until(lambda: spoken.loudness() > 1.0, "the Spanish voice")
