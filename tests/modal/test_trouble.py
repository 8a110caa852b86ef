"""What goes wrong between the lobby and a room, and what people are told of it."""

import asyncio

import aiohttp
import pytest

pytest.importorskip("modal", reason="modal is not installed: pip install 'dragoman[test]'")

from grpclib import Status

from tests.client import Client
from tests.conftest import until
from tests.modal.cloud import Cloud
from tests.modal.people import Visitor


async def test_nobody_is_let_in_by_a_forged_token(visitor: Visitor) -> None:
    """Neither by the proxy, nor with the token of another room, nor as somebody else."""
    red, blue = await visitor.room(), await visitor.room()
    place = await visitor.place(red)
    other = await visitor.inside(await visitor.place(blue))
    for http in (visitor.http, await visitor.inside({"token": "forged"})):
        async with http.get(f"{place['url']}/v1/rooms/{red}") as answer:
            assert answer.status == 401
    async with other.get(f"{place['url']}/v1/rooms/{red}", headers={"x-modal-server-session-id": "sd-1"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (410, "room_moved")
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await Client(other, place["url"], red).open()
    ana = await visitor.client(red)
    await ana.send("session.join", name="A", language="es", sdp=await ana.offer(), resume="e30.forged", last_seq=1)
    assert (await ana.expect("error"))["code"] == "unknown_session"
    async with other.post(f"{place['url']}/v1/rooms") as answer:
        assert answer.status == 404, "only the lobby makes rooms"


async def test_a_room_that_is_not_there(visitor: Visitor) -> None:
    for method, path in (("GET", "/v1/rooms/nowhere"), ("POST", "/v1/rooms/nowhere/placement")):
        answer = await visitor.ask(method, path)
        assert (answer.status, answer.json()["code"]) == (404, "room_not_found")


async def test_no_container_then_one(cloud: Cloud, visitor: Visitor) -> None:
    """503 from the proxy: the person is told to wait, and gets in when there is one."""
    for container in cloud.containers:
        if container.name == "RoomServer" and container.alive:
            container.kill()
    room = await visitor.room()
    answer = await visitor.ask("POST", f"/v1/rooms/{room}/placement")
    assert (answer.status, answer.json()["code"]) == (503, "no_place")
    assert "starting" in answer.json()["detail"] and int(answer.headers["Retry-After"]) <= 3
    cloud.start("RoomServer")
    await visitor.join(room, "Ana", "es")


async def test_all_containers_full_then_room(cloud: Cloud, visitor: Visitor) -> None:
    """429 from the proxy."""
    ingress = cloud.ingress["RoomServer"]
    room = await visitor.room()
    ingress.refuse = 429
    try:
        answer = await visitor.ask("POST", f"/v1/rooms/{room}/placement")
    finally:
        ingress.refuse = 0
    assert (answer.status, answer.json()["code"]) == (503, "no_place")
    assert "no server free" in answer.json()["detail"]
    assert (await visitor.place(room))["generation"] == 2


async def test_a_control_plane_that_is_slow_or_fails(cloud: Cloud, visitor: Visitor) -> None:
    """Slow: one gets in. Failing: one is told so, and gets in when it has recovered; who is inside notices nothing."""
    room = await visitor.room()
    plane = cloud.plane
    plane.delays = {"DictGet": 0.3, "DictUpdate": 0.3, "QueueNextItems": 0.3}
    try:
        ana = await visitor.join(room, "Ana", "es")
    finally:
        plane.delays = {}
    plane.failures = dict.fromkeys(("DictGet", "DictUpdate", "DictContents", "QueuePut"), Status.PERMISSION_DENIED)
    try:
        answer = await visitor.ask("POST", f"/v1/rooms/{room}/placement")
        assert (answer.status, answer.json()["code"]) == (503, "cloud_failing")
        assert (await visitor.ask("GET", "/")).status == 200, "the page is there, and says it too"
        assert (await visitor.ask("POST", "/v1/rooms")).status == 503
        await ana.send("chat.send", text="still here")
        assert (await ana.expect("chat.message"))["text"] == "still here"
    finally:
        plane.failures = {}
    bob = await visitor.join(room, "Bob", "en")
    assert [one["name"] for one in bob.joined["participants"]] == ["Ana", "Bob"]


async def test_a_control_plane_whose_connections_break(cloud: Cloud, visitor: Visitor) -> None:
    """One is told so; and who was writing down words and head counts then goes on with it."""
    room = await visitor.room()
    await visitor.place(room)
    cloud.plane.cut = {"DictContents", "DictUpdate"}
    try:
        answer = await visitor.ask("GET", "/v1/rooms")
        assert (answer.status, answer.json()["code"]) == (503, "cloud_failing")
        before = cloud.plane.calls["DictUpdate"]
        ana = await visitor.join(room, "Ana", "es")
        await until(lambda: cloud.plane.calls["DictUpdate"] >= before + 4)  # it has been tried three times again
    finally:
        cloud.plane.cut = set()
    await ana.send("chat.send", text="kept")
    await until(lambda: cloud.plane.queued("dragoman-words", room))


async def test_an_entry_of_an_older_version(cloud: Cloud, visitor: Visitor) -> None:
    """A room that it cannot read is not there; a place that it cannot read is made anew."""
    cloud.plane.plant("dragoman-rooms", "ancient", {"members": ["ana"]})
    cloud.plane.plant("dragoman-people", "ancient", "seven")
    assert "ancient" not in [one["id"] for one in (await visitor.ask("GET", "/v1/rooms")).json()]
    assert (await visitor.ask("POST", "/v1/rooms/ancient/placement")).status == 404
    room = await visitor.room()
    card = cloud.plane.entries("dragoman-rooms")[room]
    assert isinstance(card, dict)
    cloud.plane.plant("dragoman-rooms", f"{room}#{card['opened_at']:.3f}#1", "https://old.example/room")
    assert (await visitor.place(room))["generation"] == 2


async def test_lobbies_that_race_place_a_room_once(cloud: Cloud, visitor: Visitor) -> None:
    """Three lobbies, each asked for each room at the same time: one placement for a room, and all tell the same."""
    others = [cloud.start("Lobby") for _ in range(2)]
    await asyncio.gather(*(asyncio.to_thread(cloud.listening, one) for one in others))
    lobbies = [f"http://127.0.0.1:{one.port}" for one in cloud.containers if one.name == "Lobby" and one.alive]
    assert len(lobbies) == 3
    ingress = cloud.ingress["RoomServer"]
    ingress.limit, limit, before = 1000, ingress.limit, ingress.started
    try:
        rooms = [await visitor.room() for _ in range(12)]

        async def race(room: str) -> None:
            answers = await asyncio.gather(
                *(visitor.ask("POST", f"/v1/rooms/{room}/placement", lobby) for lobby in lobbies)
            )
            assert [one.status for one in answers] == [200] * 3, [one.text for one in answers]
            assert len({(one.json()["token"], one.json()["generation"]) for one in answers}) == 1

        await asyncio.gather(*(race(room) for room in rooms))
        assert ingress.started - before == len(rooms)
    finally:
        ingress.limit = limit
        for one in others:
            one.process.terminate()
