"""Claims, generations and what goes wrong with them, over a dictionary and sessions in memory."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from signaling.lobby import TooManyRooms
from signaling.modal_placer import STALE, CloudError, Crowded, ModalPlacer, Probe
from signaling.placement import NoPlace


class Memory:
    """`modal_placer.Store`: each operation gives way once, so that others come in between."""

    def __init__(self) -> None:
        self.entries: dict[Any, Any] = {}
        self.failing = False
        self._changed = asyncio.Event()

    async def until(self, look: Callable[[], bool]) -> None:
        """Wait for entries with which it holds."""
        while not look():
            self._changed.clear()
            await self._changed.wait()

    async def _step(self) -> None:
        await asyncio.sleep(0)
        if self.failing:
            raise CloudError("The servers cannot be reached.")

    async def get(self, key: str) -> Any:
        await self._step()
        return self.entries.get(key)

    async def put(self, key: str, value: Any, skip_if_exists: bool = False) -> bool:
        await self._step()
        if skip_if_exists and key in self.entries:
            return False
        self.entries[key] = value
        self._changed.set()
        return True

    async def pop(self, key: str) -> Any:
        await self._step()
        return self.entries.pop(key, None)

    async def items(self) -> Sequence[tuple[Any, Any]]:
        await self._step()
        return list(self.entries.items())


class Containers:
    """`modal_placer.Sessions`."""

    def __init__(self) -> None:
        self.live: dict[str, str] = {}
        self.started = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: CloudError | None = None
        self.unclear = False

    async def url(self) -> str:
        return "https://rooms.example"

    async def start(self, idle_timeout: int) -> tuple[str, str]:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.started += 1
        self.live[f"token-{self.started}"] = f"sd-{self.started}"
        return f"sd-{self.started}", f"token-{self.started}"

    async def terminate(self, token: str) -> None:
        self.live.pop(token, None)

    async def probe(self, token: str) -> Probe:
        await asyncio.sleep(0)
        return "unclear" if self.unclear else "alive" if token in self.live else "gone"


class World:
    """One account, any number of lobbies, a clock that stands."""

    def __init__(self) -> None:
        self.rooms, self.people, self.sessions = Memory(), Memory(), Containers()
        self.now = 1_800_000_000.0
        self.forgotten: list[str] = []

    def lobby(self, max_rooms: int = 1000) -> ModalPlacer:
        return ModalPlacer(self.rooms, self.people, self.sessions, max_rooms, 16, 600.0, self._forget, lambda: self.now)

    async def _forget(self, room_id: str) -> None:
        self.forgotten.append(room_id)

    def places(self, room_id: str) -> list[str]:
        """States of a room's generations."""
        found = [value for key, value in sorted(self.rooms.entries.items()) if key.startswith(f"{room_id}#")]
        return [value["state"] if isinstance(value, dict) and "state" in value else "?" for value in found]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("signaling.modal_placer.POLL", 0.005)
    return World()


async def test_a_room_is_placed_once_and_found_by_all(world: World) -> None:
    first, second = world.lobby(), world.lobby()
    room = await first.create("Blue", "consecutive")
    assert (room.id, room.name, room.mode) == ("blue", "Blue", "consecutive")
    places = await asyncio.gather(*(lobby.place("blue") for lobby in (first, second) * 5))
    assert set(places) == {places[0]} and places[0].generation == 1
    assert world.sessions.started == 1
    assert [card.id for card in await second.rooms()] == ["blue"]


async def test_two_rooms_never_share_an_id(world: World) -> None:
    lobbies = [world.lobby() for _ in range(4)]
    cards = await asyncio.gather(*(lobby.create("Blue", "simultaneous") for lobby in lobbies * 5))
    assert len({card.id for card in cards}) == 20


async def test_many_rooms_and_lobbies_at_once(world: World) -> None:
    """Placements = rooms: none twice, none lost."""
    lobbies = [world.lobby() for _ in range(4)]
    cards = [await lobbies[0].create(None, "simultaneous") for _ in range(200)]
    for card in cards:
        places = await asyncio.gather(*(lobby.place(card.id) for lobby in lobbies))
        assert len(set(places)) == 1
    assert world.sessions.started == len(world.sessions.live) == 200


async def test_a_room_whose_session_is_gone_moves_once(world: World) -> None:
    first, second = world.lobby(), world.lobby()
    await first.create("Blue", "simultaneous")
    old = await first.place("blue")
    await world.sessions.terminate(old.token)
    new = await asyncio.gather(first.place("blue"), second.place("blue"), first.place("blue"))
    assert {(one.generation, one.token) for one in new} == {(2, "token-2")}
    assert world.sessions.started == 2


async def test_a_room_that_its_container_gave_up_moves_though_the_session_lives(world: World) -> None:
    lobby = world.lobby()
    await lobby.create("Blue", "simultaneous")
    assert (await lobby.place("blue")).generation == 1
    await lobby.lost("blue", 1)
    assert (await lobby.place("blue")).generation == 2
    await lobby.lost("blue", 1)
    assert (await lobby.place("blue")).generation == 2, "who was given up before says nothing of the next"


