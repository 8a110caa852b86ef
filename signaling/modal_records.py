"""What is kept of rooms while their containers come and go: words in a queue, head counts in a dictionary.

A room has a partition of the queue. What is said is put there as it becomes final, and read, not taken, by the
container that holds the room next. Only the container that holds a room writes about it.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from rtc.stats import Stats
from rtc.transcript import MAX_ENTRIES, Entry
from signaling.modal_placer import CloudError, Store
from signaling.placement import RoomCard

log = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Writes on their way; then the oldest is lost, and counted."""
MAX_PARTITION = 4000
"""Items of a room; Modal holds 5000. Then the oldest quarter goes."""
RENEW = 30.0
"""Seconds between two head counts of a room in which nobody comes or goes."""


class Lines(Protocol):
    """What a `modal.Queue` with partitions can do that we need. Everything raises CloudError."""

    async def put(self, partition: str, items: Sequence[Any]) -> None:
        """At the end."""

    async def read(self, partition: str) -> Sequence[Any]:
        """All that is there, and leave it there."""

    async def drop(self, partition: str, count: int) -> None:
        """So many, from the beginning."""

    async def clear(self, partition: str) -> None:
        """All of it."""


class ModalRecords:
    """Implements `placement.Records`. `run` writes; nothing here waits for it."""

    def __init__(self, lines: Lines, people: Store, stats: Stats) -> None:
        """`stats`: where words are counted that were never written: the next container will not know them."""
        self._lines = lines
        self._people = people
        self._stats = stats
        self._heads: dict[str, int] = {}
        self._waiting: dict[str, list[dict[str, Any]]] = {}  # by room
        self._count = 0
        self._sizes: Counter[str] = Counter()  # of partitions, by room
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()

    def changed(self, card: RoomCard) -> None:
        """Remember how many are there, to be written."""
        self._heads[card.id] = card.participant_count
        self._changed.add(card.id)
        self._wake.set()

    def put(self, room_id: str, entry: Entry) -> None:
        """Remember the words, to be written."""
        if self._count >= MAX_WAITING:
            self._stats.records_dropped += 1
            return
        self._count += 1
        self._waiting.setdefault(room_id, []).append(asdict(entry))
        self._wake.set()

    async def load(self, room_id: str) -> Sequence[Entry]:
        """All words of the room; none if they cannot be read, for a room without its past is better than no room."""
        entries: dict[str, Entry] = {}
        try:
            items = await self._lines.read(room_id)
        except CloudError as error:
            log.warning("the past of %s cannot be read: %s", room_id, error)
            return []
        self._sizes[room_id] = len(items)
        for item in items:
            try:
                entry = Entry(**item)
            except TypeError:
                continue  # of another version
            entries[entry.segment_id] = entry  # where the first one was: in the order in which they were new
        return list(entries.values())[-MAX_ENTRIES:]

    def forget(self, room_id: str) -> None:
        """The room is not here any more."""
        self._heads.pop(room_id, None)
        self._waiting.pop(room_id, None)
        self._changed.discard(room_id)
        self._sizes.pop(room_id, None)

    async def run(self) -> None:
        """Write, for as long as the container lives. Never returns."""
        clock = asyncio.get_running_loop().time
        renewal = clock() + RENEW
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(renewal):
                    await self._wake.wait()
            if clock() >= renewal:  # whatever else there was to write meanwhile
                self._changed |= self._heads.keys()
                renewal = clock() + RENEW
            await self.flush()

    async def flush(self) -> None:
        """Write all that waits. When this returns it is written, whoever had begun to; and nothing overtakes."""
        async with self._writing:
            await self._flush()

    async def _flush(self) -> None:
        self._wake.clear()
        waiting, self._waiting, self._count = self._waiting, {}, 0
        changed, self._changed = self._changed, set()
        for room_id, items in waiting.items():
            try:
                await self._lines.put(room_id, items)
                self._sizes[room_id] += len(items)
                if self._sizes[room_id] > MAX_PARTITION:
                    await self._lines.drop(room_id, MAX_PARTITION // 4)
                    self._sizes[room_id] -= MAX_PARTITION // 4
            except CloudError as error:
                self._stats.records_dropped += len(items)
                log.warning("words of %s were not kept: %s", room_id, error)
        for room_id in changed:
            if (count := self._heads.get(room_id)) is None:
                continue  # forgotten, perhaps while those before it were written
            try:
                await self._people.put(room_id, (count, time.time()))
            except CloudError as error:
                log.warning("the head count of %s was not kept: %s", room_id, error)
