"""What outlives a container, over a queue and a dictionary in memory."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rtc.stats import Stats
from rtc.transcript import Entry
from signaling import modal_records
from signaling.modal_placer import CloudError
from signaling.modal_records import ModalRecords
from signaling.placement import RoomCard
from tests.client import PATIENCE
from tests.conftest import until
from tests.signaling.test_modal_placer import Memory


class MemoryLines:
    """`modal_records.Lines`."""

    def __init__(self) -> None:
        self.partitions: dict[str, list[Any]] = {}
        self.failing = False
        self.begun = asyncio.Event()
        """Somebody writes."""
        self.gate = asyncio.Event()
        """Nothing is written before."""
        self.gate.set()

    async def put(self, partition: str, items: Sequence[Any]) -> None:
        self.begun.set()
        await self.gate.wait()
        if self.failing:
            raise CloudError("no")
        self.partitions.setdefault(partition, []).extend(items)

    async def read(self, partition: str) -> Sequence[Any]:
        if self.failing:
            raise CloudError("no")
        return list(self.partitions.get(partition, []))

    async def drop(self, partition: str, count: int) -> None:
        del self.partitions[partition][:count]

    async def clear(self, partition: str) -> None:
        self.partitions.pop(partition, None)


def entry(number: int, text: str = "hello", **translations: str) -> Entry:
    return Entry("speech", f"seg-{number}", f"utt-{number}", "p-1", "Ana", "en", text, 0, 1000, translations)


def card(room: str = "blue", people: int = 1) -> RoomCard:
    return RoomCard(room, room.title(), "simultaneous", 16, 1.8e9, people)


async def test_the_next_container_reads_what_the_last_one_wrote() -> None:
    """In order; each entry once, with its last words; nothing of other rooms."""
    lines, people = MemoryLines(), Memory()
    first = ModalRecords(lines, people, Stats())
    first.put("blue", entry(1))
    first.put("blue", entry(2))
    first.put("red", entry(9))
    first.put("blue", entry(1, es="hola"))
    await first.flush()
    kept = await ModalRecords(lines, people, Stats()).load("blue")
    assert [(one.segment_id, one.text, one.translations) for one in kept] == [
        ("seg-1", "hello", {"es": "hola"}),
        ("seg-2", "hello", {}),
    ]


async def test_heads_are_written_when_they_change_and_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modal_records, "RENEW", 0.01)
    people = Memory()
    records = ModalRecords(MemoryLines(), people, Stats())
    running = asyncio.create_task(records.run())
    records.changed(card(people=2))
    await people.until(lambda: "blue" in people.entries)
    count, at = people.entries["blue"]
    assert count == 2
    await people.until(lambda: people.entries["blue"][1] != at)
    records.forget("blue")
    people.entries.clear()
    records.changed(card("red"))
    await people.until(lambda: "red" in people.entries)
    assert "blue" not in people.entries, "it is somewhere else now"
    running.cancel()


async def test_heads_are_renewed_while_people_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the lobby would think that nobody is there, and end the room in the midst of their talk."""
    monkeypatch.setattr(modal_records, "RENEW", 0.05)
    people = Memory()
    lines = MemoryLines()
    records = ModalRecords(lines, people, Stats())
    running = asyncio.create_task(records.run())
    records.changed(card(people=2))
    await people.until(lambda: "blue" in people.entries)
    _, at = people.entries["blue"]
    async with asyncio.timeout(PATIENCE):
        number = 0
        while people.entries["blue"][1] == at:  # somebody says something all the time
            records.put("blue", entry(number := number + 1))
            await asyncio.sleep(0)
    assert people.entries["blue"][0] == 2
    running.cancel()


async def test_rooms_that_end_while_heads_are_written_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the others everything is written on."""
    people, lines = Memory(), MemoryLines()
    records = ModalRecords(lines, people, Stats())
    running = asyncio.create_task(records.run())
    rooms = {f"room-{number}" for number in range(3)}
    for room in rooms:
        records.changed(card(room))
    await people.until(lambda: len(people.entries) == 1)
    ended = rooms - people.entries.keys()  # the next of them is being written
    for room in ended:
        records.forget(room)
    records.put("blue", entry(1))
    await until(lambda: "blue" in lines.partitions or running.done())
    assert not running.done() and len(ended - people.entries.keys()) == 1
    running.cancel()


async def test_a_failing_control_plane_costs_words_but_no_call() -> None:
    lines = MemoryLines()
    stats = Stats()
    records = ModalRecords(lines, Memory(), stats)
    lines.failing = True
    records.put("blue", entry(1))
    await records.flush()
    assert stats.records_dropped == 1
    assert await records.load("blue") == []
    lines.failing = False
    records.put("blue", entry(2))
    await records.flush()
    assert [one.segment_id for one in await records.load("blue")] == ["seg-2"]


async def test_what_waits_and_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are lost when the line is down for long; the oldest make way in the queue."""
    monkeypatch.setattr(modal_records, "MAX_WAITING", 8)
    monkeypatch.setattr(modal_records, "MAX_PARTITION", 12)
    lines = MemoryLines()
    stats = Stats()
    records = ModalRecords(lines, Memory(), stats)
    for number in range(10):
        records.put("blue", entry(number))
    assert stats.records_dropped == 2
    await records.flush()
    for number in range(10, 15):
        records.put("blue", entry(number))
    await records.flush()
    kept = [one.segment_id for one in await records.load("blue")]
    assert kept[0] == "seg-3" and kept[-1] == "seg-14" and len(kept) == 10


async def test_entries_of_another_version_are_left_out() -> None:
    lines = MemoryLines()
    lines.partitions["blue"] = ["a string", {"text": "of old"}, None]
    records = ModalRecords(lines, Memory(), Stats())
    records.put("blue", entry(1))
    await records.flush()
    assert [one.segment_id for one in await records.load("blue")] == ["seg-1"]
