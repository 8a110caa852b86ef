"""Talking with a duplex voice: stock aiortc clients, the real application, and a voice that says what it hears."""

import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.base import EngineBroken, Progress
from rtc.dialogue_thread import DialogueThread
from signaling.settings import Settings
from tests.client import PATIENCE, RATE, Client, joined
from tests.conftest import Server, serve
from tests.parrot import Parrot

SEATS = 2
SETTINGS = Settings(translator="echo", grace=0.3, message_rate=1000)


@pytest.fixture
def parrot() -> Parrot:
    return Parrot(SEATS)


@pytest.fixture
def settings() -> Settings:
    """Tests that need other ones are parametrised with them."""
    return SETTINGS


@pytest.fixture
async def server(settings: Settings, parrot: Parrot) -> AsyncIterator[Server]:
    async for running in serve(settings, dialogue=DialogueThread(parrot)):
        yield running


def tone(hertz: float, seconds: float = 30.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


async def knock(server: Server) -> Client:
    """A client at the door."""
    return await Client(server.http, server.base, "talk", "/v1/conversation/signal").open()


async def ask(client: Client, **fields: Any) -> None:
    """Say `session.join`."""
    await client.send("session.join", sdp=await client.offer(1), **fields)


async def go_in(client: Client, start: int = 0) -> Client:
    """From the answer to media."""
    client.joined = await client.expect("session.joined", start=start)
    await client.accept(client.joined["sdp"])
    await client.connected()
    return client


@contextlib.asynccontextmanager
async def talking(server: Server, **fields: Any) -> AsyncIterator[Client]:
    client = await knock(server)
    try:
        await ask(client, **fields)
        yield await go_in(client)
    finally:
        await client.close()


def voice_of(client: Client) -> np.ndarray:
    ear = client.ear("assistant", "original")
    return np.zeros(0, np.float32) if ear is None else ear.pcm()


def loudness_at(pcm: np.ndarray, hertz: float) -> float:
    """Of a tone in the last second."""
    piece = pcm[-RATE:] * np.hanning(len(pcm[-RATE:]))
    return float(np.abs(np.fft.rfft(piece, RATE))[round(hertz)] / RATE)


async def hears(client: Client, hertz: float) -> None:
    """Wait until the voice says that tone, and has said it for a second."""
    await client.until(lambda: len(voice_of(client)) > RATE and loudness_at(voice_of(client), hertz) > 0.02, "a tone")


async def state(server: Server) -> dict[str, Any]:
    return dict((await server.stats())["dialogue"])


async def until_taken(server: Server, seats: int) -> dict[str, Any]:
    while (now := await state(server))["seats_taken"] != seats:
        pass  # each turn is an HTTP request; the test's time limit ends one that never comes true
    return now


async def test_one_talks_hears_and_reads(server: Server) -> None:
    """The voice is in the slot, its words come as it speaks them, and so do those it understood."""
    async with talking(server, name="Ana") as ana:
        assert ana.joined["engine"] == {"name": "parrot", "notice": "Says what you say.", "voice": "parrot"}
        assert [slot["participant_id"] for slot in ana.joined["slots"]] == ["assistant"]
        assert [person["name"] for person in ana.joined["participants"]] == ["Ana", "Parrot"]
        ana.microphone.say(tone(440))
        await hears(ana, 440)
        for who in (ana.id, "assistant"):
            await ana.expect("speech.started", lambda m, who=who: m["participant_id"] == who)
        final = await ana.expect("transcript.final", lambda m: m["participant_id"] == "assistant")
        assert final["text"] == "0 1 2."
        heard = await ana.expect("transcript.final", lambda m: m["participant_id"] == ana.id)
        assert heard["text"] == "hello"
        interims = [m["text"] for m in ana.of("transcript.interim") if m["segment_id"] == final["segment_id"]]
        assert interims == ["0", "0 1", "0 1 2."]
        await ana.send("track.mute")
        await ana.until(lambda: loudness_at(voice_of(ana), 440) < 0.001, "silence once muted")
        for who in (ana.id, "assistant"):
            await ana.expect("speech.stopped", lambda m, who=who: m["participant_id"] == who)
    assert [message["seq"] for message in ana.messages] == list(range(1, len(ana.messages) + 1))


async def test_who_stops_sending_in_the_midst_of_a_word_has_stopped_speaking(server: Server) -> None:
    """A tab asleep, a track that ended, an outage: no packet says so."""
    async with talking(server) as ana:
        ana.microphone.say(tone(440))
        await ana.expect("speech.started", lambda m: m["participant_id"] == ana.id)
        ana.microphone.stop()
        await ana.expect("speech.stopped", lambda m: m["participant_id"] == ana.id)


async def test_two_who_talk_at_once_do_not_hear_each_other(server: Server, parrot: Parrot) -> None:
    """One model, two conversations."""
    async with talking(server) as ana, talking(server) as bob:
        ana.microphone.say(tone(440))
        bob.microphone.say(tone(700))
        await hears(ana, 440)
        await hears(bob, 700)
        assert loudness_at(voice_of(ana), 700) < 0.01 * loudness_at(voice_of(ana), 440)
        assert loudness_at(voice_of(bob), 440) < 0.01 * loudness_at(voice_of(bob), 700)
        assert sorted(parrot.resets) == [0, 1]
        assert (await state(server))["seats_taken"] == 2


async def test_who_finds_the_house_full_waits_and_comes_in_by_themselves(server: Server) -> None:
    """Their place is told at once, on the socket that they wait on, and pings are answered there."""
    async with talking(server) as ana, talking(server), contextlib.AsyncExitStack() as later:
        cleo, dan = await knock(server), await knock(server)
        for client in (cleo, dan):
            later.push_async_callback(client.close)
        await ask(cleo)
        assert (await cleo.expect("queue.position"))["position"] == 1
        await ask(dan)
        place = await dan.expect("queue.position")
        assert place["position"] == 2 and place["eta_s"] > 0
        await dan.send("ping", t=1)
        await dan.expect("pong")
        await dan.send("track.mute")
        assert (await dan.expect("error"))["code"] == "not_joined"
        assert (await state(server))["waiting"] == 2
        await ana.send("session.leave")
        await go_in(cleo)
        await dan.expect("queue.position", lambda m: m["position"] == 1)
        await dan.send("session.leave")
        await dan.closed()
        assert (await until_taken(server, 2))["waiting"] == 0
        cleo.microphone.say(tone(500))
        await hears(cleo, 500)


async def test_who_will_not_wait_is_told_at_once(server: Server) -> None:
    """With their place in the line, and when to come again."""
    async with talking(server), talking(server):
        client = await knock(server)
        await ask(client, wait=False)
        error = await client.expect("error")
        assert (error["code"], error["fatal"], error["position"]) == ("house_full", True, 1)
        assert error["retry_after_s"] > 0
        assert await client.closed() == 1013
        await client.close()
        assert (await state(server))["refused"] == 1


@pytest.mark.parametrize("settings", [replace(SETTINGS, max_waiting=0)])
async def test_the_line_has_an_end(server: Server) -> None:
    async with talking(server), talking(server):
        client = await knock(server)
        await ask(client)
        assert (await client.expect("error"))["code"] == "house_full"
        await client.close()


async def test_a_seat_is_free_when_its_person_has_vanished(server: Server) -> None:
    """No goodbye: the grace period ends, and somebody who waits comes in."""
    ghost = await knock(server)
    await ask(ghost)
    await go_in(ghost)
    async with talking(server):
        client = await knock(server)
        await ask(client)
        await client.expect("queue.position")
        assert ghost.ws is not None
        ghost.ws._response.connection.transport.abort()  # as a machine that loses its power
        await go_in(client)
        await client.close()
    await ghost.close()
    assert (await server.stats())["sessions"]["lost"] == 1


async def test_who_vanishes_from_the_line_loses_their_place(server: Server) -> None:
    async with talking(server) as ana, talking(server):
        gone, stays = await knock(server), await knock(server)
        await ask(gone)
        await gone.expect("queue.position")
        await ask(stays)
        await stays.expect("queue.position")
        await gone.close()
        await stays.expect("queue.position", lambda m: m["position"] == 1)
        await ana.send("session.leave")
        await go_in(stays)
        await stays.close()


@pytest.mark.parametrize("settings", [replace(SETTINGS, grace=30.0)])
async def test_a_session_is_resumed_with_the_media_it_has_or_with_new_ones(server: Server, parrot: Parrot) -> None:
    """The conversation goes on: the seat was not reset."""
    async with talking(server, name="Ana") as ana:
        ana.microphone.say(tone(440, 60))
        await hears(ana, 440)
        assert ana.ws is not None
        await ana.ws.close()
        await ana.open()
        start = len(ana.messages)
        await ana.send("session.join", resume=ana.joined["resume"])
        back = await ana.expect("session.joined", start=start)
        assert back["session_id"] == ana.joined["session_id"] and back["sdp"] is None
        assert ana.pc is not None
        await ana.pc.close()
        ana.microphone = type(ana.microphone)()
        ana.microphone.say(tone(600))
        start = len(ana.messages)
        await ana.ws.close()
        await ana.open()
        await ask(ana, resume=ana.joined["resume"])
        await go_in(ana, start)
        await hears(ana, 600)
        assert parrot.resets == [0]
    lost = await knock(server)
    await ask(lost, resume="r_nonsense")
    assert (await lost.expect("error"))["code"] == "unknown_session"
    await lost.close()


@pytest.mark.parametrize("settings", [replace(SETTINGS, max_call=0.5)])
async def test_a_call_ends_when_its_time_is_up(server: Server) -> None:
    async with talking(server) as ana:
        assert (await ana.expect("error"))["code"] == "time_up"
        await ana.closed()
    await until_taken(server, 0)


async def test_a_reset_that_fails_is_tried_again(server: Server, parrot: Parrot) -> None:
    """Who just came waits 80 ms longer, and talks."""
    parrot.fail_resets = 2
    async with talking(server) as ana:
        ana.microphone.say(tone(440))
        await hears(ana, 440)
        assert (await state(server))["steps_failed"] == 2


async def test_when_the_voice_breaks_everybody_is_told_and_rooms_go_on(server: Server) -> None:
    """Those who talk, who wait, and who come."""
    parlour = server.house.parlour
    assert parlour is not None
    async with talking(server) as ana, talking(server):
        bob, cleo = await knock(server), await knock(server)
        await ask(bob)
        await bob.expect("queue.position")
        parlour.engine.give_up(EngineBroken("The GPU is gone."))
        await ask(cleo)
        for client in (ana, bob, cleo):
            error = await client.expect("error")
            assert (error["code"], error["fatal"]) == ("engine_failed", True)
            assert "The GPU is gone." in error["message"]
            await client.closed()
        await bob.close()
        await cleo.close()
    ready = await server.get("/readyz")
    assert (ready.status, ready.json()["dialogue"]["error"]) == (200, "The GPU is gone.")


async def test_rooms_are_served_while_the_voice_still_loads() -> None:
    """Nobody is kept out of a room for its weights, and who comes for the voice talks when it is there."""
    loaded = threading.Event()

    class Slow(Parrot):
        def load(self, progress: Progress) -> None:
            progress(0.5, "reading weights")
            assert loaded.wait(PATIENCE)

    async for server in serve(SETTINGS, ready=False, dialogue=DialogueThread(Slow(SEATS))):
        try:
            while (ready := await server.get("/readyz")).status != 200 or "doing" not in ready.text:
                pass  # each turn is an HTTP request; the test's time limit ends one that never comes true
            assert ready.json()["dialogue"]["doing"] == "reading weights"
            assert "dragoman_dialogue_ready 0.0" in (await server.get("/metrics")).text
            async with joined(server.http, server.base, await server.room(), "Ana", "es") as ana:
                assert ana.joined["state"] == "ready"
            async with talking(server) as bob:
                assert bob.joined["state"] == "warming"
                bob.microphone.say(tone(440))
                loaded.set()
                await hears(bob, 440)
        finally:
            loaded.set()


async def test_operators_see_the_voice(server: Server) -> None:
    """In the stats, for Prometheus, in readiness."""
    async with talking(server) as ana:
        ana.microphone.say(tone(440))
        await hears(ana, 440)
        now = await state(server)
        assert (now["name"], now["state"], now["seats"], now["seats_taken"]) == ("parrot", "ready", SEATS, 1)
        assert now["steps"] > 10 and len(now["media"]) == 1 and now["counters"] == {"resets": 1.0}
        metrics = (await server.get("/metrics")).text
        assert "dragoman_dialogue_seats_taken 1.0" in metrics
        assert 'dragoman_dialogue_total{counter="steps"}' in metrics
        assert (await server.get("/readyz")).json()["dialogue"] == {"state": "ready"}
        assert (await server.get("/v1/conversation")).json()["seats_taken"] == 1


async def test_a_wrong_voice_and_a_wrong_offer_are_told_and_one_may_try_again(server: Server) -> None:
    """They cost no seat."""
    client = await knock(server)
    await ask(client, voice="caruso")
    assert (await client.expect("error"))["code"] == "bad_voice"
    await client.send("session.join", sdp="v=0")
    assert (await client.expect("error", lambda m: m["code"] != "bad_voice"))["fatal"] is False
    assert client.pc is not None
    await client.pc.close()
    await ask(client)
    await go_in(client)
    await client.close()
    await until_taken(server, 0)


async def test_without_a_voice_there_is_no_conversation() -> None:
    async for server in serve(SETTINGS):
        for path in ("/v1/conversation", "/v1/conversation/signal"):
            answer = await server.get(path)
            assert (answer.status, answer.json()["code"]) == (404, "no_dialogue")
        assert "dialogue" not in await server.stats()
