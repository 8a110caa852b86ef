"""A room that moves, with everybody in it, from one house to another that shares its secret and its records."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

import pytest

from rtc.transcript import Entry
from signaling.placement import MemoryRecords, RoomCard
from signaling.settings import Settings
from tests.client import Client, joined
from tests.conftest import Server, serve
from tests.test_sessions import cut


@pytest.fixture
def settings() -> Settings:
    return Settings(translator="echo", session_secret="shared")


class Move:
    """Two servers: the room is in the first, until `move`."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self.records = MemoryRecords()
        self._settings = settings
        self._stack = stack

    async def open(self, generation: int, room: str = "blue") -> Server:
        running = asynccontextmanager(serve)(self._settings, records=self.records)
        server = await self._stack.enter_async_context(running)
        card = self.records.cards.get(room) or RoomCard(room, "Blue", "consecutive", 16, 1.7e9)
        await server.house.open_room(card, generation)
        return server


@pytest.fixture
async def move(settings: Settings) -> AsyncIterator[Move]:
    async with AsyncExitStack() as stack:
        yield Move(settings, stack)


async def come_back(client: Client, server: Server, **fields: object) -> dict:
    """Resume in another server."""
    seen, token = client.messages, client.joined["resume"]
    again = Client(server.http, server.base, "blue")
    client._url, client.messages = again._url, []
    await client.open()
    await client.send(
        "session.join",
        resume=token,
        last_seq=seen[-1]["seq"],
        last_record=max(m["record"] for m in seen if m.get("record") is not None),
        **fields,
    )
    return await client.until(lambda: client.messages[:1], "an answer")


async def test_who_comes_with_an_offer_goes_on_as_who_they_were(move: Move) -> None:
    """Same ids, name, mode and place in the numbering; the words missed come once, the others never again."""
    first = await move.open(1)
    async with (
        joined(first.http, first.base, "blue", "Ana", "es") as ana,
        joined(first.http, first.base, "blue", "Bob", "en") as bob,
    ):
        await bob.send("chat.send", text="one")
        await ana.expect("chat.message")
        seen = len(ana.messages)
        await bob.send("chat.send", text="two")
        await ana.expect("chat.message", start=seen)
        await cut(ana)
        del ana.messages[seen:]  # as if it had never arrived
        second = await move.open(2)
        last_seq, old = ana.messages[-1]["seq"], ana.joined
        await ana.pc.close()
        sdp = await ana.offer()
        await come_back(ana, second, name="Ana", language="es", sdp=sdp)
        assert ana.messages[0]["type"] == "session.joined", ana.messages[0]
        again = ana.messages[0]
        await ana.accept(again["sdp"])
        await ana.connected()
        assert (again["participant"]["id"], again["session_id"]) == (old["participant"]["id"], old["session_id"])
        assert again["seq"] == last_seq + 1 and again["room"] == {"id": "blue", "name": "Blue", "mode": "consecutive"}
        assert [person["name"] for person in again["participants"]] == ["Ana"], "nobody who has not come back"
        await ana.send("ping", t=1)
        await ana.expect("pong")
        assert [m["original_text"] for m in ana.of("chat.message")] == ["two"]
        assert [m["seq"] for m in ana.messages] == list(range(last_seq + 1, last_seq + 1 + len(ana.messages)))


async def test_who_comes_without_one_is_asked_for_it(move: Move) -> None:
    """session_moved, on which the same socket may go on."""
    first = await move.open(1)
    async with joined(first.http, first.base, "blue", "Ana", "es") as ana:
        second = await move.open(2)
        await cut(ana)
        answer = (await come_back(ana, second))[0]
        assert (answer["type"], answer["code"], answer["fatal"]) == ("error", "session_moved", False)
        await ana.pc.close()
        sdp = await ana.offer()
        await ana.send("session.join", resume=ana.joined["resume"], name="Ana", language="es", sdp=sdp)
        assert (await ana.expect("session.joined"))["participant"]["id"] == ana.id


async def test_who_joins_a_room_that_has_just_left_is_sent_after_it(move: Move) -> None:
    """Their socket was opened in time. That the room is no more is for those to say who know where rooms are."""
    first = await move.open(1)
    client = await Client(first.http, first.base, "blue").open()
    first.house.lobby.drop("blue")
    await client.send("session.join", name="Ana", language="es", sdp=await client.offer())
    error = await client.expect("error")
    assert error["code"] == "room_moving" and error["retry_after_s"] > 0
    await client.closed()
    await client.close()


@pytest.mark.parametrize("kind", ["speech", "chat"])
async def test_what_was_not_translated_in_time_is_translated_where_the_room_is_then(
    move: Move, kind: Literal["speech", "chat"]
) -> None:
    """The first process had the words of somebody, and died before they were in Ana's language: she reads them once."""
    first = await move.open(1)
    async with (
        joined(first.http, first.base, "blue", "Ana", "es") as ana,
        joined(first.http, first.base, "blue", "Bob", "en") as bob,
    ):
        await bob.send("chat.send", text="before")
        await ana.expect("chat.message")
        await cut(ana)
        room = first.house.lobby.find("blue", 0.0)
        assert room is not None
        now = room.milliseconds(asyncio.get_running_loop().time())
        last = Entry(kind, "last", "utt", bob.id, "Bob", "en", "", now, now)
        room.transcript.record(last, "en", "the last words")
        second = await move.open(2)
        await ana.pc.close()
        await come_back(ana, second, name="Ana", language="es", sdp=await ana.offer())
        type = "transcript.final" if kind == "speech" else "chat.message"
        read = await ana.expect(type, lambda m: m["language"] == "es")
        assert read["text"] == "[es] the last words" and read["record"] == max(
            m.get("record") or 0 for m in ana.messages
        )
        lines = (await second.get("/v1/rooms/blue/transcript?language=es")).json()
        assert [line["text"] for line in lines] == ["[es] before", "[es] the last words"]


async def test_a_session_moves_forward_only(move: Move) -> None:
    """Where the room is in the same generation the session must be known, or it is over."""
    first = await move.open(1)
    async with joined(first.http, first.base, "blue", "Ana", "es") as ana:
        other = await move.open(1)
        assert (await come_back(ana, other))[0]["code"] == "unknown_session"


async def test_a_session_of_another_room_is_nobody_here(move: Move) -> None:
    """Though it be signed."""
    first = await move.open(1)
    await first.house.open_room(RoomCard("red", "Red", "simultaneous", 16, 1.7e9), 1)
    async with joined(first.http, first.base, "red", "Ana", "es") as ana:
        second = await move.open(2)
        assert (await come_back(ana, second))[0]["code"] == "unknown_session"
