"""Rooms in one process and behind a front with two workers: how many people, how fast in, and what a crash costs.

    python -m tests.bench.placement [KILLS]

The server's processes are held to two cores, and the people on the others where there are more; with two cores in all
they share them, and two workers can show less of what they are worth.
"""

import asyncio
import contextlib
import importlib.util
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from statistics import median
from typing import Any

import aiohttp
import numpy as np

from tests.bench.figures import percentile, record
from tests.bench.join import joins
from tests.bench.peer import Air
from tests.bench.person import Person, new_room
from tests.bench.servers import PRODUCT, running
from tests.bench.talk import plain, silence
from tests.client import RATE, Client
from tests.sentences import SENTENCES
from tests.speech import flite, peak

PEOPLE = 6
STEP, MOST = 3, 60
"""Rooms of six that are added until it is too much."""
LATE = 0.02
"""Seconds, one packet: playout lateness p99 up to which people are served."""
TRIES = 2
"""Something else may have had the processor."""
SECONDS = 8.0
JOINS, ROOMS = 20, 200
LANGUAGES = ("en", "es", "fr")
CORES = 2
CHAT_EVERY = 0.1
"""Within the limit of what one person may write, with the flag below."""


@contextlib.contextmanager
def serving(workers: int) -> Iterator[str]:
    """A fresh server on two cores; this process goes to the others, if there are any."""
    cores = sorted(os.sched_getaffinity(0))
    flags = ["--dialogue", "none", "--max-rooms", "400", "--chat-rate", "1000", "--http-rate", "100000"]
    flags += ["--workers", str(workers)]
    os.sched_setaffinity(0, cores[:CORES])
    try:
        with running(replace(PRODUCT, options=(*PRODUCT.options, *flags))) as (base, _):
            os.sched_setaffinity(0, cores[CORES:] or cores)
            yield base
    finally:
        os.sched_setaffinity(0, cores)


async def stats(http: aiohttp.ClientSession, base: str, workers: int) -> dict[str, Any]:
    """`/v1/stats`, once so many workers are ready."""
    while True:
        async with http.get(f"{base}/v1/stats") as answer:
            found: dict[str, Any] = await answer.json()
        ready = [one["state"] for one in found.get("workers", [found.get("engine", {"state": ""})])]
        if ready == ["ready"] * workers:
            return found
        await asyncio.sleep(0.1)


# how many people


async def late_share(base: str, workers: int, rooms: int) -> float:
    """The share of ticks that are later than LATE, with so many rooms in which one of six speaks; 1 if people fall
    out."""
    words, nothing = plain(peak(flite(SENTENCES[0], rate=RATE))), silence()
    air = Air()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http, asyncio.TaskGroup() as tasks:
        await stats(http, base, workers)
        carrying = tasks.create_task(air.run())
        people: list[Person] = []
        try:
            for _ in range(rooms):
                room = await new_room(http, base)
                for number in range(PEOPLE):
                    person = Person(http, base, room, f"Person {number}", LANGUAGES[number % len(LANGUAGES)])
                    person.peer.talk = nothing if number else words
                    people.append(person)
                    await person.join(tasks, air)
            await asyncio.sleep(2)
            before = await ticks(http, base)
            await asyncio.sleep(SECONDS)
            all_of_them, in_time = (late - early for late, early in zip(await ticks(http, base), before, strict=True))
            lost = any(person.peer.air is None for person in people)
        except TimeoutError:
            return 1.0
        finally:
            for person in people:
                await person.leave()
            carrying.cancel()
    return 1.0 if lost or not all_of_them else 1 - in_time / all_of_them


async def ticks(http: aiohttp.ClientSession, base: str) -> tuple[float, float]:
    """All so far, and those in time."""
    async with http.get(f"{base}/metrics") as answer:
        text = await answer.text()
    counts = dict(re.findall(r'dragoman_tick_lateness_seconds_bucket\{le="([^"]+)"\} (\S+)', text))
    return float(counts["+Inf"]), float(counts[str(LATE)])


def served(workers: int) -> int:
    """People, at most, for whom 99 of 100 ticks are in time."""
    for rooms in range(STEP, MOST + 1, STEP):
        shares = []
        for _ in range(TRIES):
            with serving(workers) as base:
                shares.append(asyncio.run(late_share(base, workers, rooms)))
            if shares[-1] <= 0.01:
                break
        tried = ", ".join(f"{share:.2%}" for share in shares)
        print(
            f"workers {workers}, {rooms * PEOPLE} people: {tried} of the ticks are more than {LATE * 1000:.0f} ms late"
        )
        if shares[-1] > 0.01:
            return (rooms - STEP) * PEOPLE
    return MOST * PEOPLE


# how fast in


