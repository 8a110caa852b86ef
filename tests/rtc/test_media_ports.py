"""Media on ports that were chosen, over real connections."""

import asyncio
import logging
import re
import socket

import pytest
from aiortc import RTCPeerConnection

from rtc.media_ports import bind_within, host_addresses
from signaling.__main__ import event_loop
from signaling.settings import Settings
from tests.client import joined
from tests.conftest import serve
from tests.e2e.serving import free_port


def ports_of(sdp: str) -> set[int]:
    """Of the host candidates."""
    return {int(port) for port in re.findall(r"^a=candidate:\S+ 1 udp \d+ \S+ (\d+) typ host", sdp, re.MULTILINE)}


async def gathered() -> RTCPeerConnection:
    peer = RTCPeerConnection()
    peer.createDataChannel("any")
    await peer.setLocalDescription(await peer.createOffer())
    return peer


async def test_our_addresses_are_those_of_our_candidates() -> None:
    """A TURN server that lets relays lead to these lets them lead to us."""
    peer = await gathered()
    found = re.findall(r"^a=candidate:\S+ 1 udp \d+ (\S+) \d+ typ host", peer.localDescription.sdp, re.MULTILINE)
    await peer.close()
    assert set(found) == set(host_addresses())


def free_range(width: int) -> range:
    first = free_port() % 20_000 + 10_000  # below those that the system gives to others
    return range(first, first + width)


async def several(ports: range) -> tuple[list[set[int]], int | None]:
    """The ports of two connections on two ports, of a third, and of a socket that wants no particular one's."""
    loop = asyncio.get_running_loop()
    bind_within(loop, ports)
    peers = [await gathered() for _ in range(3)]
    found = [ports_of(peer.localDescription.sdp) for peer in peers]
    for peer in peers:
        await peer.close()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", 9))
    other = transport.get_extra_info("sockname")[1]
    transport.close()
    return found, other


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, event_loop()], ids=["asyncio", "installed"])
def test_sockets_are_bound_within_the_range(factory: object, caplog: pytest.LogCaptureFixture) -> None:
    """Each connection has ports of its own there; one too many has none, and the log says why."""
    if factory is None:
        pytest.skip("uvloop is not installed")
    ports = free_range(2)
    with asyncio.Runner(loop_factory=factory) as runner, caplog.at_level(logging.WARNING):
        (first, second, third), other = runner.run(several(ports))
    assert first and second and first | second <= set(ports)
    assert not third and "wider range" in caplog.text
    assert other not in ports


async def test_a_port_that_somebody_else_has_is_passed_over() -> None:
    """The next one is taken; and free ones are free again after a connection."""
    ports = free_range(2)
    bind_within(asyncio.get_running_loop(), ports)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("0.0.0.0", ports[0]))
        for _ in range(3):
            peer = await gathered()
            assert ports[1] in ports_of(peer.localDescription.sdp)
            await peer.close()


async def test_a_call_in_that_range() -> None:
    """The server's answer names such ports, and media flow."""
    ports = free_range(20)
    async for server in serve(Settings(translator="echo", media_ports=f"{ports[0]}-{ports[-1]}")):
        async with joined(server.http, server.base, await server.room(), "Ana", "es") as ana:
            found = ports_of(ana.joined["sdp"])
            assert found and found <= set(ports)
