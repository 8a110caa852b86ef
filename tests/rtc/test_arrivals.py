"""Datagrams that come, to real sockets on each event loop we run on: all of them, in order, whether few or many."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rtc.arrivals import FEW, LONGEST, LOOKS, MAX_KNOWN, SHORTEST, SIZE, Arrivals, pause
from rtc.batch import STRIDE, Address, Batch
from signaling.runtime import event_loop
from tests.conftest import until
from tests.rtc.test_batch import post, udp, waiting


class Port:
    """Who takes what comes to a socket, and Ana, who sends to it."""

    def __init__(self, host: str = "127.0.0.1", one_by_one: bool = False) -> None:
        self.taken: list[bytes] = []
        self.addresses: set[tuple[Any, ...]] = set()
        self.then: Callable[[bytes], object] = self.taken.append
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.arrivals = Arrivals(self.socket, self.take)
        if one_by_one:
            self.arrivals._recvmmsg = None
        self.ana = socket.socket(self.socket.family, socket.SOCK_DGRAM)
        self.ana.bind((host, 0))

    def take(self, data: bytes, address: tuple[Any, ...]) -> None:
        self.addresses.add(address)
        self.then(data)

    def send(self, data: bytes, sender: socket.socket | None = None) -> None:
        (sender or self.ana).sendto(data, self.socket.getsockname())

    def close(self) -> None:
        self.arrivals.close()
        self.ana.close()
        assert self.socket.fileno() == -1

    async def crowd(self) -> None:
        """So many that they are gathered."""
        number = 0
        while not self.arrivals.gathering:
            for _ in range(16):
                self.send(b"crowd %d" % number)
                number += 1
            await asyncio.sleep(SHORTEST / 4)
        await until(lambda: len(self.taken) == number)
        assert self.taken == [b"crowd %d" % index for index in range(number)]


Test = Callable[[Port], Coroutine[Any, Any, None]]
Run = Callable[..., None]
"""`run(test, **options)`: a test, with a port of these options."""


@pytest.fixture(params=[event_loop(), asyncio.SelectorEventLoop], ids=["fast", "plain"])
def run(request: pytest.FixtureRequest) -> Run:
    """On uvloop if it is there, and on Python's own loop."""

    async def opened(test: Test, **options: Any) -> None:
        with contextlib.closing(Port(**options)) as ours:
            await test(ours)

    def run(test: Test, **options: Any) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(opened(test, **options))

    return run


def test_the_fewer_they_are_the_longer_they_wait_and_a_few_not_at_all() -> None:
    """For about two to come. Between few and many it stays as it is."""
    assert [pause(voices * 50, gathering=False) for voices in (0, 1, 4)] == [None] * 3
    assert [pause(voices * 50, gathering=True) for voices in (0, 1, 3)] == [None] * 3
    assert pause(4 * 50, gathering=True) == pause(5 * 50, gathering=False) == LONGEST
    assert pause(6 * 50, gathering=False) == pytest.approx(2 / 300)
    assert [pause(voices * 50, gathering=True) for voices in (8, 64, 10_000)] == [SHORTEST] * 3


@pytest.mark.parametrize("one_by_one", [False, True])
def test_few_come_at_once_and_in_order(run: Run, one_by_one: bool) -> None:
    """As on Linux, and as where there is no recvmmsg."""

    async def test(ours: Port) -> None:
        with udp() as bob:
            for number in range(2 * LOOKS):
                await asyncio.sleep(1 / FEW)
                ours.send(b"%d" % number, (ours.ana, bob)[number % 2])
                await until(lambda count=number + 1: len(ours.taken) == count)  # type: ignore[misc]  # bound now
                assert not ours.arrivals.gathering
            assert ours.addresses == {ours.ana.getsockname(), bob.getsockname()}
        assert ours.taken == [b"%d" % number for number in range(2 * LOOKS)]

    run(test, one_by_one=one_by_one)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_many_are_gathered_and_none_is_lost(run: Run, one_by_one: bool) -> None:
    """Until they are few again."""

    async def test(ours: Port) -> None:
        await ours.crowd()
        await until(lambda: not ours.arrivals.gathering)
        ours.taken.clear()
        ours.send(b"alone")
        await until(lambda: ours.taken == [b"alone"])
        ours.taken.clear()
        await ours.crowd()

    run(test, one_by_one=one_by_one)


