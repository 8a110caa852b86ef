"""Connections that share UDP ports: each gets its own, and nobody gets another's."""

import asyncio
import contextlib
import inspect
import logging
import re
import socket
from typing import Any, Self

import numpy as np
import pytest
from aioice import Connection, stun
from aioice.ice import StunProtocol, server_reflexive_candidate
from hypothesis import example, given
from hypothesis import strategies as st

from rtc.opus import FRAME, Encoder
from rtc.ports import MAX_ADDRESSES, Port, Ports, host_addresses, username
from rtc.rtp import Packet
from signaling.settings import Settings
from tests.client import WavMicrophone, joined
from tests.conftest import serve
from tests.rtc.loopback import PATIENCE, Pair, connected, peer_with

PAYLOAD = Encoder(24_000).encode(np.zeros(480, np.int16))


def ports_of(pair: Pair) -> set[Port]:
    return {place.port for place in pair.places}


def connection_of(dtls: Any) -> Any:
    return dtls.transport._connection


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])


def test_aioice_is_as_we_know_it() -> None:
    """rtc/ports.py relies on these names: when one changes, this says which."""
    gather = inspect.signature(Connection.get_component_candidates)
    assert list(gather.parameters) == ["self", "component", "addresses", "timeout"]
    assert list(inspect.signature(Connection.query_consent).parameters) == ["self"]
    connection: Any = Connection(ice_controlling=False)
    assert connection._local_username == connection.local_username and connection._protocols == []
    assert connection._closing is False and connection._nominated == {}
    assert list(inspect.signature(StunProtocol.__init__).parameters) == ["self", "receiver"]
    assert list(inspect.signature(server_reflexive_candidate).parameters) == ["protocol", "stun_server"]


async def test_connections_on_one_port_hear_only_what_is_theirs() -> None:
    ports = Ports()
    async with contextlib.AsyncExitStack() as stack:
        microphones = [WavMicrophone() for _ in range(3)]
        pairs = [
            await stack.enter_async_context(connected(peer_with(1, microphone), ports=ports))
            for microphone in microphones
        ]
        assert ports_of(pairs[0]) == ports_of(pairs[1]) == ports_of(pairs[2])
        for number, pair in enumerate(pairs):
            (slot,) = pair.ours.slots.values()
            for index in range(5):
                slot.send(Packet(9, index, index * FRAME, 0, bytes([PAYLOAD[0], number])), 0.02 * index)
        for number, pair in enumerate(pairs):
            assert {packet.payload[1] for packet in await pair.packets(5)} == {number}
        microphones[1].say(0.5 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 48_000).astype(np.float32))
        await pairs[1].until(lambda: len(pairs[1].heard) >= 10)
        ssrcs = [{packet.ssrc for packet in pair.heard} for pair in pairs]
        assert not ssrcs[1] & (ssrcs[0] | ssrcs[2]), "each microphone came in at its own connection"


async def test_who_leaves_takes_nobody_along_and_the_last_closes_the_port() -> None:
    number = free_port()
    ports = Ports([number])
    async with connected(peer_with(1), ports=ports) as bob:
        async with connected(peer_with(1), ports=ports) as ana:
            assert {port.number for port in ports_of(ana)} == {number}
            (shared, *_) = ports_of(ana)
            assert len(shared) == 2
        assert len(shared) == 1
        (slot,) = bob.ours.slots.values()
        slot.send(Packet(9, 1, 960, 0, PAYLOAD), 0.02)
        assert await bob.packets(1)
    await asyncio.sleep(0)  # the loop closes the socket in its next turn
    assert shared.closed
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((shared.host if ":" not in shared.host else "", number))


