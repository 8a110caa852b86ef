"""The load generator: one process of cheap peers against one server, one line of JSON at the end.

python -m tests.bench.load --dialect slots --url http://127.0.0.1:8080/offer --pid 1234 --echo 10
"""

import argparse
import asyncio
import contextlib
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import aiohttp
import numpy as np
import numpy.typing as npt

from tests.bench.dialects import Dialect, Janus, Post, Refused, Role
from tests.bench.figures import percentile
from tests.bench.peer import Air, Peer
from tests.bench.talk import Talk, onsets, talk
from tests.bench.usage import Usage, usage

PATIENCE = 20.0
"""Seconds until a peer that does not connect is given up."""
CONNECTING = 4
"""Peers that connect at the same time."""
PTIME = 0.02
"""Seconds of a packet."""
PROBES = 2
"""Peers whose packets are kept, to measure delay."""


@dataclass
class Result:
    """Of one run. Per peer: per peer that hears."""

    peers: int = 0
    errors: list[str] = field(default_factory=list)
    """Of peers that did not connect."""
    pps_mean: float = 0.0
    """RTP packets for each second that was talked, and peer …"""
    pps_min: float = 0.0
    """… and of the peer that got the fewest."""
    cpu_ms: float = 0.0
    """Server's milliseconds of CPU per peer and second."""
    cores: float = 0.0
    """Server's CPU."""
    load_cores: float = 0.0
    """The load generator's own."""
    added_ms: list[float] = field(default_factory=list)
    """p50 and p95 of the delay between a packet sent and the same one, or its sound, received; empty if unknown."""
    first_rtp_ms: list[float] = field(default_factory=list)
    """p50 and p95 from the offer to the first RTP packet."""
    base_mb: float = 0.0
    peer_mb: float = 0.0
    """Resident memory of the server with nobody, and what each peer adds."""
    threads: int = 0
    files: int = 0
    late_ms: dict[str, float] = field(default_factory=dict)
    """How late the server's own ticks were, if it says so."""


async def run(
    dialect: Dialect,
    http: aiohttp.ClientSession,
    url: str,
    pid: int,
    roles: Sequence[Role],
    settle: float,
    seconds: float,
) -> Result:
    """Connect everybody, talkers first, let it settle, measure for `seconds`."""
    words = talk()
    air = Air()
    result = Result()
    empty = usage(pid)
    peers: dict[Peer, Role] = {}
    for role in roles:
        probe = role != "talker" and sum(peer.frames is not None for peer in peers) < PROBES
        peers[Peer(probe)] = role
    async with asyncio.TaskGroup() as tasks:
        carrying = tasks.create_task(air.run())
        await _connect_all(dialect, air, words, peers, result)
        talker = next((peer for peer, role in peers.items() if role == "talker"), None)
        hearing = [peer for peer, role in peers.items() if role != "talker" and peer.air is not None]
        if result.errors:
            carrying.cancel()
            return result
        await asyncio.sleep(settle)
        await _lateness(http, url)
        before = Moment.now(pid, air, hearing, talker)
        await asyncio.sleep(seconds)
        after = Moment.now(pid, air, hearing, talker)
        result.late_ms = await _lateness(http, url)
        result.errors += ["the connection broke" for peer in hearing if peer.air is None]
        carrying.cancel()
    count, passed = len(hearing), after.at - before.at
    result.peers = count
    result.cores = (after.server.cpu - before.server.cpu) / passed
    result.cpu_ms = result.cores / count * 1000
    result.load_cores = (after.own_cpu - before.own_cpu) / passed
    result.base_mb = empty.resident / 1e6
    result.peer_mb = (after.server.resident - empty.resident) / count / 1e6
    result.threads, result.files = after.server.threads, after.server.files
    rates = [
        received / (sent * PTIME if sent else passed)
        for received, sent in zip(after.received - before.received, after.sent - before.sent, strict=True)
    ]
    result.pps_mean, result.pps_min = sum(rates) / count, min(rates)
    probes = [peer for peer in hearing if peer.frames is not None]
    delays = [delay * 1000 for peer in probes for delay in added(words, talker or peer, peer, before.at)]
    result.added_ms = [percentile(delays, 0.5), percentile(delays, 0.95)] if delays else []
    firsts = [(peer.heard_at - peer.offered_at) * 1000 for peer in hearing if peer.heard.is_set()]
    result.first_rtp_ms = [percentile(firsts, 0.5), percentile(firsts, 0.95)] if firsts else []
    return result


