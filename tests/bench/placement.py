"""Rooms in one process and behind a front with two workers: what a crash costs, how fast in, and how many people.

    python -m tests.bench.placement [KILLS]

Lost are words that one of two people was never shown: every message and every final text of a sentence that the
transcript has, or that was shown to the other. Both write and talk while they are killed. After that, the same of
Modal's containers (`python -m tests.bench.placement_modal`) and how many are served (`python -m tests.bench.capacity`).
"""

import asyncio
import contextlib
import importlib.util
import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from statistics import median

import aiohttp
import numpy as np

from tests.bench import capacity
from tests.bench.capacity import ready, serving
from tests.bench.figures import percentile, record
from tests.bench.join import joins
from tests.bench.person import new_room
from tests.client import RATE, Client
from tests.sentences import SENTENCES
from tests.speech import flite, peak

JOINS, ROOMS = 20, 200
CHAT_EVERY = 0.1
"""Within the limit of what one person may write, with the flag below."""
PAUSE = 0.6
"""Seconds between two sentences."""
LANGUAGES = {"Ana": "en", "Bob": "es"}


# how fast in


async def joining(base: str, workers: int) -> list[float]:
    async with aiohttp.ClientSession() as http:
        await ready(http, base, workers)
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
    pause = np.zeros(round(PAUSE * RATE), np.float32)
    speech = np.tile(np.concatenate([peak(flite(SENTENCES[0], rate=RATE)), pause]), 20)
    back: list[float] = []
    async with aiohttp.ClientSession() as http:
        room = await new_room(http, base)
        callers = {name: Client(http, base, room) for name in LANGUAGES}

        async def again(name: str, killed: float) -> None:
            client = callers[name]
            await client.come_back(name, LANGUAGES[name])
            client.microphone.say(speech)
            back.append(await client.until(lambda: first_loud(client), "a voice") - killed)

        for name, client in callers.items():
            await (await client.open()).join(name, LANGUAGES[name])
            client.microphone.say(speech)
        for _ in range(kills):
            (victim,) = [one["pid"] for one in (await ready(http, base, 2))["workers"] if one["participants"]]
            async with contextlib.AsyncExitStack() as busy:
                for client in callers.values():
                    await busy.enter_async_context(writing(client))
                await asyncio.sleep(2)
                killed = time.monotonic()
                os.kill(victim, signal.SIGKILL)
            await asyncio.gather(*(again(name, killed) for name in callers))
        async with http.get(f"{base}/v1/rooms/{room}/transcript") as answer:
            kept = [word(line["kind"], line) for line in await answer.json()]
        for client in callers.values():  # what is under way arrives before this
            await client.send("ping", t="last")
            await client.expect("pong", lambda message: message["t"] == "last")
        shown = {client.id: words(client) for client in callers.values()}
        for client in callers.values():
            await client.close()
    said = {one[:2] for one in (*kept, *itertools.chain(*shown.values()))}
    messages = sum(not speaker for _, speaker in said)
    print(f"{messages} messages and {len(said) - messages} sentences, over {kills} kills")
    lost = sum(len({one for one in said if one[1] != me} - {one[:2] for one in read}) for me, read in shown.items())
    return back, lost, sum(len(read) - len(set(read)) for read in shown.values())


def word(kind: str, fields: Mapping[str, str]) -> tuple[str, str, str]:
    """(segment or message, who has it translated to others: nobody, of a message; in which language)."""
    own = "" if kind == "chat" else fields["participant_id"]
    return fields["segment_id" if "segment_id" in fields else "message_id"], own, fields["language"]


def words(client: Client) -> list[tuple[str, str, str]]:
    """All messages, and all sentences of others, as they were shown; as they were said, too, where that is known."""
    shown = [word("chat", message) for message in client.of("chat.message")]
    return shown + [word("speech", one) for one in client.of("transcript.final") if one["participant_id"] != client.id]


async def doubles(base: str) -> int:
    """Rooms that are in more than one place, of those that four clients make and ask for at once."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        before = (await ready(http, base, 2))["rooms"]

        async def make() -> None:
            for _ in range(ROOMS // 4):
                room = await new_room(http, base)
                await asyncio.gather(*(_get(http, f"{base}/v1/rooms/{room}") for _ in range(3)))

        await asyncio.gather(*(make() for _ in range(4)))
        return int((await ready(http, base, 2))["rooms"]) - before - ROOMS


async def _get(http: aiohttp.ClientSession, url: str) -> None:
    async with http.get(url) as answer:
        answer.raise_for_status()


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 10
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before anything here ran")
    with serving(2) as (base, _):
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
        with serving(workers) as (base, _):
            ms = asyncio.run(joining(base, workers))
        medians.append(median(ms))
        record(f"join_workers{workers}_median_ms", median(ms), "ms")
        record(f"join_workers{workers}_p95_ms", percentile(ms, 0.95), "ms")
    record("join_workers2_vs_1", medians[1] / medians[0], "ratio")
    if importlib.util.find_spec("modal") is None:
        print("modal is not installed, so its containers are left out: pip install 'dragoman[modal]'")
    else:
        importlib.import_module("tests.bench.placement_modal").main()
    capacity.main()


if __name__ == "__main__":
    main()
