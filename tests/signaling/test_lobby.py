"""Rooms: how they are named, found, limited and forgotten."""

import re

import pytest

from rtc.transcript import Entry
from signaling.lobby import Lobby, TooManyRooms
from tests.rtc.test_room import Somebody


def lobby(max_rooms: int = 3) -> Lobby:
    return Lobby(max_rooms, 2, 60.0, lambda source, target: True)


def test_a_room_without_a_name_gets_a_friendly_one() -> None:
    """Two words and a number; the name is the address."""
    room = lobby().create(None, 0.0)
    assert room.mode == "simultaneous"
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d\d", room.id) and room.name == room.id


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("Q4 Planning!", "q4-planning"),
        ("<b>x</b>", "b-x-b"),
        ("x" * 60, "x" * 48),
        ("会議", None),
        ("../../etc", "etc"),
    ],
)
def test_the_address_is_made_of_the_name(name: str, address: str | None) -> None:
    """What fits into an address; a friendly one where nothing does. The name itself stays."""
    room = lobby().create(name, 0.0)
    assert room.name == name
    assert room.id == address if address else re.fullmatch(r"[a-z]+-[a-z]+-\d\d", room.id)


def test_two_rooms_of_one_name_have_two_addresses() -> None:
    """Both are found."""
    rooms = lobby()
    first, second = rooms.create("Planning", 0.0), rooms.create("Planning", 0.0)
    assert first.id != second.id and second.id.startswith("planning-")
    assert rooms.find(first.id, 1.0) is first and rooms.find(second.id, 1.0) is second


def test_an_empty_room_is_kept_for_its_time_and_a_used_one_for_ever() -> None:
    """60 s after the last one left it is gone."""
    rooms = lobby()
    room = rooms.create("a", 0.0)
    ana = Somebody("ana", "es")
    room.join(ana)
    assert rooms.find("a", 1000.0) is room
    room.leave(ana, 1000.0)
    assert rooms.find("a", 1059.0) is room
    assert rooms.find("a", 1061.0) is None


def test_a_full_house_keeps_what_was_said() -> None:
    """An empty room in which nothing was said makes way; one with a transcript does not, nor one with people."""
    rooms = lobby(max_rooms=2)
    said, unused = rooms.create("said", 0.0), rooms.create("unused", 1.0)
    said.transcript.add(Entry("chat", "m", "u", "p", "Ana", "es", "hola", 0, 0))
    third = rooms.create("third", 2.0)
    assert rooms.find("unused", 2.0) is None and rooms.find("said", 2.0) is said
    third.join(Somebody("ana", "es"))
    with pytest.raises(TooManyRooms) as full:
        rooms.create("fourth", 10.0)
    assert full.value.retry_after == pytest.approx(50.0), "when the first empty room runs out"
    assert unused not in list(rooms)
    assert [entry.text for entry in rooms.utterance("u")] == ["hola"] and rooms.utterance("x") == []
