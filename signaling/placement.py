"""Where a room lives. All its members are in one process; which one is a placer's business.

    lobby ── RoomPlacer.create, find, rooms ──► cards
          └─ RoomPlacer.place ──► Placement: the process in which the room is, opened there under that generation

A process that holds rooms for a placer opens them with `House.open_room`, and writes to `Records` what must outlive it:
its words, and who is there. When it is gone, the placer places its rooms anew, with the next generation, and the new
process opens them from the records.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rtc.room import Mode, Room
from rtc.transcript import Entry, TranscriptLog
from signaling.lobby import Lobby


class NoPlace(Exception):
    """No process can take the room now; the message says so to a person."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class RoomCard:
    """A room as the lobby lists it, and as another process needs it to open it again."""

    id: str
    name: str
    mode: Mode
    capacity: int
    opened_at: float
    """Unix seconds."""
    participant_count: int = 0

    @classmethod
    def of(cls, room: Room, now: float) -> "RoomCard":
        """The card of a room of this process. `now`: clock seconds."""
        opened_at = time.time() - (now - room.opened_at)
        return cls(room.id, room.name, room.mode, room.capacity, opened_at, len(room))


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a room is."""

    url: str
    """Of the process that holds it, without a slash at the end; empty: this one."""
    token: str
    """What that process wants to see besides, for whoever forwards or redirects to it; empty: nothing."""
    generation: int
    """1 for the first place of a room, and one more each time it moves."""


class RoomPlacer(Protocol):
    """Decides where rooms live. All of it may be called by many at once."""

    async def create(self, name: str | None, mode: Mode) -> RoomCard:
        """A new room with an id of its own. Raises TooManyRooms."""

    async def find(self, room_id: str) -> RoomCard | None:
        """The room, if there is one."""

    async def rooms(self) -> Sequence[RoomCard]:
        """Every room, with how many are in it."""

    async def place(self, room_id: str) -> Placement:
        """Where the room is, opened there; the same answer for everybody while that place lives. Raises KeyError where
        there is no such room, NoPlace where nobody can take it now."""

    async def release(self, room_id: str, generation: int) -> None:
        """That place of the room is gone, or nobody needs it: forget it, unless the room has moved on since."""


class Records(Protocol):
    """What is kept of a room outside the process that holds it. Writing never blocks and never raises."""

    def changed(self, card: RoomCard) -> None:
        """People came or went, or the room is interpreted in another way."""

    def put(self, room_id: str, entry: Entry) -> None:
        """An entry of the transcript is new, or has more words: the last one put under a `segment_id` holds."""

    async def load(self, room_id: str) -> Sequence[Entry]:
        """What was put, in the order in which the entries were new; at most the last `MAX_ENTRIES`."""


class NoRecords:
    """For a process whose rooms end with it."""

    def changed(self, card: RoomCard) -> None:
        """Nobody asks."""

    def put(self, room_id: str, entry: Entry) -> None:
        """The room's own transcript is all there is."""

    async def load(self, room_id: str) -> Sequence[Entry]:
        """Nothing."""
        return ()


class MemoryRecords:
    """In the memory of a process that outlives those which hold the rooms."""

    def __init__(self) -> None:
        self.cards: dict[str, RoomCard] = {}
        """As they were told last."""
        self.transcripts: defaultdict[str, TranscriptLog] = defaultdict(TranscriptLog)

    def changed(self, card: RoomCard) -> None:
        self.cards[card.id] = card

    def put(self, room_id: str, entry: Entry) -> None:
        self.transcripts[room_id].add(entry)

    async def load(self, room_id: str) -> Sequence[Entry]:
        return list(self.transcripts[room_id])

    def room_of(self, utterance_id: str) -> str | None:
        """Where that was said or written."""
        found = (room_id for room_id, said in self.transcripts.items() if said.utterance(utterance_id))
        return next(found, None)

    def forget(self, room_id: str) -> None:
        """The room is no more. Idempotent."""
        self.cards.pop(room_id, None)
        self.transcripts.pop(room_id, None)


class LocalPlacer:
    """Every room is in this process."""

    def __init__(self, lobby: Lobby, clock: Callable[[], float]) -> None:
        self._lobby = lobby
        self._clock = clock

    async def create(self, name: str | None, mode: Mode) -> RoomCard:
        now = self._clock()
        return RoomCard.of(self._lobby.create(name, now, mode), now)

    async def find(self, room_id: str) -> RoomCard | None:
        now = self._clock()
        room = self._lobby.find(room_id, now)
        return None if room is None else RoomCard.of(room, now)

    async def rooms(self) -> Sequence[RoomCard]:
        now = self._clock()
        self._lobby.expire(now)
        return [RoomCard.of(room, now) for room in self._lobby]

    async def place(self, room_id: str) -> Placement:
        room = self._lobby.find(room_id, self._clock())
        if room is None:
            raise KeyError(room_id)
        return Placement("", "", room.generation)

    async def release(self, room_id: str, generation: int) -> None:
        """The lobby forgets rooms by itself."""
