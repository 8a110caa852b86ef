"""A room as data: places, languages, and which stream goes into whose slot."""

from dataclasses import dataclass, field

import pytest

from rtc.events import RoomEvent, SlotsUpdated, TranscriptFinal, TranscriptInterim
from rtc.fan_out import Cohort
from rtc.room import Room, RoomFull
from rtc.rtp import Packet
from rtc.slots import Mix, StreamKey


@dataclass
class Slot:
    """A listener's slot that remembers what it carried."""

    mid: str
    packets: int = 0
    dropped: int = 0
    fraction_lost: float = 0.0
    carried: list[StreamKey] = field(default_factory=list)
    got: list[Packet] = field(default_factory=list)

    def carry(self, key: StreamKey) -> None:
        self.carried.append(key)

    def switch(self) -> None:
        self.carried.append(self.carried[-1])

    def send(self, packet: Packet, now: float) -> None:
        self.got.append(packet)

    def join(self, cohort: Cohort) -> bool:
        return False

    def leave(self) -> None:
        pass

    def stats(self) -> dict[str, float | None]:
        return {}

    def rtp_time(self, timestamp: int, now: float) -> int | None:
        return timestamp + 1


@dataclass
class Somebody:
    """A member with slots 1, 2 and 3."""

    id: str
    language: str
    name: str = ""
    mix: Mix = "both"
    last_spoke: float = 0.0
    told: list[RoomEvent] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=lambda: {mid: Slot(mid) for mid in "123"})

    @property
    def source_language(self) -> str:
        return self.language

    def tell(self, event: RoomEvent) -> None:
        self.told.append(event)

    def room_changed(self) -> None:
        """Nothing is computed here."""


def english_has_voices(source: str, target: str) -> bool:
    return source == "en"


@pytest.fixture
def room() -> Room:
    return Room("lima", "Lima", 3, 100.0, english_has_voices)


PACKET = Packet(1, 2, 3, 0, b"opus")


def test_everybody_but_oneself_is_heard(room: Room) -> None:
    """The Spanish listener gets original and translation of the English speaker, who gets the Spanish original only."""
    ana, bob = Somebody("ana", "es"), Somebody("bob", "en")
    room.join(ana)
    room.join(bob)
    assert {slot[1:] for slot in room.slots_of(ana).slots} == {("bob", "translation", "es"), ("bob", "original", "en")}
    assert [slot[1:] for slot in room.slots_of(bob).slots] == [("ana", "original", "es")]
    room.stream(StreamKey("bob", "original", "en")).send(PACKET, 101.0)
    assert [len(slot.got) for slot in ana.slots.values()].count(1) == 1
    assert not any(slot.got for slot in bob.slots.values()), "nobody hears themselves"


def test_a_full_room_refuses(room: Room) -> None:
    """The fourth of three is refused, and who is in may join again (a new connection) all the same."""
    members = [Somebody(name, "en") for name in "abc"]
    for member in members:
        room.join(member)
    with pytest.raises(RoomFull, match="All 3 places"):
        room.join(Somebody("d", "en"))
    room.join(members[0])
    assert len(room) == 3


def test_who_leaves_takes_their_streams_along(room: Room) -> None:
    """Slots become free, others are told, late packets go nowhere, and the room knows since when it is empty."""
    ana, bob = Somebody("ana", "es"), Somebody("bob", "en")
    room.join(ana)
    room.join(bob)
    stream = room.stream(StreamKey("bob", "original", "en"))
    room.leave(bob, 110.0)
    room.leave(bob, 111.0)
    assert room.slots_of(ana) == SlotsUpdated(()) == ana.told[-1]
    assert stream.listeners == 0 and room.empty_since is None
    room.leave(ana, 120.0)
    assert room.empty_since == 120.0


def test_targets_are_the_languages_that_somebody_else_listens_in(room: Room) -> None:
    """Each once, without the speaker's own."""
    bob = Somebody("bob", "en")
    for member in (bob, Somebody("ana", "es"), Somebody("eva", "es")):
        room.join(member)
    assert room.targets(bob, "en") == ["es"]
    assert room.targets(bob, "es") == [], "a segment that was begun in Spanish"
    assert {member.id for member in room.listeners("es", bob)} == {"ana", "eva"}


def test_a_new_language_moves_the_stream_not_the_slot(room: Room) -> None:
    """es → fr: the same slot carries the French voice, and only the changed slot is switched."""
    ana, bob = Somebody("ana", "es"), Somebody("bob", "en")
    room.join(ana)
    room.join(bob)
    before = dict(room.slots_of(ana).slots and [(slot[2], slot[0]) for slot in room.slots_of(ana).slots])
    ana.language = "fr"
    room.reassign()
    after = {slot[2]: slot[0] for slot in room.slots_of(ana).slots}
    assert after == before
    assert ana.slots[after["translation"]].carried[-1] == StreamKey("bob", "translation", "fr")
    assert len(ana.slots[after["original"]].carried) == 1


def test_nothing_changed_nothing_told(room: Room) -> None:
    """slots.updated only when there is something to say."""
    ana, bob = Somebody("ana", "es"), Somebody("bob", "en")
    room.join(ana)
    room.join(bob)
    told = len(ana.told)
    room.reassign()
    assert len(ana.told) == told


def test_a_replaced_connection_gets_the_streams_into_its_new_slots(room: Room) -> None:
    """After a reconnect the old slots carry nothing and the new ones everything."""
    ana, bob = Somebody("ana", "es"), Somebody("bob", "en")
    room.join(ana)
    room.join(bob)
    old = ana.slots
    ana.slots = {mid: Slot(mid) for mid in "123"}
    room.reconnect(ana, old)
    room.reassign()
    room.stream(StreamKey("bob", "translation", "es")).send(PACKET, 101.0)
    assert not any(slot.got for slot in old.values())
    assert sum(len(slot.got) for slot in ana.slots.values()) == 1


def test_a_final_says_where_and_when_it_is_heard(room: Room) -> None:
    """`place` adds the listener's mid and RTP time; without a slot for it the event stays as it is."""
    ana, bob = Somebody("ana", "es"), Somebody("bob", "en")
    room.join(ana)
    room.join(bob)
    event = TranscriptFinal("seg", "utt", "bob", "es", "en", True, "hola", 0, 1)
    mid = next(slot[0] for slot in room.slots_of(ana).slots if slot[2] == "translation")
    placed = room.place(event, ana, 960, 101.0)
    assert (placed.mid, placed.rtp_timestamp) == (mid, 961)
    interim = TranscriptInterim("seg", "utt", "bob", "es", "en", True, "hola", 0, 1, committed=2)
    early = room.place(interim, ana, 960, 101.0)
    assert (early.committed, early.mid, early.rtp_timestamp) == (2, mid, 961)
    ana.mix = "original"
    room.reassign()
    assert room.place(event, ana, 960, 101.0) == event
