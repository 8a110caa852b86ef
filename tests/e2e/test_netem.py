"""The bad network is as bad as it says, and no worse."""

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.netem import LIMIT, Impairment, Link, Traffic, Version, Way, emulating, missing
from tests.e2e.serving import stop

FOREVER = 1e9
EVERY = 0.02
"""Seconds from one packet to the next."""

real = pytest.mark.skipif(missing() is not None, reason=f"no network emulator: {missing()}")


def numbers(packets: list[bytes]) -> list[int]:
    return [int(packet) for packet in packets]


def send(way: Way, count: int, start: float = 0.0) -> list[int]:
    """What comes out of `count` numbered packets, in order."""
    for number in range(count):
        way.put(b"%d" % number, start + number * EVERY)
    return numbers(way.take(FOREVER))


@given(
    loss=st.floats(0, 1),
    burst=st.floats(0, 50),
    delay=st.floats(0, 1),
    jitter=st.floats(0, 1),
    seed=st.integers(),
    count=st.integers(0, 200),
)
def test_every_packet_comes_in_its_time_or_is_counted(
    loss: float, burst: float, delay: float, jitter: float, seed: int, count: int
) -> None:
    way = Way(seed)
    way.impairment = Impairment(loss, burst, delay, jitter)
    for number in range(count):
        way.put(b"%d" % number, number * EVERY)
    came: list[int] = []
    while (due := way.due) is not None:
        for number in numbers(way.take(due)):
            assert max(0, delay - jitter) - 1e-9 <= due - number * EVERY <= delay + jitter + 1e-9
            came.append(number)
    traffic = way.traffic
    assert len(came) == len(set(came)) == traffic.delivered
    assert traffic.offered == count == traffic.lost + traffic.delivered
    assert traffic.overtaken == sum(number < max(came[:place], default=0) for place, number in enumerate(came))
    assert traffic.tardy == 0


@pytest.mark.parametrize(("loss", "burst", "row"), [(0.01, 0, 1.01), (0.1, 0, 1.11), (0.05, 4, 4), (0.3, 10, 10)])
def test_losses_come_in_such_numbers_and_rows(loss: float, burst: float, row: float) -> None:
    way = Way(seed=1)
    way.impairment = Impairment(loss, burst)
    lost: list[bool] = []
    for _ in range(100):
        came = set(send(way, LIMIT))
        lost += [number not in came for number in range(LIMIT)]
    rows = [len(list(group)) for is_lost, group in itertools.groupby(lost) if is_lost]
    assert sum(lost) / len(lost) == pytest.approx(loss, rel=0.1)
    assert sum(rows) / len(rows) == pytest.approx(row, rel=0.1)
    assert way.traffic.lost == sum(lost)


def test_the_same_seed_is_the_same_network() -> None:
    def carried(seed: int) -> list[int]:
        way = Way(seed)
        way.impairment = Impairment(loss=0.3, burst=3, delay=0.1, jitter=0.1)
        return send(way, 100)

    assert carried(1) == carried(1) != carried(2)


def test_a_change_leaves_alone_what_is_under_way() -> None:
    way = Way(seed=1)
    way.impairment = Impairment(delay=1.0)
    way.put(b"1", 0.0)
    way.impairment = Impairment(loss=1.0)
    way.put(b"2", 0.1)
    way.impairment = Impairment()
    way.put(b"3", 0.2)
    assert numbers(way.take(0.9)) == [3]
    assert numbers(way.take(1.5)) == [1]
    assert way.traffic == Traffic(offered=3, lost=1, delivered=2, overtaken=1, tardy=way.traffic.tardy)
    assert way.traffic.tardy == pytest.approx(0.7)


def test_what_waits_is_bounded() -> None:
    way = Way(seed=1)
    assert send(way, LIMIT + 5) == list(range(LIMIT))
    assert way.traffic.overflowed == 5


ECHO = """
import socket, sys
with socket.socket(socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET, socket.SOCK_DGRAM) as echo:
    echo.bind(("", 7))
    print("ready", flush=True)
    while True:
        packet, sender = echo.recvfrom(2048)
        echo.sendto(packet, sender)
"""


class Echo:
    """Somebody at the other end who sends everything back."""

    def __init__(self, link: Link, near: socket.socket) -> None:
        self._link = link
        self._near = near

    async def send(self, count: int) -> None:
        for number in range(count):
            await asyncio.get_running_loop().sock_sendto(self._near, b"%d" % number, (self._link.there, 7))

    async def receive(self, count: int) -> list[int]:
        """The next packets that come back."""
        return [int(await asyncio.get_running_loop().sock_recv(self._near, 2048)) for _ in range(count)]


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
async def echo(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Link, Echo]]:
    version: Version = request.param
    async with emulating(version) as link:
        process = await asyncio.create_subprocess_exec(
            *(*link.enter, sys.executable, "-c", ECHO, str(version)),
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as near:
            try:
                assert process.stdout is not None
                await process.stdout.readline()
                yield link, Echo(link, near)
            finally:
                await stop(process)


@real
async def test_packets_of_a_real_network(echo: tuple[Link, Echo]) -> None:
    """All of them; then none; then out of order; then from another address."""
    link, other = echo
    await other.send(200)
    assert await other.receive(200) == list(range(200))

    before, _ = await link.impair(up=Impairment(loss=1))
    await other.send(200)
    while (await link.impair())[0].lost - before.lost < 200:
        pass  # each turn is a question to the emulator; the test's time limit ends one that never comes true

    await link.impair(up=Impairment(), down=Impairment(delay=0.05, jitter=0.05))
    await other.send(200)
    came = await other.receive(200)
    assert sorted(came) == list(range(200)) and came != sorted(came)
    up, down = await link.impair(down=Impairment())
    assert up.overtaken == 0 < down.overtaken

    await link.move()
    await other.send(1)
    assert await other.receive(1) == [0]


@real
async def test_nothing_is_left() -> None:
    """Two links at a time have nothing in common; afterwards they are gone, and so is one whose process was killed."""

    def alive(indexes: set[int]) -> set[int]:
        return indexes & {index for index, _ in socket.if_nameindex()}  # the kernel uses each once

    async with emulating(4) as first, emulating(4) as second:
        interfaces = {socket.if_nametoindex(link.interface) for link in (first, second)}
        assert len(interfaces) == len(alive(interfaces)) == 2
        assert len({first.here, second.here, first.there, second.there}) == 4
        os.kill(second.pid, signal.SIGKILL)
    assert not alive(interfaces)
