"""Which work a batching engine takes next: all rooms' segments in one queue. Pure decisions; time is an argument.

Finals go before interims: somebody waits for a final, while an interim is only the sooner the better. Among equals the
room that had the least of the engine goes first (start-time fair queueing, Goyal et al. 1996, with the seconds of audio
as cost), and within a room the job that came first. A batch is filled with jobs of about the same length from all
rooms, for a batch takes as long as its longest row and padding is work for nothing.

The queue is bounded, and says what it lets go: an interim that is stale, or the oldest final of the room that has most
waiting. It drops nothing in silence: every job that leaves unserved is returned to the caller and counted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar


class Kind(IntEnum):
    """What is waited for; the smaller goes first."""

    FINAL = 0
    INTERIM = 1


T = TypeVar("T")
"""What the engine knows a job by."""


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One segment in all the languages that are wanted of it."""

    tag: T
    room: str
    kind: Kind
    seconds: float
    """Of audio, or what typed text would take to say."""
    rows: int
    """Languages: rows of the decoder's batch."""
    added_at: float = 0.0
    start: float = field(default=0.0, init=False)
    """Virtual time at which the room's turn for it begins."""


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Bounds."""

    max_rows: int = 32
    """Of a batch. One job may have more: it goes alone."""
    max_seconds: float = 96.0
    """Of audio in a batch, padding counted."""
    max_finals: int = 64
    """Waiting, in all rooms together."""
    stale: float = 2.0
    """Seconds after which a waiting interim is let go: there is newer audio to ask for."""
    spread: float = 2.0
    """The longest job of a batch is at most so many times as long as the shortest …"""
    slack: float = 1.0
    """… or longer by so many seconds."""


class Scheduler(Generic[T]):
    """`add` and `cancel` as things happen, `take` when the engine is free."""

    def __init__(self, settings: SchedulerSettings | None = None) -> None:
        self._settings = settings or SchedulerSettings()
        self._waiting: list[Job[T]] = []  # in the order in which they came
        self._virtual = 0.0  # virtual time: how far the rooms that are served have come
        self._finish: dict[str, float] = {}  # by room: virtual time at which its last job ends
        self.counters: defaultdict[str, float] = defaultdict(float)
        """batches, segments, rows, seconds; finals_dropped, interims_dropped, cancelled."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, job: Job[T], now: float) -> list[Job[T]]:
        """Queue a job. Returns those that are let go for it, perhaps the job itself."""
        job.added_at = now
        self._waiting.append(job)
        if job.kind is not Kind.FINAL:
            return []
        finals = [waiting for waiting in self._waiting if waiting.kind is Kind.FINAL]
        if len(finals) <= self._settings.max_finals:
            return []
        busiest, _ = Counter(waiting.room for waiting in finals).most_common(1)[0]
        dropped = next(waiting for waiting in finals if waiting.room == busiest)
        self._waiting.remove(dropped)
        self.counters["finals_dropped"] += 1
        return [dropped]

    def cancel(self, job: Job[T]) -> bool:
        """Forget a job. False if it does not wait (any more)."""
        if job not in self._waiting:
            return False
        self._waiting.remove(job)
        self.counters["cancelled"] += 1
        return True

    def stale(self, now: float) -> list[Job[T]]:
        """Let go the interims that have waited for too long."""
        late = [job for job in self._waiting if job.kind is Kind.INTERIM and now - job.added_at > self._settings.stale]
        for job in late:
            self._waiting.remove(job)
        self.counters["interims_dropped"] += len(late)
        return late

    def take(self) -> list[Job[T]]:
        """The next batch, empty when nothing waits."""
        if not self._waiting:
            self._finish.clear()
            self._virtual = 0.0
            return []
        kind = min(job.kind for job in self._waiting)
        line = self._in_turn([job for job in self._waiting if job.kind is kind])
        batch = [line[0]]
        for job in line[1:]:
            if self._fits(batch, job):
                batch.append(job)
        for job in batch:
            self._waiting.remove(job)
            self._virtual = max(self._virtual, job.start)
            self._finish[job.room] = job.start + _cost(job)
        self._count(batch)
        return batch

    def _in_turn(self, jobs: Iterable[Job[T]]) -> list[Job[T]]:
        """As if each were served alone: each room's jobs one after the other, all rooms side by side."""
        ends: dict[str, float] = {}
        for job in jobs:
            job.start = max(self._virtual, ends.get(job.room, self._finish.get(job.room, 0.0)))
            ends[job.room] = job.start + _cost(job)
        return sorted(jobs, key=lambda job: job.start)  # stable: among equals the one that came first

    def _fits(self, batch: list[Job[T]], job: Job[T]) -> bool:
        settings = self._settings
        lengths = [other.seconds for other in batch] + [job.seconds]
        shortest, longest = min(lengths), max(lengths)
        return (
            sum(other.rows for other in batch) + job.rows <= settings.max_rows
            and longest * len(lengths) <= settings.max_seconds
            and longest <= max(shortest * settings.spread, shortest + settings.slack)
        )

    def _count(self, batch: list[Job[T]]) -> None:
        self.counters["batches"] += 1
        self.counters["segments"] += len(batch)
        self.counters["rows"] += sum(job.rows for job in batch)
        self.counters["seconds"] += sum(job.seconds for job in batch)


def _cost(job: Job[T]) -> float:
    return job.seconds * max(1, job.rows)
