"""Rooms over many containers: which there are, and which sticky session holds each. Nothing here imports modal.

Containers share a dictionary whose only atomic step is to claim a key that is free (`skip_if_exists`). So nothing in it
is read, changed and written back by two: each key is claimed once, then written by its claimant alone.

    rooms   «id»            the room's card, claimed by whoever makes the room
            «id»#«time»#«n» its n-th place: starting (by whom, when) → placed (session) | failed
    people  «id»            how many were in it, and when: written by the server that holds it

A place that starts for too long, that failed, whose session is gone, or that an older version wrote in another shape,
counts as lost: somebody claims the next generation. A claimant who was slow finds that out and gives its session back.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from rtc.room import Mode
from signaling.lobby import TooManyRooms, room_ids
from signaling.placement import NoPlace, Placement, RoomCard

log = logging.getLogger(__name__)

STALE = 15.0
"""Seconds without a sign of its claimant after which a place that starts is lost; it gives one each third of that."""
START_PATIENCE = 300.0
"""Seconds for a container to take the session."""
PATIENCE = 4.0
"""Seconds for which a request waits; the work goes on, and the next request finds it."""
POLL = 0.25
"""Seconds between two looks at what somebody else is doing."""
UNCLEAR_PATIENCE = 10.0
"""Seconds for which a session may answer nothing clear before it counts as gone."""
COUNT_TTL = 90.0
"""Seconds after which a head count that nobody renews means nobody."""
LIST_TTL = 1.0
"""Seconds for which a list of rooms is good: browsers ask for it all the time."""

Probe = Literal["alive", "gone", "unclear"]


class CloudError(Exception):
    """The control plane, or the proxy before a server, failed or was too slow. The message says so to a person."""


class Crowded(CloudError):
    """Every container has as many sessions as it takes, and no more may start."""


class Store(Protocol):
    """What a `modal.Dict` can do that we need. Everything raises CloudError."""

    async def get(self, key: str) -> Any:
        """None if there is nothing."""

    async def put(self, key: str, value: Any, skip_if_exists: bool = False) -> bool:
        """Whether it was put."""

    async def pop(self, key: str) -> Any:
        """None if there is nothing."""

    async def items(self) -> Sequence[tuple[Any, Any]]:
        """All of it, at about the same time."""


class Sessions(Protocol):
    """Sticky sessions of a server. Everything raises CloudError."""

    async def url(self) -> str:
        """Of the server, the same for all sessions."""

    async def start(self, idle_timeout: int) -> tuple[str, str]:
        """(id, token) of a new one, in a container with room for it. May wait for one to start."""

    async def terminate(self, token: str) -> None:
        """Give it back. Idempotent."""

    async def probe(self, token: str) -> Probe:
        """Whether requests with that token reach a container."""


@dataclass(frozen=True, slots=True)
class Place:
    """One generation of a room, as the dictionary has it."""

    state: Literal["starting", "placed", "failed"]
    by: str
    """Who claimed it."""
    at: float
    """Unix seconds of its claimant's last sign of life."""
    session: str = ""
    token: str = ""

    def dump(self) -> dict[str, Any]:
        """Plain, so that a container of another version can read it."""
        return asdict(self)

    @classmethod
    def read(cls, value: Any) -> "Place | None":
        """None if it is nothing that this version knows."""
        try:
            place = cls(**value)
        except TypeError:
            return None
        known = place.state in ("starting", "placed", "failed") and isinstance(place.at, int | float)
        return place if known and isinstance(place.session, str) and isinstance(place.token, str) else None


def read_card(value: Any, count: int = 0) -> RoomCard | None:
    """A room's card, None if it is nothing that this version knows."""
    try:
        card = RoomCard(**value)
        strange = card.mode not in ("simultaneous", "consecutive") or not isinstance(card.id, str)
        return None if strange else replace(card, participant_count=count, opened_at=float(card.opened_at))
    except (TypeError, ValueError):
        return None


def read_heads(value: Any, now: float) -> tuple[int, float]:
    """How many are in a room, and when that was written (Unix seconds); nobody if it is nothing that we know."""
    try:
        count, at = value
        return (int(count) if now - at < COUNT_TTL else 0), float(at)
    except (TypeError, ValueError):
        return 0, 0.0


