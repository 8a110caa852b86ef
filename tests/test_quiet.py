"""Silence costs nothing: a quiet microphone, by its own account in the RTP header, is neither forwarded nor decoded."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from tests.client import RATE, Client
from tests.conftest import Server
from tests.speech import flite

SENTENCE = "Please send the results tomorrow."


@contextlib.asynccontextmanager
async def quiet_room(server: Server) -> AsyncIterator[tuple[Client, Client]]:
    """Ana listens to Bob; both sit in perfect silence."""
    room = await server.room()
    people = [await Client(server.http, server.base, room).open() for _ in range(2)]
    for client, name in zip(people, ("Ana", "Bob"), strict=True):
        client.microphone.noise = 0.0
        await client.join(name, "en")
    try:
        yield people[0], people[1]
    finally:
        for client in people:
            await client.close()


async def media(server: Server, client: Client) -> dict[str, Any]:
    """What the server says of their connection."""
    return next(one for one in (await server.stats())["media"] if one["participant_id"] == client.id)


async def sent(server: Server, client: Client) -> list[int]:
    """Packets that each of their slots was sent."""
    return [slot["packets"] for slot in (await media(server, client))["slots"].values()]


async def arrived(server: Server, client: Client, packets: int) -> dict[str, Any]:
    """The same, once that many packets of their microphone have come."""
    while (stats := await media(server, client))["packets_received"] < packets:
        pass  # each turn is an HTTP request; the test's time limit ends one that never comes true
    return stats


async def test_nothing_is_sent_or_decoded_for_a_quiet_microphone(server: Server) -> None:
    """Two seconds of silence come in; nothing goes out, nothing reaches the models."""
    async with quiet_room(server) as (ana, bob):
        stats = await arrived(server, bob, 100)
        assert stats["level_dbov"] == -127
        assert stats["decoded_ms"] == 0
        assert set(await sent(server, ana)) == {0}
        assert not [chunk for ear in ana.ears.values() for chunk in ear.chunks]


async def test_the_first_word_is_whole_after_silence(server: Server) -> None:
    """What lies just before the first loud packet is heard by the models too, and the voice by the listener."""
    async with quiet_room(server) as (ana, bob):
        await arrived(server, bob, 60)
        said = flite(SENTENCE, rate=RATE)
        bob.microphone.say(said)
        final = await ana.expect("transcript.final")
        assert final["end_ms"] - final["start_ms"] >= len(said) / RATE * 1000 - 400
        ear = ana.ear(bob.id, "original")
        assert ear is not None
        await ana.until(lambda: ear.loudness() > 1.0, "Bob's voice")


async def test_after_the_last_word_it_is_quiet_again(server: Server) -> None:
    """The stream pauses; the next word goes on in it without a jump in its numbers."""
    async with quiet_room(server) as (ana, bob):
        for _ in range(2):
            before = len(ana.of("speech.stopped"))
            bob.microphone.say(np.concatenate([flite("Yes, of course.", rate=RATE), np.zeros(RATE // 10, np.float32)]))
            await ana.until(lambda before=before: len(ana.of("speech.stopped")) > before, "the end")
            received = (await media(server, bob))["packets_received"]
            await arrived(server, bob, received + 100)
            paused = await sent(server, ana)
            still = await arrived(server, bob, received + 150)
            assert still["level_dbov"] == -127
            assert await sent(server, ana) == paused, "packets are sent for a quiet microphone"
        assert ana.pc is not None
        slot = next(slot for slot in ana.slots if slot["participant_id"] == bob.id)
        receiver = next(t.receiver for t in ana.pc.getTransceivers() if t.mid == slot["mid"])
        report = await receiver.getStats()
        inbound = next(one for one in report.values() if one.type == "inbound-rtp")
        assert inbound.packetsLost == 0
