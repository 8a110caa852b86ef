"""The whole product under load: rooms of six people in three languages, one of whom speaks at any time.

    python -m tests.bench.rooms [ROOMS]

Everything that a call costs is in it except an engine's own work (`--translator echo` gives the speaker's voice back):
signaling, forwarding, decoding, voice detection, segments, playout, encoding, transcripts. Microphones send all the
time, as browsers' do.
"""

import asyncio
import json
import sys
from typing import Any

import aiohttp

from tests.bench import namespace
from tests.bench.figures import record
from tests.bench.peer import Air
from tests.bench.person import meeting
from tests.bench.servers import PRODUCT, running
from tests.bench.talk import RATE, plain, silence
from tests.bench.usage import usage
from tests.sentences import SENTENCES
from tests.speech import flite, peak

PEOPLE = 6
TURN, PAUSE = 3.5, 1.0
"""Seconds."""
ROUNDS = 2
"""Turns that everybody takes while it is measured."""


async def run(rooms: int, base: str, pid: int) -> None:
    words = [plain(peak(flite(sentence, rate=RATE))) for sentence in SENTENCES[:PEOPLE]]
    nothing = silence()
    air = Air()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http, asyncio.TaskGroup() as tasks:
        empty = usage(pid)
        carrying = tasks.create_task(air.run())
        circles = [await meeting(http, base, PEOPLE, nothing, tasks, air) for _ in range(rooms)]
        people = [person for circle in circles for person in circle]
        await asyncio.sleep(2)
        loop = asyncio.get_running_loop()
        before, received, start = usage(pid), sum(person.peer.received for person in people), loop.time()
        sent = sum(len(person.peer.sent_at) for person in people)
        for turn in range(PEOPLE * ROUNDS):
            index = turn % PEOPLE
            for circle in circles:
                circle[index].peer.talk = words[index]
            await asyncio.sleep(TURN)
            for circle in circles:
                circle[index].peer.talk = nothing
            await asyncio.sleep(PAUSE)
        after, seconds = usage(pid), loop.time() - start
        stats: dict[str, Any] = await (await http.get(f"{base}/v1/stats")).json()
        received = sum(person.peer.received for person in people) - received
        sent = sum(len(person.peer.sent_at) for person in people) - sent
        lost = sum(person.peer.air is None for person in people)
        for person in people:
            await person.leave()
        carrying.cancel()
    cores = (after.cpu - before.cpu) / seconds
    lag = stats["lag_ms"]
    print(f"{rooms} rooms of {PEOPLE}: {cores:.2f} cores, {after.threads} threads, {after.files} files,", end=" ")
    print(f"{(after.resident - empty.resident) / len(people) / 1e6:.2f} MB a person")
    print(f"packets a second: {sent / seconds:.0f} to the server, {received / seconds:.0f} from it", end="; ")
    print(f"segments {stats['segments']}, translations {sum(stats['translations'].values())}", end="; ")
    print(f"dropped: {json.dumps(stats['dropped'])}")
    if lost or stats["dropped"]["windows"]:
        print(f"overloaded: {lost} of {len(people)} people lost their connection; these are no figures")
        return
    record("rooms_cpu_ms_per_person_second", cores / len(people) * 1000, "ms")
    record("rooms_lag_p50_ms", lag["p50"], "ms")
    record("rooms_lag_p95_ms", lag["p95"], "ms")


def main() -> None:
    rooms = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 10
    if namespace.inside() or not namespace.run_inside("tests.bench.rooms", [str(rooms)]):
        with running(PRODUCT) as (base, pid):
            asyncio.run(run(rooms, base, pid))


if __name__ == "__main__":
    main()
