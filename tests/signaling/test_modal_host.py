"""A container that holds rooms: whom it admits, and when it lets a room go."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from rtc.stats import Stats
from signaling.engines import build_engine
from signaling.modal_host import SESSION, RoomHost
from signaling.modal_placer import ModalPlacer
from signaling.modal_records import ModalRecords
from signaling.server import HOUSE, create_app
from signaling.settings import Settings
from tests.client import Client
from tests.conftest import until
from tests.signaling.test_modal_placer import Memory, World
from tests.signaling.test_modal_records import MemoryLines


@dataclass
class Container:
    """One that runs, and what it shares with the others."""

    world: World
    host: RoomHost
    lines: MemoryLines
    lobby: ModalPlacer
    runner: web.AppRunner
    http: aiohttp.ClientSession
    base: str

    async def status(self, path: str, session: str = "") -> int:
        headers = {SESSION: session} if session else {}
        async with self.http.get(self.base + path, headers=headers, allow_redirects=False) as answer:
            return answer.status

    async def client(self, room: str) -> Client:
        return await (await Client(self.http, self.base, room).open()).join("Ana", "es")


@pytest.fixture
async def container() -> AsyncIterator[Container]:
    world = World()
    settings = Settings(translator="echo", room_ttl=0.2, http_rate=1000)
    lines = MemoryLines()
    stats = Stats()
    records = ModalRecords(lines, world.people, stats)
    app = create_app(build_engine(settings), settings, records=records, stats=stats)
    host = RoomHost(app[HOUSE], world.lobby(), records, Memory(), "https://lobby.example")
    host.install(app)
    runner = web.AppRunner(app, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as http:
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield Container(world, host, lines, world.lobby(), runner, http, base)
        await runner.cleanup()


async def test_only_the_session_of_a_room_reaches_it(container: Container) -> None:
    """Whether another session is in the same container or in none; the lobby's business stays there."""
    await container.lobby.create("Blue", "simultaneous")
    assert await container.status("/v1/rooms/blue", "sd-1") == 410, "it is nowhere yet"
    await container.lobby.place("blue")
    assert await container.status("/v1/rooms/blue", "sd-2") == 410
    assert await container.status("/v1/rooms/blue", "sd-1") == 200
    assert await container.status("/v1/rooms/blue", "sd-2") == 410, "though it is open here now"
    assert await container.status("/v1/rooms/blue") == 200, "Modal's guide does not promise the header"
    assert await container.status("/v1/rooms/red", "sd-1") == 404
    assert await container.status("/v1/rooms", "sd-1") == 404
    assert await container.status("/", "sd-1") == 302
    container.world.rooms.failing = True
    assert await container.status("/v1/rooms/blue", "sd-1") == 200, "who is there already notices nothing"
    assert await container.status("/v1/rooms/red", "sd-1") == 503


async def test_people_follow_a_room_that_has_moved(container: Container) -> None:
    """A new version is deployed, say: who comes new is sent to another container, and nobody stays behind."""
    await container.lobby.create("Blue", "simultaneous")
    await container.lobby.place("blue")
    ana = await container.client("blue")
    await container.host.check()
    assert not ana.of("error"), "it is still here"
    await container.world.sessions.terminate("token-1")
    assert (await container.lobby.place("blue")).generation == 2
    container.world.rooms.failing = True
    await container.host.check()
    assert not ana.of("error"), "nobody knows better"
    container.world.rooms.failing = False
    await container.host.check()
    refusal = await ana.expect("error")
    assert (refusal["code"], refusal["fatal"]) == ("session_moved", True)
    await ana.closed()
    assert await container.status("/v1/rooms/blue", "sd-1") == 410
    await ana.close()


async def test_who_holds_a_room_now_counts_its_people(container: Container) -> None:
    """Not the container that it has left, when the last of its people have gone from there."""
    await container.lobby.create("Blue", "simultaneous")
    await container.lobby.place("blue")
    ana = await container.client("blue")
    await container.world.people.until(lambda: "blue" in container.world.people.entries)
    await container.world.sessions.terminate("token-1")
    await container.lobby.place("blue")
    container.world.people.entries["blue"] = there = (5, time.time())
    await container.host.check()
    await ana.closed()
    await until(lambda: not container.host._house._sessions)  # to the last of what is done for them
    await container.host._records.flush()
    assert container.world.people.entries["blue"] == there
    await ana.close()


async def test_an_empty_room_ends_and_gives_its_session_back(container: Container) -> None:
    await container.lobby.create("Blue", "simultaneous")
    await container.lobby.place("blue")
    assert await container.status("/v1/rooms/blue", "sd-1") == 200
    while container.world.rooms.entries:
        await asyncio.sleep(0.05)  # the room's own time has to pass
        await container.host.check()
    assert not container.world.sessions.live and container.world.forgotten == ["blue"]


async def test_a_container_that_stops_gives_its_rooms_up(container: Container) -> None:
    await container.lobby.create("Blue", "simultaneous")
    await container.lobby.place("blue")
    ana = await container.client("blue")
    await ana.send("chat.send", text="my last words")
    await ana.expect("chat.message")
    await container.runner.cleanup()
    assert container.world.places("blue") == ["failed"]
    await ana.expect("session.state", lambda m: m["state"] == "draining")
    await ana.close()


async def test_a_container_that_stops_gives_its_rooms_up_when_all_words_are_kept(container: Container) -> None:
    """Though they are on their way as it is stopped: the next container reads them, and nobody writes them later."""
    await container.lobby.create("Blue", "simultaneous")
    await container.lobby.place("blue")
    ana = await container.client("blue")
    container.lines.gate.clear()
    await ana.send("chat.send", text="my last words")
    await container.lines.begun.wait()
    stopping = asyncio.create_task(container.runner.cleanup())
    await until(lambda: container.host._house.draining and not container.host._house._sessions)
    assert container.world.places("blue") == ["placed"]
    container.lines.gate.set()
    await stopping
    assert [one["text"] for one in container.lines.partitions["blue"]] == ["my last words"]
    assert container.world.places("blue") == ["failed"]
    await ana.close()