@dataclass(frozen=True)
class Moment:
    """An end of the measured time."""

    at: float
    server: Usage
    own_cpu: float
    received: npt.NDArray[np.int64]
    """RTP packets, by hearing peer …"""
    sent: npt.NDArray[np.int64]
    """… and those of whom it hears: the clock by which it should receive, even where the load generator is late."""

    @classmethod
    def now(cls, pid: int, air: Air, hearing: Sequence[Peer], talker: Peer | None) -> "Moment":
        """What has arrived by now has been read."""
        air.read()
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(
            time.time(),
            usage(pid),
            used.ru_utime + used.ru_stime,
            np.array([peer.received for peer in hearing]),
            np.array([len((talker or peer).sent_at) for peer in hearing]),
        )


async def _connect_all(dialect: Dialect, air: Air, words: Talk, peers: dict[Peer, Role], result: Result) -> None:
    gate = asyncio.Semaphore(CONNECTING)

    async def connect(peer: Peer, role: Role) -> None:
        async with gate:
            if result.errors:
                return  # no figure will come of this run
            try:
                async with asyncio.timeout(PATIENCE):
                    await dialect.connect(peer, role)
                    await peer.connected.wait()
                    if role in ("echo", "talker"):
                        peer.talk = words
                    air.add(peer)
                    if role in ("echo", "listener"):
                        await peer.heard.wait()
            except (TimeoutError, Refused, aiohttp.ClientError) as error:
                result.errors.append(f"{type(error).__name__}: {error}")

    for peer, role in peers.items():
        if role == "talker":
            await connect(peer, role)
    async with asyncio.TaskGroup() as tasks:
        for peer, role in peers.items():
            if role != "talker":
                tasks.create_task(connect(peer, role))


async def _lateness(http: aiohttp.ClientSession, url: str) -> dict[str, float]:
    """What our server says of its ticks since it was last asked; nothing from others."""
    with contextlib.suppress(aiohttp.ClientError, json.JSONDecodeError):
        async with http.get(url.rsplit("/", 1)[0] + "/lateness") as response:
            if response.status == 200 and response.content_type == "application/json":
                late: dict[str, float] = await response.json()
                return late
    return {}


def added(words: Talk, talker: Peer, probe: Peer, start: float) -> list[float]:
    """Seconds a server held what the talker sent, for each packet that came since `start`."""
    return [delay for _, delay in delays(words, talker, probe, start)]


def delays(words: Talk, talker: Peer, probe: Peer, start: float) -> list[tuple[float, float]]:
    """(when it came, seconds a server had held it) of what the talker sent and the probe got since `start`.

    A forwarded packet is known by its payload. Of a server that decodes and encodes, each tone is a measurement.
    """
    heard = probe.payloads()
    payloads = [payload for _, payload in heard]
    once = {payload: index for index, payload in enumerate(words.packets) if words.packets.count(payload) == 1}
    moments = [(at, once[payload], 0.0, 0.0) for at, payload in heard if payload in once]
    if not moments:
        tones = dict(words.onsets)
        moments = [(heard[index][0], sent, into, tones[sent]) for index, into in onsets(payloads) for sent in tones]
    found: dict[tuple[float, float], float] = {}
    length = len(words.packets)
    for at, sent, into, out in moments:
        if at < start:
            continue
        times = [talker.sent_at[number] + out for number in range(sent, len(talker.sent_at), length)]
        past = [at + into - time for time in times if time <= at + into + 0.002]
        if past:
            key = (at, into)
            found[key] = min(found.get(key, min(past)), min(past))
    return [(at + into, delay) for (at, into), delay in found.items()]


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dialect", choices=("slots", "post", "fastrtc", "janus"), required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--pid", type=int, required=True, help="of the server")
    parser.add_argument("--echo", type=int, default=0, help="peers that hear themselves")
    parser.add_argument("--listeners", type=int, default=0, help="peers that hear one talker")
    parser.add_argument("--voice", action="store_true", help="nobody talks: the listeners hear the server's own voice")
    parser.add_argument("--idle", type=int, default=0, help="peers that connect and neither say nor hear anything")
    parser.add_argument("--settle", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    roles: list[Role] = [*["echo"] * options.echo, *["listener"] * options.listeners, *["idle"] * options.idle]
    if options.listeners and not options.voice:
        roles.append("talker")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        if options.dialect == "janus":
            dialect: Dialect = Janus(http, options.url)
        else:
            dialect = Post(http, options.url, options.dialect)
        result = await run(dialect, http, options.url, options.pid, roles, options.settle, options.seconds)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    asyncio.run(main())