class Places:
    """The generations of rooms. Each lobby, and each server, has one of these over the same dictionary."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, int] = {}  # a generation that each room has reached

    async def newest(self, card: RoomCard) -> tuple[int, Place | None]:
        """(0, None) for a room that was never placed; (n, None) if that place is none that we know."""
        generation, value = 0, None
        first = self._seen.get(_base(card), 1)
        while (found := await self._store.get(f"{_base(card)}{first}")) is not None:
            generation, value = first, found
            first += 1
        self._seen[_base(card)] = max(1, generation)
        return generation, Place.read(value)

    async def claim(self, card: RoomCard, generation: int, place: Place) -> bool:
        """Whether it is ours."""
        return await self._store.put(f"{_base(card)}{generation}", place.dump(), skip_if_exists=True)

    async def write(self, card: RoomCard, generation: int, place: Place) -> None:
        """What became of our claim."""
        await self._store.put(f"{_base(card)}{generation}", place.dump())

    async def forget(self, card: RoomCard, newest: int) -> None:
        """All of them."""
        self._seen.pop(_base(card), None)
        for number in range(1, newest + 1):
            await self._store.pop(f"{_base(card)}{number}")


def _base(card: RoomCard) -> str:
    """A room of the same name that is made later has other places."""
    return f"{card.id}#{card.opened_at:.3f}#"


class ModalPlacer:
    """Implements `placement.RoomPlacer`. `run` owns what goes on after a request has stopped waiting."""

    def __init__(
        self,
        rooms: Store,
        people: Store,
        sessions: Sessions,
        max_rooms: int,
        capacity: int,
        room_ttl: float,
        forgotten: Callable[[str], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`room_ttl`: seconds for which an empty room is kept, and a session that nobody uses. `forgotten` is awaited
        for each room that ends. `clock`: Unix seconds."""
        self._rooms = rooms
        self._people = people
        self._places = Places(rooms)
        self._sessions = sessions
        self._max_rooms = max_rooms
        self._capacity = capacity
        self._room_ttl = room_ttl
        self._forgotten = forgotten
        self._clock = clock
        self._me = secrets.token_hex(4)
        self._placing: dict[str, asyncio.Task[Placement]] = {}
        self._listed: tuple[float, list[RoomCard]] = (0.0, [])

    async def close(self) -> None:
        """Stop; what is being placed goes stale, and somebody else takes it over."""
        for task in self._placing.values():
            task.cancel()
        await asyncio.gather(*self._placing.values(), return_exceptions=True)

    async def create(self, name: str | None, mode: Mode) -> RoomCard:
        """A new room, not placed yet. Raises TooManyRooms, CloudError."""
        rooms = await self.rooms()
        if len(rooms) >= self._max_rooms:
            raise TooManyRooms(self._room_ttl)
        for room_id in room_ids(name):
            card = RoomCard(room_id, name or room_id, mode, self._capacity, self._clock())
            if await self._rooms.put(room_id, asdict(card), skip_if_exists=True):
                self._listed = (0.0, [])
                return card
        raise AssertionError("there is always another id")

    async def find(self, room_id: str) -> RoomCard | None:
        """The room, if there is one. Raises CloudError."""
        count, _ = read_heads(await self._people.get(room_id), self._clock())
        return read_card(await self._rooms.get(room_id), count)

    async def _card(self, room_id: str) -> RoomCard | None:
        return read_card(await self._rooms.get(room_id))

    async def rooms(self) -> Sequence[RoomCard]:
        """Every room that this version can read; those that nobody has been in for too long are forgotten. Raises
        CloudError."""
        now = self._clock()
        if now - self._listed[0] > LIST_TTL:
            heads = dict(await self._people.items())
            cards = []
            for key, value in await self._rooms.items():
                count, at = read_heads(heads.get(key), now)
                card = None if "#" in str(key) else read_card(value, count)
                if card is not None:
                    if now - max(card.opened_at, at) > self._room_ttl + COUNT_TTL:
                        await self._forget(card, *await self._places.newest(card))
                    else:
                        cards.append(card)
            self._listed = (now, sorted(cards, key=lambda card: card.opened_at))
        return self._listed[1]

    async def place(self, room_id: str) -> Placement:
        """Raises KeyError, NoPlace while it takes longer than a request should, CloudError."""
        card = await self._card(room_id)
        if card is None:
            raise KeyError(room_id)
        task = self._placing.get(room_id)
        if task is None:
            task = self._placing[room_id] = asyncio.create_task(self._place(card))  # owned by the placer: see close
            task.add_done_callback(lambda done: self._placed(room_id, done))
        done, _ = await asyncio.wait([task], timeout=PATIENCE)
        if not done:
            raise NoPlace("A server for this room is starting. That can take a minute.", 1.0)
        return task.result()

    def _placed(self, room_id: str, done: "asyncio.Task[Placement]") -> None:
        del self._placing[room_id]
        if not done.cancelled():
            done.exception()  # seen, though nobody may wait for it any more

    async def whereabouts(self, room_id: str) -> tuple[RoomCard, int, Place | None] | None:
        """The newest place of a room, as it is, alive or not. Raises CloudError."""
        card = await self._card(room_id)
        return None if card is None else (card, *await self._places.newest(card))

    async def lost(self, room_id: str, generation: int) -> None:
        """Its container is about to stop: the next place need not find that out. Raises CloudError."""
        found = await self.whereabouts(room_id)
        if found is not None and found[1] == generation and found[2] is not None:
            await self._places.write(found[0], generation, replace(found[2], state="failed"))

    async def release(self, room_id: str, generation: int) -> None:
        """Its session ends and the room is forgotten, unless it has moved. Raises CloudError."""
        found = await self.whereabouts(room_id)
        if found is not None and found[1] == generation:
            await self._forget(*found)

    async def _forget(self, card: RoomCard, generation: int, place: Place | None) -> None:
        await self._rooms.pop(card.id)
        await self._people.pop(card.id)
        await self._places.forget(card, generation)
        await self._forgotten(card.id)
        if place is not None and place.token:
            await self._sessions.terminate(place.token)

    async def _place(self, card: RoomCard) -> Placement:
        unclear_since: float | None = None
        while True:
            generation, place = await self._places.newest(card)
            if place is not None and place.state == "placed":
                match await self._sessions.probe(place.token):
                    case "alive":
                        return Placement(await self._sessions.url(), place.token, generation)
                    case "unclear":
                        unclear_since = unclear_since or self._clock()
                        if self._clock() - unclear_since < UNCLEAR_PATIENCE:
                            await asyncio.sleep(POLL)
                            continue
                unclear_since = None
            elif place is not None and place.state == "starting" and self._clock() - place.at < STALE:
                await asyncio.sleep(POLL)
                continue
            claim = Place("starting", self._me, self._clock())
            if await self._places.claim(card, generation + 1, claim):
                placement = await self._open(card, generation + 1, claim)
                if placement is not None:
                    return placement

    async def _open(self, card: RoomCard, generation: int, claim: Place) -> Placement | None:
        """Our claim comes true; None if somebody did not wait for it. Raises NoPlace, CloudError."""
        try:
            async with asyncio.timeout(START_PATIENCE):
                session, token = await self._started(card, generation, claim)
        except (CloudError, TimeoutError) as error:
            log.warning("no place for %s: %s", card.id, error)
            await self._places.write(card, generation, replace(claim, state="failed", at=self._clock()))
            raise NoPlace("There is no server free for this room at this moment.", 3.0) from error
        placed = replace(claim, state="placed", at=self._clock(), session=session, token=token)
        await self._places.write(card, generation, placed)
        if (await self._places.newest(card))[0] != generation:
            await self._sessions.terminate(token)
            return None
        return Placement(await self._sessions.url(), token, generation)

    async def _started(self, card: RoomCard, generation: int, claim: Place) -> tuple[str, str]:
        """Start a session, and say meanwhile that we are still at it."""
        starting = asyncio.create_task(self._sessions.start(round(self._room_ttl)))  # ended below, whatever happens
        try:
            while not (await asyncio.wait([starting], timeout=STALE / 3))[0]:
                await self._places.write(card, generation, replace(claim, at=self._clock()))
            return starting.result()
        finally:
            starting.cancel()
