"""People come and go: 1,000 joins with media, in rooms of five, and what the server keeps of them.

    python -m tests.bench.churn [JOINS]

Compared are the moments after a fifth of the joins and after all, with nobody there: the first fill caches and heaps.
"""

import asyncio
import sys

import aiohttp

from tests.bench import namespace
from tests.bench.figures import record
from tests.bench.peer import Air
from tests.bench.person import Person, new_room
from tests.bench.servers import PRODUCT, running
from tests.bench.talk import Talk, talk
from tests.bench.usage import Usage, usage

BATCH, ROOM = 20, 5


async def come_and_go(http: aiohttp.ClientSession, base: str, rooms: list[str], air: Air, words: Talk) -> None:
    """A batch of people joins and talks, everybody hears somebody, everybody leaves."""
    async with asyncio.TaskGroup() as tasks:
        people = [Person(http, base, rooms[index // ROOM], f"Person {index}", "en") for index in range(BATCH)]
        for person in people:
            person.peer.talk = words
        await asyncio.gather(*(person.join(tasks, air) for person in people))
        await asyncio.gather(*(person.peer.heard.wait() for person in people))
        await asyncio.gather(*(person.leave() for person in people))


async def nobody(http: aiohttp.ClientSession, base: str, pid: int) -> Usage:
    """What the server uses once it has closed everything."""
    files = -1
    while True:
        stats = await (await http.get(f"{base}/v1/stats")).json()
        now = usage(pid)
        if stats["participants"] == 0 and now.files == files:
            return now
        files = now.files
        await asyncio.sleep(3)  # longer than a connection takes to close: then the count says that none is closing


async def run(joins: int, base: str, pid: int) -> None:
    air, words = Air(), talk()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http, asyncio.TaskGroup() as tasks:
        carrying = tasks.create_task(air.run())
        rooms = [await new_room(http, base) for _ in range(BATCH // ROOM)]
        marks = {0: await nobody(http, base, pid)}
        warm, last = max(BATCH, joins // 5 // BATCH * BATCH), joins // BATCH * BATCH
        for joined in range(BATCH, last + 1, BATCH):
            await come_and_go(http, base, rooms, air, words)
            if joined in (warm, last):
                marks[joined] = await nobody(http, base, pid)
        carrying.cancel()
    for joined, used in marks.items():
        megabytes = used.resident / 1e6
        print(f"after {joined:>4} joins: {megabytes:6.1f} MB, {used.files} files, {used.threads} threads")
    files = marks[last].files - marks[warm].files
    grown = (marks[last].resident - marks[warm].resident) / 1e6
    record("churn_fds_growth", files, "fds", "<= 0", files <= 0)
    record("churn_memory_growth_mb", grown, "MB", "<= 5", grown <= 5)


def main() -> None:
    joins = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 1000
    if namespace.inside() or not namespace.run_inside("tests.bench.churn", [str(joins)]):
        with running(PRODUCT) as (base, pid):
            asyncio.run(run(joins, base, pid))


if __name__ == "__main__":
    main()