async def joining(base: str, workers: int) -> list[float]:
    async with aiohttp.ClientSession() as http:
        await stats(http, base, workers)
        return [seconds * 1000 for seconds in (await joins(http, base, JOINS))["first_rtp"]]


# what a crash costs


@contextlib.asynccontextmanager
async def writing(client: Client) -> AsyncIterator[None]:
    """They write all the time while they are there."""

    async def write() -> None:
        for number in range(10**6):
            await client.send("chat.send", text=f"line {number}")
            await asyncio.sleep(CHAT_EVERY)

    task = asyncio.create_task(write())  # cancelled below
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def first_loud(client: Client) -> float | None:
    """When the first sound came that one can hear, on the connection of now; time.monotonic()."""
    heard = (at for ear in client.ears.values() for at, pcm in ear.chunks if np.abs(pcm).max(initial=0) > 0.03)
    return min(heard, default=None)


async def crashes(base: str, kills: int) -> tuple[list[float], int, int]:
    """Seconds from each kill until each of two people hears the other again; words lost, and shown twice."""
    speech = np.tile(peak(flite(SENTENCES[0], rate=RATE)), 20)
    back: list[float] = []
    async with aiohttp.ClientSession() as http:
        room = await new_room(http, base)
        callers = {name: Client(http, base, room) for name in ("Ana", "Bob")}

        async def again(name: str, killed: float) -> None:
            client = callers[name]
            await client.come_back(name, "en")
            client.microphone.say(speech)
            back.append(await client.until(lambda: first_loud(client), "a voice") - killed)

        for name, client in callers.items():
            await (await client.open()).join(name, "en")
            client.microphone.say(speech)
        for _ in range(kills):
            (victim,) = [one["pid"] for one in (await stats(http, base, 2))["workers"] if one["participants"]]
            async with contextlib.AsyncExitStack() as busy:
                for client in callers.values():
                    await busy.enter_async_context(writing(client))
                await asyncio.sleep(2)
                killed = time.monotonic()
                os.kill(victim, signal.SIGKILL)
            await asyncio.gather(*(again(name, killed) for name in callers))
        for client in callers.values():  # what is under way arrives before this
            await client.send("ping", t="last")
            await client.expect("pong", lambda message: message["t"] == "last")
        async with http.get(f"{base}/v1/rooms/{room}/transcript") as answer:
            said = {line["segment_id"] for line in await answer.json() if line["kind"] == "chat"}
        shown = [[message["message_id"] for message in client.of("chat.message")] for client in callers.values()]
        said.update(*shown)
        for client in callers.values():
            await client.close()
    print(f"{len(said)} messages were kept, over {kills} kills")
    return back, sum(len(said - set(ids)) for ids in shown), sum(len(ids) - len(set(ids)) for ids in shown)


async def doubles(base: str) -> int:
    """Rooms that are in more than one place, of those that four clients make and ask for at once."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        before = (await stats(http, base, 2))["rooms"]

        async def make() -> None:
            for _ in range(ROOMS // 4):
                room = await new_room(http, base)
                await asyncio.gather(*(_get(http, f"{base}/v1/rooms/{room}") for _ in range(3)))

        await asyncio.gather(*(make() for _ in range(4)))
        return int((await stats(http, base, 2))["rooms"]) - before - ROOMS


async def _get(http: aiohttp.ClientSession, url: str) -> None:
    async with http.get(url) as answer:
        answer.raise_for_status()


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 10
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before anything here ran")
    with serving(2) as base:
        back, lost, twice = asyncio.run(crashes(base, kills))
        double = asyncio.run(doubles(base))
    record("resume_after_kill_median_s", median(back), "s")
    late = percentile(back, 0.95)
    record("resume_after_kill_p95_s", late, "s", "<= 2.5", late <= 2.5)
    record("lost_finals", lost, "", "0", lost == 0)
    record("finals_shown_twice", twice, "", "0", twice == 0)
    record("double_placements", double, "", "0", double == 0)
    medians = []
    for workers in (1, 2):
        with serving(workers) as base:
            ms = asyncio.run(joining(base, workers))
        medians.append(median(ms))
        record(f"join_workers{workers}_median_ms", median(ms), "ms")
        record(f"join_workers{workers}_p95_ms", percentile(ms, 0.95), "ms")
    record("join_workers2_vs_1", medians[1] / medians[0], "ratio")
    if importlib.util.find_spec("modal") is None:
        print("modal is not installed, so its containers are left out: pip install 'dragoman[modal]'")
    else:
        importlib.import_module("tests.bench.placement_modal").main()
    one, two = served(1), served(2)
    if one and two:
        record("workers2_vs_1", two / one, "ratio")
    else:
        print("no figure for workers2_vs_1: somebody was served in time by neither, or by one of them only")


if __name__ == "__main__":
    main()
