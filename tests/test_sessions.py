"""Sessions that outlive their WebSocket, or their media connection; and how they end."""

import asyncio

import aiohttp
import numpy as np
import pytest
from aioice import stun

from signaling.protocol import Join, ProtocolError
from signaling.settings import Settings
from tests.client import RATE, Client, joined
from tests.conftest import PATIENCE, Server, serve, until
from tests.speech import flite


def speech() -> np.ndarray:
    return np.concatenate([np.zeros(RATE // 2, np.float32), flite("The results are very important.", rate=RATE)])


async def cut(client: Client) -> None:
    """The network under the WebSocket goes away: no close frame, no goodbye."""
    assert client.ws is not None
    client.ws._response.connection.transport.abort()
    await client.until(lambda: client.ws.closed, "the client's end of the socket")


async def resume(client: Client, **fields: object) -> dict:
    """Come back on a new WebSocket."""
    start = len(client.messages)
    last_seq = client.messages[-1]["seq"]
    await client.open()
    await client.send("session.join", resume=client.joined["resume"], last_seq=last_seq, **fields)
    return await client.expect("session.joined", start=start)


async def test_media_go_on_without_a_socket_and_nothing_is_missed(server: Server) -> None:
    """The WebSocket dies; the voice is heard all the while; the words come after the resume, seq unbroken."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        await cut(ana)
        bob.microphone.say(speech())
        ear = ana.ear(bob.id, "translation")
        await ana.until(lambda: ear.loudness() > 0.5, "the translated voice, with no WebSocket")
        await bob.expect("transcript.final")
        again = await resume(ana)
        assert again["sdp"] is None and again["participant"]["id"] == ana.id
        assert {p["name"] for p in again["participants"]} == {"Ana", "Bob"}
        assert (await ana.expect("transcript.final", lambda m: m["translated"]))["language"] == "es"
        assert [m["seq"] for m in ana.messages] == list(range(1, len(ana.messages) + 1))
        assert ana.pc.connectionState == "connected"
        assert not bob.of("participant.left"), "the others never noticed"


async def test_a_new_offer_replaces_the_media_connection(server: Server) -> None:
    """Resume with an offer: same participant, new path, and both directions work on it."""
    room = await server.room()
    async with (
        joined(server.http, server.base, room, "Ana", "es") as ana,
        joined(server.http, server.base, room, "Bob", "en") as bob,
    ):
        for client in (ana, bob):
            await cut(client)
            await client.pc.close()
            client.microphone = type(client.microphone)()
            client.ears.clear()
            again = await resume(client, sdp=await client.offer())
            await client.accept(again["sdp"])
            await client.connected()
        start = len(ana.messages)
        bob.microphone.say(speech())
        await ana.expect("transcript.final", lambda m: m["translated"], start=start)
        await ana.until(lambda: (ear := ana.ear(bob.id, "translation")) and ear.loudness() > 0.5, "the voice")
        assert (await server.get(f"/v1/rooms/{room}")).json()["participant_count"] == 2


async def test_a_resumed_socket_takes_over_from_the_old_one(server: Server) -> None:
    """When the old socket is still there, it is closed and the new one speaks."""
    room = await server.room()
    async with joined(server.http, server.base, room, "Ana", "es") as ana:
        old = ana.ws
        await resume(ana)
        await ana.until(lambda: old.closed, "close of the old socket")
        assert old.close_code == 4001
        await ana.send("ping", t=7)
        assert (await ana.expect("pong"))["t"] == 7


async def test_a_session_that_ends_while_it_is_resumed_stays_ended(server: Server) -> None:
    """The new offer is still being answered when the house closes: no way back, and nothing left of it."""
    room_id = await server.room()
    room = server.house.lobby.find(room_id, 0.0)
    assert room is not None
    async with joined(server.http, server.base, room_id, "Ana", "es") as ana:
        participant = server.house._sessions[ana.joined["session_id"]]
        other = Client(server.http, server.base, room_id)
        offer = await other.offer()
        message = Join("", "", "", offer, "both", ana.joined["resume"], None)
        resuming = asyncio.ensure_future(server.house.resume(room, message))
        await asyncio.sleep(0)
        participant.end("closed")
        with pytest.raises(ProtocolError) as error:
            await resuming
        assert error.value.code == "unknown_session"
        await ana.closed()
        await other.close()


class Slow(asyncio.DatagramProtocol):
    """A STUN server that takes its time."""

    seconds = 0.0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # it is one
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        request = stun.parse_message(data)
        answer = stun.Message(request.message_method, stun.Class.RESPONSE, request.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = address
        asyncio.get_running_loop().call_later(self.seconds, self._transport.sendto, bytes(answer), address)


@pytest.mark.parametrize("lost", ["socket", "media"])
async def test_who_comes_back_in_time_is_not_lost_on_the_way(lost: str) -> None:
    """The grace period ends while their new offer is still being answered."""
    loop = asyncio.get_running_loop()
    transport, slow = await loop.create_datagram_endpoint(Slow, local_addr=("127.0.0.1", 0))
    stun_url = f"stun:127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    async for server in serve(Settings(translator="echo", stun_url=stun_url, grace=1.0)):
        room = await server.room()
        async with joined(server.http, server.base, room, "Ana", "es") as ana:
            slow.seconds = 2.5
            if lost == "socket":
                await cut(ana)
            await ana.pc.close()
            if lost == "media":
                await ana.expect("error", lambda m: m["code"] == "media_failed")
            ana.microphone = type(ana.microphone)()
            ana.ears.clear()
            again = await resume(ana, sdp=await ana.offer())
            await ana.accept(again["sdp"])
            await ana.connected()
            assert again["participant"]["id"] == ana.id
            await ana.send("ping", t=7)
            assert (await ana.expect("pong"))["t"] == 7
    transport.close()


async def test_who_joins_while_the_server_closes_is_sent_away(server: Server) -> None:
    """Their offer is still being answered: nobody comes in whom nobody would send out again."""
    room_id = await server.room()
    room = server.house.lobby.find(room_id, 0.0)
    assert room is not None
    client = Client(server.http, server.base, room_id)
    message = Join("Ana", "es", "auto", await client.offer(), "both", None, None)
    joining = asyncio.ensure_future(server.house.join(room, message))
    await asyncio.sleep(0)
    server.house.drain()
    server.house.close()
    with pytest.raises(ProtocolError) as error:
        await joining
    assert error.value.code == "draining" and server.house.participants == 0
    await client.close()


async def test_a_room_that_made_way_takes_nobody_in(server: Server) -> None:
    """The socket was opened while the room was there: its owner would wait in it for people who cannot find it."""
    room = await server.room()
    client = await Client(server.http, server.base, room).open()
    server.house.lobby.drop(room)
    await client.send("session.join", name="Ana", language="es", sdp=await client.offer())
    error = await client.expect("error")
    assert (error["code"], error["fatal"]) == ("room_not_found", True)
    await client.closed()
    await client.close()


async def test_connections_that_broke_are_closed_when_there_is_another(server: Server) -> None:
    """However often somebody's network fails in a long call, they have one media connection."""
    room = await server.room()
    async with joined(server.http, server.base, room, "Ana", "es") as ana:
        participant = server.house._sessions[ana.joined["session_id"]]
        for _ in range(2):
            start = len(ana.messages)
            await ana.pc.close()
            await ana.expect("error", lambda m: m["code"] == "media_failed", start=start)
            ana.microphone = type(ana.microphone)()
            again = await resume(ana, sdp=await ana.offer())
            await ana.accept(again["sdp"])
            await ana.connected()
            await until(lambda: not participant._replaced)


class TestShortGrace:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(translator="echo", grace=0.3, connect_timeout=1.0)

    async def test_who_does_not_come_back_is_gone(self, server: Server) -> None:
        """After the grace period: left for the others, media closed, and the token is worth nothing."""
        room = await server.room()
        async with (
            joined(server.http, server.base, room, "Ana", "es") as ana,
            joined(server.http, server.base, room, "Bob", "en") as bob,
        ):
            await cut(ana)
            left = await bob.expect("participant.left")
            assert left["participant"]["id"] == ana.id
            await ana.open()
            await ana.send("session.join", resume=ana.joined["resume"])
            assert (await ana.expect("error"))["code"] == "unknown_session"

    async def test_media_that_never_connect_end_the_session(self, server: Server) -> None:
        """An answer that the client never takes: media_failed, then, with no new offer, the end."""
        room = await server.room()
        client = await Client(server.http, server.base, room).open()
        try:
            await client.send("session.join", name="Ana", language="es", sdp=await client.offer())
            error = await client.expect("error")
            assert (error["code"], error["fatal"]) == ("media_failed", False)
            await client.closed()
            await server.empty(room)
        finally:
            await client.close()

    async def test_a_client_that_vanishes_in_the_handshake_leaves_nothing(self, server: Server) -> None:
        """Gone between offer and answer: its place is free again."""
        room = await server.room()
        client = await Client(server.http, server.base, room).open()
        await client.send("session.join", name="Ana", language="es", sdp=await client.offer())
        await cut(client)
        await client.close()
        await server.empty(room)
        assert server.house.participants == 0


async def test_a_full_room_says_so_at_once(server: Server, settings: Settings) -> None:
    """room_full, fatal, with a time to try again; those inside are undisturbed; a free place can be had."""
    server.house.lobby._capacity = 1
    room = await server.room()
    async with joined(server.http, server.base, room, "Ana", "es") as ana:
        late = await Client(server.http, server.base, room).open()
        try:
            await late.send("session.join", name="Bob", language="en", sdp=await late.offer())
            error = await late.expect("error")
            assert (error["code"], error["fatal"]) == ("room_full", True) and error["retry_after_s"] > 0
            assert await late.closed() == aiohttp.WSCloseCode.TRY_AGAIN_LATER
            assert not ana.of("participant.joined")
        finally:
            await late.close()
        await ana.send("session.leave")
        await server.empty(room)
    async with joined(server.http, server.base, room, "Bob", "en"):
        pass


async def test_shutdown_tells_everybody(server: Server) -> None:
    """session.state draining, then the WebSocket closes with Going Away; new ones are refused."""
    room = await server.room()
    async with joined(server.http, server.base, room, "Ana", "es") as ana:
        server.house.drain()
        await ana.expect("session.state", lambda m: m["state"] == "draining")
        assert (await server.get("/readyz")).status == 503
        assert (await server.get("/v1/rooms", "POST")).status == 503
        late = await Client(server.http, server.base, room).open()
        await late.send("session.join", name="Bob", language="en", sdp=await late.offer())
        assert (await late.expect("error"))["code"] == "draining"
        await late.close()
        server.house.close()
        assert await ana.closed() == aiohttp.WSCloseCode.GOING_AWAY


async def test_cancelled_anywhere_a_join_leaves_nothing(server: Server) -> None:
    """The join is cancelled at each of its awaits in turn: no participant, no connection, no task stays."""
    room_id = await server.room()
    room = server.house.lobby.find(room_id, 0.0)
    assert room is not None
    client = Client(server.http, server.base, room_id)
    offer = await client.offer()
    message = Join("Ana", "es", "auto", offer, "both", None, None)
    before = asyncio.all_tasks()
    for turns in range(60):
        join = asyncio.ensure_future(server.house.join(room, message))
        for _ in range(turns):
            await asyncio.sleep(0)
        join.cancel()
        try:
            (await join).end("left")
        except asyncio.CancelledError:
            assert len(room) == 0
        await server.empty(room_id)
    await client.close()
    if rest := asyncio.all_tasks() - before:
        _, leaked = await asyncio.wait(rest, timeout=PATIENCE)
        assert not leaked
    assert server.house.participants == 0 and not server.house._entering
