"""The rooms there are: made, found, listed, forgotten. Pure; time is an argument."""

import functools
import math
import re
import secrets
from collections.abc import Callable, Iterator

from rtc.room import Mode, Room
from rtc.transcript import Entry

_ADJECTIVES = (
    "amber azure brave bright calm clear coral cosy eager fair gentle gilded glad golden green indigo ivory jade kind "
    "lively lucid mellow merry misty noble ochre olive pearl quick quiet rosy ruby saffron sage silver sunny swift "
    "teal umber velvet vivid warm willow wise"
).split()
_NOUNS = (
    "archway atlas bazaar bridge caravan cedar compass courtyard falcon ferry fountain garden harbour heron island "
    "kettle lagoon lantern library lighthouse market meadow minaret mosaic oasis orchard otter parrot pavilion plaza "
    "pomegranate port quay river saffron sail samovar sparrow tea terrace threshold tower valley veranda window"
).split()


class TooManyRooms(Exception):
    """The house is full; the message says when to come back."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("There are as many rooms as this server holds. Try again later, or join one of them.")
        self.retry_after = retry_after


class Lobby:
    """All rooms of this process, by id."""

    def __init__(
        self,
        max_rooms: int,
        capacity: int,
        ttl: float,
        has_voice: Callable[[str, str], bool],
        kept: Callable[[str, Entry], None] = lambda room_id, entry: None,
    ) -> None:
        """`kept`: see `Room`, here with the room's id."""
        self._max_rooms = max_rooms
        self._capacity = capacity
        self._ttl = ttl
        self._has_voice = has_voice
        self._kept = kept
        self._rooms: dict[str, Room] = {}

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self._rooms.values()))

    def __len__(self) -> int:
        return len(self._rooms)

    def create(self, name: str | None, now: float, mode: Mode = "simultaneous") -> Room:
        """A room with that name, or with a friendly random one. Raises TooManyRooms."""
        self.expire(now)
        if len(self._rooms) >= self._max_rooms and not self._make_way():
            raise TooManyRooms(min([self._ttl, *(self._remaining(room, now) for room in self)]))
        room_id = next(room_id for room_id in room_ids(name) if room_id not in self._rooms)
        return self.open(room_id, name or room_id, mode, now)

    def open(self, room_id: str, name: str, mode: Mode, now: float, generation: int = 1) -> Room:
        """The room of that id: made if it is not there, and of that generation at least."""
        room = self._rooms.get(room_id)
        if room is None:
            kept = functools.partial(self._kept, room_id)
            room = Room(room_id, name, self._capacity, now, self._has_voice, mode, kept, generation)
            self._rooms[room_id] = room
        room.generation = max(room.generation, generation)
        return room

    def drop(self, room_id: str) -> None:
        """Forget a room. Idempotent."""
        self._rooms.pop(room_id, None)

    def find(self, room_id: str, now: float) -> Room | None:
        """The room, if it is there."""
        self.expire(now)
        return self._rooms.get(room_id)

    def utterance(self, utterance_id: str) -> list[Entry]:
        """What was said or written under that id, in whichever room."""
        return next((found for room in self._rooms.values() if (found := room.transcript.utterance(utterance_id))), [])

    def expire(self, now: float) -> None:
        """Forget rooms that have been empty for too long."""
        self._rooms = {key: room for key, room in self._rooms.items() if self._remaining(room, now) > 0}

    def _remaining(self, room: Room, now: float) -> float:
        return math.inf if room.empty_since is None else room.empty_since + self._ttl - now

    def _make_way(self) -> bool:
        """Drop the empty room in which nothing was ever said that has been empty longest."""
        unused = [room for room in self if room.empty_since is not None and not len(room.transcript)]
        if not unused:
            return False
        del self._rooms[min(unused, key=lambda room: room.empty_since or 0.0).id]
        return True


def room_ids(name: str | None) -> Iterator[str]:
    """What a room may be called in addresses, the best first; without end, for some are taken."""
    if base := _slug(name) if name else "":
        yield base
    while True:
        yield f"{base}-{secrets.randbelow(9000) + 1000}" if base else _friendly()


def _slug(name: str) -> str:
    """What of a name fits into an address; empty if nothing does."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48]


def _friendly() -> str:
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{secrets.randbelow(90) + 10}"
