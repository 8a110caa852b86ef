"""A room: who is in it, which streams it has, who hears which. Pure data, no tasks: methods return at once."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, Protocol, TypeVar

from rtc.events import RoomEvent, SlotsUpdated, TranscriptEvent
from rtc.fan_out import Outlet
from rtc.slots import Mix, Speaker, StreamKey, assign, wanted
from rtc.stream import Stream
from rtc.transcript import Entry, TranscriptLog

Mode = Literal["simultaneous", "consecutive"]
"""Whether the interpreter speaks while the speaker does, as soon as a clause has settled, or after them."""

RECORDS_PER_GENERATION = 10**9
"""Words that never reached the next process leave their numbers unused."""

Event = TypeVar("Event", bound=TranscriptEvent)


class RoomFull(Exception):
    """Every place in the room is taken."""


class Member(Protocol):
    """What a room needs of a participant."""

    id: str
    name: str
    language: str
    """What they want to hear, BCP-47."""
    mix: Mix
    last_spoke: float
    """Clock seconds; infinite while they speak."""

    @property
    def source_language(self) -> str:
        """What they speak, BCP-47."""

    @property
    def slots(self) -> dict[str, Outlet]:
        """By mid; empty while they have no media connection."""

    def tell(self, event: RoomEvent) -> None:
        """Never blocks."""

    def room_changed(self) -> None:
        """Somebody came, went, or listens in another language. Never blocks."""


class Room:
    """All members are in this process, so fan-out is free."""

    def __init__(
        self,
        room_id: str,
        name: str,
        capacity: int,
        now: float,
        has_voice: Callable[[str, str], bool],
        mode: Mode = "simultaneous",
        kept: Callable[[Entry], None] = lambda entry: None,
        generation: int = 1,
    ) -> None:
        """`has_voice(source, target)`: speech of `source` can be heard in `target`. `now`: clock seconds. `kept` is
        told of every entry of the transcript that is new or has more words. `generation`: 1 for a new room, and one
        more for each process that it has moved to since."""
        self.id = room_id
        self.name = name
        self.mode: Mode = mode
        """May be set at any time; it holds from the next segment on."""
        self.capacity = capacity
        self.opened_at = now
        self.empty_since: float | None = now
        self.generation = generation
        self.transcript = TranscriptLog(kept, (generation - 1) * RECORDS_PER_GENERATION)
        self.streamed: set[tuple[str, str]] = set()
        """(member id, language): has a voice in that language whatever `has_voice` says."""
        self._has_voice = has_voice
        self._members: dict[str, Member] = {}
        self._streams: dict[StreamKey, Stream] = {}
        self._assigned: dict[str, dict[str, StreamKey]] = {}  # member id → mid → stream

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def milliseconds(self, now: float) -> int:
        """Room time."""
        return max(0, round((now - self.opened_at) * 1000))

    # membership

    def join(self, member: Member) -> None:
        """Raises RoomFull."""
        if member.id not in self._members and len(self._members) >= self.capacity:
            raise RoomFull(f"All {self.capacity} places in this room are taken.")
        self._members[member.id] = member
        self.empty_since = None
        self.reassign()

    def leave(self, member: Member, now: float) -> None:
        """Idempotent. Streams of the member end for everybody."""
        if self._members.pop(member.id, None) is None:
            return
        self.reconnect(member, member.slots)
        if not self._members:
            self.empty_since = now
        self.reassign()
        for key in [key for key in self._streams if key.participant_id == member.id]:  # now that nobody hears them
            del self._streams[key]

    def tell(self, event: RoomEvent, *, but: Member | None = None) -> None:
        """Everybody, or everybody but one."""
        for member in self:
            if member is not but:
                member.tell(event)

    def changed(self) -> None:
        """Tell everybody that somebody came, went, or listens in another language."""
        for member in self:
            member.room_changed()

    # languages

    def targets(self, speaker: Member, source: str) -> list[str]:
        """Languages, other than `source`, in which somebody listens to this speaker: each is translated once."""
        languages = {member.language for member in self if member is not speaker}
        return sorted(languages - {source})

    def listeners(self, language: str, speaker: Member) -> list[Member]:
        """Who follows the speaker in this language."""
        return [member for member in self if member is not speaker and member.language == language]

    # streams and slots

    def stream(self, key: StreamKey) -> Stream:
        """The stream of that name, made on first use."""
        if key not in self._streams:
            self._streams[key] = Stream(key)
        return self._streams[key]

    def slots_of(self, member: Member) -> SlotsUpdated:
        """What is in the member's slots now."""
        held = sorted(self._assigned.get(member.id, {}).items())
        return SlotsUpdated(tuple((member.slots[mid].mid, *key) for mid, key in held if mid in member.slots))

    def reassign(self) -> None:
        """Put the most relevant streams into everybody's slots; tell those for whom something changed.

        Linear in the number of people: only as many speakers are looked at as somebody has slots for, and once for
        all who listen alike.
        """
        enough = max((len(member.slots) for member in self), default=0) + 1  # oneself is among them, perhaps
        relevant = sorted(self, key=lambda member: (-member.last_spoke, member.id))[:enough]
        alike: dict[tuple[str, Mix], list[StreamKey]] = {}
        for member in self:
            taste = (member.language, member.mix)
            if taste not in alike:
                alike[taste] = wanted(*taste, [self._speaker(other, member.language) for other in relevant])
            keys = [key for key in alike[taste] if key.participant_id != member.id]
            current = self._assigned.get(member.id, {})
            assignment = assign(list(member.slots), current, keys)
            if assignment == current:
                continue
            for mid, sender in member.slots.items():
                before, after = current.get(mid), assignment.get(mid)
                if before != after:
                    if before is not None:
                        self.stream(before).detach(sender)
                    if after is not None:
                        self.stream(after).attach(sender)
            self._assigned[member.id] = assignment
            member.tell(self.slots_of(member))

    def _speaker(self, member: Member, language: str) -> Speaker:
        speaks = member.source_language
        translatable = self._has_voice(speaks, language) or (member.id, language) in self.streamed
        return Speaker(member.id, speaks, member.last_spoke, translatable)

    def reconnect(self, member: Member, slots: dict[str, Outlet]) -> None:
        """The member's media connection is about to be replaced: `slots` are the old ones."""
        for mid, key in self._assigned.pop(member.id, {}).items():
            if mid in slots and key in self._streams:
                self._streams[key].detach(slots[mid])

    def place(self, event: Event, listener: Member, timestamp: int, now: float) -> Event:
        """The event with the slot and the RTP time at which this listener will hear it."""
        key = StreamKey(event.participant_id, "translation", event.language)
        for mid, held in self._assigned.get(listener.id, {}).items():
            if held == key and mid in listener.slots:
                outlet = listener.slots[mid]
                return replace(event, mid=outlet.mid, rtp_timestamp=outlet.rtp_time(timestamp, now))
        return event


def new_id(prefix: str) -> str:
    """An id that cannot be guessed: whoever knows an utterance's id may hear it."""
    return f"{prefix}_{secrets.token_urlsafe(9)}"
