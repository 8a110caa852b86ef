"""Behind a firewall: everything goes through a real TURN server (coturn), with the credentials our server gives."""

import asyncio
import contextlib
import re
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiortc import RTCConfiguration, RTCIceServer
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from playwright.async_api import Browser

from tests import client as client_module
from tests.client import RATE, Client
from tests.e2e.conftest import Meet, Start
from tests.e2e.serving import PATIENCE, Site, stop
from tests.speech import flite

TURNSERVER = shutil.which("turnserver")
SECRET = "a secret of two servers"

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(TURNSERVER is None, reason="there is no turnserver: install coturn"),
]

RELAY_ONLY = """
const Native = window.RTCPeerConnection;
window.RTCPeerConnection = class RTCPeerConnection extends Native {
  constructor(configuration) { super({ ...configuration, iceTransportPolicy: 'relay' }); }
};
"""
"""The page as it behaves on a network that lets nothing else through."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def coturn(port: int, folder: Path) -> AsyncIterator[str]:
    """A TURN server: its URL."""
    assert TURNSERVER is not None
    options = {
        "listening-ip": "127.0.0.1",
        "relay-ip": "127.0.0.1",
        "listening-port": str(port),
        "realm": "dragoman",
        "static-auth-secret": SECRET,
        "userdb": str(folder / "turndb"),
        "pidfile": str(folder / "turn.pid"),
        "log-file": "stdout",
    }
    flags = "-n --use-auth-secret --allow-loopback-peers --no-tls --no-dtls --no-cli".split()
    process = await asyncio.create_subprocess_exec(
        TURNSERVER,
        *flags,
        *(part for name, value in options.items() for part in (f"--{name}", value)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while process.returncode is None:  # it listens on TCP and UDP alike; TCP tells when
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    await writer.wait_closed()
                    break
                await asyncio.sleep(0.05)
        assert process.returncode is None, f"turnserver ended with {process.returncode}"
        yield f"turn:127.0.0.1:{port}?transport=udp"
    finally:
        await stop(process)


@pytest_asyncio.fixture(loop_scope="module")
async def turn(tmp_path: Path) -> AsyncIterator[str]:
    async with coturn(free_port(), tmp_path) as url:
        yield url


class RelayedClient(Client):
    """A stock aiortc peer that uses what `/v1/ice-servers` says and nothing else."""

    credential: str | None = None

    async def offer(self, slots: int = 4, microphone: bool = True, ice_servers: list[Any] | None = None) -> str:
        async with self._http.get(f"{self._base}/v1/ice-servers") as answer:
            servers = [RTCIceServer(**server) for server in await answer.json()]
        for server in servers:
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


async def test_our_credentials_open_the_relay(start: Start, turn: str, relay_only: None) -> None:
    """Relayed Ana hears relayed Bob, in his voice and translated."""
    site = await with_turn(start, turn)
    room = (await site.room()).rpartition("/")[2]
    ana, bob = (RelayedClient(site.http, site.url, room) for _ in range(2))
    try:
        await (await ana.open()).join("Ana", "es")
        await (await bob.open()).join("Bob", "en")
        for client in (ana, bob):
            assert client.pc is not None
            assert candidate_types(client.pc.localDescription.sdp) == {"relay"}
        bob.microphone.say(np.concatenate([np.zeros(RATE // 2), flite("The results are very important.", rate=RATE)]))
        for variant in ("original", "translation"):
            await ana.until(
                lambda variant=variant: (ear := ana.ear(bob.id, variant)) and ear.loudness() > 0.5, f"the {variant}"
            )
    finally:
        await ana.close()
        await bob.close()


async def test_other_credentials_do_not(start: Start, turn: str, relay_only: None) -> None:
    """So it is the credentials that did it."""
    site = await with_turn(start, turn)
    stranger = RelayedClient(site.http, site.url, "nowhere")
    stranger.credential = "made up"
    try:
        assert candidate_types(await stranger.offer()) == set()
    finally:
        await stranger.close()


async def test_a_page_behind_a_firewall(
    start: Start, silent: Browser, talking: Browser, meet: Meet, tmp_path: Path
) -> None:
    """Chromium through the relay; then the relay breaks, and when there is one again the page finds it by itself."""
    port = free_port()
    async with coturn(port, tmp_path) as turn:
        site = await with_turn(start, turn)
        room = await site.room()
        bob, ana = await meet(talking), await meet(silent)
        await ana.page.context.add_init_script(RELAY_ONLY)
        await bob.enter(room, "Bob", "en")
        await ana.enter(room, "Ana", "es")
        await ana.hear("original en", 0.5)
        await ana.hear("translation es", 0.5)
        kinds = await ana.page.evaluate("""async () => {
          const all = [...(await dragoman.call.pc.getStats()).values()];
          return all.filter(({ type }) => type === 'local-candidate').map(({ candidateType }) => candidateType);
        }""")
        assert set(kinds) == {"relay"}
        who = await ana.participant_id()
    async with coturn(port, tmp_path):
        await ana.until("() => witness.states.slice(-3).join() === 'connected,reconnecting,connected'")
        since = await ana.now()
        await ana.hear("original en", 0.5, since)
        await ana.hear("translation es", 0.5, since)
        assert await ana.participant_id() == who
        assert await bob.by("participant").count() == 2
        for person in (ana, bob):
            await person.by("leave-button").click()
