"""A real browser over a network that loses packets: who asks for them, who sends them again.

Chromium knows NACK for audio but does not offer it of its own accord: the page makes its offer say so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from rtc.transport import Transport
from signaling.settings import Settings
from tests.conftest import Server, serve
from tests.e2e.conftest import Meet
from tests.e2e.people import Person
from tests.e2e.serving import PATIENCE

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

LOST = 7
"""Every so many packets one gets lost, the first time that it is sent."""

OFFER_NO_NACK = """
const { setLocalDescription } = RTCPeerConnection.prototype;
RTCPeerConnection.prototype.setLocalDescription = function ({ type, sdp }) {
  return setLocalDescription.call(this, { type, sdp: sdp.replace(/^a=rtcp-fb:\\d+ nack\\r\\n/gm, '') });
};
"""

STATISTICS = """async () => {
  const found = { asks: 0, misses: 0, packets: 0, asked: 0, repeats: 0 };
  for (const one of (await dragoman.call.pc.getStats()).values()) {
    if (one.type === 'inbound-rtp') {
      found.asks += one.nackCount ?? 0;
      found.misses += one.packetsLost;
      found.packets += one.packetsReceived;
    }
    if (one.type === 'outbound-rtp') {
      found.asked += one.nackCount ?? 0;
      found.repeats += one.retransmittedPacketsSent ?? 0;
    }
  }
  return found;
}"""
"""What a browser asks for, misses all the same, has received; what it was asked for, and sent again (W3C WebRTC
Statistics §8.2 to §8.5). `retransmittedPacketsReceived` counts repair streams only, which Chromium has none of here."""


class Loss:
    """Loses packets at the server's end of the wire, in both directions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._seen: set[bytes] = set()
        received, send = Transport.received, Transport.send

        def lossy_received(transport: Transport, data: bytes) -> None:
            if not (127 < data[0] < 192 and not 191 < data[1] < 224 and self._loses(b"in", data)):
                received(transport, data)

        def lossy_send(transport: Transport, packet: bytes, *rtcp: Any) -> bool:
            return (not rtcp and self._loses(b"out", packet)) or send(transport, packet, *rtcp)

        monkeypatch.setattr(Transport, "received", lossy_received)
        monkeypatch.setattr(Transport, "send", lossy_send)

    def _loses(self, direction: bytes, packet: bytes) -> bool:
        name = direction + packet[2:4] + packet[8:12]
        if int.from_bytes(packet[2:4], "big") % LOST or name in self._seen:
            return False
        self._seen.add(name)
        return True


@pytest_asyncio.fixture(loop_scope="module")
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """In this process, behind a bad network. Ask for it before `meet`, so that people leave before their server."""
    Loss(monkeypatch)
    async for running in serve(Settings(translator="echo")):
        yield running


async def told(server: Server, person: Person) -> dict[str, Any]:
    """What the server says about their microphone."""
    name = await person.participant_id()
    return next(one for one in (await server.stats())["media"] if one["participant_id"] == name)


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    """Ask again until it is true: each time is a request."""
    async with asyncio.timeout(PATIENCE):
        while not await look():
            pass


async def test_chromium_asks_and_is_asked(server: Server, talking: Browser, silent: Browser, meet: Meet) -> None:
    """What got lost on the way from Bob came because we asked; what got lost on the way to Ana we sent again."""
    room = f"{server.base}/room/{await server.room()}"
    bob, ana = await meet(talking), await meet(silent)
    await bob.enter(room, "Bob", "en")
    await ana.enter(room, "Ana", "en")

    async def bob_is_whole() -> bool:
        microphone = await told(server, bob)
        return bool(microphone["retransmissions_received"] >= 20 and microphone["packets_lost"] <= 2)

    await until(bob_is_whole)
    seen = await bob.page.evaluate(STATISTICS)
    assert seen["asked"] >= 20 and seen["repeats"] >= 20

    async def ana_is_whole() -> bool:
        seen = await ana.page.evaluate(STATISTICS)
        return bool(seen["asks"] >= 20 and seen["packets"] > 20 * LOST and seen["misses"] <= 2)

    await until(ana_is_whole)


async def test_without_the_offer_what_is_lost_stays_lost(
    server: Server, talking: Browser, silent: Browser, meet: Meet
) -> None:
    """Neither end asks, and both count what they miss."""
    room = f"{server.base}/room/{await server.room()}"
    bob, ana = await meet(talking), await meet(silent)
    for person in (bob, ana):
        await person.page.add_init_script(OFFER_NO_NACK)
    await bob.enter(room, "Bob", "en")
    await ana.enter(room, "Ana", "en")

    async def both_miss() -> bool:
        seen = await ana.page.evaluate(STATISTICS)
        return bool(seen["misses"] >= 5 and (await told(server, bob))["packets_lost"] >= 5)

    await until(both_miss)
    assert (await told(server, bob))["retransmissions_asked"] == 0
    assert [(await person.page.evaluate(STATISTICS))[key] for person in (bob, ana) for key in ("asks", "asked")] == [
        0
    ] * 4
