"""Interpreting while somebody speaks, over real WebRTC: what is heard before the sentence is over, and what follows."""

from typing import Any

import numpy as np
import pytest

from models.base import EngineBusy, EngineError, EngineFailed
from models.echo import EchoTranslator
from tests.client import RATE, Client, joined
from tests.conftest import Server
from tests.speech import flite, trim

SENTENCE = "The results are very important."


def speech(times: int = 3) -> np.ndarray:
    """The sentence again and again without a pause, 1.5 s each; half a second of silence before it."""
    return np.concatenate([np.zeros(RATE // 2, np.float32), *[trim(flite(SENTENCE, rate=RATE), RATE)] * times])


def engine(server: Server) -> EchoTranslator:
    translator = server.house.engine.translator
    assert isinstance(translator, EchoTranslator)
    return translator


def index(client: Client, type: str, **fields: Any) -> int:
    """Where the first such message is among all."""
    return next(
        at
        for at, message in enumerate(client.messages)
        if message["type"] == type and fields.items() <= message.items()
    )


async def test_the_interpreter_speaks_before_the_speaker_has_ended(server: Server) -> None:
    """The translated voice begins before the final words, and in the end has said everything, once."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        said = speech()
        bob.microphone.say(said)
        final = await ana.expect("transcript.final", lambda m: m["translated"])
        assert index(ana, "speech.started", variant="translation") < index(ana, "transcript.final")
        ear = ana.ear(bob.id, "translation")
        assert ear is not None
        spoken = len(engine(server).spoken)
        await ana.until(lambda: len(ana.of("translation.lag")) == spoken, "a lag for each phrase")
        start = len(ana.messages) - 1
        await ana.expect("speech.stopped", lambda m: m["variant"] == "translation", start=start)
        seconds = len(said) / RATE - 0.5
        await ana.until(lambda: ear.loudness() > 0.6 * seconds, "all of it")
        assert ear.loudness() < seconds + 0.5
        assert (await server.stats())["translations"] == {"en>es": 1}
        entry = (await server.get(f"/v1/rooms/{room}/transcript?language=es")).json()
        assert [line["text"] for line in entry] == [final["text"]]


async def test_what_has_settled_stays(server: Server) -> None:
    """`committed` grows, and every later interim and the final begin with what it marked; so in each language. The slot
    and the RTP time at which a clause is spoken come with it."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        bob.microphone.say(speech())
        await ana.expect("transcript.final", lambda m: m["translated"])
        for language in ("en", "es"):
            told = [m for m in ana.messages if m["type"].startswith("transcript.") and m["language"] == language]
            interims = [m for m in told if m["type"] == "transcript.interim"]
            assert [m["type"] for m in told] == ["transcript.interim"] * len(interims) + ["transcript.final"]
            committed = [m["committed"] for m in interims]
            assert committed == sorted(committed) and committed[0] == 0 < committed[-1]
            for at, interim in enumerate(interims):
                settled = interim["text"][: interim["committed"]]
                assert all(later["text"].startswith(settled) for later in told[at:])
        early = [m for m in ana.of("transcript.interim") if "rtp_timestamp" in m]
        slot = next(slot for slot in ana.slots if slot["variant"] == "translation")
        assert early and {m["mid"] for m in early} == {slot["mid"]}
        assert all(m["translated"] and m["committed"] for m in early)


async def test_each_phrase_has_its_lag_and_they_come_in_their_order(server: Server) -> None:
    """Two sentences: everything of the first is spoken before anything of the second."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        bob.microphone.say(np.concatenate([speech(2), speech(2)]))
        await ana.until(lambda: len([m for m in ana.of("transcript.final") if m["translated"]]) == 2, "both finals")
        spoken = len(engine(server).spoken)
        await ana.until(lambda: len(ana.of("translation.lag")) == spoken, "a lag for each phrase")
        segments = [m["segment_id"] for m in ana.of("transcript.final") if m["translated"]]
        lags = ana.of("translation.lag")
        order = [m["segment_id"] for m in lags]
        assert order == sorted(order, key=segments.index) and set(order) == set(segments)
        assert spoken >= 4, "clauses and the rest of each"
        for lag in lags:
            assert lag["lag_ms"] == pytest.approx(sum(lag["stages"].values()), abs=4)
            assert min(lag["stages"].values()) >= 0
        texts = [text for text, _ in engine(server).spoken]
        assert texts[-1] == ana.of("transcript.final")[-1]["text"]


async def test_a_language_that_nobody_hears_any_more_is_not_computed(server: Server) -> None:
    """The listener changes language in mid-sentence: what follows is in the new one only, from its beginning."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        bob.microphone.say(speech(4))
        await ana.expect("transcript.interim", lambda m: m["language"] == "es")
        await ana.send("session.update", language="fr")
        await ana.expect("session.updated")
        before = len(engine(server).rendered)
        final = await ana.expect("transcript.final", lambda m: m["translated"])
        assert final["language"] == "fr" and final["text"].startswith("[fr] heard 1 s")
        assert {target for _, target in engine(server).rendered[before:]} == {"fr"}
        assert (await server.stats())["translations"] == {"en>fr": 1}
        ear = ana.ear(bob.id, "translation")
        await ana.until(lambda: ear is not None and ear.loudness() > 3, "the French voice, from the beginning")


async def test_the_mode_of_a_room_can_be_changed_in_the_call(server: Server) -> None:
    """Anybody may; everybody is told. Consecutively nothing is spoken, and nothing settles, before the final words."""
    room = await server.room("Q4")
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        assert ana.joined["room"] == {"id": room, "name": "Q4", "mode": "simultaneous"}
        await ana.send("room.update", mode="consecutive")
        for client in (ana, bob):
            assert (await client.expect("room.updated"))["room"] == {"id": room, "name": "Q4", "mode": "consecutive"}
        assert (await server.get(f"/v1/rooms/{room}")).json()["mode"] == "consecutive"
        bob.microphone.say(speech())
        final = await ana.expect("transcript.final", lambda m: m["translated"])
        await ana.expect("speech.stopped", lambda m: m["variant"] == "translation")
        assert index(ana, "transcript.final", translated=True) < index(ana, "speech.started", variant="translation")
        assert {m["committed"] for m in ana.of("transcript.interim")} == {0}
        assert engine(server).spoken == [(final["text"], "es")]
        assert len(ana.of("translation.lag")) == 1
        await bob.send("room.update", mode="simultaneous")
        await ana.expect("room.updated", lambda m: m["room"]["mode"] == "simultaneous")
        start = len(ana.messages)
        bob.microphone.say(speech())
        await ana.expect("transcript.interim", lambda m: m["committed"] > 0, start=start)


async def test_a_room_may_be_consecutive_from_the_start(server: Server) -> None:
    """As who creates it says; whoever joins learns it."""
    room = await server.room(mode="consecutive")
    assert [one["mode"] for one in (await server.get("/v1/rooms")).json()] == ["consecutive"]
    async with joined(server.http, server.base, room, "Ana", "es") as ana:
        assert ana.joined["room"]["mode"] == "consecutive"


@pytest.mark.parametrize(
    ("lost", "code"),
    [(EngineFailed("A worker died."), "engine_failed"), (EngineBusy("Too much to do."), "engine_busy")],
)
async def test_of_a_lost_segment_stays_what_had_settled_and_the_next_is_not_hurt(
    server: Server, lost: EngineError, code: str
) -> None:
    """The listener's caption ends with what was spoken; the speaker is told; the next sentence is whole."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        engine(server).fail_next = lost
        bob.microphone.say(speech())
        error = await bob.expect("error")
        assert (error["code"], error["message"], error["fatal"]) == (code, str(lost), False)
        final = await ana.expect("transcript.final", lambda m: m["translated"])
        last = [m for m in ana.of("transcript.interim") if m["translated"]][-1]
        assert final["text"] == last["text"][: last["committed"]] != ""
        assert not ana.of("error")
        start = len(ana.messages)
        bob.microphone.say(speech())
        whole = await ana.expect("transcript.final", lambda m: m["translated"], start=start)
        lines = (await server.get(f"/v1/rooms/{room}/transcript?language=es")).json()
        assert [line["text"] for line in lines] == [final["text"], whole["text"]]