def test_what_is_answered_to_those_that_came_together_leaves_together(run: Run) -> None:
    async def test(ours: Port) -> None:
        batch = Batch(ours.socket)
        left: list[list[bytes]] = []

        def answer(data: bytes) -> None:
            post(batch, data, Address(ours.ana.getsockname()))
            left.append(waiting(ours.ana))

        ours.then = answer
        for number in range(3):
            ours.send(b"%d" % number)
        await until(lambda: len(left) == 3)
        assert left == [[], [], []]
        assert waiting(ours.ana) == [b"0", b"1", b"2"]

    run(test)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_more_than_fit_come_all_the_same(run: Run, one_by_one: bool) -> None:
    """Others on the loop have their turn in between."""

    async def test(ours: Port) -> None:
        for number in range(SIZE + 9):
            ours.send(b"%d" % number)
        turns: list[int] = []
        while len(ours.taken) < SIZE + 9:
            await asyncio.sleep(0)
            turns.append(len(ours.taken))
        assert SIZE in turns
        assert ours.taken == [b"%d" % number for number in range(SIZE + 9)]

    run(test, one_by_one=one_by_one)


def test_lengths_are_kept_and_what_nobody_takes_is_cut(run: Run) -> None:
    """Nothing of a longer one is in the shorter one that comes after it."""
    sizes = [1500, 0, 1, STRIDE + 9, 40]

    async def test(ours: Port) -> None:
        for _ in range(2):
            for size in sizes:
                ours.send(bytes([size % 251]) * size)
        await until(lambda: len(ours.taken) == 10)
        assert ours.taken == [bytes([size % 251]) * min(size, STRIDE) for size in sizes] * 2

    run(test)


def test_one_that_finds_a_bug_silences_nobody(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def test(ours: Port) -> None:
        await ours.crowd()
        ours.taken.clear()
        ours.then = lambda data: ours.taken.append(b"%d" % (6 // int(data)))
        for text in (b"3", b"0", b"2"):
            ours.send(text)
        await until(lambda: ours.taken == [b"2", b"3"])
        assert "ZeroDivisionError" in caplog.text

    run(test)


@pytest.mark.parametrize("crowded", [False, True])
def test_closed_by_who_takes_one_it_takes_no_more(run: Run, crowded: bool, caplog: pytest.LogCaptureFixture) -> None:
    """As when the last of a port leaves. Those that were taken with it are handed on; its number is free."""

    async def test(ours: Port) -> None:
        if crowded:
            await ours.crowd()
            ours.taken.clear()
        address = ours.socket.getsockname()

        def last(data: bytes) -> None:
            ours.taken.append(data)
            ours.arrivals.close()

        ours.then = last
        ours.send(b"one")
        ours.send(b"two")
        await until(lambda: ours.arrivals.closed)
        await asyncio.sleep(2 * LONGEST)  # a look that was still to come would have come
        assert ours.taken == [b"one", b"two"] and not caplog.records
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as another:
            another.bind(address)

    run(test)


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")
def test_ipv6(run: Run) -> None:
    """Addresses as Python has them."""

    async def test(ours: Port) -> None:
        ours.send(b"six")
        await until(lambda: ours.taken == [b"six"])
        assert ours.addresses == {ours.ana.getsockname()}

    run(test, host="::1")


def test_addresses_are_not_remembered_without_end(run: Run) -> None:
    """Anybody can write any as the sender's."""

    async def test(ours: Port) -> None:
        for number in range(MAX_KNOWN + 9):
            host = f"127.2.{number >> 8}.{number & 255}"
            assert ours.arrivals._know(bytes(Address((host, 7))._raw)) == (host, 7)
        assert len(ours.arrivals._known) <= MAX_KNOWN

    run(test)
