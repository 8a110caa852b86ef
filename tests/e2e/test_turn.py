"""Behind a firewall: everything goes through a real TURN server (coturn), with the credentials our server gives."""

import os
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiortc import RTCConfiguration, RTCIceServer
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from playwright.async_api import Browser

from signaling import turn_server
from signaling.ice import shared_secret
from signaling.settings import Settings
from tests import client as client_module
from tests.client import RATE, Client
from tests.e2e.conftest import Meet, Start
from tests.e2e.people import Person
from tests.e2e.serving import Site, child_of, free_port
from tests.speech import flite

SECRET = "a secret of two servers"

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("turnserver") is None, reason="there is no turnserver: install coturn"),
]

RELAY_ONLY = """
const Native = window.RTCPeerConnection;
window.RTCPeerConnection = class RTCPeerConnection extends Native {
  constructor(configuration) { super({ ...configuration, iceTransportPolicy: 'relay' }); }
};
"""
"""The page as it behaves on a network that lets nothing else through."""


@pytest_asyncio.fixture(loop_scope="module")
async def turn() -> AsyncIterator[str]:
    """A TURN server that is not our server's child; its URL, by UDP."""
    settings, server = turn_server.prepare(Settings(turn="127.0.0.1", turn_port=free_port(), turn_secret=SECRET))
    async with turn_server.running(server, Counter()):
        yield settings.turn_urls[0]


class RelayedClient(Client):
    """A stock aiortc peer that uses what `/v1/ice-servers` says and nothing else."""

    username: str | None = None
    credential: str | None = None
    """Others than those."""

    async def offer(self, slots: int = 4, microphone: bool = True, ice_servers: list[Any] | None = None) -> str:
        async with self._http.get(f"{self._base}/v1/ice-servers") as answer:
            servers = [RTCIceServer(**server) for server in await answer.json()]
        for server in servers:
            server.username = self.username or server.username
            server.credential = self.credential or server.credential
        return await super().offer(slots, microphone, servers)


@pytest.fixture
def relay_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peer connections of `tests.client` may only use relays."""

    def configure(**arguments: Any) -> RTCConfiguration:
        return RTCConfiguration(**arguments, iceTransportPolicy=RTCIceTransportPolicy.RELAY)

    monkeypatch.setattr(client_module, "RTCConfiguration", configure)


def candidate_types(sdp: str) -> set[str]:
    return set(re.findall(r"^a=candidate:.* typ (\w+)", sdp, re.MULTILINE))


async def with_turn(start: Start, turn: str) -> Site:
    return await start("--turn-url", turn, "--turn-secret", SECRET)


async def they_hear_each_other(site: Site) -> None:
    """Ana and Bob, stock aiortc, by way of relays only: voices and translations."""
    room = (await site.room()).rpartition("/")[2]
    ana, bob = (RelayedClient(site.http, site.url, room) for _ in range(2))
    try:
        await (await ana.open()).join("Ana", "es", "es")
        await (await bob.open()).join("Bob", "en", "en")
        sentence = np.concatenate([np.zeros(RATE // 2), flite("The results are very important.", rate=RATE)])
        for client in (ana, bob):
            assert client.pc is not None
            assert candidate_types(client.pc.localDescription.sdp) == {"relay"}
            client.microphone.say(sentence)
        for listener, speaker in ((ana, bob), (bob, ana)):
            for variant in ("original", "translation"):
                await listener.until(
                    lambda listener=listener, speaker=speaker, variant=variant: (
                        (ear := listener.ear(speaker.id, variant)) and ear.loudness() > 0.5
                    ),
                    f"the {variant}",
                )
    finally:
        await ana.close()
        await bob.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_our_credentials_open_the_relay(start: Start, turn: str, transport: str, relay_only: None) -> None:
    """Of a TURN server that shares a secret with ours, also where no UDP leaves the network."""
    await they_hear_each_other(await with_turn(start, turn.replace("udp", transport)))


async def test_our_server_brings_its_own_turn_server(start: Start, relay_only: None) -> None:
    """`--turn` is all it takes."""
    await they_hear_each_other(await start("--turn", "127.0.0.1", "--turn-port", str(free_port())))


async def test_other_credentials_do_not(start: Start, turn: str, relay_only: None) -> None:
    """So it is the credentials that did it: neither made up nor expired ones do; one asks again, and is in."""
    site = await with_turn(start, turn)
    stranger = RelayedClient(site.http, site.url, (await site.room()).rpartition("/")[2])
    late = shared_secret([turn], SECRET, -60, time.time(), "ana")
    try:
        for username, credential in ((None, "made up"), (late["username"], late["credential"])):
            stranger.username, stranger.credential = username, credential
            assert candidate_types(await stranger.offer()) == set()
            assert stranger.pc is not None
            await stranger.pc.close()
        stranger.username = stranger.credential = None
        await (await stranger.open()).join("Ana", "es")
    finally:
        await stranger.close()


async def relayed(person: Person) -> bool:
    """Their media go through the relay: the pair in use is one of its."""
    kind = await person.page.evaluate("""async () => {
      const stats = await dragoman.call.pc.getStats();
      const all = [...stats.values()];
      const { selectedCandidatePairId } = all.find(({ type }) => type === 'transport');
      return stats.get(stats.get(selectedCandidatePairId).localCandidateId).candidateType;
    }""")
    return bool(kind == "relay")


async def test_pages_behind_a_firewall(start: Start, talking: Browser, meet: Meet) -> None:
    """Chromium through the relay; then the relay breaks, and when it is there again the pages find it by themselves."""
    site = await start("--turn", "127.0.0.1", "--turn-port", str(free_port()))
    room = await site.room()
    bob, ana = await meet(talking), await meet(talking)
    for person, name, language in ((bob, "Bob", "en"), (ana, "Ana", "es")):
        await person.page.context.add_init_script(RELAY_ONLY)
        await person.enter(room, name, language)
    await ana.hear("original en", 0.5)
    await ana.hear("translation es", 0.5)
    await bob.hear("translation en", 0.5)
    assert await relayed(ana) and await relayed(bob)
    who = await ana.participant_id()
    turnserver = child_of(site.pid, "turnserver")
    assert turnserver is not None
    os.kill(turnserver, signal.SIGKILL)
    for person in (ana, bob):
        await person.until("() => witness.states.slice(-3).join() === 'connected,reconnecting,connected'")
    since = await ana.now()
    await ana.hear("original en", 0.5, since)
    await ana.hear("translation es", 0.5, since)
    assert await relayed(ana) and await ana.participant_id() == who
    assert (await site.get("/v1/stats"))["ice"] == {"turn_server_restarts": 1}
    assert await bob.by("participant").count() == 2
    for person in (ana, bob):
        await person.by("leave-button").click()
