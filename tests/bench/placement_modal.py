"""Rooms in the containers of a Modal of our own: how fast in, against one process; and whether lobbies that race agree.

    python -m tests.bench.placement_modal [JOINS]

Everything runs on this machine: what a real proxy, a real control plane and distance add is not in these figures.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from statistics import median

import aiohttp

from tests.bench.figures import percentile, record
from tests.bench.lag import watch_packets
from tests.bench.person import new_room
from tests.bench.servers import PRODUCT, running
from tests.client import Client
from tests.modal.cloud import Cloud
from tests.modal.people import Visitor
from tests.modal.product import deployed

JOINS = 20
ROOMS, LOBBIES = 200, 4
AT_ONCE = 8
"""Rooms that are asked for at the same time, by each lobby."""

Find = Callable[[str], Awaitable[tuple[aiohttp.ClientSession, str]]]
"""The way to a room's server."""


async def joins(http: aiohttp.ClientSession, lobby: str, find: Find, count: int) -> list[float]:
    """Milliseconds from the wish to join, before it is known where, to the first packet of somebody's voice."""
    room = await new_room(http, lobby)
    bob = await Client(*await find(room), room).open()
    await bob.join("Bob", "en")
    taken = []
    for _ in range(count):
        begun = time.monotonic()
        ana = await Client(*await find(room), room).open()
        offer = await ana.offer(slots=4)
        arrivals = watch_packets(ana)
        await ana.send("session.join", name="Ana", language="en", sdp=offer)
        await ana.accept((await ana.expect("session.joined"))["sdp"])
        await ana.connected()
        await ana.until(lambda arrivals=arrivals: arrivals, "a packet")  # type: ignore[misc]
        taken.append((arrivals[0][0] - begun) * 1000)
        await ana.send("session.leave")
        await ana.closed()
        await ana.close()
    await bob.close()
    return taken


async def in_one_process(base: str, count: int) -> list[float]:
    async with aiohttp.ClientSession() as http:

        async def here(room: str) -> tuple[aiohttp.ClientSession, str]:
            return http, base

        return await joins(http, base, here, count)


async def in_containers(cloud: Cloud, count: int) -> list[float]:
    async with aiohttp.ClientSession() as http, Visitor(http, cloud.ingress["Lobby"].url) as visitor:

        async def there(room: str) -> tuple[aiohttp.ClientSession, str]:
            place = await visitor.place(room)
            return await visitor.inside(place), place["url"]

        return await joins(http, visitor.lobby, there, count)


async def doubles(cloud: Cloud) -> tuple[int, int]:
    """(rooms in more than one place, rooms in none), when each lobby is asked for each room at the same time."""
    lobbies = [f"http://127.0.0.1:{one.port}" for one in cloud.containers if one.name == "Lobby"]
    ingress = cloud.ingress["RoomServer"]
    before = ingress.started
    async with aiohttp.ClientSession() as http:
        rooms = [await new_room(http, lobbies[0]) for _ in range(ROOMS)]
        free = asyncio.Semaphore(AT_ONCE)
        found: dict[str, set[str]] = {room: set() for room in rooms}

        async def ask(room: str, lobby: str) -> None:
            place = await Visitor(http, lobby).place(room)
            found[room].add(place["token"])

        async def race(room: str) -> None:
            async with free:
                await asyncio.gather(*(ask(room, lobby) for lobby in lobbies))

        await asyncio.gather(*(race(room) for room in rooms))
    split = sum(len(tokens) > 1 for tokens in found.values())
    return max(split, ingress.started - before - ROOMS), sum(not tokens for tokens in found.values())


def main(count: int = JOINS) -> None:
    with running(replace(PRODUCT, options=(*PRODUCT.options, "--dialogue", "none"))) as (base, _):
        one = asyncio.run(in_one_process(base, count))
    with deployed(LOBBIES, room_sessions=2 * ROOMS) as cloud:
        many = asyncio.run(in_containers(cloud, count))
        begun = time.monotonic()
        double, lost = asyncio.run(doubles(cloud))
        taken = time.monotonic() - begun
    for name, ms in (("one_process", one), ("modal_plane", many)):
        record(f"lobby_to_first_audio_{name}_median_ms", median(ms), "ms")
        record(f"lobby_to_first_audio_{name}_p95_ms", percentile(ms, 0.95), "ms")
    record("lobby_to_first_audio_modal_vs_one", median(many) / median(one), "ratio")
    record("double_placements_modal", double, "", "0", double == 0)
    record("lost_placements_modal", lost, "", "0", lost == 0)
    print(f"{ROOMS} rooms were placed by {LOBBIES} lobbies in {taken:.0f} s, each asked for all of them")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
