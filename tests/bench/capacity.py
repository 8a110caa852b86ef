"""How many people are served in time on two cores, by one process and by a front with two workers.

    python -m tests.bench.capacity

Meetings of three are added to a server, one of whom speaks, each in another language, until more than one playout tick
in a hundred is a packet late, with the next meeting too. They come in at full speed; the server is held to its two
cores (tests/bench/cores.py) while ticks are counted. On a machine with no more than two those are slow ones, so that
the people do not take what the second worker would need: the numbers of people are no measure of anything then, their
ratio is.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp

from tests.bench import cores
from tests.bench.figures import record
from tests.bench.peer import Air
from tests.bench.person import Person, meeting
from tests.bench.servers import PRODUCT, running
from tests.bench.talk import RATE, plain, silence
from tests.sentences import SENTENCES
from tests.speech import flite, peak

MEETING = 3
CORES = 2
LATE, SHARE = 0.02, 0.01
"""Seconds, one packet; of the ticks, those that may be later."""
SETTLE, SECONDS = 1.0, 8.0
TRIES, FAILURES = 3, 2
"""For so many people, and numbers of people in a row: something else may have had the processor."""
MOST = 600
"""People, at which it ends on any machine."""


def serving(workers: int) -> contextlib.AbstractContextManager[tuple[str, int]]:
    """(URL, process id) of a fresh server."""
    flags = ("--dialogue", "none", "--max-rooms", "400", "--chat-rate", "1000", "--http-rate", "100000")
    return running(replace(PRODUCT, options=(*PRODUCT.options, *flags, "--workers", str(workers))))


async def ready(http: aiohttp.ClientSession, base: str, workers: int) -> dict[str, Any]:
    """`/v1/stats`, once so many workers are."""
    while True:
        async with http.get(f"{base}/v1/stats") as answer:
            found: dict[str, Any] = await answer.json()
        states = [one["state"] for one in found.get("workers", [found.get("engine", {"state": ""})])]
        if states == ["ready"] * workers:
            return found
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def crowd(http: aiohttp.ClientSession, base: str) -> AsyncIterator["Crowd"]:
    """Nobody yet."""
    async with asyncio.TaskGroup() as tasks:
        air = Air()
        carrying = tasks.create_task(air.run())
        people = Crowd(http, base, air, tasks)
        try:
            yield people
        finally:
            for person in people.people:
                await person.leave()
            carrying.cancel()


class Crowd:
    """Those who load a server."""

    def __init__(self, http: aiohttp.ClientSession, base: str, air: Air, tasks: asyncio.TaskGroup) -> None:
        self._http, self._base, self._air, self._tasks = http, base, air, tasks
        self._words, self._nothing = plain(peak(flite(SENTENCES[0], rate=RATE))), silence()
        self.people: list[Person] = []

    async def grow(self) -> None:
        """Another meeting. Raises TimeoutError if one of them does not get in."""
        circle = await meeting(self._http, self._base, MEETING, self._nothing, self._tasks, self._air)
        circle[0].peer.talk = self._words
        self.people += circle

    async def late(self) -> float:
        """The share of ticks that are later than LATE; 1 if people fell out."""
        await asyncio.sleep(SETTLE)
        before = await self._ticks()
        await asyncio.sleep(SECONDS)
        all_of_them, in_time = (late - early for late, early in zip(await self._ticks(), before, strict=True))
        lost = any(person.peer.air is None for person in self.people)
        return 1.0 if lost or not all_of_them else 1 - in_time / all_of_them

    async def _ticks(self) -> tuple[float, float]:
        """All so far, and those in time."""
        async with self._http.get(f"{self._base}/metrics") as answer:
            text = await answer.text()
        counts = dict(re.findall(r'dragoman_tick_lateness_seconds_bucket\{le="([^"]+)"\} (\S+)', text))
        return float(counts["+Inf"]), float(counts[str(LATE)])


async def served(base: str, pid: int, workers: int) -> int:
    """People, at most, for whom 99 of 100 ticks are in time."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await ready(http, base, workers)
        async with crowd(http, base) as people:
            most = failed = 0
            while len(people.people) < MOST and failed < FAILURES:
                await people.grow()
                shares: list[float] = []
                for _ in range(TRIES):
                    with cores.held(pid, CORES) as how:
                        shares.append(await people.late())
                    if shares[-1] <= SHARE:
                        break
                tried = ", ".join(f"{share:.2%}" for share in shares)
                print(f"{workers} on {how}: {len(people.people):>3} people, {tried} of the ticks late", flush=True)
                if shares[-1] <= SHARE:
                    most, failed = len(people.people), 0
                else:
                    failed += 1
            return most


def main() -> None:
    if not cores.can_hold(CORES):
        print(f"no figure for workers2_vs_1: there are no cores beyond {CORES}, and they cannot be made slower")
        return
    found = []
    for workers in (1, 2):
        with serving(workers) as (base, pid):
            found.append(asyncio.run(served(base, pid, workers)))
        record(f"people_in_time_workers{workers}", found[-1], "people")
    record("workers2_vs_1", found[1] / max(1, found[0]), "ratio")


if __name__ == "__main__":
    main()