async def test_closed_just_when_it_had_connected_nothing_goes_on() -> None:
    """The client has nominated, and leaves before aioice looks again: nobody is left to be asked for consent."""
    before = asyncio.all_tasks()
    ours: Any = Connection(ice_controlling=False)
    Ports().share(ours)
    theirs: Any = Connection(ice_controlling=True)
    await asyncio.gather(ours.gather_candidates(), theirs.gather_candidates())
    for one, other in ((ours, theirs), (theirs, ours)):
        one.remote_username, one.remote_password = other.local_username, other.local_password
        for candidate in [*other.local_candidates, None]:
            await one.add_remote_candidate(candidate)
    connecting = asyncio.gather(ours.connect(), theirs.connect())  # awaited below
    async with asyncio.timeout(PATIENCE):
        while not ours._nominated:  # noqa: ASYNC110  # aioice tells nobody
            await asyncio.sleep(0)
        await ours.close()
        await connecting
    await theirs.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("address", [("192.0.2.77", 70_000), ("fe80::1%\0", 9), ("fe80::1%\ud800", 9)])
async def test_a_candidate_that_is_no_address_costs_nobody_else_the_port(address: tuple[str, int]) -> None:
    ports = Ports()
    async with connected(peer_with(1), ports=ports) as pair:
        evil: Any = Connection(ice_controlling=False)
        ports.share(evil)
        await evil.gather_candidates()
        for place in evil._protocols:
            assert place.port in ports_of(pair)
            place.send_stun(stun.Message(stun.Method.BINDING, stun.Class.REQUEST), address)
            assert place.port.batch.lost == 1
        (slot,) = pair.ours.slots.values()
        slot.send(Packet(9, 1, 960, 0, PAYLOAD), 0.02)
        assert await pair.packets(1)
        assert not any(port.closed for port in ports_of(pair))
        await evil.close()


async def test_a_port_that_somebody_else_has_is_passed_over() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        number = free_port()
        async with connected(peer_with(1), ports=Ports([taken.getsockname()[1], number])) as pair:
            assert number in {port.number for port in ports_of(pair) if ":" not in port.host}


async def test_with_no_port_left_there_is_no_candidate_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken, caplog.at_level(logging.WARNING):
        taken.bind(("", 0))
        connection: Any = Connection(ice_controlling=False, use_ipv6=False)
        Ports([taken.getsockname()[1]]).share(connection)
        await connection.gather_candidates()
        assert connection.local_candidates == []
        assert "no UDP port is free" in caplog.text
        await connection.close()


async def test_our_addresses_are_those_of_our_candidates() -> None:
    """A TURN server that lets relays lead to these lets them lead to us."""
    connection: Any = Connection(ice_controlling=False)
    Ports().share(connection)
    await connection.gather_candidates()
    assert {candidate.host for candidate in connection.local_candidates} == set(host_addresses())
    await connection.close()


@pytest.mark.parametrize("width", [1, 3])
async def test_a_call_on_ports_that_were_chosen(width: int) -> None:
    """The server's answers name them, though there be fewer than people; each hears the other."""
    first = free_port() % 20_000 + 10_000  # below those that the system gives to others
    numbers = range(first, first + width)
    async for server in serve(Settings(translator="echo", media_ports=f"{numbers[0]}-{numbers[-1]}")):
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "es") as ana,
            joined(server.http, server.base, room, "Bob", "en") as bob,
        ):
            for person in (ana, bob):
                found = re.findall(r"^a=candidate:\S+ 1 udp \d+ \S+ (\d+) typ host", person.joined["sdp"], re.MULTILINE)
                assert found and {int(port) for port in found} <= set(numbers)


