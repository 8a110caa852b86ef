"""The whole product in Modal's containers: lobby → room server → translator, and a room server that dies."""

import numpy as np
import pytest

pytest.importorskip("modal", reason="modal is not installed: pip install 'dragoman[test]'")

from tests.client import RATE
from tests.modal.cloud import Cloud
from tests.modal.people import Visitor
from tests.speech import flite


def speech(text: str) -> np.ndarray:
    return np.concatenate([np.zeros(RATE // 2, np.float32), flite(text, rate=RATE)])


async def test_one_hears_the_translation_of_the_other(visitor: Visitor) -> None:
    room = await visitor.room(mode="consecutive")
    ana = await visitor.join(room, "Ana", "es")
    bob = await visitor.join(room, "Bob", "en")
    await ana.expect("session.state", lambda m: m["state"] == "ready")
    assert [p["name"] for p in bob.joined["participants"]] == ["Ana", "Bob"]
    bob.microphone.say(speech("Good morning, everybody."))
    final = await ana.expect("transcript.final", lambda m: m["translated"])
    assert (final["language"], final["source_language"]) == ("es", "en")
    assert final["text"].startswith("[es] heard ")
    await ana.until(lambda: (ear := ana.ear(bob.id, "translation")) and ear.loudness() > 0.5, "the translated voice")
    await bob.send("chat.send", text="hello")
    assert (await ana.expect("chat.message"))["text"] == "[es] hello"
    listed = (await visitor.ask("GET", "/v1/rooms")).json()
    while not next(one for one in listed if one["id"] == room)["participant_count"]:
        listed = (await visitor.ask("GET", "/v1/rooms")).json()  # the server writes it when it has time


async def test_people_come_back_as_who_they_were_when_their_container_dies(cloud: Cloud, visitor: Visitor) -> None:
    """Same ids, what was said meanwhile is told, and the one who speaks is heard again."""
    room = await visitor.room(mode="consecutive")
    ana = await visitor.join(room, "Ana", "es")
    bob = await visitor.join(room, "Bob", "en")
    await bob.send("chat.send", text="before")
    await ana.expect("chat.message")
    written = cloud.plane.queues["dragoman-words"]
    await ana.until(lambda: len(written[room].items) >= 2, "the words in the queue")
    old = {"ana": ana.joined, "bob": bob.joined}
    held = next(one for one in cloud.containers if one.name == "RoomServer" and one.alive)
    held.kill()
    for person in (ana, bob):
        await person.closed()
    cloud.start("RoomServer")
    await visitor.come_back(ana, room)
    await visitor.come_back(bob, room)
    assert ana.joined["participant"]["id"] == old["ana"]["participant"]["id"]
    assert bob.joined["session_id"] == old["bob"]["session_id"]
    assert [p["name"] for p in bob.joined["participants"]] == ["Ana", "Bob"]
    bob.microphone.say(speech("Here we are again."))
    final = await ana.expect("transcript.final", lambda m: m["translated"])
    assert final["participant_id"] == old["bob"]["participant"]["id"]
    await ana.until(lambda: (ear := ana.ear(bob.id, "translation")) and ear.loudness() > 0.5, "the translated voice")
    http = await visitor.inside(await visitor.place(room))
    async with http.get(f"{ana._base}/v1/rooms/{room}/transcript") as answer:
        assert "before" in [line["original_text"] for line in await answer.json()]


async def test_a_container_that_is_stopped_sends_its_people_on(cloud: Cloud, visitor: Visitor) -> None:
    """They are told, and the next place is theirs at once."""
    room = await visitor.room()
    ana = await visitor.join(room, "Ana", "es")
    first = (await visitor.place(room))["generation"]
    held = next(one for one in cloud.containers if one.name == "RoomServer" and one.alive)
    held.process.terminate()
    await ana.expect("session.state", lambda m: m["state"] == "draining")
    await ana.closed()
    cloud.start("RoomServer")
    joined = await visitor.come_back(ana, room)
    assert joined["participant"]["name"] == "Ana"
    assert (await visitor.place(room))["generation"] > first
    assert held.process.wait(20) == 0
