"""Where rooms live, and what is written down of them outside."""

import pytest

from rtc.transcript import MAX_ENTRIES, Entry
from signaling.lobby import Lobby, TooManyRooms
from signaling.placement import LocalPlacer, MemoryRecords, Placement, RoomCard


def entry(segment: str, text: str = "hola", utterance: str = "u") -> Entry:
    return Entry("chat", segment, utterance, "p", "Ana", "es", text, 0, 0)


async def test_in_one_process_a_room_is_where_one_asks() -> None:
    """No address, no token, and always the same answer; none for a room that is not there."""
    placer = LocalPlacer(Lobby(2, 4, 60.0, lambda source, target: True), lambda: 0.0)
    card = await placer.create("Blue", "consecutive")
    assert (card.id, card.name, card.mode, card.capacity, card.participant_count) == (
        "blue",
        "Blue",
        "consecutive",
        4,
        0,
    )
    assert await placer.place("blue") == await placer.place("blue") == Placement("", "", 1)
    assert [one.id for one in await placer.rooms()] == ["blue"]
    found = await placer.find("blue")
    assert found is not None and found.name == "Blue" and await placer.find("red") is None
    with pytest.raises(KeyError):
        await placer.place("red")


async def test_in_one_process_rooms_are_limited() -> None:
    """As the lobby limits them."""
    placer = LocalPlacer(Lobby(0, 4, 60.0, lambda source, target: True), lambda: 0.0)
    with pytest.raises(TooManyRooms):
        await placer.create(None, "simultaneous")


async def test_records_keep_the_last_words_of_each_entry() -> None:
    """A later version replaces an earlier one, in its place; rooms do not mix; a room is forgotten whole."""
    records = MemoryRecords()
    for one in (entry("1"), entry("2", utterance="v"), entry("1", "hola, Bob")):
        records.put("blue", one)
    records.put("red", entry("3", utterance="w"))
    assert [(one.segment_id, one.text) for one in await records.load("blue")] == [("1", "hola, Bob"), ("2", "hola")]
    assert [records.room_of(utterance) for utterance in "uvwx"] == ["blue", "blue", "red", None]
    records.changed(RoomCard("blue", "Blue", "simultaneous", 4, 0.0, 2))
    assert records.cards["blue"].participant_count == 2
    records.forget("blue")
    records.forget("blue")
    assert not await records.load("blue") and "blue" not in records.cards and records.room_of("v") is None


async def test_records_are_bounded() -> None:
    """As the transcript is."""
    records = MemoryRecords()
    for number in range(MAX_ENTRIES + 2):
        records.put("blue", entry(str(number)))
    kept = await records.load("blue")
    assert len(kept) == MAX_ENTRIES and kept[0].segment_id == "2"