def check(connection: Any, password: str, priority: bool = True) -> bytes:
    """A client's STUN request."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{connection.local_username}:{connection.remote_username}"
    if priority:
        request.attributes["PRIORITY"] = 1
    request.attributes["ICE-CONTROLLING"] = 1
    request.add_message_integrity(password.encode())
    return bytes(request)


class Stranger:
    """Somebody with a socket, who sends to a port of ours."""

    def __init__(self, port: Port) -> None:
        self._to = (port.host, port.number)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((port.host, 0))
        self._socket.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendto(self._socket, data, self._to)

    async def answer_to(self, request: bytes) -> stun.Message:
        """When it comes, all that was sent before has arrived."""
        await self.send(request)
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = stun.parse_message(await asyncio.get_running_loop().sock_recv(self._socket, 2048))
                if answer.message_class is not stun.Class.REQUEST:
                    return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()


async def test_an_address_is_theirs_who_know_the_password() -> None:
    """A client that comes from another address is known again; somebody who only knows its name is not."""
    async with connected(peer_with(1)) as pair:
        (dtls,) = pair.ours._transports
        connection = connection_of(dtls)
        port = next(port for port in ports_of(pair) if ":" not in port.host)
        media = bytes([128]) + bytes(40)
        with Stranger(port) as stranger:
            assert (await stranger.answer_to(check(connection, "a guess"))).error_code == 401
            await stranger.send(media)
            assert (await stranger.answer_to(check(connection, connection.local_password))).error_code is None
            assert port.strays == 1, "media from an address that has proved nothing are nobody's"
            assert pair.ours.stats()["datagrams_refused"] == 0
            await stranger.send(media)
            await stranger.answer_to(check(connection, connection.local_password))
            assert pair.ours.stats()["datagrams_refused"] == 1, "now they are that client's, and SRTP looks at them"


async def test_nobody_takes_the_address_that_another_s_media_come_from() -> None:
    """Not even who writes it as its own and signs with its own password; when that other has left, it is free."""
    ports = Ports()
    microphone = WavMicrophone()
    evil: Any = Connection(ice_controlling=False)
    ports.share(evil)
    taken: list[bytes] = []
    media = bytes([128]) + bytes(40)
    async with connected(peer_with(1, microphone), ports=ports) as pair:
        await evil.gather_candidates()
        (dtls,) = pair.ours._transports
        held = connection_of(dtls)._nominated[1].protocol
        (address,) = [address for address in held.addresses if held.holds(address)]
        (place,) = [place for place in evil._protocols if place.port is held.port]
        place.on_media = taken.append
        held.port.datagram_received(check(evil, evil.local_password), address)  # as the socket hands it on
        so_far = len(pair.heard)
        await pair.until(lambda: len(pair.heard) >= so_far + 10)
    held.port.datagram_received(check(evil, evil.local_password), address)
    held.port.datagram_received(media, address)
    assert taken == [media]
    microphone.stop()
    await evil.close()


async def test_the_addresses_of_a_client_are_bounded() -> None:
    """Each would be a candidate for ever; those that it has go on."""
    async with connected(peer_with(1)) as pair:
        (dtls,) = pair.ours._transports
        connection = connection_of(dtls)
        port = next(port for port in ports_of(pair) if ":" not in port.host)
        for number in range(1000):
            address = f"127.1.{number >> 8}.{number & 255}", 7
            port.datagram_received(check(connection, connection.local_password), address)
        assert port.strays >= 1000 - MAX_ADDRESSES
        assert len(connection.remote_candidates) <= 2 * MAX_ADDRESSES
        (slot,) = pair.ours.slots.values()
        slot.send(Packet(9, 1, 960, 0, PAYLOAD), 0.02)
        assert await pair.packets(1)


async def test_garbage_is_nobodys() -> None:
    async with connected(peer_with(1)) as pair:
        (dtls,) = pair.ours._transports
        port = next(port for port in ports_of(pair) if ":" not in port.host)
        junk = [b"", b"\0", bytes(20), b"\x01\x01" + bytes(18), b"\0\1\xff\xff" + bytes(30), bytes([22]) * 40]
        with Stranger(port) as stranger:
            for data in junk:
                await stranger.send(data)
            await stranger.answer_to(check(connection_of(dtls), "a guess"))
        assert port.strays == len(junk)
        (slot,) = pair.ours.slots.values()
        slot.send(Packet(9, 1, 960, 0, PAYLOAD), 0.02)
        assert await pair.packets(1)


@given(st.binary(max_size=80))
@example(bytes(20) + b"\0\6\0\3a:b\0")
def test_a_name_is_found_or_there_is_none(data: bytes) -> None:
    assert isinstance(username(data), str)


def test_a_name_is_read_among_other_attributes() -> None:
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.attributes["PRIORITY"] = 7
    request.attributes["USERNAME"] = "ours:theirs"
    request.add_message_integrity(b"secret")
    assert username(bytes(request)) == "ours:theirs"
