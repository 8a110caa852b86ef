"""Talking with a voice, without what a model costs: the delay that the server adds, stalls, and people who come and go.

    python -m tests.bench.conversation [JOINS]

The whole product on loopback, with a voice that says what it hears one step (80 ms) later and takes no time for it.

- Delay: from mouth to ear, tone by tone, less those 80 ms, which are the voice's. What is left is the server's: a frame
  that has to be whole (80 ms), the jitter buffer, the step, what waits so that the voice does not stutter, packets.
- Stall: the network holds what somebody says for 500 ms, then delivers all of it at once. Counted from that moment to
  the first tone from which on the delay is what it was before, give or take one packet: what waits to be said is told
  in packets of 20 ms, and rests at any number of milliseconds below one. There is a tone a second, and the stalls begin
  at different moments between two. The other direction is not here: what is late on its way to the
  listener waits in the browser's buffer, and nothing in the server is any later for it.
- Coming and going: joins with media, 20 at a time; what is left when nobody is there any more, compared with the moment
  after half of them: the first fill caches and heaps. Leaked are seats, people in line, tasks, descriptors, threads.
"""

import asyncio
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import aiohttp

from tests.bench.figures import percentile, record
from tests.bench.load import delays
from tests.bench.peer import Air, Peer
from tests.bench.person import Person
from tests.bench.servers import Server, running
from tests.bench.talk import Talk, talk
from tests.bench.usage import usage

SEATS = 20
VOICE = 0.08
"""Seconds that the voice adds itself."""
SETTLE, CALM, STALLS, EVERY, STALL = 5.0, 40.0, 8, 8.13, 0.5
"""Seconds before the first measurement and of it; stalls, seconds from one to the next, and of each."""
NEAR = 0.025
"""Seconds: a packet, and what timers and decoders are late by."""


class Network:
    """The way from a peer to the server; `hold` it, and it delivers late."""

    def __init__(self, peer: Peer) -> None:
        self._send = peer._sendto
        self._held: list[tuple[bytes, Any]] | None = None
        peer._sendto = self._carry

    def _carry(self, datagram: bytes, address: Any) -> None:
        if self._held is None:
            self._send(datagram, address)
        else:
            self._held.append((datagram, address))

    async def hold(self, seconds: float) -> float:
        """Nothing arrives for so long, then everything. The moment of that (time.time())."""
        self._held = []
        await asyncio.sleep(seconds)
        held, self._held = self._held, None
        for datagram, address in held:
            self._send(datagram, address)
        return time.time()


async def delay(http: aiohttp.ClientSession, base: str, words: Talk) -> None:
    """One call: a calm stretch, then stalls."""
    air = Air()
    async with asyncio.TaskGroup() as tasks:
        carrying = tasks.create_task(air.run())
        person = Person(http, base, "", "Ana", "en", probe=True)
        person.peer.talk = words
        await person.join(tasks, air)
        await person.peer.heard.wait()
        await asyncio.sleep(SETTLE)
        calm = time.time()
        await asyncio.sleep(CALM)
        network, ended = Network(person.peer), []
        for _ in range(STALLS):
            ended.append(await network.hold(STALL))
            await asyncio.sleep(EVERY - STALL)
        heard = delays(words, person.peer, person.peer, calm)
        await person.leave()
        carrying.cancel()
    before = [late - VOICE for at, late in heard if at < ended[0] - STALL]
    middle, p95 = median(before) * 1000, percentile(before, 0.95) * 1000
    record("added_delay_median_ms", middle, "ms")
    record("added_delay_p95_ms", p95, "ms")
    times = [recovery(heard, end) for end in ended]
    print("seconds from the end of each stall: " + ", ".join(f"{seconds:.2f}" for seconds in times))
    record("recovery_after_500ms_stall_s", median(times), "s")
    record("recovery_after_500ms_stall_max_s", max(times), "s")


def recovery(heard: list[tuple[float, float]], end: float) -> float:
    """Seconds from `end` to the first tone that came as it did in the seconds before the stall, and all after it too;
    until the next stall if none."""
    usual = median(late for at, late in heard if end - STALL - 4 < at < end - STALL)
    back = EVERY - STALL
    for at, late in reversed([(at, late) for at, late in heard if end <= at < end + back - STALL]):
        if late - usual > NEAR:
            break
        back = at - end
    return back


@dataclass(frozen=True)
class Left:
    """What the server has, with nobody there."""

    things: int
    """Seats, people in line, tasks, descriptors and threads."""
    resident: int


async def nobody(http: aiohttp.ClientSession, base: str, pid: int) -> Left:
    """Once it has closed everything: when two looks, longer apart than a connection takes to close, are the same."""
    last = -1
    while True:
        state = (await (await http.get(f"{base}/v1/stats")).json())["dialogue"]
        tasks = await (await http.get(f"{base}/tasks")).json()
        used = usage(pid)
        things = state["seats_taken"] + state["waiting"] + tasks + used.files + used.threads
        if things == last and not state["media"]:
            return Left(things, used.resident)
        last = things
        await asyncio.sleep(3)


async def come_and_go(http: aiohttp.ClientSession, base: str, air: Air, words: Talk) -> None:
    async with asyncio.TaskGroup() as tasks:
        people = [Person(http, base, "", f"Person {number}", "en") for number in range(SEATS)]
        for person in people:
            person.peer.talk = words
        await asyncio.gather(*(person.join(tasks, air) for person in people))
        await asyncio.gather(*(person.peer.heard.wait() for person in people))
        await asyncio.gather(*(person.leave() for person in people))


async def churn(http: aiohttp.ClientSession, base: str, pid: int, words: Talk, joins: int) -> None:
    """Everybody who comes hears the voice before they leave."""
    air = Air()
    warm, last = max(SEATS, joins // 2 // SEATS * SEATS), joins // SEATS * SEATS
    async with asyncio.TaskGroup() as tasks:
        carrying = tasks.create_task(air.run())
        for joined in range(SEATS, last + 1, SEATS):
            await come_and_go(http, base, air, words)
            if joined == warm:
                before = await nobody(http, base, pid)
        after = await nobody(http, base, pid)
        carrying.cancel()
    print(f"{before.resident / 1e6:.1f} MB after {warm} joins, {after.resident / 1e6:.1f} MB after {last}")
    leaked, grown = after.things - before.things, (after.resident - before.resident) / 1e6
    record(f"leaked_after_{last}_joins", leaked, "things", "<= 0", leaked <= 0)
    record("conversation_memory_growth_mb", grown, "MB", "<= 5", grown <= 5)


async def run(joins: int) -> None:
    words = talk()
    server = Server("Dragoman", "tests.bench.peers.talk", "websocket", "", ("--seats", str(SEATS)))
    with running(server) as (base, pid):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            await delay(http, base, words)
            await churn(http, base, pid, words, joins)


def main() -> None:
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 1000))


if __name__ == "__main__":
    main()