async def test_a_claim_that_never_completes_is_taken_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before it is stale; meanwhile people are told."""
    monkeypatch.setattr("signaling.modal_placer.PATIENCE", 0.3)
    lobby = world.lobby()
    card = await lobby.create("Blue", "simultaneous")
    claim = {"state": "starting", "by": "somebody", "at": world.now, "session": "", "token": ""}
    world.rooms.entries[f"blue#{card.opened_at:.3f}#1"] = claim
    with pytest.raises(NoPlace, match="starting"):
        await lobby.place("blue")
    world.now += STALE
    assert (await lobby.place("blue")).generation == 2
    assert world.places("blue") == ["starting", "placed"]


async def test_who_was_slow_gives_their_session_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their claim went stale while they waited for a container; the room is where the other put it."""
    monkeypatch.setattr("signaling.modal_placer.PATIENCE", 0.05)
    slow, quick = world.lobby(), world.lobby()
    await slow.create("Blue", "simultaneous")
    world.sessions.gate.clear()
    with pytest.raises(NoPlace):
        await slow.place("blue")
    world.now += STALE
    with pytest.raises(NoPlace):
        await quick.place("blue")
    assert world.places("blue") == ["starting", "starting"]
    world.sessions.gate.set()
    assert (await quick.place("blue")).generation == 2
    assert (await slow.place("blue")).generation == 2
    assert len(world.sessions.live) == 1


@pytest.mark.parametrize(
    "old", ["a string", 7, ["x"], {"url": "https://old", "v": 0}, {"state": "gone", "by": 1, "at": 2}]
)
async def test_a_place_of_another_version_is_lost_not_a_crash(world: World, old: object) -> None:
    lobby = world.lobby()
    card = await lobby.create("Blue", "simultaneous")
    world.rooms.entries[f"blue#{card.opened_at:.3f}#1"] = old
    assert (await lobby.place("blue")).generation == 2


@pytest.mark.parametrize("old", ["a string", 7, {"members": []}, {"id": "x", "name": "x", "mode": "?"}, None])
async def test_a_room_of_another_version_is_not_listed(world: World, old: object) -> None:
    lobby = world.lobby()
    world.rooms.entries["strange"] = old
    world.people.entries["strange"] = "three"
    await lobby.create("Blue", "simultaneous")
    world.people.entries["blue"] = "three"
    assert [(card.id, card.participant_count) for card in await lobby.rooms()] == [("blue", 0)]
    with pytest.raises(KeyError):
        await lobby.place("strange")


async def test_no_server_free_is_told_and_tried_again(world: World) -> None:
    lobby = world.lobby()
    await lobby.create("Blue", "simultaneous")
    world.sessions.error = Crowded("full")
    with pytest.raises(NoPlace, match="no server free"):
        await lobby.place("blue")
    world.sessions.error = None
    assert (await lobby.place("blue")).generation == 2


async def test_a_server_that_answers_nothing_clear_is_given_a_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signaling.modal_placer.PATIENCE", 0.05)
    lobby = world.lobby()
    await lobby.create("Blue", "simultaneous")
    first = await lobby.place("blue")
    world.sessions.unclear = True
    with pytest.raises(NoPlace):
        await lobby.place("blue")
    world.sessions.unclear = False
    assert await lobby.place("blue") == first


async def test_a_failing_control_plane_loses_nothing(world: World) -> None:
    lobby = world.lobby()
    await lobby.create("Blue", "simultaneous")
    world.rooms.failing = True
    with pytest.raises(CloudError):
        await lobby.place("blue")
    with pytest.raises(CloudError):
        await lobby.create("Red", "simultaneous")
    world.rooms.failing = False
    assert (await lobby.place("blue")).generation == 1


async def test_a_room_that_ends_is_forgotten_with_all_its_places(world: World) -> None:
    lobby = world.lobby()
    await lobby.create("Blue", "simultaneous")
    await world.sessions.terminate((await lobby.place("blue")).token)
    await lobby.place("blue")
    await lobby.release("blue", 1)
    assert await lobby.find("blue") is not None, "it has moved since"
    await lobby.release("blue", 2)
    assert not world.rooms.entries and not world.sessions.live and world.forgotten == ["blue"]


async def test_a_room_that_nobody_was_in_for_long_is_forgotten(world: World) -> None:
    lobby = world.lobby(max_rooms=1)
    await lobby.create("Blue", "simultaneous")
    await lobby.place("blue")
    with pytest.raises(TooManyRooms):
        await lobby.create("Red", "simultaneous")
    world.people.entries["blue"] = (3, world.now + 500)
    world.now += 1000
    assert [card.participant_count for card in await lobby.rooms()] == [0], "nobody has renewed that count"
    world.now += 1000
    assert [card.id for card in await lobby.rooms()] == []
    assert (await lobby.create("Red", "simultaneous")).id == "red"
    assert world.forgotten == ["blue"]


async def test_closing_leaves_no_task(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signaling.modal_placer.PATIENCE", 0.05)
    lobby = world.lobby()
    await lobby.create("Blue", "simultaneous")
    world.sessions.gate.clear()
    with pytest.raises(NoPlace):
        await lobby.place("blue")
    await lobby.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
